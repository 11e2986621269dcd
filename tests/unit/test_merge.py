from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    keys_list,
    make_batch,
    records_of,
    regroup,
    sort_by_key,
    values_list,
)
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, Slice, open_slice
from mapreduce.dataflow.shuffle.bundles import bundled, loads_of, read_run
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups, fan_in, merged_batches, merged_chunks, read_part
from mapreduce.dataflow.shuffle.run_reader import Lanes
from mapreduce.errors import CorruptBlockError, DiskFullError, InputLostError, SecondPassError
from mapreduce.plan import AttemptId, Limits, TaskId, TaskKind

TINY = Limits(block=300, merge=1500)


def run_of(path: Path, pairs, *, grouped=False, block=300, producer=None) -> Slice:
    pairs = sorted(pairs, key=lambda pair: encode_key(pair[0]))
    batch = make_batch([key for key, _ in pairs], [value for _, value in pairs])
    return run_of_batch(path, regroup(batch) if grouped else batch, block=block, producer=producer)


def run_of_batch(path: Path, batch: Batch, *, block=300, producer=None) -> Slice:
    writer = BlockFileWriter(
        path, key_lane=batch.key_lane, value_lane=batch.value_lane, layout=batch.layout, block=block
    )
    writer.write(0, batch)
    writer.close()
    return open_slice(path, 0, producer)


def groups_of(chunks) -> list:
    """All groups, as a reducer would see them."""
    groups: list = []
    for chunk in chunks:
        if isinstance(chunk, OneGroup):
            values = [value for column in chunk.values for value in values_list(column, chunk.value_lane)]
            groups.append((chunk.key, values))
            continue
        assert isinstance(chunk, WholeGroups)
        values, start = values_list(chunk.values, chunk.value_lane), 0
        for key, end in zip(keys_list(chunk.keys, chunk.key_lane), chunk.ends.tolist(), strict=True):
            groups.append((key, values[start:end]))
            start = end
        assert start == len(values)
    return groups


def expected_groups(runs) -> list:
    groups: dict = {}
    for pairs in runs:
        for key, value in pairs:
            groups.setdefault(encode_key(key), (key, []))[1].append(value)
    return [groups[encoded] for encoded in sorted(groups)]


def random_runs(count, rows, keys) -> list:
    noise = random.Random(count * rows + keys)
    return [[(f"k{noise.randrange(keys)}", (run, i)) for i in range(rows)] for run in range(count)]


@pytest.mark.parametrize("keys", [1, 5, 300])
@pytest.mark.parametrize("grouped", [False, True, None])
@pytest.mark.parametrize("limits", [TINY, Limits(block=300, merge=1 << 20), Limits()])
def test_values_come_in_the_order_of_slices(tmp_path, keys, grouped, limits):
    """Whatever the fan-in, the limits and the layout of rows (None: mixed), a key's values come slice by slice."""
    runs = random_runs(9, 60, keys)
    layouts = [grouped if grouped is not None else bool(i % 2) for i in range(9)]
    slices = [run_of(tmp_path / str(i), pairs, grouped=layouts[i]) for i, pairs in enumerate(runs)]
    assert groups_of(merged_chunks(slices, limits, tmp_path)) == expected_groups(runs)
    flat = [(key, value) for key, values in expected_groups(runs) for value in values]
    batches = list(merged_batches(slices, limits, tmp_path))
    assert [pair for batch in batches for pair in records_of(batch)] == flat
    assert not any(batch.grouped for batch in batches)
    assert len(list(tmp_path.iterdir())) == 9


def test_a_group_over_many_blocks_is_not_ordered_by_their_cuts(tmp_path):
    """A key that ends one slice's block in the middle of another's is still drained slice by slice."""
    for block in (60, 90, 130, 400):
        runs = [[("a", i) for i in range(n)] + [("b", i) for i in range(n)] for n in (1, 30, 3, 17)]
        slices = [run_of(tmp_path / str(i), pairs, block=block) for i, pairs in enumerate(runs)]
        assert groups_of(merged_chunks(slices, TINY, tmp_path)) == expected_groups(runs)


def test_every_lane_merges_in_the_order_of_keys(tmp_path):
    """Slices of differing types meet; each native lane by itself sorts as its encodings do."""
    lanes = {
        "str": ["", "a", "\x00", "ü", "\U0001f600", "\uffff", "z" * 50],
        "bytes": [b"", b"\x00", b"\xff", b"a"],
        "int": [-(2**63), -1, 0, 1, 2**63 - 1],
        "float": [float("-inf"), -1.5, 0.0, 5e-324, float("inf"), float("nan")],
        "bool": [False, True],
        "encoded": [None, 2**64, -(2**64), (), ("a",), "\ud800"],
    }
    by_lane = {}
    for name, keys in lanes.items():
        runs = [[(key, f"{run} {i}") for i, key in enumerate(keys * 3)] for run in range(4)]
        slices = [run_of(tmp_path / f"{name}{i}", pairs, block=50) for i, pairs in enumerate(runs)]
        assert slices[0].key_lane == name
        assert repr(groups_of(merged_chunks(slices, TINY, tmp_path))) == repr(expected_groups(runs))
        by_lane[name] = (runs, slices)
    all_runs = [pairs for runs, _ in by_lane.values() for pairs in runs]
    all_slices = [part for _, slices in by_lane.values() for part in slices]
    assert repr(groups_of(merged_chunks(all_slices, TINY, tmp_path))) == repr(expected_groups(all_runs))


def test_small_groups_come_many_at_a_time(tmp_path):
    """With ordinary limits a chunk holds thousands of groups, and no key is in two chunks."""
    slices = [run_of(tmp_path / str(i), [(j, i) for j in range(5000)], block=20_000) for i in range(3)]
    chunks = list(merged_chunks(slices, Limits(), tmp_path))
    assert len(chunks) < 10
    assert all(isinstance(chunk, WholeGroups) for chunk in chunks)
    keys = [key for key, _ in groups_of(chunks)]
    assert keys == list(range(5000))
    assert [pair for chunk in chunks for pair in records_of(chunk.batch())] == [(j, i) for j in keys for i in range(3)]


@pytest.mark.parametrize("rows", [40, 3000])
def test_a_large_group_that_is_not_read_is_skipped(tmp_path, rows):
    """A reducer may leave a large group's values unread, or read some: the next groups are complete all the same."""
    runs = [[(key, i) for key in "abc" for i in range(rows)] for _ in range(3)]
    slices = [run_of(tmp_path / str(i), pairs) for i, pairs in enumerate(runs)]
    seen = []
    for chunk in merged_chunks(slices, TINY, tmp_path):
        if isinstance(chunk, OneGroup):
            seen.append(chunk.key)
            if chunk.key == "b":
                next(chunk.values)
    assert seen == ["a", "b", "c"]


def test_values_kept_beyond_their_turn_raise(tmp_path):
    """A large group's values that are read after the merge has gone on are an error, not an empty group."""
    part = run_of(tmp_path / "run", [("a", i) for i in range(100)])
    (group,) = merged_chunks([part] * 3, TINY, tmp_path)
    assert isinstance(group, OneGroup)
    with pytest.raises(SecondPassError, match="values of the key 'a' were read after"):
        next(group.values)


def test_fan_in_follows_the_largest_block(tmp_path):
    """The fan-in is the merge's memory over twice the largest raw block, and at least two."""
    small = run_of(tmp_path / "small", [(i, i) for i in range(10)])
    large = run_of(tmp_path / "large", [("a", "x" * 10_000)])
    assert fan_in([(small,)], Limits(merge=1 << 20)) == (1 << 20) // (2 * 160)
    assert fan_in([(large,)], Limits(merge=60_000)) == 60_000 // (2 * large.blocks[0].raw)
    assert fan_in([(small,), (large,)], Limits(merge=1)) == 2
    assert fan_in([], Limits()) > 2


def test_blocks_that_must_be_encoded_count_as_what_they_become(tmp_path):
    """Where lanes differ, the fan-in counts the encoded size, which is larger than the native one."""
    ints = run_of(tmp_path / "ints", [(i, i) for i in range(10)])
    words = run_of(tmp_path / "words", [("a", 1)])
    assert fan_in([(ints,), (words,)], Limits()) < fan_in([(ints,)], Limits())


def test_passes_leave_nothing_in_the_scratch_folder(tmp_path):
    """Temporary files of more passes are gone at the end, on an error, and when nobody reads on."""
    runs = random_runs(40, 30, 50)
    folder, scratch = tmp_path / "runs", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    slices = [run_of(folder / str(i), pairs) for i, pairs in enumerate(runs)]
    limits = Limits(block=300, merge=1)
    assert groups_of(merged_chunks(slices, limits, scratch)) == expected_groups(runs)
    assert list(scratch.iterdir()) == []
    unfinished = merged_chunks(slices, limits, scratch)
    next(unfinished)
    assert list(scratch.iterdir()) != []
    unfinished.close()
    assert list(scratch.iterdir()) == []
    Path(slices[30].path).write_bytes(b"")
    with pytest.raises(CorruptBlockError):
        list(merged_batches(slices, limits, scratch))
    assert list(scratch.iterdir()) == []


def test_a_scratch_folder_on_a_full_disk(tmp_path, monkeypatch):
    """A pass that cannot write raises DiskFullError and removes what it made."""
    slices = [run_of(tmp_path / str(i), pairs) for i, pairs in enumerate(random_runs(5, 30, 50))]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = scratch / "merge-full"
    folder.mkdir()
    (folder / "0").symlink_to("/dev/full")
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_options: str(folder))
    with pytest.raises(DiskFullError, match=str(folder)):
        list(merged_chunks(slices, Limits(block=300, merge=1), scratch))
    assert list(scratch.iterdir()) == []


def test_a_lost_run_names_its_producer(tmp_path):
    """In the middle of a merge too, an unreadable run is the loss of its producer's result."""
    producer = AttemptId(TaskId("job", 0, TaskKind.MAP, 1), 4)
    runs = random_runs(2, 200, 50)
    slices = [run_of(tmp_path / str(i), pairs, producer=producer if i else None) for i, pairs in enumerate(runs)]
    path, last = Path(slices[1].path), slices[1].blocks[-1]
    data = bytearray(path.read_bytes())
    data[last.offset + last.length // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputLostError, match="checksum differs") as caught:
        list(merged_chunks(slices, TINY, tmp_path))
    assert caught.value.producer == producer


def test_no_records_make_no_groups(tmp_path):
    """Empty slices, or none, merge to nothing."""
    empty = run_of_batch(tmp_path / "empty", make_batch([], []))
    assert list(merged_chunks([], TINY, tmp_path)) == list(merged_chunks([empty], TINY, tmp_path)) == []
    assert list(merged_batches([empty, empty], TINY, tmp_path)) == []
    assert groups_of(merged_chunks([empty, run_of(tmp_path / "one", [(1, 2)])], TINY, tmp_path)) == [(1, [2])]


def test_a_part_is_read_as_it_lies(tmp_path):
    """Intermediate parts are read one after another, unsorted and ungrouped, each in its own lanes."""
    words = regroup(make_batch(["b", "a", "b"], [1, 2, 3]))
    slices = [run_of_batch(tmp_path / "a", words), run_of_batch(tmp_path / "b", make_batch([2, 1], [None, 5]))]
    pairs = [pair for batch in read_part(slices) for pair in records_of(batch)]
    assert pairs == [("b", 1), ("b", 3), ("a", 2), (2, None), (1, 5)]


def resident_mib(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) >> 10


@pytest.mark.parametrize("grouped", [False, True])
def test_twenty_million_values_of_one_key_stream(tmp_path, grouped):
    """A key with 20 million values over 20 runs passes through in a few hundred MiB less than they would take."""
    rows = 1_000_000
    keys = pl.Series("key", ["the"]).new_from_index(0, rows)
    batch = Batch(pl.DataFrame([keys, pl.Series("value", np.arange(rows))]), Lane.STR, Lane.INT)
    part = run_of_batch(tmp_path / "run", regroup(batch) if grouped else sort_by_key(batch), block=1 << 20)
    del batch, keys
    before = resident_mib("VmRSS")
    total, records, peak = 0, 0, 0
    for chunk in merged_chunks([part] * 20, Limits(), tmp_path):
        assert isinstance(chunk, OneGroup)
        for column in chunk.values:
            total += int(column.sum())
            records += len(column)
            peak = max(peak, resident_mib("VmRSS"))
    assert (records, total) == (20 * rows, 20 * rows * (rows - 1) // 2)
    assert peak - before < 150


def many_runs(folder: Path, rows: list[int]) -> tuple[list[Slice], list]:
    """A run for each number of rows, of a few keys that all have; the slices, and the groups to be found."""
    noise = random.Random(7)
    slices, expected = [], {}
    for number, count in enumerate(rows):
        pairs = [(f"key {noise.randrange(40):02}", (number, row)) for row in range(count)]
        slices.append(run_of(folder / str(number), pairs, grouped=number % 3 == 0, block=2000))
        for key, value in sorted(pairs, key=lambda pair: pair[0]):
            expected.setdefault(key, []).append(value)
    return slices, sorted(expected.items())


@pytest.mark.parametrize("merge", [5000, 1 << 20])
def test_slices_of_few_rows_keep_their_place_among_large_ones(tmp_path, merge):
    """However small and large slices follow each other, values come in their order; in one pass and in several."""
    rows = [1, 2, 0, 3, 400, 1, 1, 1, 300, 300, *[2] * 200, 500, 1]
    slices, expected = many_runs(tmp_path, rows)
    limits = Limits(block=2000, merge=merge)
    assert groups_of(merged_chunks(slices, limits, tmp_path)) == expected
    flat = [pair for batch in merged_batches(slices, limits, tmp_path) for pair in records_of(batch)]
    assert flat == [(key, value) for key, values in expected for value in values]


def test_slices_of_few_rows_become_a_few_runs(tmp_path):
    """Hundreds of small slices are merged as bundles of neighbours, each no larger than a block; large ones alone."""
    slices, _ = many_runs(tmp_path, [2] * 150 + [400] + [2] * 150)
    lanes = Lanes.of(slices)
    runs = bundled(slices, lanes, 2000)
    assert [part for run in runs for part in run] == slices
    assert len(runs) < 30
    for run in runs:
        if len(run) == 1:
            assert run == (slices[150],)
        else:
            (load,) = loads_of(run, lanes)
            assert load == sum(size for part in run for size in lanes.sizes(part)) <= 2000
            batches = list(read_run(run, lanes))
            assert len(batches) == 1
            keys = keys_list(batches[0].frame["key"], batches[0].key_lane)
            assert keys == sorted(keys)
    assert fan_in(runs, Limits(merge=1 << 20)) < fan_in([(slices[0],)], Limits(merge=1 << 20))


def test_a_damaged_slice_of_a_bundle_names_its_producer(tmp_path):
    """Of slices that are read together, the one that cannot be read is the one that is lost."""
    attempts = [AttemptId(TaskId("job", 0, TaskKind.MAP, number), 1) for number in range(5)]
    slices = [run_of(tmp_path / str(a.task.index), [("a", 1)], producer=a) for a in attempts]
    path, block = Path(slices[3].path), slices[3].blocks[0]
    data = bytearray(path.read_bytes())
    data[block.offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputLostError, match="checksum differs") as caught:
        list(merged_batches(slices, Limits(), tmp_path))
    assert caught.value.producer == attempts[3]


def test_a_scratch_folder_is_made_where_it_is_needed(tmp_path):
    """A merge at once makes no folder; one in several passes makes its own, and leaves nothing in it."""
    slices, expected = many_runs(tmp_path, [300] * 6)
    folder = tmp_path / "later"
    for merge in (1 << 20, 5000):
        assert not folder.exists()
        assert groups_of(merged_chunks(slices, Limits(block=2000, merge=merge), folder)) == expected
    assert list(folder.iterdir()) == []
