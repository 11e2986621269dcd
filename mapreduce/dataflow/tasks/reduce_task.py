"""The reducer's side of a reduce task: groups of merged runs, handed to a function or folded as columns.

A function gets each key with its values as an iterator, or with several, the values of each input; an aggregating
reducer merges states without a Python object. Knows nothing of where runs come from or where results go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import length_hint
from typing import Any

import numpy as np
import polars as pl

from mapreduce.calls import Call
from mapreduce.dataflow.columns.batches import Batch, Lane, concat, keys_list, values_list
from mapreduce.dataflow.columns.segments import CHUNK_VALUES, Segments, chunks, repeated_chunks
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups
from mapreduce.dataflow.tasks.cogroup import Groups, LargeGroup, Side
from mapreduce.dataflow.tasks.emit import Emitter, Values
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.errors import SecondPassError
from mapreduce.plan import Limits


class ReduceLoop:
    """Calls one reducer function with each group; what it emits goes to `sink`. `records` counts the values read.

    `keep` is what the emitter keeps values as.
    """

    def __init__(
        self,
        call: Call,
        function: Callable[..., Any],
        sink: Callable[[Batch], None],
        site: Site,
        limits: Limits,
        *,
        keep: Callable[[Any], bytes] = encode_value,
    ) -> None:
        self._call = call
        self._function = function
        self._site = site
        self._emitter = Emitter(sink, call, site, limits, keep=keep)
        self._broken: Exception | None = None
        self.records = 0

    @property
    def emitted(self) -> int:
        """How many pairs have been taken."""
        return self._emitter.records

    def run(self, chunk: WholeGroups | OneGroup) -> None:
        """Reduce the groups of one chunk. What the reducer raises passes through, with the site filled in."""
        if isinstance(chunk, OneGroup):
            self._reduce_streams(chunk.key, [self._streamed(chunk.values, chunk.value_lane)])
            return
        ends = np.asarray(chunk.ends, dtype=np.int64)
        lengths = np.diff(ends, prepend=0)
        part = Segments(chunk.keys, chunk.key_lane, chunk.values, chunk.value_lane, ends - lengths, lengths)
        if chunk.times is None:
            self.records += chunk.values.len()
            pieces = chunks(part)
        else:
            self.records += int(chunk.times.sum())
            pieces = repeated_chunks(part, chunk.times)
        for keys, groups in pieces:
            self._reduce(keys, groups)

    def run_sides(self, groups: Groups | LargeGroup) -> None:
        """Reduce groups of several inputs: the function gets the values of each, in the order of the sides."""
        if isinstance(groups, LargeGroup):
            streams = [() if s is None else self._streamed(s.columns, s.lane) for s in groups.sides]
            self._reduce_streams(groups.key, streams)
            return
        for keys, values in _side_chunks(groups):
            self.records += sum(len(group) for side in values for group in side)
            self._reduce(keys, *values)

    def finish(self) -> None:
        """Hand on what is left."""
        self._emitter.flush()

    def _reduce_streams(self, key: Any, streams: Iterable[Iterable[Any]]) -> None:
        self._reduce([key], *([stream] for stream in streams))
        if self._broken is not None:
            raise self._broken

    def _reduce(self, keys: list[Any], *groups: Iterable[Iterable[Any]]) -> None:
        pending = iter(keys)
        function, values = self._function, [map(Values, side) for side in groups]
        if self._call.is_generator:
            results: Iterable[Iterable[Any]] = map(function, pending, *values)
        else:
            results = self._emitter.called(function, zip(pending, *values, strict=False))
        try:
            self._emitter.take(chain.from_iterable(results))
        except KeyboardInterrupt:
            raise
        except BaseException:
            key = keys[max(len(keys) - length_hint(pending) - 1, 0)]
            self._site.blame(self._call.title, shorten(key))
            raise

    def _streamed(self, columns: Iterator[pl.Series], lane: Lane) -> Iterator[Any]:
        """The values of a large group, a block's worth of objects at a time.

        A block that cannot be read fails the attempt, whatever the reducer makes of the exception: one that catches
        all would else reduce a part of the values.
        """
        try:
            for column in columns:
                self.records += column.len()
                yield from values_list(column, lane)
        except SecondPassError:
            raise
        except Exception as error:
            self._broken = error
            raise


def _side_chunks(groups: Groups) -> Iterator[tuple[list[Any], list[list[list[Any]]]]]:
    """Yield keys with the values of each on each side, as Python objects, some CHUNK_VALUES values at a time.

    A key with more comes alone: it has less than a chunk of the merge, which bounds its objects.
    """
    ends = np.cumsum(np.sum([side.lengths for side in groups.sides], axis=0))
    row, rows, before = 0, len(ends), 0
    while row < rows:
        stop = max(row + 1, int(np.searchsorted(ends, before + CHUNK_VALUES, side="right")))
        keys: list[Any] = keys_list(groups.keys.slice(row, stop - row), groups.key_lane)
        yield keys, [_lists(side, row, stop) for side in groups.sides]
        row, before = stop, int(ends[stop - 1])


def _lists(side: Side, row: int, stop: int) -> list[list[Any]]:
    lengths = side.lengths[row:stop]
    start = int(side.starts[row])
    values = values_list(side.values.slice(start, int(lengths.sum())), side.lane)
    cuts = (side.starts[row:stop] - start).tolist()
    return [values[a : a + n] for a, n in zip(cuts, lengths.tolist(), strict=True)]


class FoldLoop:
    """Merges sorted rows of states, batch by batch; a key whose rows go on in the next batch is held back for it.

    So are the keys before it, until there is a next batch: most tasks have one alone, and hand on once.
    """

    def __init__(self, fold: Fold, sink: Callable[[Batch], None]) -> None:
        self._fold = fold
        self._sink = sink
        self._held: Batch | None = None
        self.records = 0
        self.emitted = 0

    def run(self, batch: Batch) -> None:
        """Merge the rows of one batch."""
        self.records += batch.rows()
        if batch.rows() == 0:
            return
        rows = batch if self._held is None else concat([self._last_key(self._held), batch])
        merged = self._merge(rows)
        self._held = merged if merged.rows() else None

    def _last_key(self, held: Batch) -> Batch:
        """The last row of what is held; those before it are handed on."""
        last = held.rows() - 1
        if last:
            self._emit(Batch(held.frame.slice(0, last), held.key_lane, held.value_lane))
        return Batch(held.frame.slice(last), held.key_lane, held.value_lane)

    def finish(self) -> None:
        """Hand on the last keys."""
        if self._held is not None:
            self._emit(self._held)
            self._held = None

    def _merge(self, rows: Batch) -> Batch:
        return self._fold.merge(rows, is_sorted=True)

    def _emit(self, batch: Batch) -> None:
        self.emitted += batch.rows()
        self._sink(self._fold.finish(batch))
