"""The reducer's side of a reduce task: groups of merged runs, handed to a function or folded as columns.

A function gets each key with its values as an iterator; an aggregating reducer merges states without a Python object.
Knows nothing of where runs come from or where results go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import length_hint
from typing import Any

import numpy as np

from mapreduce.calls import Call
from mapreduce.dataflow.columns import Batch, concat, values_list
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.emit import Emitter, Values
from mapreduce.dataflow.fold import Fold
from mapreduce.dataflow.segments import Segments, chunks
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups
from mapreduce.errors import SecondPassError
from mapreduce.plan import Limits


class ReduceLoop:
    """Calls one reducer function with each group; what it emits goes to `sink`. `records` counts the values read."""

    def __init__(
        self, call: Call, function: Callable[..., Any], sink: Callable[[Batch], None], site: Site, limits: Limits
    ) -> None:
        self._call = call
        self._function = function
        self._site = site
        self._emitter = Emitter(sink, call, site, limits)
        self._broken: Exception | None = None
        self.records = 0

    @property
    def emitted(self) -> int:
        """How many pairs have been taken."""
        return self._emitter.records

    def run(self, chunk: WholeGroups | OneGroup) -> None:
        """Reduce the groups of one chunk. What the reducer raises passes through, with the site filled in."""
        if isinstance(chunk, OneGroup):
            self._reduce([chunk.key], [self._streamed(chunk)])
            if self._broken is not None:
                raise self._broken
            return
        ends = np.asarray(chunk.ends, dtype=np.int64)
        lengths = np.diff(ends, prepend=0)
        self.records += int(ends[-1]) if len(ends) else 0
        part = Segments(chunk.keys, chunk.key_lane, chunk.values, chunk.value_lane, ends - lengths, lengths)
        for keys, groups in chunks(part):
            self._reduce(keys, groups)

    def finish(self) -> None:
        """Hand on what is left."""
        self._emitter.flush()

    def _reduce(self, keys: list[Any], groups: Iterable[Iterable[Any]]) -> None:
        pending = iter(keys)
        function, values = self._function, map(Values, groups)
        if self._call.is_generator:
            results: Iterable[Iterable[Any]] = map(function, pending, values)
        else:
            results = self._emitter.called(function, zip(pending, values, strict=False))
        try:
            self._emitter.take(chain.from_iterable(results))
        except KeyboardInterrupt:
            raise
        except BaseException:
            key = keys[max(len(keys) - length_hint(pending) - 1, 0)]
            self._site.blame(self._call.title, shorten(key))
            raise

    def _streamed(self, group: OneGroup) -> Iterator[Any]:
        """The values of a large group, a block's worth of objects at a time.

        A block that cannot be read fails the attempt, whatever the reducer makes of the exception: one that catches
        all would else reduce a part of the values.
        """
        try:
            for column in group.values:
                self.records += column.len()
                yield from values_list(column, group.value_lane)
        except SecondPassError:
            raise
        except Exception as error:
            self._broken = error
            raise


class FoldLoop:
    """Merges sorted rows of states, batch by batch; a key whose rows go on in the next batch is held back for it."""

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
        rows = batch if self._held is None else concat([self._held, batch])
        merged = self._fold.merge(rows, is_sorted=True)
        last = merged.rows() - 1
        self._held = Batch(merged.frame.slice(last), merged.key_lane, merged.value_lane)
        if last:
            self._emit(Batch(merged.frame.slice(0, last), merged.key_lane, merged.value_lane))

    def finish(self) -> None:
        """Hand on the last key."""
        if self._held is not None:
            self._emit(self._held)
            self._held = None

    def _emit(self, batch: Batch) -> None:
        self.emitted += batch.rows()
        self._sink(self._fold.finish(batch))
