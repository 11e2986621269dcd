"""Rows by key: the values of each key, one after another, in one column.

What folds, combiners and reducers work on. Python objects are made a chunk at a time, so that a large batch, or a key
with very many values, never lies in memory as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, keys_list, values_list
from mapreduce.dataflow.shuffle.sizes import group_starts

CHUNK_VALUES = 16_384  # made into Python objects at once: a few ns a value for the calls, and under 2 MB of numbers

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segments:
    """The rows of a batch by key: `values[starts[i] : starts[i] + lengths[i]]` belong to `keys[i]`, in their order."""

    keys: pl.Series
    key_lane: Lane
    values: pl.Series
    value_lane: Lane
    starts: Positions
    lengths: Positions


def by_hash(batch: Batch) -> Segments:
    """Bring equal keys of an unsorted batch together, wherever they are; keys in order of first appearance."""
    if batch.grouped:
        return _of_lists(batch, batch.frame)
    frame = batch.frame.group_by("key", maintain_order=True).agg(pl.col("value"))
    return _of_lists(batch, frame)


def by_neighbours(batch: Batch) -> Segments:
    """Bring equal keys of a sorted batch together: they are neighbours."""
    if batch.grouped:
        return _of_lists(batch, batch.frame)
    starts = group_starts(batch.frame.get_column("key"))
    lengths = np.diff(starts, append=batch.frame.height)
    keys = batch.frame.get_column("key").gather(starts)
    return Segments(keys, batch.key_lane, batch.frame.get_column("value"), batch.value_lane, starts, lengths)


def _of_lists(batch: Batch, frame: pl.DataFrame) -> Segments:
    lists = frame.get_column("value")
    lengths = lists.list.len().to_numpy().astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    return Segments(frame.get_column("key"), batch.key_lane, lists.explode(), batch.value_lane, starts, lengths)


def chunks(part: Segments) -> Iterator[tuple[list[Any], list[Iterable[Any]]]]:
    """Yield keys with the values of each, as Python objects, some `CHUNK_VALUES` values at a time.

    A key with more values than that comes alone, and its values are made while they are gone through.
    """
    ends = part.starts + part.lengths
    row, rows = 0, len(part.starts)
    while row < rows:
        start = int(part.starts[row])
        stop = max(row + 1, int(np.searchsorted(ends, start + CHUNK_VALUES, side="right")))
        keys: list[Any] = keys_list(part.keys.slice(row, stop - row), part.key_lane)
        if stop == row + 1 and int(part.lengths[row]) > CHUNK_VALUES:
            yield keys, [_lazily(part, start, int(ends[row]))]
        else:
            values = values_list(part.values.slice(start, int(ends[stop - 1]) - start), part.value_lane)
            cuts = (part.starts[row:stop] - start).tolist()
            yield keys, [values[a:b] for a, b in zip(cuts, [*cuts[1:], len(values)], strict=True)]
        row = stop


def _lazily(part: Segments, start: int, stop: int) -> Iterator[Any]:
    for at in range(start, stop, CHUNK_VALUES):
        yield from values_list(part.values.slice(at, min(CHUNK_VALUES, stop - at)), part.value_lane)
