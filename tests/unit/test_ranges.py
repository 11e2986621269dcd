"""Ranges of keys: every record in one part, parts in order, about equally large, and only needed blocks are read."""

from __future__ import annotations

import itertools
import random
import tempfile
from bisect import bisect_left
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.coordinator.records import changed_partitions
from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.shuffle.block_file import DIGEST_BYTES, open_slice, read_index
from mapreduce.dataflow.shuffle.block_index import FIRST_BYTES
from mapreduce.dataflow.shuffle.merge import merged_batches
from mapreduce.dataflow.shuffle.ranges import (
    MEASURE_BYTES,
    block_of,
    pack_measures,
    points_of,
    range_of,
    share_of,
    unpack_measure,
)
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.dataflow.tasks.placement import Placement
from mapreduce.dataflow.tasks.sinks import ShuffleSink
from mapreduce.errors import MapReduceError
from mapreduce.plan import AttemptId, Limits, StepShape, TaskId, TaskKind, TaskOptions

TEXT = st.text(st.characters(codec=None, categories=None), max_size=3)
SCALAR = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, float("nan"), "", "a\x00", b"", b"\x00\xff", 2**70, -(2**70)]),
    TEXT,
    st.integers(-(2**63), 2**63),
)
KEYS = st.one_of(
    st.lists(st.integers(-5, 5), max_size=60),
    st.lists(st.integers(-(2**62), 2**62), max_size=60),
    st.lists(st.sampled_from(["a", "b", "c" * 300, "c" * 299 + "d", "c" * 255, "c" * 256]), max_size=60),
    st.lists(st.text(max_size=4), max_size=60),
    st.lists(st.floats(), max_size=60),
    st.lists(st.one_of(SCALAR, st.lists(SCALAR, max_size=2).map(tuple)), max_size=60),
)
LIMITS = st.builds(
    Limits,
    sort_buffer=st.sampled_from([1, 300, 3000, 1 << 20]),
    block=st.sampled_from([1, 60, 400, 1 << 20]),
    merge=st.sampled_from([1, 2000, 1 << 20]),
)


def written(folder: Path, maps, partitions, limits, *, rows=7) -> tuple[list[Path], list[bytes]]:
    """Run the map side of so many map tasks, each given as its keys. Gives the run files and the measures."""
    paths, bounds = [], []
    for number, keys in enumerate(maps):
        (folder / f"map{number}").mkdir()
        points = points_of(partitions, len(maps))
        buffer = SortBuffer(folder / f"map{number}", str, partitions=partitions, limits=limits, points=points)
        for start in range(0, len(keys), rows):
            some = keys[start : start + rows]
            buffer.add(make_batch(some, [(number, start + i) for i in range(len(some))]))
        runs = buffer.finish()
        assert len(runs.digests) == 8 * partitions
        assert len(runs.bounds) <= MEASURE_BYTES
        paths += [folder / f"map{number}" / str(spill) for spill in range(runs.count)]
        bounds.append(runs.bounds)
    return paths, bounds


def parts_of(folder, paths, bounds, partitions, limits) -> list[list]:
    """What each reduce task reads."""
    found = []
    for partition in range(partitions):
        share = share_of(partition, partitions, bounds)
        slices = [open_slice(path, share.partition, low=share.low, high=share.high) for path in paths]
        batches = merged_batches(slices, limits, folder)
        found.append([pair for batch in batches for pair in records_of(batch)])
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(KEYS, min_size=1, max_size=4), st.integers(1, 7), LIMITS)
def test_parts_one_after_another_are_everything_in_order(maps, partitions, limits):
    """Whatever keys there are, however runs and blocks are cut: the parts together are all records, sorted, stable."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, bounds = written(folder, maps, partitions, limits)
        parts = parts_of(folder, paths, bounds, partitions, limits)
    emitted = [(normalise_key(key), (m, i)) for m, keys in enumerate(maps) for i, key in enumerate(keys)]
    wanted = sorted(emitted, key=lambda pair: encode_key(pair[0]))
    assert list(map(encode_value, itertools.chain(*parts))) == list(map(encode_value, wanted))
    keys_of_parts = [{encode_key(key) for key, _ in part} for part in parts]
    for one, other in itertools.combinations(keys_of_parts, 2):
        assert not one & other


def random_key(noise, kind):
    return {
        "int": lambda: noise.randrange(10**12),
        "url": lambda: "https://www.example.org/some/rather/long/path/to/a/page?id=" + str(noise.randrange(10**9)),
        "skewed": lambda: int(noise.paretovariate(1) * 10**6),
    }[kind]()


@pytest.mark.parametrize("kind", ["int", "url", "skewed"])
@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize(("maps", "partitions"), [(1, 5), (6, 24)])
def test_parts_are_about_equally_large(tmp_path, kind, is_sorted, maps, partitions):
    """With distinct keys no part is more than 10% off, if every map task sees all of the keys or a range of its own."""
    noise = random.Random(maps)
    keys = sorted({random_key(noise, kind) for _ in range(20_000)})
    encodings = list(map(encode_key, keys))
    if not is_sorted:
        noise.shuffle(keys)
    size = -(-len(keys) // maps)
    cuts = [keys[start : start + size] for start in range(0, len(keys), size)]
    _, bounds = written(tmp_path, cuts, partitions, Limits(sort_buffer=100_000), rows=500)
    lows = [range_of(bounds, partition, partitions)[0] for partition in range(partitions)]
    starts = [bisect_left(encodings, low) for low in lows]
    sizes = [end - start for start, end in itertools.pairwise([*starts, len(keys)])]
    mean = len(keys) / partitions
    assert max(abs(size - mean) for size in sizes) <= 0.1 * mean, sizes


def test_a_hot_key_is_in_one_part_and_the_others_share_the_rest(tmp_path):
    """A key that is more than a part is not cut: its part has it, and some parts may be empty."""
    keys = [5] * 700 + list(range(300))
    limits = Limits(sort_buffer=5000, block=500)
    paths, bounds = written(tmp_path, [keys[::2], keys[1::2]], 4, limits)
    parts = parts_of(tmp_path, paths, bounds, 4, limits)
    assert max(len(part) for part in parts) >= 701
    assert [key for part in parts for key, _ in part] == sorted(keys)


def test_only_blocks_that_overlap_are_read(tmp_path):
    """All reduce tasks together read each run's blocks once, but for those at the ends of ranges."""
    noise = random.Random(0)
    maps = [[noise.random() for _ in range(1500)] for _ in range(2)]
    paths, bounds = written(tmp_path, maps, 6, Limits(block=500), rows=500)
    for path in paths:
        index = read_index(path)
        everything = index.slice(0).blocks
        read = []
        for partition in range(6):
            share = share_of(partition, 6, bounds)
            read.append(index.slice(0, low=share.low, high=share.high).blocks)
        assert set(itertools.chain(*read)) == set(everything)
        assert len(everything) > 50
        assert sum(map(len, read)) <= len(everything) + 5
    assert index.slice(0, low=b"\x20\x90", high=b"\x20\x90").blocks == ()


def test_long_keys_that_begin_alike_are_told_apart_by_their_rows(tmp_path):
    """Where the kept beginnings of the blocks' first keys say nothing, too many blocks are read, and no row is lost."""
    limits = Limits(sort_buffer=1 << 20, block=2000)
    keys = [b"x" * (FIRST_BYTES + 10) + number.to_bytes(2, "big") for number in range(200)]
    paths, _ = written(tmp_path, [keys], 2, limits)
    (index,) = map(read_index, paths)
    low, high = b"@" + keys[50], b"@" + keys[60]
    part = index.slice(0, low=low, high=high)
    batches = merged_batches([part], limits, tmp_path)
    assert [key for batch in batches for key, _ in records_of(batch)] == keys[50:60]
    part = index.slice(0, low=b"@" + b"y", high=b"")
    assert list(merged_batches([part] * 9, Limits(merge=1), tmp_path)) == []


def test_a_measure_stays_small_whatever_the_keys():
    """Very many points of long keys are thinned out until they fit a message, and the records still add up."""
    points = [(bytes([i // 256, i % 256]) * 100, 3) for i in range(5000)]
    packed = pack_measures([points], 5000)
    found = unpack_measure(packed)
    assert MEASURE_BYTES // 3 < len(packed) <= MEASURE_BYTES
    assert sum(weight for _, weight in found) == 15_000
    assert found == sorted(found)
    assert found[0] == (points[0][0], found[0][1])


def test_no_records_have_no_measure():
    """A map task that emits nothing has no bounds, and does not hinder the others'."""
    assert pack_measures([], 64) == pack_measures([[]], 64) == b""
    assert range_of([b"", b""], 1, 3) == (b"", b"")
    one = pack_measures([[(b"\x11a", 1), (b"\x11b", 1)]], 64)
    assert range_of([b"", one], 1, 2) == (b"\x11b", b"")


class Pair:
    """A value that only pickle can write; of equal halves the second costs nothing if it is the same object."""

    def __init__(self, one, other):
        self.one, self.other = one, other


def emitted_pickles(folder, texts, sort_buffer):
    """What a map task with measured runs writes for 400 keys with a Pair each."""
    folder.mkdir()
    attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)
    options = TaskOptions("job", "", steps=(StepShape(1, 3),), limits=Limits(sort_buffer=sort_buffer))
    sink = ShuffleSink(attempt, folder, options, placement=Placement(points=points_of(3, 1)))
    for start in range(0, 400, 8):
        keys = [number * 7919 % 100_003 for number in range(start, start + 8)]
        sink.add(make_batch(keys, [Pair(text, other) for text, other in texts(8)]))
    return sink.finish()


def test_pickles_that_differ_do_not_hide_that_bounds_do(tmp_path):
    """Equal values may be pickled in other bytes when a task runs again; with other bounds readers must run again."""

    def shared(count):
        return [("x" * 500,) * 2] * count

    def apart(count):
        return [("x" * 500, "".join(["x"] * 500)) for _ in range(count)]

    one = emitted_pickles(tmp_path / "one", shared, 1 << 20)
    other = emitted_pickles(tmp_path / "other", apart, 1 << 20)
    assert one.bounds == other.bounds
    assert one.shuffle_bytes != other.shuffle_bytes
    assert one.digests == other.digests
    assert len(one.digests) == 3 * DIGEST_BYTES
    one = emitted_pickles(tmp_path / "small", shared, 20_000)
    other = emitted_pickles(tmp_path / "large", apart, 20_000)
    assert one.bounds != other.bounds
    assert changed_partitions(one.digests, other.digests) == [0, 1, 2]
    assert not any(written.pickled for written in (one, other)), "else the coordinator takes them for equal"


@pytest.mark.parametrize("packed", [b"\xc1", b"\x01", b"\x91\x01", b"\x92\x01\x02", b"\x92\xa1a\x02"])
def test_a_damaged_measure_is_an_error(packed):
    """Bounds that are none are refused, and never taken for a range."""
    with pytest.raises(MapReduceError, match="measure of its keys"):
        unpack_measure(packed)


def test_points_and_blocks_follow_the_number_of_parts():
    """More parts need more points and smaller blocks, more map tasks fewer points each, within bounds."""
    assert [points_of(7, 1), points_of(7, 100), points_of(256, 1), points_of(256, 64)] == [112, 70, 4096, 512]
    assert [block_of(Limits(), parts) for parts in (1, 16, 64, 10_000)] == [1 << 20, 1 << 20, 256 << 10, 64 << 10]
    assert block_of(Limits(block=100), 3) == 100
