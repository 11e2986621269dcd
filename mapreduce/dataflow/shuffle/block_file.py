"""Block files: the one file format of runs and of intermediate parts.

A block file has blocks in the order of their partitions, and an index of each partition (see `block_index`). A block
is an Arrow IPC stream of one partition's rows (LZ4 where it pays), at most `Limits.block` raw bytes unless a single
record is larger; of few rows it is their bare columns (`small_blocks`). Every byte of the file is covered by a checksum
or a comparison, so that a flipped bit is an error that names file and range.
Refuses: partitions out of order, keys or values that aren't in a lane, files of another version. Syncs nothing: a
lost run is made again.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import polars as pl
import xxhash

from mapreduce.dataflow.columns.batches import Batch, Lane, Layout, common_lane, concat, with_lanes
from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.shuffle.block_index import (
    FIRST_BYTES,
    HEADER,
    BlockIndex,
    BlockRef,
    Slice,
    packed_entry,
    packed_row,
    packed_trailer,
    read_index,
)
from mapreduce.dataflow.shuffle.block_reader import open_slice, read_blocks
from mapreduce.dataflow.shuffle.ranges import encoded_at
from mapreduce.dataflow.shuffle.sizes import cut, ends_of, row_sizes, slice_of, value_counts
from mapreduce.dataflow.shuffle.small_blocks import SMALL_BLOCK, SmallBlocks
from mapreduce.errors import DiskFullError
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

__all__ = [
    "DIGEST_BYTES",
    "BlockFileInfo",
    "BlockFileWriter",
    "BlockIndex",
    "BlockRef",
    "Slice",
    "digest_of",
    "fail_write",
    "open_slice",
    "read_blocks",
    "read_index",
]

WORTH_COMPRESSING = 0.9  # LZ4 costs 70 ns a record: below a tenth saved, the disk is cheaper
LEFT_ALONE_BLOCKS = 15  # written as they are after an incompressible one: to try every 16th again costs little
DIGEST_BYTES = 8
SMALL_ROWS = 1 << 15  # of small blocks are Python objects at a time, on their way: 4 MB


@dataclass(frozen=True, slots=True)
class BlockFileInfo:
    """What a finished file holds: `size` and `raw_bytes` in bytes, `records` pairs.

    `digests` has 8 bytes a partition: the xxh3_64 (little endian) over the checksums of the partition's blocks.
    """

    size: int
    records: int
    raw_bytes: int
    digests: bytes


class BlockFileWriter:
    """Writes one block file; partitions come in ascending order, each in any number of calls.

    With lanes given, every batch is brought into them; without, each block has the lanes of its batches, and readers
    meet in the common ones. Small batches are collected into whole blocks of at most `block` raw bytes. With `firsts`
    the index has each block's first key, so that ranges of keys can be read. A failed write raises DiskFullError, which
    names the folder, and leaves no file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        partitions: int = 1,
        key_lane: Lane | None = None,
        value_lane: Lane | None = None,
        layout: Layout = Layout.ROWS,
        block: int | None = None,
        firsts: bool = False,
    ) -> None:
        self._path = Path(path)
        self._lanes = (key_lane, value_lane)
        self._layout = layout
        self._block = Limits().block if block is None else block
        self._firsts = firsts
        self._partitions = partitions
        self._partition = 0
        self._refs: list[BlockRef] = []  # of this partition
        self._rows: list[bytes] = []
        self._digests: list[bytes] = []
        self._found: set[tuple[Lane, Lane]] = set()
        self._records = self._raw = 0
        self._pending: list[Batch] = []
        self._pending_raw = 0
        self._left_alone = 0
        self._offset = 0
        self._file: io.BufferedWriter | None = None
        try:
            self._file = self._path.open("wb")
            self._put(HEADER)
        except OSError as error:
            self._fail(error)

    def write(self, partition: int, batch: Batch) -> None:
        """Append the rows of `batch`, in their order, to `partition`; never before an earlier call's partition."""
        self._check(partition, batch)
        self._go_to(partition)
        if batch.rows() == 0:
            return
        batch = self._in_lanes(batch)
        self._pending.append(batch)
        self._pending_raw += batch.nbytes()
        if self._pending_raw >= self._block:
            self._flush(everything=False)

    def write_partitions(self, batch: Batch, ends: Sequence[int]) -> None:
        """Write a file at once: the rows of each partition up to `ends` of it. The same bytes as with `write`."""
        self._check(len(ends) - 1, batch)
        batch = self._in_lanes(batch)
        # Where partitions have several blocks each, hardly any is small.
        is_large = len(ends) == 1 or batch.nbytes() > self._block * len(ends)
        sizes = None if is_large else ends_of(row_sizes(batch))
        start = 0
        small: list[tuple[int, int, int, int]] = []  # partitions that wait, with their rows and raw bytes
        for partition, stop in enumerate(ends):
            if stop > start:
                raw = SMALL_BLOCK + 1 if sizes is None else int(sizes[stop] - sizes[start])
                if raw > min(SMALL_BLOCK, self._block):
                    self._write_small(batch, small)
                    self.write(partition, slice_of(batch, start, stop))
                else:
                    small.append((partition, start, stop, raw))
                    if stop - small[0][1] >= SMALL_ROWS:
                        self._write_small(batch, small)
            start = stop
        self._write_small(batch, small)

    def _write_small(self, batch: Batch, small: list[tuple[int, int, int, int]]) -> None:
        """Write small partitions, whose rows are neighbours, each as one block; none is left in the list."""
        if not small:
            return
        first = small[0][1]
        rows = slice_of(batch, first, small[-1][2])
        blocks = SmallBlocks(rows)
        counts = ends_of(value_counts(rows)).tolist()
        for partition, start, stop, raw in small:
            self._go_to(partition)
            a, b = start - first, stop - first
            self._append(blocks.block(a, b), slice_of(rows, a, b), counts[b] - counts[a], raw)
        small.clear()

    def close(self) -> BlockFileInfo:
        """Write what is collected and the index. Gives the file's facts."""
        self._go_to(self._partitions)
        keys, values = ({lanes[side] for lanes in self._found} for side in (0, 1))
        table = b"".join([*self._rows, packed_row(self._partitions, self._offset, 0)])
        lanes = _common(keys, self._lanes[0]), _common(values, self._lanes[1])
        self._put_all(table + packed_trailer(self._partitions, *lanes, self._layout))
        try:
            self._open_file().close()
        except OSError as error:
            self._fail(error)
        self._file = None
        return BlockFileInfo(
            size=self._offset, records=self._records, raw_bytes=self._raw, digests=b"".join(self._digests)
        )

    def abort(self) -> None:
        """Close and remove the unfinished file. After `close`, or a second time, does nothing."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):  # closing flushes, and the disk may still be full: the file goes anyway
            file.close()
        self._path.unlink(missing_ok=True)

    def _open_file(self) -> io.BufferedWriter:
        if self._file is None:
            msg = f"{self._path}: written to after its end"
            raise ValueError(msg)
        return self._file

    def _check(self, partition: int, batch: Batch) -> None:
        if not self._partition <= partition < self._partitions:
            msg = f"{self._path}: partition {partition} after {self._partition}, of {self._partitions}"
            raise ValueError(msg)
        if batch.layout is not self._layout:
            msg = f"{self._path}: the file's layout is {self._layout}, that of the batch is {batch.layout}"
            raise ValueError(msg)

    def _in_lanes(self, batch: Batch) -> Batch:
        key_lane, value_lane = self._lanes
        return with_lanes(batch, key_lane or batch.key_lane, value_lane or batch.value_lane)

    def _put(self, data: bytes | memoryview) -> None:
        self._open_file().write(data)
        self._offset += len(data)

    def _put_all(self, data: bytes | memoryview) -> None:
        try:
            self._put(data)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> NoReturn:
        self.abort()
        fail_write(self._path.parent, error)

    def _go_to(self, partition: int) -> None:
        """End the partitions before this one: what is collected of them is written, and their entries."""
        if partition > self._partition:
            self._flush(everything=True)
        while self._partition < partition:
            start = self._refs[0].offset if self._refs else self._offset
            entry = packed_entry(self._refs)
            self._put_all(entry)
            self._rows.append(packed_row(self._partition, start, len(entry)))
            self._digests.append(digest_of(self._refs))
            self._refs = []
            self._partition += 1

    def _flush(self, *, everything: bool) -> None:
        """Cut the collected rows into blocks and write them; a last, unfilled one only with `everything`."""
        if not self._pending:
            return
        pieces = list(cut(concat(self._pending), self._block))
        self._pending, self._pending_raw = [], 0
        if not everything and pieces[-1][1] < self._block:
            last, self._pending_raw = pieces.pop()
            self._pending = [last]
        for batch, raw in pieces:
            data = SmallBlocks(batch).block(0, batch.rows()) if raw <= SMALL_BLOCK else self._encode(batch, raw)
            self._append(data, batch, batch.records(), raw)

    def _append(self, data: bytes | memoryview, batch: Batch, records: int, raw: int) -> None:
        """Write a block; `batch` has its lanes and, where they are kept, its first key."""
        ref = BlockRef(
            offset=self._offset,
            length=len(data),
            raw=raw,
            records=records,
            checksum=xxhash.xxh3_64_intdigest(data),
            key_lane=batch.key_lane,
            value_lane=batch.value_lane,
            first=encoded_at(batch.frame["key"], 0, batch.key_lane)[:FIRST_BYTES] if self._firsts else b"",
        )
        self._put_all(data)
        self._refs.append(ref)
        self._found.add((batch.key_lane, batch.value_lane))
        self._records += records
        self._raw += raw

    def _encode(self, batch: Batch, raw: int) -> memoryview:
        if self._left_alone:
            self._left_alone -= 1
            return _to_ipc(batch.frame, compress=False)
        data = _to_ipc(batch.frame, compress=True)
        if len(data) > raw * WORTH_COMPRESSING:
            self._left_alone = LEFT_ALONE_BLOCKS
        return data


def fail_write(folder: str | Path, error: OSError) -> NoReturn:
    """Raise DiskFullError, which names the folder, if the disk is full or broken; `error` itself otherwise."""
    if error.errno not in DISK_ERRORS:
        raise error
    msg = f"cannot write to the folder {folder}: {error.strerror}; free space there, or choose another"
    raise DiskFullError(msg) from error


def _to_ipc(frame: pl.DataFrame, *, compress: bool) -> memoryview:
    """One record batch as an Arrow IPC stream.

    In the oldest layout (offsets and one buffer of characters): the newer one, of views, writes the whole buffers that
    a slice of a list column points into (10 MB for one row of 1.5 KB).
    """
    stream = io.BytesIO()
    frame.rechunk().write_ipc_stream(
        stream, compression="lz4" if compress else "uncompressed", compat_level=pl.CompatLevel.oldest()
    )
    return stream.getbuffer()


def digest_of(blocks: Sequence[BlockRef]) -> bytes:
    """The digest of a partition in one file: over the checksums of its blocks."""
    checksums = b"".join(ref.checksum.to_bytes(DIGEST_BYTES, "little") for ref in blocks)
    return xxhash.xxh3_64_intdigest(checksums).to_bytes(DIGEST_BYTES, "little")


def _common(lanes: Iterable[Lane], given: Lane | None) -> Lane:
    """The lane in which all blocks can be read; that of an empty file doesn't matter to anybody."""
    if given is not None:
        return given
    return functools.reduce(common_lane, sorted(lanes) or [Lane.ENCODED])
