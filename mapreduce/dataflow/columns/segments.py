"""Rows by key: the values of each key, one after another, in one column.

What folds, combiners and reducers work on. Python objects are made a chunk at a time, so that a large batch, or a key
with very many values, never lies in memory as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, keys_list, values_list
from mapreduce.dataflow.shuffle.sizes import group_starts
from mapreduce.quick_dataclass import dataclass

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
    keys = batch.frame.get_column("key")
    starts = group_starts(keys)
    lengths = np.diff(starts, append=batch.frame.height)
    if len(starts) < batch.frame.height:  # else each key comes once, as in what one task has combined
        keys = keys.gather(starts)
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
    for row, stop in _cuts(part):
        start = int(part.starts[row])
        keys: list[Any] = keys_list(part.keys.slice(row, stop - row), part.key_lane)
        if stop == row + 1 and int(part.lengths[row]) > CHUNK_VALUES:
            yield keys, [_lazily(part, start, int(ends[row]))]
        else:
            values = values_list(part.values.slice(start, int(ends[stop - 1]) - start), part.value_lane)
            cuts = (part.starts[row:stop] - start).tolist()
            yield keys, [values[a:b] for a, b in zip(cuts, [*cuts[1:], len(values)], strict=True)]


def _cuts(part: Segments) -> Iterator[tuple[int, int]]:
    """Where to cut the keys, so that those between two cuts have CHUNK_VALUES values together, or are one key."""
    ends = part.starts + part.lengths
    row, rows = 0, len(part.starts)
    while row < rows:
        stop = max(row + 1, int(np.searchsorted(ends, int(part.starts[row]) + CHUNK_VALUES, side="right")))
        yield row, stop
        row = stop


def repeated_chunks(part: Segments, times: Positions) -> Iterator[tuple[list[Any], list[Iterable[Any]]]]:
    """Yield what `chunks` does, where the i-th value stands for `times[i]` values: no object is made of what repeats.

    Chunks hold some CHUNK_VALUES values before they are repeated.
    """
    for row, stop in _cuts(part):
        keys: list[Any] = keys_list(part.keys.slice(row, stop - row), part.key_lane)
        starts, ends = part.starts[row:stop].tolist(), (part.starts + part.lengths)[row:stop].tolist()
        if stop == row + 1 and ends[0] - starts[0] > CHUNK_VALUES:
            groups: list[Iterable[Any]] = [_repeated_lazily(part, times, starts[0], ends[0])]
        else:
            first, last = starts[0], ends[-1]
            values = values_list(part.values.slice(first, last - first), part.value_lane)
            counts = times[first:last].tolist()
            groups = [
                _repeat(values[a - first : b - first], counts[a - first : b - first])
                for a, b in zip(starts, ends, strict=True)
            ]
        yield keys, groups


def _repeat(values: list[Any], counts: list[int]) -> Iterable[Any]:
    if len(values) == 1:
        return repeat(values[0], counts[0])
    return chain.from_iterable(map(repeat, values, counts))


def _repeated_lazily(part: Segments, times: Positions, start: int, stop: int) -> Iterator[Any]:
    for at in range(start, stop, CHUNK_VALUES):
        size = min(CHUNK_VALUES, stop - at)
        yield from _repeat(values_list(part.values.slice(at, size), part.value_lane), times[at : at + size].tolist())


def _lazily(part: Segments, start: int, stop: int) -> Iterator[Any]:
    for at in range(start, stop, CHUNK_VALUES):
        yield from values_list(part.values.slice(at, min(CHUNK_VALUES, stop - at)), part.value_lane)
