"""The careful loops of reduce tasks: what a group emits goes on once the reducer is through with it.

A group is the record here: a key with all of its values. A frame of groups that fails is tried by halves, down to the
keys that fail alone; states that cannot be merged, or a result that cannot be made of them, are their key's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from mapreduce.aggregators import Aggregator
from mapreduce.dataflow.bad.at_work import Story
from mapreduce.dataflow.bad.care import Care, end, listed
from mapreduce.dataflow.bad.file import LISTED
from mapreduce.dataflow.columns.batches import Batch, concat, encode_keys, keys_list, values_list
from mapreduce.dataflow.columns.frames import batches_of
from mapreduce.dataflow.context import shorten
from mapreduce.dataflow.shuffle.sizes import group_starts, slice_of
from mapreduce.dataflow.tasks.emit import Values
from mapreduce.dataflow.tasks.frame_task import Column, FrameLoop, frame_of_side
from mapreduce.dataflow.tasks.reduce_task import FoldLoop, ReduceLoop


class CarefulReduceLoop(ReduceLoop):
    """Calls one reducer function with each group; those that fail are put aside. `watch` must be called first."""

    def watch(self, care: Care) -> None:
        """Say who takes bad groups."""
        self._care = care

    def _reduce(self, keys: list[Any], *groups: Iterable[Iterable[Any]]) -> None:
        for key, *values in zip(keys, *groups, strict=True):
            self._care.each(1, self._calling(key, values), self._take, self._telling(key, values))

    def _calling(self, key: Any, values: list[Iterable[Any]]) -> Callable[[int, int], list[Any]]:
        def call(_start: int, _stop: int) -> list[Any]:
            try:
                arguments = (key, *map(Values, values))
                if self._call.is_generator:
                    results: Iterable[Any] = self._function(*arguments)
                else:
                    results = next(self._emitter.called(self._function, [arguments]))
                return self._held(results)
            finally:
                if self._broken is not None:  # whatever the reducer has made of it
                    self._site.spare_user()
                    raise self._broken

        return call

    def _held(self, results: Iterable[Any]) -> list[Any]:
        try:
            return self._care.held(map(self._emitter.checked, results), self._take, self._care.check_pairs)
        except BaseException:
            end(results)
            raise

    def _take(self, pairs: list[Any]) -> None:
        self._emitter.take(iter(pairs))

    def _telling(self, key: Any, values: list[Iterable[Any]]) -> Callable[[int], Story]:
        """What is told of a group: the first of its values, unless they are a stream that can be read once."""

        def story(_i: int) -> Story:
            shown = [listed(side) if isinstance(side, Sequence) else None for side in values]
            content = dict(zip(self._call.groups, shown, strict=True)) if self._call.groups else shown[0]
            return Story(self._call.title, self._call.role, key=shorten(key), content=content)

        return story


class CarefulFrameLoop(FrameLoop):
    """Calls a reducer with frames; of one that fails, the keys that fail alone are put aside."""

    def watch(self, care: Care) -> None:
        """Say who takes bad groups."""
        self._care = care

    def _give(self, keys: pl.Series, columns: Sequence[Column]) -> None:
        starts = [np.cumsum(lengths) - lengths for lengths, _ in columns]

        def part(start: int, stop: int) -> list[pl.DataFrame]:
            frames = []
            for (lengths, values), begins in zip(columns, starts, strict=True):
                some = lengths[start:stop]
                column = some, values.slice(int(begins[start]), int(some.sum()))
                frames.append(frame_of_side(keys.slice(start, stop - start), column))
            return frames

        def call(start: int, stop: int) -> list[Batch]:
            results = self._function(*part(start, stop))
            return self._care.held_batches(results, batches_of(results, self._who, by_key=True), emit)

        def emit(batches: list[Batch]) -> None:
            for batch in batches:
                self._emit(batch)

        def story(i: int) -> Story:
            content = [listed(frame["value"].to_list()) for frame in part(i, i + 1)]
            shown = content[0] if len(content) == 1 else content
            return Story(self._call.title, self._call.role, key=shorten(keys[i]), content=shown)

        self._care.each(len(keys), call, emit, story)


class CarefulFoldLoop(FoldLoop):
    """Merges states as the fast loop does; where that fails, by halves, and puts the keys aside that fail alone."""

    def watch(self, care: Care, aggregator: Aggregator[Any, Any, Any]) -> None:
        """Say who takes bad keys, and whose methods they fail in."""
        self._care = care
        self._title = repr(aggregator)
        self._dropped: bytes | None = None  # the encoding of the last key, if it was put aside: its rows may go on

    def run(self, batch: Batch) -> None:
        """Merge the rows of one batch, but those of a key that was put aside."""
        if self._dropped is not None and batch.rows():
            rows = batch.rows()
            others = (encode_keys(batch.frame["key"], batch.key_lane) != self._dropped).arg_true()
            start = int(others[0]) if len(others) else rows
            if start < rows:
                self._dropped = None
            batch = slice_of(batch, start, rows)
        super().run(batch)

    def _merge(self, rows: Batch) -> Batch:
        starts = [*group_starts(rows.frame["key"]).tolist(), rows.rows()]
        groups, merge = len(starts) - 1, super()._merge
        merged: list[Batch] = []
        through = 0

        def part(start: int, stop: int) -> Batch:
            return slice_of(rows, starts[start], starts[stop])

        def emit(made: tuple[int, Batch]) -> None:
            nonlocal through
            through = made[0]
            merged.append(made[1])

        self._care.each(
            groups,
            lambda start, stop: (stop, merge(part(start, stop))),
            emit,
            lambda i: self._story(part(i, i + 1)),
        )
        if through < groups:
            last = part(groups - 1, groups)
            self._dropped = encode_keys(last.frame["key"].head(1), last.key_lane)[0]
        return concat(merged) if merged else slice_of(rows, 0, 0)

    def _emit(self, batch: Batch) -> None:
        self._care.each(
            batch.rows(),
            lambda start, stop: self._finished(slice_of(batch, start, stop)),
            self._hand_on,
            lambda i: self._story(slice_of(batch, i, i + 1)),
        )

    def _finished(self, states: Batch) -> Batch:
        made = self._fold.finish(states)
        self._care.check(made)
        return made

    def _hand_on(self, made: Batch) -> None:
        self.emitted += made.rows()
        self._sink(made)

    def _story(self, group: Batch) -> Story:
        key = keys_list(group.frame["key"].head(1), group.key_lane)[0]
        states = values_list(group.frame["value"].head(LISTED), group.value_lane)
        return Story(self._title, "aggregator", key=shorten(key), content=states)
