"""Small blocks, of bare columns: whatever the lanes and the layout, the rows come back, of one block or of many."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Batch, concat, make_batch, records_of, regroup
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, open_slice, read_blocks, read_index
from mapreduce.dataflow.shuffle.block_reader import read_together
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.dataflow.shuffle.small_blocks import SMALL_BLOCK, SmallBlocks, holds, is_small, read_small
from mapreduce.errors import CorruptBlockError

INTS = st.one_of(st.integers(-130, 130), st.integers(-(1 << 63), (1 << 63) - 1))
KEYS = [
    st.text(max_size=300),
    st.binary(max_size=300),
    INTS,
    st.floats(),
    st.booleans(),
    st.one_of(st.none(), st.integers(), st.tuples(st.integers(), st.text(max_size=5))),
]
VALUES = [*KEYS, st.lists(st.integers(), max_size=3)]


@st.composite
def batches(draw):
    """A few rows of one lane each, sorted by nothing in particular, in any layout."""
    keys, values = draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))
    pairs = draw(st.lists(st.tuples(keys, values), min_size=1, max_size=12))
    batch = make_batch([key for key, _ in pairs], [value for _, value in pairs])
    layout = draw(st.sampled_from(["plain", "grouped", "repeated"]))
    if layout == "repeated":
        times = draw(
            st.lists(st.one_of(st.integers(1, 3), st.integers(1, 300)), min_size=len(pairs), max_size=len(pairs))
        )
        return replace(batch, frame=batch.frame.with_columns(times=pl.Series(times, dtype=pl.Int64)))
    return regroup(batch) if layout == "grouped" else batch


def exact(batch):
    """The records so that equal means the same type and the same bits."""
    return [(encode_key(key), encode_value(value)) for key, value in records_of(batch)]


@given(batches(), st.data())
def test_rows_come_back_from_wherever_they_are_cut(batch, data):
    """Any rows of a batch as a block give the same rows, lanes and layout; a cut between them changes nothing."""
    cut = data.draw(st.integers(0, batch.rows()))
    blocks = SmallBlocks(batch)
    packed = [blocks.block(a, b) for a, b in ((0, cut), (cut, batch.rows())) if b > a]
    for one, (a, b) in zip(packed, [(a, b) for a, b in ((0, cut), (cut, batch.rows())) if b > a], strict=True):
        rows = slice_of(batch, a, b)
        found = read_small([one])
        assert found.frame.equals(rows.frame)
        assert found.frame.schema == batch.frame.schema
        assert (found.key_lane, found.value_lane, found.grouped) == (batch.key_lane, batch.value_lane, batch.grouped)
        assert exact(found) == exact(rows)
        assert one == SmallBlocks(rows).block(0, b - a), "the bytes depend on the rows alone"
        assert is_small(one)
        assert holds(one, batch.key_lane, batch.value_lane, layout=batch.layout, records=rows.records())
        assert not holds(one, batch.key_lane, batch.value_lane, layout=batch.layout, records=rows.records() + 1)
    assert exact(read_small(packed)) == exact(batch)


@given(batches(), batches())
def test_blocks_of_one_form_are_read_as_one(one, other):
    """Two blocks of the same lanes and layout, whatever the widths of their numbers, are their rows in order."""
    lanes = one.key_lane, one.value_lane, one.grouped, one.repeated
    if lanes == (other.key_lane, other.value_lane, other.grouped, other.repeated):
        packed = [SmallBlocks(batch).block(0, batch.rows()) for batch in (one, other, one)]
        assert exact(read_small(packed)) == exact(one) + exact(other) + exact(one)


@pytest.mark.parametrize("batch", [make_batch(["key"], [1]), make_batch([2.5], [(1, None)])], ids=["text", "numbers"])
def test_a_small_block_is_small(tmp_path, batch):
    """A record in a partition of its own takes less than 100 bytes of the file, index and all."""
    partitions = 50
    writer = BlockFileWriter(tmp_path / "run", partitions=partitions)
    for partition in range(partitions):
        writer.write(partition, batch)
    assert writer.close().size < 100 * partitions


def test_partitions_written_at_once_make_the_same_file(tmp_path):
    """Whether partitions are written one by one or all at once, the file has the same bytes; small and large ones."""
    keys = [f"key {number:05}" for number in range(4000)]
    flat = make_batch(keys, list(range(4000)))
    grouped = regroup(make_batch([key for key in keys for _ in range(3)], list(range(12_000))))
    ends = [0, 1, 1, 5, 700, 3000, 3001, 3400, 4000, 4000]
    for batch in (flat, grouped):
        for block in (50, 1000, 1 << 20):
            one = BlockFileWriter(tmp_path / "one", partitions=len(ends), layout=batch.layout, block=block)
            for partition, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                one.write(partition, slice_of(batch, start, stop))
            all_at_once = BlockFileWriter(tmp_path / "all", partitions=len(ends), layout=batch.layout, block=block)
            all_at_once.write_partitions(batch, ends)
            assert one.close() == all_at_once.close()
            assert (tmp_path / "one").read_bytes() == (tmp_path / "all").read_bytes()
    assert len({block.raw > SMALL_BLOCK for part in read_index(tmp_path / "all").partitions for block in part}) == 2


def tiny(folder, name, batch: Batch):
    """A file of one partition with these rows; its slice."""
    writer = BlockFileWriter(folder / name, layout=batch.layout)
    writer.write(0, batch)
    writer.close()
    return open_slice(folder / name, 0)


def test_slices_that_are_read_together_keep_their_order(tmp_path):
    """Slices of several lanes, small and large, with ranges of keys and without, come back in their order."""
    made = [
        make_batch([1, 2], ["a", "b"]),
        make_batch([300], ["c" * 300]),
        make_batch(["x"], [1]),
        make_batch([4], ["large" * SMALL_BLOCK]),
        make_batch([1, 5], ["d", "e"]),
    ]
    parts = [tiny(tmp_path, str(number), batch) for number, batch in enumerate(made)]
    found = read_together(parts)
    assert [pair for batch in found for pair in records_of(batch)] == [p for batch in made for p in records_of(batch)]
    assert [batch.rows() for batch in found] == [3, 1, 1, 2]
    assert exact(concat(found)) == [pair for batch in made for pair in exact(batch)]
    assert read_together([]) == []


def test_a_block_of_another_form_than_its_index_says_is_refused(tmp_path):
    """A small block whose checksum is right, but that holds other lanes or numbers of records, is a corrupt one."""
    part = tiny(tmp_path, "run", make_batch([1], ["a"]))
    for wrong in (make_batch(["a"], [1]), make_batch([1, 2], ["a", "b"]), regroup(make_batch([1], ["a"]))):
        other = tiny(tmp_path, "other", wrong)
        block = replace(other.blocks[0], records=1, key_lane=part.key_lane, value_lane=part.value_lane)
        mixed = replace(part, path=other.path, blocks=(block,))
        for reading in (lambda mixed=mixed: list(read_blocks(mixed)), lambda mixed=mixed: read_together([mixed])):
            with pytest.raises(CorruptBlockError, match=r"other: bytes 8 to .*: does not hold what the index says"):
                reading()


@given(batches(), st.integers(0, 60))
def test_a_shortened_block_is_no_block(batch, kept):
    """Bytes that end too early or too late are a ValueError, never a crash nor other rows."""
    data = SmallBlocks(batch).block(0, batch.rows())
    for wrong in (data[: min(kept, len(data) - 1)], data[:-1], data + b"x"):
        with pytest.raises(ValueError, match=r"small block|buffer"):
            read_small([wrong])
