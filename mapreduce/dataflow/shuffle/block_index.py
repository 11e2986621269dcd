"""What lies in a block file, and where: its index, and the slices of it that somebody reads.

A slice is one partition of a file, or, of a file that is not cut by partition, a range of keys. The bytes that bound
such a range are compared with the keys' encodings and need not be keys themselves. Quick to load, for the shuffle
server: nothing here needs Polars.
"""

from __future__ import annotations

import io
import os
import struct
from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

import msgpack
import xxhash

from mapreduce.dataflow.columns.lane import Lane
from mapreduce.errors import CorruptBlockError
from mapreduce.plan import AttemptId

HEADER = b"MRBLOCKS"
VERSION = 1
TRAILER = struct.Struct("<QQII8s")  # length of the index, its xxh3_64, the version, 0, the magic again
FIRST_BYTES = 256  # kept of a block's first key, to find it by: URLs differ within so many, and an index stays small


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
    grouped: bool
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
        blocks = tuple(replace(block, offset=block.offset + shift) for block in self.blocks)
        return replace(self, path=path, blocks=blocks)


@dataclass(frozen=True, slots=True)
class BlockIndex:
    """The index of a block file of `size` bytes: the blocks of each partition."""

    path: str
    size: int
    key_lane: Lane
    value_lane: Lane
    grouped: bool
    partitions: tuple[tuple[BlockRef, ...], ...]

    def slice(self, partition: int, producer: AttemptId | None = None, *, low: bytes = b"", high: bytes = b"") -> Slice:
        """One partition of the file, or of that the blocks that may have keys with encodings in [low, high).

        An empty bound is none. Raises IndexError where the file has no such partition.
        """
        if not 0 <= partition < len(self.partitions):
            msg = f"the file has {len(self.partitions)} partitions, and no partition {partition}"
            raise IndexError(msg)
        blocks = self.partitions[partition]
        if low or high:
            blocks = _overlapping(blocks, low, high)
        return Slice(self.path, blocks, self.key_lane, self.value_lane, self.grouped, producer, low=low, high=high)


def _overlapping(blocks: tuple[BlockRef, ...], low: bytes, high: bytes) -> tuple[BlockRef, ...]:
    """The blocks that may have keys in [low, high): a block's keys end where the next one's begin, or with it."""
    if high and low >= high:
        return ()
    firsts = [block.first for block in blocks]
    stop = bisect_left(firsts, high) if high else len(blocks)
    start = bisect_left(firsts, low)
    # The last block that surely begins below `low`; of a first key that was cut short one cannot be sure.
    while start and len(firsts[start - 1]) == FIRST_BYTES and low.startswith(firsts[start - 1]):
        start -= 1
    return blocks[max(start - 1, 0) : stop]


def read_index(path: str | Path) -> BlockIndex:
    """Read the index of a block file.

    Raises CorruptBlockError, which names file and byte range, and FileNotFoundError.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < len(HEADER) + TRAILER.size:
            raise corrupt(path, 0, size, "is too short for a block file")
        header = read_at(file, path, 0, len(HEADER))
        trailer = read_at(file, path, size - TRAILER.size, TRAILER.size)
        length, checksum, version, zeros, magic = TRAILER.unpack(trailer)
        if header != HEADER:
            raise corrupt(path, 0, len(HEADER), "is not the beginning of a block file")
        if magic != HEADER or zeros != 0:
            raise corrupt(path, size - TRAILER.size, TRAILER.size, "is not the end of a block file: it was cut off")
        if version != VERSION:
            why = f"says version {version} of the format, this engine reads {VERSION}"
            raise corrupt(path, size - TRAILER.size, TRAILER.size, why)
        start = size - TRAILER.size - length
        if start < len(HEADER):
            raise corrupt(path, size - TRAILER.size, TRAILER.size, "gives the index a length beyond the file's")
        data = read_at(file, path, start, length)
    if xxhash.xxh3_64_intdigest(data) != checksum:
        raise corrupt(path, start, length, "is not the index that was written (its checksum differs)")
    return _parse_index(str(path), size, start, data)


def _parse_index(path: str, size: int, end: int, data: bytes) -> BlockIndex:
    """Build the index from its msgpack form; `end` is where the blocks must end, in bytes of the file."""
    try:
        key_lane, value_lane, grouped, partitions = msgpack.unpackb(data)
        offset = len(HEADER)
        parsed: list[tuple[BlockRef, ...]] = []
        for blocks in partitions:
            refs: list[BlockRef] = []
            for length, raw, records, checksum, key, value, *first in blocks:
                refs.append(BlockRef(offset, length, raw, records, checksum, Lane(key), Lane(value), *first))
                offset += length
            parsed.append(tuple(refs))
        index = BlockIndex(path, size, Lane(key_lane), Lane(value_lane), bool(grouped), tuple(parsed))
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise corrupt(path, end, len(data), f"holds no index that this engine reads: {error}") from error
    if offset != end:
        raise corrupt(path, len(HEADER), end - len(HEADER), "is not as long as the blocks in the index")
    return index


def read_at(file: io.BufferedReader, path: str | Path, offset: int, length: int) -> bytes:
    """Read so many bytes. Raises CorruptBlockError if they are not all there."""
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise corrupt(path, offset, length, f"only {len(data)} of {length} bytes are there: the file was cut off")
    return data


def corrupt(path: str | Path, offset: int, length: int, why: str) -> CorruptBlockError:
    """The error for bytes of a file, for the caller to raise."""
    return CorruptBlockError(f"{path}: bytes {offset} to {offset + length}: {why}")
