from __future__ import annotations

import random

import pytest

from mapreduce.dataflow.columns.batches import Batch, Lane, make_batch, records_of, regroup
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.columns.lane import Layout
from mapreduce.dataflow.shuffle.block_file import open_slice, read_blocks, read_index
from mapreduce.dataflow.shuffle.sort_buffer import Runs, SortBuffer
from mapreduce.errors import DiskFullError, RecordError
from mapreduce.plan import Limits

SMALL = Limits(sort_buffer=4000, block=500)


def spilled(folder, batches, *, partitions=1, limits=None, **options) -> Runs:
    folder.mkdir(exist_ok=True)
    buffer = SortBuffer(folder, str, partitions=partitions, limits=limits, **options)
    for batch in batches:
        buffer.add(batch)
    return buffer.finish()


def run_records(folder, spill=0, partition=0) -> list:
    part = open_slice(folder / str(spill), partition)
    return [pair for batch in read_blocks(part) for pair in records_of(batch)]


def by_key(pairs) -> list:
    return sorted(pairs, key=lambda pair: encode_key(pair[0]))


def pairs_of(count, keys) -> list:
    noise = random.Random(count)
    return [(f"key {noise.randrange(keys)}", i) for i in range(count)]


def batches_of(pairs, size) -> list[Batch]:
    cuts = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [make_batch([key for key, _ in cut], [value for _, value in cut]) for cut in cuts]


@pytest.mark.parametrize(("keys", "grouped"), [(50, True), (1_000_000, False)])
def test_a_run_is_sorted_and_keeps_the_order_of_values(tmp_path, keys, grouped):
    """A run has its partition's records by key, equal keys in emission order; rows are grouped where keys repeat."""
    pairs = pairs_of(1000, keys)
    runs = spilled(tmp_path, batches_of(pairs, 100))
    assert run_records(tmp_path) == by_key(pairs)
    assert (read_index(tmp_path / "0").layout is Layout.GROUPED) is grouped
    assert runs == Runs(1, runs.digests, (tmp_path / "0").stat().st_size, 1000)


def test_partitions_hold_their_keys_only(tmp_path):
    """Each key is in the partition that the partitioner says, whether rows are grouped or not."""
    for name, count in (("grouped", 500), ("rows", 20)):
        pairs = [(i % 40, i) for i in range(count)]
        spilled(tmp_path / name, batches_of(pairs, 7), partitions=3, partitioner=lambda key, n: key % n)
        for partition in range(3):
            expected = by_key([pair for pair in pairs if pair[0] % 3 == partition])
            assert run_records(tmp_path / name, 0, partition) == expected


def test_it_spills_when_the_buffer_is_full(tmp_path):
    """Each spill holds the records of its time, so that runs in their order have the order of emission."""
    pairs = pairs_of(1000, 10)
    runs = spilled(tmp_path, batches_of(pairs, 50), limits=SMALL)
    assert runs.count > 3
    assert runs.records == 1000
    assert sum((tmp_path / str(spill)).stat().st_size for spill in range(runs.count)) == runs.shuffle_bytes
    together = [pair for spill in range(runs.count) for pair in run_records(tmp_path, spill)]
    assert by_key(together) == by_key(pairs)


def test_no_records_make_no_run(tmp_path):
    """A task that emits nothing leaves no file, and has digests all the same."""
    runs = spilled(tmp_path, [make_batch([], [])], partitions=2)
    assert (runs.count, runs.records, runs.shuffle_bytes, len(runs.digests)) == (0, 0, 0, 16)
    assert list(tmp_path.iterdir()) == []


def test_a_digest_tells_a_changed_partition_alone(tmp_path):
    """Equal records give equal digests; a changed value changes its own partition's."""
    digests = []
    for name, changed in (("a", 7), ("b", 7), ("c", 8)):
        pairs = [(i % 2, i) for i in range(500)] + [(1, changed)]
        runs = spilled(
            tmp_path / name, batches_of(pairs, 9), partitions=2, partitioner=lambda key, _n: key, limits=SMALL
        )
        digests.append((runs.digests[:8], runs.digests[8:]))
    assert digests[0] == digests[1]
    assert digests[0][0] == digests[2][0]
    assert digests[0][1] != digests[2][1]


def test_lanes_that_differ_between_batches_meet_in_a_run(tmp_path):
    """A task may emit keys and values of any types, one after another."""
    pairs = [("a", 1), ("b", "x"), (1, 2.5), (2**80, None), (("a", 1), b""), ("a", (1, 2)), (1.0, 3), (True, 4)]
    spilled(tmp_path, batches_of(pairs, 1))
    assert [(type(k), k, v) for k, v in run_records(tmp_path)] == [(type(k), k, v) for k, v in by_key(pairs)]
    assert open_slice(tmp_path / "0", 0).key_lane is Lane.ENCODED


def summed(batch: Batch) -> Batch:
    """Stands for an aggregating step: one row a key, with the sum of its values."""
    groups: dict = {}
    for key, value in records_of(batch):
        groups[key] = groups.get(key, 0) + value
    return make_batch(list(groups), list(groups.values()))


@pytest.mark.parametrize("grouped", [False, True])
def test_combining_keeps_a_shrinking_buffer_in_memory(tmp_path, grouped):
    """What `combine` returns takes the rows' place, grouped or not; while it is small nothing is spilled."""
    pairs = pairs_of(3000, 10)
    seen = []

    def combine(batch: Batch) -> Batch:
        seen.append(batch.rows())
        return regroup(summed(batch)) if grouped else summed(batch)

    runs = spilled(tmp_path, batches_of(pairs, 50), limits=SMALL, combine=combine)
    expected: dict = {}
    for key, value in pairs:
        expected[key] = expected.get(key, 0) + value
    assert runs.count == 1
    assert len(seen) > 10
    assert run_records(tmp_path) == by_key(list(expected.items()))


def test_combining_that_saves_nothing_spills(tmp_path):
    """Where keys hardly repeat, `combine` isn't called, and runs are written as without it."""
    pairs = [(i, i) for i in range(1000)]

    def combine(batch: Batch) -> Batch:
        pytest.fail(f"{batch.rows()} rows of distinct keys need no combining")

    runs = spilled(tmp_path, batches_of(pairs, 50), limits=SMALL, combine=combine)
    assert runs.count > 3
    assert runs.records == 1000


def test_a_wrong_partitioner_leaves_no_file(tmp_path):
    """What the partitioner does wrong is the user's error, and no half run lies about."""
    with pytest.raises(RecordError, match="partitioner returned 5"):
        spilled(tmp_path, batches_of([("a", 1)], 1), partitions=2, partitioner=lambda _key, _n: 5)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_folder(tmp_path):
    """A spill to a full disk raises DiskFullError and leaves nothing of that run."""
    (tmp_path / "0").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        spilled(tmp_path, batches_of(pairs_of(10, 5), 10))
    assert list(tmp_path.iterdir()) == []


def test_an_aborted_buffer_removes_its_runs(tmp_path):
    """After an error of the task its runs go too."""
    buffer = SortBuffer(tmp_path, str, partitions=1, limits=SMALL)
    for batch in batches_of(pairs_of(1000, 10), 50):
        buffer.add(batch)
    assert list(tmp_path.iterdir())
    buffer.abort()
    assert list(tmp_path.iterdir()) == []
