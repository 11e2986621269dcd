"""How many bytes rows take, and where a batch is cut into blocks: functions of the data alone.

Sizes are counted by a formula, not asked of Polars: its estimates depend on how a column came about, and a cut that
depended on them would differ between two runs of the same job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import OFFSET_BYTES, TIMES_BYTES, VIEW_BYTES, Batch, Lane, ungroup

EXPANDED_ROWS = 65_536  # of rows that were one: some megabytes, whatever the number that it stands for
FIXED_BYTES = {Lane.INT: 8, Lane.FLOAT: 8, Lane.BOOL: 1}

Sizes = npt.NDArray[np.int64]


def row_sizes(batch: Batch) -> Sizes:
    """Bytes that each row takes in memory, as int64."""
    key, value = batch.frame["key"], batch.frame["value"]
    sizes = _each(key, batch.key_lane)
    if not batch.grouped:
        return sizes + _each(value, batch.value_lane) + (TIMES_BYTES if batch.repeated else 0)
    counts = value_counts(batch)
    if batch.value_lane in FIXED_BYTES:
        return sizes + OFFSET_BYTES + FIXED_BYTES[batch.value_lane] * counts
    ends = ends_of(_each(value.explode(), batch.value_lane))
    return sizes + OFFSET_BYTES + np.diff(ends[np.cumsum(counts)], prepend=0)


def value_counts(batch: Batch) -> Sizes:
    """How many values each row has, as int64."""
    if batch.repeated:
        return batch.frame["times"].to_numpy()
    if not batch.grouped:
        return np.ones(batch.rows(), dtype=np.int64)
    return batch.frame["value"].list.len().to_numpy().astype(np.int64)


def cut(batch: Batch, block: int) -> Iterator[tuple[Batch, int]]:
    """Cut `batch` into pieces of at most `block` raw bytes, each with its raw size, in order.

    A record that is larger is a piece of its own. A grouped row that is larger is continued over several pieces with
    the same key.
    """
    total = batch.nbytes()
    if total <= block:
        if batch.rows():
            yield batch, total
        return
    ends = ends_of(row_sizes(batch))
    start, rows = 0, batch.rows()
    while start < rows:
        stop = int(np.searchsorted(ends, ends[start] + block, side="right")) - 1
        if stop > start:
            yield slice_of(batch, start, stop), int(ends[stop] - ends[start])
        elif batch.grouped:
            stop = start + 1
            yield from _cut_row(slice_of(batch, start, stop), block)
        else:
            stop = start + 1
            yield slice_of(batch, start, stop), int(ends[stop] - ends[start])
        start = stop


def slice_of(batch: Batch, start: int, stop: int) -> Batch:
    """The rows from `start` up to `stop`, sharing memory."""
    return with_frame(batch, batch.frame.slice(start, stop - start))


def with_frame(batch: Batch, frame: pl.DataFrame) -> Batch:
    """A batch of other rows in the same lanes."""
    return Batch(frame, batch.key_lane, batch.value_lane, batch.grouped)


def expanded(batch: Batch) -> Iterator[Batch]:
    """The same records ungrouped, in order: of a repeated batch in pieces of at most EXPANDED_ROWS rows."""
    if not batch.repeated:
        yield ungroup(batch)
        return
    flat = batch.frame.select("key", "value")
    ends = ends_of(batch.frame["times"].to_numpy())
    for start in range(0, int(ends[-1]), EXPANDED_ROWS):
        wanted = np.arange(start, min(start + EXPANDED_ROWS, int(ends[-1])))
        rows = np.searchsorted(ends, wanted, side="right") - 1
        yield Batch(flat[rows], batch.key_lane, batch.value_lane)


def group_starts(keys: pl.Series) -> npt.NDArray[np.int64]:
    """The first row of each group of equal keys, in a column where these are neighbours."""
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    new = keys.slice(1) != keys.slice(0, len(keys) - 1)  # for Polars, NaN is equal to itself
    return np.concatenate(([0], np.flatnonzero(new.to_numpy()) + 1))


def about_distinct(keys: pl.Series) -> int:
    """How many distinct keys there are, within 2%: HyperLogLog with fixed seeds, a function of the keys; 8 ns a row."""
    distinct: Any = keys.approx_n_unique()
    return int(distinct)


def ends_of(sizes: Sizes) -> Sizes:
    """Where each row begins, and the last one ends, in bytes: one longer than `sizes`."""
    ends = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends


def _cut_row(row: Batch, block: int) -> Iterator[tuple[Batch, int]]:
    """Continue one grouped row over several; each takes at least one value, whatever the size of the key."""
    key, values = row.frame["key"], row.frame["value"].explode()
    overhead = int(_each(key, row.key_lane)[0]) + OFFSET_BYTES
    room = max(block - overhead, block // 2)  # a key larger than a block must not make a block of every value
    ends = ends_of(_each(values, row.value_lane))
    start = 0
    while start < len(values):
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + room, side="right")) - 1)
        frame = pl.DataFrame([key, values.slice(start, stop - start).implode().alias("value")])
        yield with_frame(row, frame), overhead + int(ends[stop] - ends[start])
        start = stop


def _each(column: pl.Series, lane: Lane) -> Sizes:
    if lane in FIXED_BYTES:
        return np.full(len(column), FIXED_BYTES[lane], dtype=np.int64)
    lengths = column.str.len_bytes() if lane is Lane.STR else column.bin.size()
    return lengths.to_numpy().astype(np.int64) + VIEW_BYTES
