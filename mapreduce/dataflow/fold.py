"""Aggregating over columns: how `Count`, `Sum`, `Min`, `Max`, `Mean` and any other Aggregator fold whole batches.

A fold has three moves, each over all keys of a batch: `create` (values to states), `merge` (states to states) and
`finish` (states to results). Each move is first tried on the columns; where the types, an overflow or a signed zero
would make that inexact, the Aggregator's own methods do it value by value, with the same result. Values are folded
strictly from left to right. A fast path belongs to one exact class: a subclass goes by its own methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mapreduce.aggregators import Aggregator, Count, Max, Mean, Min, Sum
from mapreduce.dataflow.columns import Batch, Lane, concat, keys_list, value_series, values_list
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.segments import Segments, by_hash, by_neighbours
from mapreduce.plan import Limits

Column = tuple[pl.Series, Lane]

INT64_END = 2**63
PARTIAL_BYTES = 4  # the sort buffer over this: what partials may hold beside it
LOW_BITS = 32


# --------------------------------------------------------------------------------------------- moves over columns


def _ints(values: pl.Series, lane: Lane) -> np.ndarray[Any, Any] | None:
    if lane is Lane.INT:
        return values.to_numpy()
    return values.cast(pl.Int64).to_numpy() if lane is Lane.BOOL else None


def _sums(part: Segments) -> Column | None:
    """Sum each segment: ints exactly (beyond 64 bits too), floats from left to right, beginning with 0."""
    if part.value_lane is Lane.FLOAT:
        codes = np.repeat(np.arange(len(part.starts)), part.lengths)
        sums = np.bincount(codes, weights=part.values.to_numpy(), minlength=len(part.starts))
        return pl.Series("value", sums, dtype=pl.Float64), Lane.FLOAT
    ints = _ints(part.values, part.value_lane)
    if ints is None:
        return None
    largest = max(abs(int(ints.min())), abs(int(ints.max())))
    if largest * int(part.lengths.max()) < INT64_END:
        return pl.Series("value", np.add.reduceat(ints, part.starts), dtype=pl.Int64), Lane.INT
    high = np.add.reduceat(ints >> LOW_BITS, part.starts).tolist()  # both halves of 2**31 values stay within 64 bits
    low = np.add.reduceat(ints & (2**LOW_BITS - 1), part.starts).tolist()
    return value_series([(h << LOW_BITS) + rest for h, rest in zip(high, low, strict=True)])


def _lengths(part: Segments) -> Column | None:
    return pl.Series("value", part.lengths, dtype=pl.Int64), Lane.INT


def _means(part: Segments) -> Column | None:
    """The states (sum, number) of Mean."""
    sums = _sums(part)
    if sums is None:
        return None
    return value_series(list(zip(values_list(*sums), part.lengths.tolist(), strict=True)))


def _extreme(part: Segments, reduceat: Callable[..., Any]) -> Column | None:
    if part.value_lane not in {Lane.INT, Lane.FLOAT, Lane.BOOL}:
        return None
    values = part.values.to_numpy()
    if part.value_lane is Lane.FLOAT and bool((np.signbit(values) & (values == 0)).any()):
        return None  # which of 0.0 and -0.0 numpy takes is its own affair; the first of equals is the rule
    return pl.Series("value", reduceat(values, part.starts), dtype=part.values.dtype), part.value_lane


def _minima(part: Segments) -> Column | None:
    return _extreme(part, np.minimum.reduceat)


def _maxima(part: Segments) -> Column | None:
    return _extreme(part, np.maximum.reduceat)


def _by_methods(_part: Segments) -> Column | None:
    return None


Move = Callable[[Segments], Column | None]


@dataclass(frozen=True, slots=True)
class Kernel:
    """The moves of one Aggregator class over columns; `final` says that its states are its results."""

    create: Move
    merge: Move
    final: bool


KERNELS: dict[type[Any], Kernel] = {
    Count: Kernel(_lengths, _sums, final=True),
    Sum: Kernel(_sums, _sums, final=True),
    Min: Kernel(_minima, _minima, final=True),
    Max: Kernel(_maxima, _maxima, final=True),
    Mean: Kernel(_means, _by_methods, final=False),
}
BY_METHODS = Kernel(_by_methods, _by_methods, final=False)


class Fold:
    """Folds batches with one Aggregator; `site` is told the key at which a method of it raised.

    `kernel` is for tests: `BY_METHODS` gives the path through the Aggregator's own methods.
    """

    def __init__(self, aggregator: Aggregator[Any, Any, Any], site: Site, kernel: Kernel | None = None) -> None:
        self._aggregator = aggregator
        self._site = site
        self._kernel = kernel or KERNELS.get(type(aggregator), BY_METHODS)
        self.counts_only = self._kernel is KERNELS[Count]

    def create(self, batch: Batch) -> Batch:
        """Fold rows in any order into states: one row a key."""
        if batch.rows() == 0:
            return batch
        part = by_hash(batch)
        return _batch(part, self._kernel.create(part) or self._walk(part, self._created))

    def merge(self, batch: Batch, *, is_sorted: bool = False) -> Batch:
        """Merge rows of states into one row a key. With `is_sorted` equal keys must be neighbours; order is kept."""
        if batch.rows() == 0:
            return batch
        part = by_neighbours(batch) if is_sorted else by_hash(batch)
        if part.keys.len() == part.values.len():
            return _batch(part, (part.values, part.value_lane))
        return _batch(part, self._kernel.merge(part) or self._walk(part, self._merged))

    def finish(self, batch: Batch) -> Batch:
        """Turn states, one row a key, into results."""
        if self._kernel.final or batch.rows() == 0:
            return batch
        ones = np.ones(batch.rows(), dtype=np.int64)
        keys, values = batch.frame.get_column("key"), batch.frame.get_column("value")
        part = Segments(keys, batch.key_lane, values, batch.value_lane, np.arange(batch.rows()), ones)
        return _batch(part, self._walk(part, self._finished))

    def count_keys(self, keys: pl.Series, lane: Lane) -> Batch:
        """Count equal keys, without any values: only for a fold where `counts_only` holds."""
        counted = keys.alias("key").value_counts(name="value")
        return Batch(counted.with_columns(pl.col("value").cast(pl.Int64)), lane, Lane.INT)

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
        except Exception:
            key = keys_list(part.keys.slice(len(folded), 1), part.key_lane)[0]
            self._site.blame(repr(self._aggregator), shorten(key))
            raise
        return value_series(folded)


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
