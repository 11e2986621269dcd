"""How much of each run a merge loads: it decides how many rounds there are, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Batch, make_batch, records_of
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, Slice, open_slice, read_blocks
from mapreduce.dataflow.shuffle.bundles import loads_of
from mapreduce.dataflow.shuffle.merge import merged_batches
from mapreduce.dataflow.shuffle.run_reader import Bound, Lanes, RunReader
from mapreduce.plan import Limits

BLOCK = 2000
KEYS = st.one_of(
    st.lists(st.integers(0, 40), max_size=300),
    st.lists(st.sampled_from([0.0, -1.5, float("inf"), float("nan")]), max_size=100),
    st.lists(st.text(st.sampled_from("ab"), max_size=5), max_size=200),
)


def run_of(path: Path, batch: Batch, block: int) -> Slice:
    writer = BlockFileWriter(path, key_lane=batch.key_lane, value_lane=batch.value_lane, block=block)
    writer.write(0, batch)
    writer.close()
    return open_slice(path, 0)


def reader_of(part: Slice, room: int) -> RunReader:
    return RunReader(read_blocks(part), loads_of((part,), Lanes.of([part])), room)


def in_order(key) -> tuple:
    return (key != key, 0 if key != key else key)  # NaN sorts last


@pytest.fixture
def part(tmp_path) -> Slice:
    """A run of 500 keys in many blocks."""
    found = run_of(tmp_path / "run", make_batch([f"{i:05}" for i in range(500)], list(range(500))), BLOCK)
    assert len(found.blocks) > 5
    return found


@pytest.mark.parametrize("blocks", [0, 1, 3, 100])
def test_as_many_blocks_are_loaded_as_there_is_room_for(part, blocks):
    """At least one is, and after rows were taken what there is room for again."""
    reader = reader_of(part, blocks * BLOCK)
    loaded = min(max(blocks, 1), len(part.blocks))
    last = sum(ref.records for ref in part.blocks[:loaded]) - 1
    assert reader.bound() == Bound(f"{last:05}", f"{last:05}")
    assert reader.has_more is (loaded < len(part.blocks))
    assert sum(piece.rows() for piece in reader.take_below(reader.bound())) == last
    (rest,) = reader.take_equal(reader.bound())
    assert [key for key, _ in records_of(rest)] == [f"{last:05}"]
    reader.fill()
    assert reader.is_done is (loaded == len(part.blocks))
    reader.close()


def test_quantiles_go_over_all_that_is_loaded(part):
    """They cut the rows into equal parts, wherever blocks end, and behind those that have been taken."""
    reader = reader_of(part, 100 * BLOCK)
    assert [bound.key for bound in reader.quantiles(None, 5)] == ["00100", "00200", "00300", "00400"]
    reader.take_below(Bound("00100", "00100"))
    assert [bound.key for bound in reader.quantiles(Bound("00300", "00300"), 2)] == ["00200"]
    assert reader.loaded_below(Bound("00100", "00100")) == 0
    reader.close()


def test_what_fits_is_merged_in_one_round(tmp_path):
    """Of runs with many blocks each, all rows come as one batch, where room for a block each makes many."""
    slices = []
    for run in range(8):
        keys = [f"{i:05}" for i in range(run, 2000, 8)]
        slices.append(run_of(tmp_path / str(run), make_batch(keys, keys), BLOCK))
    whole = list(merged_batches(slices, Limits(block=1 << 20, merge=1 << 20), tmp_path))
    assert len(whole) == 1
    pieces = list(merged_batches(slices, Limits(block=1 << 20, merge=2 * 8 * BLOCK), tmp_path))
    assert len(pieces) > 8
    assert [pair for piece in pieces for pair in records_of(piece)] == list(records_of(whole[0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(KEYS, min_size=1, max_size=6), st.integers(60, 800), st.integers(0, 200_000))
def test_the_order_of_rows_does_not_depend_on_what_is_loaded(runs, block, merge):
    """Any runs, blocks and room: rows come by key, and those of a key in the order of the runs."""
    if len({type(key) for keys in runs for key in keys}) > 1:
        runs = runs[:1]
    with tempfile.TemporaryDirectory() as name:
        slices = [
            run_of(
                Path(name) / str(run),
                make_batch(sorted(keys, key=in_order), [(run, i) for i in range(len(keys))]),
                block,
            )
            for run, keys in enumerate(runs)
        ]
        found = [
            pair
            for batch in merged_batches(slices, Limits(block=block, merge=merge), name)
            for pair in records_of(batch)
        ]
    expected = [(key, (run, i)) for run, keys in enumerate(runs) for i, key in enumerate(sorted(keys, key=in_order))]
    expected.sort(key=lambda pair: in_order(pair[0]))
    assert [value for _, value in found] == [value for _, value in expected]
    assert [in_order(key) for key, _ in found] == [in_order(key) for key, _ in expected]
