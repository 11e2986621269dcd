"""The index of block files: one partition is read without the others, and every byte of it is covered."""

from __future__ import annotations

import os
import random

import pytest

from mapreduce.dataflow.columns.batches import make_batch, records_of, regroup
from mapreduce.dataflow.columns.lane import Layout
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, open_slice, read_blocks, read_index
from mapreduce.dataflow.shuffle.block_index import ROW
from mapreduce.errors import CorruptBlockError

PARTITIONS = 1000


def records(partition):
    """What the partition of the file below holds: nothing in every seventh, many records in every hundredth."""
    rows = 0 if partition % 7 == 3 else 3000 if partition % 100 == 1 else partition % 5 + 1
    return [(f"key {partition} {row}", row) for row in range(rows)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A file of PARTITIONS partitions."""
    path = tmp_path_factory.mktemp("wide") / "run"
    writer = BlockFileWriter(path, partitions=PARTITIONS, block=20_000)
    for partition in range(PARTITIONS):
        if pairs := records(partition):
            writer.write(partition, make_batch(*(list(column) for column in zip(*pairs, strict=True))))
    writer.close()
    return path


def read_all(path, partitions):
    for partition in range(partitions):
        read(path, partition)


def read_through_index(path):
    index = read_index(path)
    for partition in range(len(index.partitions)):
        list(read_blocks(index.slice(partition)))


def read(path, partition):
    return [pair for batch in read_blocks(open_slice(path, partition)) for pair in records_of(batch)]


def test_one_slice_is_what_the_whole_index_says(wide):
    """A partition that is opened alone has the blocks that the whole index gives it, and they hold its records."""
    index = read_index(wide)
    assert index.size == wide.stat().st_size
    assert len(index.partitions) == PARTITIONS
    for partition in (0, 1, 3, 500, 501, 998, 999):
        part = open_slice(wide, partition)
        assert part == index.slice(partition)
        assert read(wide, partition) == records(partition)
    for partition in (-1, PARTITIONS):
        with pytest.raises(IndexError, match=f"1000 partitions, and no partition {partition}"):
            open_slice(wide, partition)
        with pytest.raises(IndexError, match=f"1000 partitions, and no partition {partition}"):
            index.slice(partition)


def test_a_slice_is_opened_with_a_few_bytes(wide, monkeypatch):
    """Opening one of 1,000 partitions reads a few hundred bytes, however much the other partitions have."""
    real, lengths = os.pread, []

    def counted(fd, length, offset):
        lengths.append(length)
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    for partition in (0, 1, 500, 999):
        lengths.clear()
        open_slice(wide, partition)
        assert sum(lengths) < 300
        assert len(lengths) <= 4


def test_damage_elsewhere_does_not_hurt_a_slice(wide, tmp_path):
    """What other partitions have in the file can be damaged, all of it: the slice reads as before."""
    good = wide.read_bytes()
    path = tmp_path / "run"
    table = len(good) - 32 - (PARTITIONS + 1) * ROW.size
    for partition in (0, 101, 500, 999):
        start, length = open_slice(wide, partition).byte_range
        end = start + length
        following = next(p for p in range(partition + 1, PARTITIONS) if records(p)) if partition < 999 else None
        entry_end = table if following is None else open_slice(wide, following).byte_range[0]
        kept = [(0, 8), (start, entry_end), (len(good) - 32, len(good))]
        kept.append((table + partition * ROW.size, table + (partition + 2) * ROW.size))
        data = bytearray(byte ^ 0x55 for byte in good)
        for first, last in kept:
            data[first:last] = good[first:last]
        path.write_bytes(data)
        assert end < entry_end
        assert read(path, partition) == records(partition)
        with pytest.raises(CorruptBlockError):
            read_index(path)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_flipped_byte_is_found_by_who_reads_it(tmp_path, grouped):
    """Of a file of several partitions, opened one by one, each flipped byte is an error whose range holds it."""
    pairs = make_batch(["a", "b", "b", "c"], [1, 2, 3, 70_000])
    path = tmp_path / "run"
    writer = BlockFileWriter(path, partitions=4, layout=Layout.GROUPED if grouped else Layout.ROWS)
    for partition in (0, 2, 3):
        writer.write(partition, regroup(pairs) if grouped else pairs)
    writer.close()
    good = path.read_bytes()
    assert len(good) < 500
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        with pytest.raises(CorruptBlockError, match="run: bytes ") as caught:
            read_all(path, 4)
        first, last = str(caught.value).split("bytes ")[1].split(":")[0].split(" to ")
        assert int(first) <= position < int(last)
        with pytest.raises(CorruptBlockError):
            read_through_index(path)


def test_any_beginning_of_a_file_is_refused(tmp_path):
    """However a file was cut off, no slice of it can be opened."""
    path = tmp_path / "run"
    writer = BlockFileWriter(path, partitions=3)
    for partition in range(3):
        writer.write(partition, make_batch([1, 2, 3], ["x", "y", "z"]))
    writer.close()
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(CorruptBlockError):
            open_slice(path, length % 3)


def test_bytes_behind_or_within_a_file_are_found(tmp_path):
    """A file that has grown, at its end or within, is refused by whoever reads where that is."""
    path = tmp_path / "run"
    writer = BlockFileWriter(path, partitions=2)
    for partition in range(2):
        writer.write(partition, make_batch([1, 2, 3], ["x", "y", "z"]))
    writer.close()
    good = path.read_bytes()
    noise = random.Random(3)
    for place in range(len(good) + 1):
        path.write_bytes(good[:place] + noise.randbytes(1) + good[place:])
        with pytest.raises(CorruptBlockError):
            read_all(path, 2)
