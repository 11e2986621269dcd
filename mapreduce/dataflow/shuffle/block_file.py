"""Block files: the one file format of runs and of intermediate parts.

A block file is a header, then blocks in the order of their partitions, then an index. A block is an Arrow IPC stream
of one partition's rows (LZ4 where it pays), at most `Limits.block` raw bytes unless a single record is larger. Every
byte of the file is covered by a checksum or a comparison, so that a flipped bit is an error that names file and range.
Refuses: partitions out of order, keys or values that aren't in a lane, files of another version. Syncs nothing: a
lost run is made again.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgpack
import polars as pl
import xxhash

from mapreduce.dataflow.columns.batches import Batch, Lane, common_lane, concat, with_lanes
from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.shuffle.block_index import (
    FIRST_BYTES,
    HEADER,
    TRAILER,
    VERSION,
    BlockIndex,
    BlockRef,
    Slice,
    corrupt,
    read_at,
    read_index,
)
from mapreduce.dataflow.shuffle.ranges import encoded_at, rows_within
from mapreduce.dataflow.shuffle.sizes import cut, slice_of
from mapreduce.errors import CorruptBlockError, DiskFullError, InputLostError
from mapreduce.plan import AttemptId, Limits

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
        grouped: bool = False,
        block: int | None = None,
        firsts: bool = False,
    ) -> None:
        self._path = Path(path)
        self._lanes = (key_lane, value_lane)
        self._grouped = grouped
        self._block = Limits().block if block is None else block
        self._firsts = firsts
        self._refs: list[list[BlockRef]] = [[] for _ in range(partitions)]
        self._partition = 0
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
        if not self._partition <= partition < len(self._refs):
            msg = f"{self._path}: partition {partition} after {self._partition}, of {len(self._refs)}"
            raise ValueError(msg)
        if batch.grouped is not self._grouped:
            msg = f"{self._path}: the file holds {'grouped' if self._grouped else 'ungrouped'} rows, the batch does not"
            raise ValueError(msg)
        if partition != self._partition:
            self._flush(everything=True)
            self._partition = partition
        if batch.rows() == 0:
            return
        key_lane, value_lane = self._lanes
        batch = with_lanes(batch, key_lane or batch.key_lane, value_lane or batch.value_lane)
        self._pending.append(batch)
        self._pending_raw += batch.nbytes()
        if self._pending_raw >= self._block:
            self._flush(everything=False)

    def close(self) -> BlockFileInfo:
        """Write what is collected and the index. Gives the file's facts."""
        self._flush(everything=True)
        refs = [ref for blocks in self._refs for ref in blocks]
        index = msgpack.packb(
            [
                _common((ref.key_lane for ref in refs), self._lanes[0]).value,
                _common((ref.value_lane for ref in refs), self._lanes[1]).value,
                self._grouped,
                [[_packed(ref) for ref in blocks] for blocks in self._refs],
            ]
        )
        try:
            self._put(index)
            self._put(TRAILER.pack(len(index), xxhash.xxh3_64_intdigest(index), VERSION, 0, HEADER))
            self._open_file().close()
        except OSError as error:
            self._fail(error)
        self._file = None
        return BlockFileInfo(
            size=self._offset,
            records=sum(ref.records for ref in refs),
            raw_bytes=sum(ref.raw for ref in refs),
            digests=b"".join(digest_of(blocks) for blocks in self._refs),
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

    def _put(self, data: bytes | memoryview) -> None:
        self._open_file().write(data)
        self._offset += len(data)

    def _fail(self, error: OSError) -> NoReturn:
        self.abort()
        fail_write(self._path.parent, error)

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
            self._write_block(batch, raw)

    def _write_block(self, batch: Batch, raw: int) -> None:
        data = self._encode(batch, raw)
        ref = BlockRef(
            offset=self._offset,
            length=len(data),
            raw=raw,
            records=batch.records(),
            checksum=xxhash.xxh3_64_intdigest(data),
            key_lane=batch.key_lane,
            value_lane=batch.value_lane,
            first=encoded_at(batch.frame["key"], 0, batch.key_lane)[:FIRST_BYTES] if self._firsts else b"",
        )
        try:
            self._put(data)
        except OSError as error:
            self._fail(error)
        self._refs[self._partition].append(ref)

    def _encode(self, batch: Batch, raw: int) -> memoryview:
        if self._left_alone:
            self._left_alone -= 1
            return _to_ipc(batch.frame, compress=False)
        data = _to_ipc(batch.frame, compress=True)
        if len(data) > raw * WORTH_COMPRESSING:
            self._left_alone = LEFT_ALONE_BLOCKS
        return data


def open_slice(
    path: str | Path, partition: int, producer: AttemptId | None = None, *, low: bytes = b"", high: bytes = b""
) -> Slice:
    """Read the index of a local file and give one partition of it, or of that the keys in [low, high).

    Raises CorruptBlockError or OSError, or with `producer` InputLostError.
    """
    try:
        return read_index(path).slice(partition, producer, low=low, high=high)
    except (CorruptBlockError, OSError) as error:
        _fail_read(producer, error)


def read_blocks(part: Slice) -> Generator[Batch]:
    """Read the blocks of a slice one by one, checked, in the slice's lanes, and cut to its range of keys.

    A block at either end of a range may come without any rows. Raises CorruptBlockError, which names file and byte
    range, or OSError; where the slice has a producer, both as InputLostError.
    """
    try:
        with Path(part.path).open("rb") as file:
            for ref in part.blocks:
                data = read_at(file, part.path, ref.offset, ref.length)
                yield _within(part, _from_ipc(part, ref, data))
    except (CorruptBlockError, OSError) as error:
        _fail_read(part.producer, error)


def _within(part: Slice, batch: Batch) -> Batch:
    if not part.low and not part.high:
        return batch
    start, stop = rows_within(batch.frame["key"], batch.key_lane, part.low, part.high)
    return slice_of(batch, start, stop)


def fail_write(folder: str | Path, error: OSError) -> NoReturn:
    """Raise DiskFullError, which names the folder, if the disk is full or broken; `error` itself otherwise."""
    if error.errno not in DISK_ERRORS:
        raise error
    msg = f"cannot write to the folder {folder}: {error.strerror}; free space there, or choose another"
    raise DiskFullError(msg) from error


def _fail_read(producer: AttemptId | None, error: Exception) -> NoReturn:
    """Raise InputLostError where the file's producer is known, `error` itself otherwise."""
    if producer is None:
        raise error
    raise InputLostError(producer, str(error)) from error


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


def _from_ipc(part: Slice, ref: BlockRef, data: bytes) -> Batch:
    if xxhash.xxh3_64_intdigest(data) != ref.checksum:
        raise corrupt(part.path, ref.offset, ref.length, "is not the block that was written (its checksum differs)")
    try:
        frame = pl.read_ipc_stream(io.BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise corrupt(part.path, ref.offset, ref.length, f"is not an Arrow stream: {error}") from error
    batch = Batch(frame, ref.key_lane, ref.value_lane, part.grouped)
    if frame.columns != ["key", "value"] or batch.records() != ref.records:
        raise corrupt(part.path, ref.offset, ref.length, "does not hold what the index says")
    return with_lanes(batch, part.key_lane, part.value_lane)


def _packed(ref: BlockRef) -> list[object]:
    """A block as the index has it; its offset follows from the lengths of those before."""
    packed: list[object] = [ref.length, ref.raw, ref.records, ref.checksum, ref.key_lane, ref.value_lane]
    return [*packed, ref.first] if ref.first else packed


def digest_of(blocks: Sequence[BlockRef]) -> bytes:
    """The digest of a partition in one file: over the checksums of its blocks."""
    checksums = b"".join(ref.checksum.to_bytes(DIGEST_BYTES, "little") for ref in blocks)
    return xxhash.xxh3_64_intdigest(checksums).to_bytes(DIGEST_BYTES, "little")


def _common(lanes: Iterator[Lane], given: Lane | None) -> Lane:
    """The lane in which all blocks can be read; that of an empty file doesn't matter to anybody."""
    if given is not None:
        return given
    distinct = sorted(set(lanes)) or [Lane.ENCODED]
    return functools.reduce(common_lane, distinct)
