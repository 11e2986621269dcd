"""Aggregating over columns: how aggregators fold whole batches.

A fold has three moves, each over all keys of a batch: `create` (values to states), `merge` (states to states) and
`finish` (states to results). Each move is first tried on the columns (see `kernels`), and else done by the Aggregator's
own methods, value by value. Values are folded strictly from left to right. Several aggregators at once share the
columns: each makes the column of its own states, which are then put together, one row a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import polars as pl

from mapreduce.aggregators import Aggregator, BuiltIn, Count, Several, Sum
from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    concat,
    key_series,
    keys_list,
    ungroup,
    value_series,
    values_list,
)
from mapreduce.dataflow.columns.segments import Segments, by_hash, by_neighbours
from mapreduce.dataflow.columns.sorting import sort_frame
from mapreduce.dataflow.columns.tally import PLAIN_VALUES, Tallied
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.shuffle.sizes import about_distinct, group_starts
from mapreduce.dataflow.tasks.kernels import BY_METHODS, KERNELS, Column, Kernel, fields_of
from mapreduce.errors import MapReduceError, ValueTypeError
from mapreduce.plan import Limits
from mapreduce.several import Fields, Together, on_stream
from mapreduce.tracebacks import raised_by_user

TRIED_KEYS = 65_536  # tell in most cases whether keys repeat, in half a millisecond
REPEATS = 3  # times that a key comes, on average, from which a table of them is quicker than sorting (measured)
PARTIAL_BYTES = 4  # the sort buffer over this: what partials may hold beside it
_EXACT: frozenset[type] = frozenset({int, bool})  # of these n times a value is the sum of n of them


class Fold:
    """Folds batches with one Aggregator; `site` is told the key at which a method of it raised.

    `stream` names the task, for what draws random numbers; a fold without one cannot `create` samples. `kernel` is for
    tests: `BY_METHODS` gives the path through the Aggregator's own methods.
    """

    def __init__(
        self,
        aggregator: Aggregator[Any, Any, Any],
        site: Site,
        kernel: Kernel | None = None,
        *,
        stream: str | None = None,
    ) -> None:
        self._aggregator = aggregator if stream is None else on_stream(aggregator, stream)
        self._site = site
        self._kernel = kernel or KERNELS.get(type(aggregator), BY_METHODS)
        self._members: list[Fold] = []
        several = self._aggregator
        if kernel is None and isinstance(several, Several) and type(several) in {Together, Fields}:
            self._members = [Fold(member, site) for member in several.members]
        self.counts_only = self._kernel is KERNELS[Count]

    def create(self, batch: Batch) -> Batch:
        """Fold rows in any order into states: one row a key."""
        if batch.rows() == 0:
            return batch
        part = by_hash(batch)
        return _batch(part, self.states(part))

    def merge(self, batch: Batch, *, is_sorted: bool = False) -> Batch:
        """Merge rows of states into one row a key. With `is_sorted` equal keys must be neighbours; order is kept."""
        if batch.rows() == 0:
            return batch
        part = by_neighbours(batch) if is_sorted else by_hash(batch)
        if part.keys.len() == part.values.len():
            return _batch(part, (part.values, part.value_lane))
        return _batch(part, self._kernel.merge(self._aggregator, part) or self._walk(part, self._merged))

    def create_each(self, batch: Batch) -> Batch:
        """Make a state of each row alone: equal keys have several."""
        part = _each_row(ungroup(batch))
        return _batch(part, self.states(part))

    def finish(self, batch: Batch) -> Batch:
        """Turn states, one row a key, into results."""
        if self._kernel.final or batch.rows() == 0:
            return batch
        part = _each_row(batch)
        return _batch(part, self._walk(part, self._finished))

    def count_keys(self, keys: pl.Series, lane: Lane) -> Batch:
        """Count equal keys, without any values: only for a fold where `counts_only` holds."""
        frame = keys.alias("key").to_frame()
        if not _hardly_repeat(keys):
            counted = frame.group_by("key").len(name="value").with_columns(pl.col("value").cast(pl.Int64))
        else:  # they will be sorted anyway, and then neighbours tell
            found = sort_frame(frame)["key"]
            starts = group_starts(found)
            counts = pl.Series("value", np.diff(starts, append=len(found)), dtype=pl.Int64)
            counted = pl.DataFrame([found.gather(starts), counts])
        return Batch(counted, lane, Lane.INT)

    @property
    def tallied_kinds(self) -> frozenset[type]:
        """Types of values of which `create_tallied` takes pairs: the states must be those of the values one by one."""
        if self.counts_only:
            return PLAIN_VALUES
        return _EXACT if self._kernel is KERNELS[Sum] else frozenset()

    def create_tallied(self, pairs: Tallied) -> Batch:
        """Fold tallied pairs into states: one row a key. The value must be of one of the `tallied_kinds`."""
        keys, key_lane = key_series(pairs.keys)
        times = pairs.times if self.counts_only else [pairs.value * times for times in pairs.times]
        states, lane = value_series(times)
        return Batch(pl.DataFrame([keys, states]), key_lane, lane)

    def states(self, part: Segments) -> Column:
        """The state of each segment of values."""
        parts: list[Segments] | None = [part] * len(self._members)
        if self._members and type(self._aggregator) is Fields:
            parts = fields_of(part, len(self._members))
        if not parts:
            return self._kernel.create(self._aggregator, part) or self._walk(part, self._created)
        states = [values_list(*member.states(one)) for member, one in zip(self._members, parts, strict=True)]
        return value_series(list(zip(*states, strict=True)))

    def _created(self, values: Sequence[Any]) -> Any:
        aggregator = self._aggregator
        state = aggregator.create(values[0])
        for value in values[1:]:
            state = aggregator.add(state, value)
        return state

    def _merged(self, states: Sequence[Any]) -> Any:
        state = states[0]
        for other in states[1:]:
            state = self._aggregator.merge(state, other)
        return state

    def _finished(self, states: Sequence[Any]) -> Any:
        return self._aggregator.finish(states[0])

    def _walk(self, part: Segments, fold: Callable[[Sequence[Any]], Any]) -> Column:
        """Fold each segment by the Aggregator's methods."""
        values = values_list(part.values, part.value_lane)
        folded: list[Any] = []
        ends = part.starts + part.lengths
        try:
            for start, end in zip(part.starts.tolist(), ends.tolist(), strict=True):
                folded.append(fold(values[start:end]))
        except Exception as error:
            self._blame(part, len(folded))
            if _is_of_types(error) and isinstance(self._aggregator, (BuiltIn, Several)) and not raised_by_user(error):
                msg = (
                    f"{self._aggregator!r} cannot fold the values of this key: {type(error).__name__}: {error}; yield "
                    "numbers of one kind that are not so large, or write a reducer function"
                )
                raise ValueTypeError(msg) from error
            raise
        try:
            column = value_series(folded)
        except ValueTypeError:
            column = None  # raised again below, for the one that cannot be kept
        return column or self._refuse(part, folded)

    def _refuse(self, part: Segments, folded: list[Any]) -> NoReturn:
        """Raise a ValueTypeError that says which state, or result, cannot be kept."""
        for row, made in enumerate(folded):
            try:
                encode_value(made)
            except ValueTypeError as error:
                key = self._blame(part, row)
                msg = f"{self._aggregator!r} made what cannot be kept, of the key {key:.200}: {error}"
                raise ValueTypeError(msg) from error
        raise AssertionError("a column of states was refused, but none of them is")

    def _blame(self, part: Segments, row: int) -> str:
        key = shorten(keys_list(part.keys.slice(row, 1), part.key_lane)[0])
        self._site.blame(repr(self._aggregator), key)
        return key


def _is_of_types(error: Exception) -> bool:
    """Whether an exception may come of values that do not go together, or are too large: what Python itself raises."""
    return isinstance(error, (TypeError, ValueError, ArithmeticError)) and not isinstance(error, MapReduceError)


def _hardly_repeat(keys: pl.Series) -> bool:
    """Whether a table of these keys would be almost as large as the column: then it costs more than their sorting."""
    return all(REPEATS * about_distinct(some) > len(some) for some in (keys.head(TRIED_KEYS), keys))


def _each_row(batch: Batch) -> Segments:
    ones = np.ones(batch.rows(), dtype=np.int64)
    keys, values = batch.frame.get_column("key"), batch.frame.get_column("value")
    return Segments(keys, batch.key_lane, values, batch.value_lane, np.arange(batch.rows()), ones)


def _batch(part: Segments, column: Column) -> Batch:
    values, lane = column
    return Batch(pl.DataFrame([part.keys.alias("key"), values.alias("value")]), part.key_lane, lane)


class Partials:
    """Collects batches and collapses them by key before anything is sorted.

    Raw rows are collected up to `flush_records` and go through `first` (rows to one row a key); what comes out is kept
    and goes through `again` (such rows to one row a key) when it outgrows its bound. What that leaves large goes to
    `sink`. All bounds are functions of the data, so every run cuts alike.
    """

    def __init__(
        self,
        first: Callable[[Batch], Batch],
        again: Callable[[Batch], Batch],
        sink: Callable[[Batch], None],
        limits: Limits,
    ) -> None:
        self._first = first
        self._again = again
        self._sink = sink
        self._raw_rows = limits.flush_records
        self._partial_rows = limits.flush_records
        self._bytes = max(limits.sort_buffer // PARTIAL_BYTES, 1)
        self._raw = _Heap()
        self._partial = _Heap()

    def add(self, batch: Batch) -> None:
        """Take raw rows."""
        self._raw.add(batch)
        if self._raw.rows >= self._raw_rows or self._raw.nbytes >= self._bytes:
            self._collapse_raw()

    def add_collapsed(self, batch: Batch) -> None:
        """Take rows that are what `first` would give; only where no raw ones are given."""
        self._partial.add(batch)
        if self._partial.rows >= self._partial_rows or self._partial.nbytes >= self._bytes:
            self._collapse()
            if 2 * self._partial.rows >= self._partial_rows or 2 * self._partial.nbytes >= self._bytes:
                self._sink(self._partial.take())

    def finish(self) -> None:
        """Hand everything to the sink."""
        if self._raw.rows:
            self._collapse_raw()
        if self._partial.rows:
            self._collapse()
            self._sink(self._partial.take())

    def _collapse_raw(self) -> None:
        self.add_collapsed(self._first(self._raw.take()))

    def _collapse(self) -> None:
        if self._partial.count > 1:
            merged = self._again(self._partial.take())
            self._partial.add(merged)


class _Heap:
    """Batches with their rows and bytes."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self.rows = 0
        self.nbytes = 0

    @property
    def count(self) -> int:
        return len(self._batches)

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.rows += batch.rows()
        self.nbytes += batch.nbytes()

    def take(self) -> Batch:
        batches, self._batches = self._batches, []
        self.rows = self.nbytes = 0
        return batches[0] if len(batches) == 1 else concat(batches)
