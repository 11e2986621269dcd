"""What lies in a block file, and where: its index, and the slices of it that somebody reads.

    HEADER, the blocks of partition 0 and their entry, those of partition 1, ..., a row for each partition, TRAILER

An entry tells of one partition's blocks; a row, of fixed width, where they begin and how long the entry is, and a last
row where all of them end. So whoever reads one partition reads two rows and one entry, however many others there are.
Trailer and rows have checksums of their own, as entries and blocks have.

A slice is one partition of a file, or, of a file that is not cut by partition, a range of keys. The bytes that bound
such a range are compared with the keys' encodings and need not be keys themselves. Quick to load, for the shuffle
server: nothing here needs Polars.
"""

from __future__ import annotations

import itertools
import os
import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgpack
import xxhash

from mapreduce.dataflow.columns.lane import Lane, Layout
from mapreduce.errors import CorruptBlockError
from mapreduce.plan import AttemptId
from mapreduce.quick_dataclass import dataclass

HEADER = b"MRBLOCKS"
VERSION = 2
FACTS = struct.Struct("<IBBB")  # partitions, lane of the keys, lane of the values, layout of the rows
TRAILER = struct.Struct("<7sBQII8s")  # these facts, 0, their xxh3_64, the version, 0, the magic again
ROW_START = struct.Struct("<QI")  # where a partition's blocks begin in the file, and the length of its entry
ROW = struct.Struct("<12sI")  # that, and the lower half of its xxh3_64, with the partition as seed
CHECKSUM = struct.Struct("<Q")  # xxh3_64: how an entry begins
HALF = 0xFFFFFFFF
FIRST_BYTES = 256  # kept of a block's first key, to find it by: URLs differ within so many, and an index stays small
LANES = (Lane.STR, Lane.BYTES, Lane.INT, Lane.FLOAT, Lane.BOOL, Lane.ENCODED)  # by the numbers that files have
LAYOUTS = (Layout.ROWS, Layout.GROUPED, Layout.REPEATED)
LANE_NUMBERS = {lane: number for number, lane in enumerate(LANES)}
BLOCK_FACTS = 5  # what an entry has of each block, beside its first key


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Where one block lies: `offset` and `length` in bytes of the file.

    `raw` is its size in memory in bytes, `records` its (key, value) pairs, `checksum` the xxh3_64 of its bytes. In a
    file that is read by ranges `first` has the beginning of its first key's encoding, up to FIRST_BYTES.
    """

    offset: int
    length: int
    raw: int
    records: int
    checksum: int
    key_lane: Lane
    value_lane: Lane
    first: bytes = b""

    def moved(self, shift: int) -> BlockRef:
        """The block where it lies so many bytes further on."""
        lanes = self.key_lane, self.value_lane
        return BlockRef(self.offset + shift, self.length, self.raw, self.records, self.checksum, *lanes, self.first)


@dataclass(frozen=True, slots=True)
class Slice:
    """One partition of one block file, or a range of keys of it, readable at the local `path`.

    The lanes are those of the whole file, in which its batches are read. `producer` is the attempt that made the file:
    where it is set, an unreadable block is an InputLostError. `map_index` is the number of the map task that made it,
    where whoever opened the slice knows it, else -1. Rows whose keys' encodings are not in [low, high) do not belong
    to it, though its first and last blocks may have some; an empty bound is none. Has a plain form (`protocol.plain`).
    """

    path: str
    blocks: tuple[BlockRef, ...]
    key_lane: Lane
    value_lane: Lane
    layout: Layout
    producer: AttemptId | None = None
    map_index: int = -1
    low: bytes = b""
    high: bytes = b""

    @property
    def records(self) -> int:
        """Number of (key, value) pairs in its blocks."""
        return sum(block.records for block in self.blocks)

    @property
    def raw(self) -> int:
        """Bytes that the rows take in memory."""
        return sum(block.raw for block in self.blocks)

    @property
    def byte_range(self) -> tuple[int, int]:
        """Offset and length of the slice's bytes, which are contiguous, in the file; (0, 0) if it is empty."""
        if not self.blocks:
            return 0, 0
        start = self.blocks[0].offset
        return start, self.blocks[-1].offset + self.blocks[-1].length - start

    def relocated(self, path: str, start: int = 0) -> Slice:
        """Give this slice as it reads from a copy of `byte_range` that lies at byte `start` of the file `path`."""
        shift = start - self.byte_range[0]
        blocks = tuple([block.moved(shift) for block in self.blocks])
        return replace(self, path=path, blocks=blocks)


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """The index of a block file of `size` bytes: the blocks of each partition."""

    path: str
    size: int
    key_lane: Lane
    value_lane: Lane
    layout: Layout
    partitions: tuple[tuple[BlockRef, ...], ...]

    def slice(self, partition: int, producer: AttemptId | None = None, *, low: bytes = b"", high: bytes = b"") -> Slice:
        """One partition of the file, or of that the blocks that may have keys with encodings in [low, high).

        An empty bound is none. Raises IndexError where the file has no such partition.
        """
        _check_partition(partition, len(self.partitions))
        blocks = self.partitions[partition]
        start, stop = _overlapping([block.first for block in blocks], low, high)
        blocks = blocks[start:stop]
        return Slice(self.path, blocks, self.key_lane, self.value_lane, self.layout, producer, low=low, high=high)


def _check_partition(partition: int, partitions: int) -> None:
    if not 0 <= partition < partitions:
        msg = f"the file has {partitions} partitions, and no partition {partition}"
        raise IndexError(msg)


def _overlapping(firsts: Sequence[bytes], low: bytes, high: bytes) -> tuple[int, int]:
    """The first block that may have keys in [low, high), and that after the last; `firsts` are those of all blocks.

    A block's keys end where the next one's begin, or with it.
    """
    if not low and not high:
        return 0, len(firsts)
    if high and low >= high:
        return 0, 0
    stop = bisect_left(firsts, high) if high else len(firsts)
    start = bisect_left(firsts, low)
    # The last block that surely begins below `low`; of a first key that was cut short one cannot be sure.
    while start and len(firsts[start - 1]) == FIRST_BYTES and low.startswith(firsts[start - 1]):
        start -= 1
    return max(start - 1, 0), stop


# ------------------------------------------------------------------------------------------- writing


def packed_entry(blocks: Sequence[BlockRef]) -> bytes:
    """What a file has of one partition's blocks, behind them; nothing of none."""
    if not blocks:
        return b""
    facts = []
    for block in blocks:
        facts += [block.length, block.raw, block.records, block.checksum, form_of(block.key_lane, block.value_lane)]
    firsts = [block.first for block in blocks] if blocks[0].first else []
    packed: bytes = msgpack.packb([facts, firsts])
    return CHECKSUM.pack(xxhash.xxh3_64_intdigest(packed)) + packed


def form_of(key_lane: Lane, value_lane: Lane) -> int:
    """Two lanes as one number, below 36."""
    return LANE_NUMBERS[key_lane] * len(LANES) + LANE_NUMBERS[value_lane]


def lanes_of(form: int) -> tuple[Lane, Lane]:
    """The lanes of keys and values. Raises IndexError for a number that is none of theirs."""
    key, value = divmod(form, len(LANES))
    return LANES[key], LANES[value]


def packed_row(partition: int, start: int, entry_length: int) -> bytes:
    """The row of a partition whose blocks begin at byte `start`; that after the last one has their end, and 0."""
    data = ROW_START.pack(start, entry_length)
    return ROW.pack(data, _row_check(data, partition))


def _row_check(data: bytes, partition: int) -> int:
    return xxhash.xxh3_64_intdigest(data, partition) & HALF


def packed_trailer(partitions: int, key_lane: Lane, value_lane: Lane, layout: Layout) -> bytes:
    """The end of a file with so many partitions."""
    facts = FACTS.pack(partitions, LANE_NUMBERS[key_lane], LANE_NUMBERS[value_lane], LAYOUTS.index(layout))
    return TRAILER.pack(facts, 0, xxhash.xxh3_64_intdigest(facts), VERSION, 0, HEADER)


# ------------------------------------------------------------------------------------------- reading


def read_index(path: str | Path) -> BlockIndex:
    """Read the whole index of a block file.

    Raises CorruptBlockError, which names file and byte range, and OSError.
    """
    with _File(path) as file:
        rows = file.rows(0, file.partitions)
        parts = enumerate(itertools.pairwise(rows))
        partitions = tuple([file.blocks(start, end, length, n) for n, ((start, length), (end, _)) in parts])
        return BlockIndex(file.path, file.size, file.key_lane, file.value_lane, file.layout, partitions)


def read_slice(
    path: str | Path,
    partition: int,
    producer: AttemptId | None = None,
    map_index: int = -1,
    *,
    low: bytes = b"",
    high: bytes = b"",
) -> Slice:
    """One partition of a block file, or of that the blocks that may have keys in [low, high).

    Reads nothing of the other partitions. Raises CorruptBlockError, which names file and byte range, OSError, and
    IndexError where the file has no such partition.
    """
    with _File(path) as file:
        return file.slice(partition, producer, map_index, low, high)


def read_small_slice(path: str | Path, partition: int, low: bytes, high: bytes, most: int) -> tuple[Slice, bytes]:
    """The same, and all bytes of its blocks if they are not more than `most`, else none."""
    with _File(path) as file:
        found = file.slice(partition, None, -1, low, high)
        start, length = found.byte_range
        return found, file.read(start, length) if length <= most else b""


class _File:
    """An open block file whose header and trailer have been checked."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._open()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def _open(self) -> None:
        path = self.path
        self.size = os.fstat(self._fd).st_size
        at = self.size - TRAILER.size
        if at < len(HEADER) + ROW.size:
            raise corrupt(path, 0, self.size, "is too short for a block file")
        facts, zero, checksum, version, zeros, magic = TRAILER.unpack(self.read(at, TRAILER.size))
        if self.read(0, len(HEADER)) != HEADER:
            raise corrupt(path, 0, len(HEADER), "is not the beginning of a block file")
        if magic != HEADER or zeros:
            raise corrupt(path, at, TRAILER.size, "is not the end of a block file: it was cut off")
        if version != VERSION:
            why = f"says version {version} of the format, this engine reads {VERSION}"
            raise corrupt(path, at, TRAILER.size, why)
        if zero or xxhash.xxh3_64_intdigest(facts) != checksum:
            raise corrupt(path, at, TRAILER.size, "is not the end that was written (its checksum differs)")
        self.partitions, key_lane, value_lane, layout = FACTS.unpack(facts)
        self.key_lane, self.value_lane, self.layout = LANES[key_lane], LANES[value_lane], LAYOUTS[layout]
        self._table = at - (self.partitions + 1) * ROW.size
        if self._table < len(HEADER):
            raise corrupt(path, at, TRAILER.size, "gives the index a length beyond the file's")

    def slice(self, partition: int, producer: AttemptId | None, map_index: int, low: bytes, high: bytes) -> Slice:
        """One partition, as `read_slice` gives it."""
        _check_partition(partition, self.partitions)
        (start, length), (end, _) = self.rows(partition, partition + 1)
        blocks = self.blocks(start, end, length, partition, low, high)
        lanes = self.key_lane, self.value_lane
        return Slice(self.path, blocks, *lanes, self.layout, producer, map_index, low, high)

    def rows(self, first: int, last: int) -> list[tuple[int, int]]:
        """Where the blocks of each of these partitions begin, and how long its entry is."""
        data = self.read(self._table + first * ROW.size, (last - first + 1) * ROW.size)
        found = []
        for partition, (row, check) in enumerate(ROW.iter_unpack(data), first):
            start, length = ROW_START.unpack(row)
            is_edge = (partition == 0 and start != len(HEADER)) or (
                partition == self.partitions and (start, length) != (self._table, 0)
            )
            if check != _row_check(row, partition) or is_edge:
                where = self._table + partition * ROW.size
                raise corrupt(self.path, where, ROW.size, "is not the row that was written (its checksum differs)")
            found.append((start, length))
        return found

    def blocks(  # noqa: PLR0917 - what two rows say, and a range
        self, start: int, end: int, length: int, partition: int, low: bytes = b"", high: bytes = b""
    ) -> tuple[BlockRef, ...]:
        """The blocks of a partition that lie, with their entry of so many bytes, from byte `start` up to `end`.

        Only those are given that may have keys in [low, high).
        """
        if start == end and not length:
            return ()
        if not CHECKSUM.size < length < end - start:
            where = self._table + partition * ROW.size
            raise corrupt(self.path, where, 2 * ROW.size, "give no place for blocks and their entry")
        data = self.read(end - length, length)
        packed = data[CHECKSUM.size :]
        if xxhash.xxh3_64_intdigest(packed) != CHECKSUM.unpack_from(data)[0]:
            raise corrupt(self.path, end - length, length, "is not the index that was written (its checksum differs)")
        try:
            facts, firsts = msgpack.unpackb(packed)
            ends = list(itertools.accumulate(facts[::BLOCK_FACTS], initial=start))
            wanted = _overlapping(firsts or [b""] * (len(ends) - 1), low, high)
            found = _refs(facts, firsts, ends, wanted)
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            why = f"holds no index that this engine reads: {error}"
            raise corrupt(self.path, end - length, length, why) from error
        if ends[-1] != end - length:
            raise corrupt(self.path, start, end - length - start, "is not as long as the blocks in the index")
        return found

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file. Raises CorruptBlockError if they are not all there."""
        return read_at(self._fd, self.path, offset, length)


def _refs(facts: list[int], firsts: list[bytes], offsets: list[int], wanted: tuple[int, int]) -> tuple[BlockRef, ...]:
    """Those of an entry's blocks that are wanted: from the one up to the other."""
    found: list[BlockRef] = []
    for number in range(*wanted):
        at = number * BLOCK_FACTS
        length, raw, records, checksum, form = facts[at : at + BLOCK_FACTS]
        first = firsts[number] if firsts else b""
        found.append(BlockRef(offsets[number], length, raw, records, checksum, *lanes_of(form), first))
    return tuple(found)


def read_at(fd: int, path: str | Path, offset: int, length: int) -> bytes:
    """Read so many bytes. Raises CorruptBlockError if they are not all there."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            raise corrupt(path, offset, length, f"only {len(data)} of {length} bytes are there: the file was cut off")
        data += more
    return data


def corrupt(path: str | Path, offset: int, length: int, why: str) -> CorruptBlockError:
    """The error for bytes of a file, for the caller to raise."""
    return CorruptBlockError(f"{path}: bytes {offset} to {offset + length}: {why}")
