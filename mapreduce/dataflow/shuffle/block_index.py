"""What lies in a block file, and where: its index, and the slices of it that somebody reads.

A slice is one partition of a file, or, of a file that is not cut by partition, a range of keys. The bytes that bound
such a range are compared with the keys' encodings and need not be keys themselves.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

from mapreduce.dataflow.columns.batches import Lane
from mapreduce.plan import AttemptId

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
