"""Reading the blocks of a slice back: one by one, or those of many slices of few rows as one batch."""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl
import xxhash

from mapreduce.dataflow.columns.batches import Batch, Layout, with_lanes
from mapreduce.dataflow.shuffle.block_index import BlockRef, Slice, corrupt, read_at, read_slice
from mapreduce.dataflow.shuffle.ranges import rows_within
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.dataflow.shuffle.small_blocks import FORM_BYTES, holds, is_small, read_small
from mapreduce.errors import CorruptBlockError, InputLostError
from mapreduce.plan import AttemptId


def open_slice(
    path: str | Path,
    partition: int,
    producer: AttemptId | None = None,
    map_index: int = -1,
    *,
    low: bytes = b"",
    high: bytes = b"",
) -> Slice:
    """Give one partition of a local file, or of that the keys in [low, high); of the others nothing is read.

    Raises CorruptBlockError or OSError, or with `producer` InputLostError.
    """
    try:
        return read_slice(path, partition, producer, map_index, low=low, high=high)
    except (CorruptBlockError, OSError) as error:
        _fail_read(producer, error)


def read_blocks(part: Slice) -> Generator[Batch]:
    """Read the blocks of a slice one by one, checked, in the slice's lanes, and cut to its range of keys.

    A block at either end of a range may come without any rows. Raises CorruptBlockError, which names file and byte
    range, or OSError; where the slice has a producer, both as InputLostError.
    """
    try:
        for ref, data in _blocks_of(part):
            yield _within(part, _decoded(part, ref, data))
    except (CorruptBlockError, OSError) as error:
        _fail_read(part.producer, error)


def read_together(parts: Sequence[Slice]) -> list[Batch]:
    """All rows of slices of few rows, in order, in the slices' lanes or the blocks' own.

    Neighbours that are small blocks of one form come as one batch. Raises as `read_blocks` does.
    """
    found: list[Batch] = []
    small: list[bytes] = []
    for part in parts:
        try:
            for ref, data in _blocks_of(part):
                can_join = is_small(data) and not part.low and not part.high
                if small and not (can_join and data[:FORM_BYTES] == small[0][:FORM_BYTES]):
                    found.append(read_small(small))
                    small = []
                if can_join:
                    small.append(data)
                else:
                    found.append(_within(part, _decoded(part, ref, data)))
        except (CorruptBlockError, OSError) as error:
            _fail_read(part.producer, error)
    return [*found, read_small(small)] if small else found


def _blocks_of(part: Slice) -> Generator[tuple[BlockRef, bytes]]:
    """The blocks with their bytes, one by one, checked."""
    fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for ref in part.blocks:
            data = read_at(fd, part.path, ref.offset, ref.length)
            if xxhash.xxh3_64_intdigest(data) != ref.checksum:
                why = "is not the block that was written (its checksum differs)"
                raise corrupt(part.path, ref.offset, ref.length, why)
            lanes = ref.key_lane, ref.value_lane
            if is_small(data) and not holds(data, *lanes, layout=part.layout, records=ref.records):
                raise _other(part, ref)
            yield ref, data
    finally:
        os.close(fd)


def _within(part: Slice, batch: Batch) -> Batch:
    if not part.low and not part.high:
        return batch
    start, stop = rows_within(batch.frame["key"], batch.key_lane, part.low, part.high)
    return slice_of(batch, start, stop)


def _decoded(part: Slice, ref: BlockRef, data: bytes) -> Batch:
    """The rows of a block, in the lanes of its slice."""
    try:
        batch = read_small([data]) if is_small(data) else _from_ipc(part, ref, data)
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise corrupt(part.path, ref.offset, ref.length, f"is not a block: {error}") from error
    return with_lanes(batch, part.key_lane, part.value_lane)


def _from_ipc(part: Slice, ref: BlockRef, data: bytes) -> Batch:
    frame = pl.read_ipc_stream(io.BytesIO(data))
    if frame.columns != ["key", "value", "times"][: 3 if part.layout is Layout.REPEATED else 2]:
        raise _other(part, ref)
    batch = Batch(frame, ref.key_lane, ref.value_lane, part.layout is Layout.GROUPED)
    if batch.records() != ref.records:
        raise _other(part, ref)
    return batch


def _other(part: Slice, ref: BlockRef) -> CorruptBlockError:
    return corrupt(part.path, ref.offset, ref.length, "does not hold what the index says")


def _fail_read(producer: AttemptId | None, error: Exception) -> NoReturn:
    """Raise InputLostError where the file's producer is known, `error` itself otherwise."""
    if producer is None:
        raise error
    raise InputLostError(producer, str(error)) from error
