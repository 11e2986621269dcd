"""Moves of aggregators over whole columns: what their methods `create` and `merge` do, for all keys of a batch at once.

A move gives None where types, an overflow or a signed zero would make it inexact; the Aggregator's own methods then do
it value by value, with the same result. Only the variance of floats may differ from them in its last digits, and a
t-digest in its centroids: both ways are functions of the data. A kernel belongs to one exact class: a subclass goes by
its own methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.aggregators import Count, Max, Mean, Min, Sum, Variance
from mapreduce.dataflow.columns.batches import Lane, encode_values, value_series, values_list
from mapreduce.dataflow.columns.column_codec import encode_value_list
from mapreduce.dataflow.columns.fingerprints import fingerprint_of, normalised
from mapreduce.dataflow.columns.keys import NAN
from mapreduce.dataflow.columns.segments import CHUNK_VALUES, Segments
from mapreduce.dataflow.columns.values import PICKLE_MARK
from mapreduce.errors import ValueTypeError
from mapreduce.keeping import GOLDEN, Collect, First, Sample, TopK
from mapreduce.quick_dataclass import dataclass
from mapreduce.sketches import Distinct, Quantiles

Column = tuple[pl.Series, Lane]
Ints = npt.NDArray[np.int64]
Move = Callable[[Any, Segments], Column | None]  # called with the aggregator

INT64_END = 2**63
LOW_BITS = 32
SQUARE_END = 2**31  # squares of ints below it stay within 64 bits


# ------------------------------------------------------------------------------------------------- sums and extremes


def _ints(values: pl.Series, lane: Lane) -> Ints | None:
    if lane is Lane.INT:
        return values.to_numpy()
    return values.cast(pl.Int64).to_numpy() if lane is Lane.BOOL else None


def _int_sums(ints: Ints, part: Segments) -> Column:
    """The exact sum of each segment, beyond 64 bits too."""
    largest = max(abs(int(ints.min())), abs(int(ints.max())))
    if largest * int(part.lengths.max()) < INT64_END:
        return pl.Series("value", np.add.reduceat(ints, part.starts), dtype=pl.Int64), Lane.INT
    high = np.add.reduceat(ints >> LOW_BITS, part.starts).tolist()  # both halves of 2**31 values stay within 64 bits
    low = np.add.reduceat(ints & (2**LOW_BITS - 1), part.starts).tolist()
    return value_series([(h << LOW_BITS) + rest for h, rest in zip(high, low, strict=True)])


def _float_sums(floats: npt.NDArray[np.float64], part: Segments) -> npt.NDArray[np.float64]:
    """The sum of each segment, added from left to right, beginning with 0."""
    sums = np.bincount(_codes(part), weights=floats, minlength=len(part.starts))
    return sums.astype(np.float64, copy=False)


def _codes(part: Segments) -> Ints:
    """The number of each value's segment."""
    return np.repeat(np.arange(len(part.starts)), part.lengths)


def _sums(_aggregator: Any, part: Segments) -> Column | None:
    if part.value_lane is Lane.FLOAT:
        return pl.Series("value", _float_sums(part.values.to_numpy(), part), dtype=pl.Float64), Lane.FLOAT
    ints = _ints(part.values, part.value_lane)
    return None if ints is None else _int_sums(ints, part)


def _lengths(_aggregator: Any, part: Segments) -> Column | None:
    return pl.Series("value", part.lengths, dtype=pl.Int64), Lane.INT


def _means(aggregator: Any, part: Segments) -> Column | None:
    """The states (sum, number) of Mean."""
    sums = _sums(aggregator, part)
    if sums is None:
        return None
    return value_series(list(zip(values_list(*sums), part.lengths.tolist(), strict=True)))


def _variances(_aggregator: Any, part: Segments) -> Column | None:
    """The states of Variance: of ints exact, of floats in two passes.

    The second pass corrects the rounding of the mean: Chan, Golub & LeVeque, "Algorithms for Computing the Sample
    Variance" (1983).
    """
    if part.value_lane is Lane.FLOAT:
        floats = part.values.to_numpy()
        with np.errstate(all="ignore"):  # what is not finite goes by the methods
            means = _float_sums(floats, part) / part.lengths
            apart = floats - np.repeat(means, part.lengths)
            squares = _float_sums(apart * apart, part) - _float_sums(apart, part) ** 2 / part.lengths
        if not np.isfinite(squares).all():
            return None
        squares = np.maximum(squares, 0.0)
        return value_series(list(zip(part.lengths.tolist(), means.tolist(), squares.tolist(), strict=True)))
    ints = _ints(part.values, part.value_lane)
    if ints is None or int(ints.min()) <= -SQUARE_END or int(ints.max()) >= SQUARE_END:
        return None
    sums, squares_sums = values_list(*_int_sums(ints, part)), values_list(*_int_sums(ints * ints, part))
    return value_series(list(zip(part.lengths.tolist(), sums, squares_sums, strict=True)))


def _extreme(part: Segments, reduceat: Callable[..., Any]) -> Column | None:
    if part.value_lane not in {Lane.INT, Lane.FLOAT, Lane.BOOL}:
        return None
    values = part.values.to_numpy()
    if part.value_lane is Lane.FLOAT and _has_minus_zero(values):
        return None  # which of 0.0 and -0.0 numpy takes is its own affair; the first of equals is the rule
    return pl.Series("value", reduceat(values, part.starts), dtype=part.values.dtype), part.value_lane


def _has_minus_zero(floats: npt.NDArray[np.float64]) -> bool:
    return bool((np.signbit(floats) & (floats == 0)).any())


def _minima(_aggregator: Any, part: Segments) -> Column | None:
    return _extreme(part, np.minimum.reduceat)


def _maxima(_aggregator: Any, part: Segments) -> Column | None:
    return _extreme(part, np.maximum.reduceat)


# ------------------------------------------------------------------------------------------------------- kept values


def _firsts(_aggregator: Any, part: Segments) -> Column | None:
    return part.values.gather(part.starts), part.value_lane


def _collected(_aggregator: Any, part: Segments) -> Column | None:
    values = values_list(part.values, part.value_lane)
    return value_series([values[start:end] for start, end in _bounds(part.lengths)])


def _largest(aggregator: TopK[Any], part: Segments) -> Column | None:
    strange = part.value_lane is Lane.FLOAT and _has_minus_zero(part.values.to_numpy())
    if strange or part.value_lane is Lane.ENCODED:  # what is equal may differ, so which is first matters
        values = values_list(part.values, part.value_lane)
        try:
            return value_series([aggregator.merge([], values[start:end]) for start, end in _bounds(part.lengths)])
        except ValueTypeError:
            return None  # told again by the methods, which know the key
    frame = pl.DataFrame([pl.Series("code", _codes(part)), part.values.alias("value")])
    frame = frame.sort("code", "value", descending=[False, True], maintain_order=True)
    ranks = np.arange(frame.height) - np.repeat(part.starts, part.lengths)
    kept = frame.get_column("value").gather(np.flatnonzero(ranks < aggregator.n)).to_list()
    return value_series([kept[start:end] for start, end in _bounds(np.minimum(part.lengths, aggregator.n))])


def _samples(aggregator: Sample[Any], part: Segments) -> Column | None:
    drawn = _draws(*aggregator.take(part.values.len()), part.values.len())
    order = np.lexsort((drawn, _codes(part)))
    ranks = np.arange(len(order)) - np.repeat(part.starts, part.lengths)
    chosen = order[ranks < aggregator.n]
    values, draws = values_list(part.values.gather(chosen), part.value_lane), drawn[chosen].tolist()
    bounds = _bounds(np.minimum(part.lengths, aggregator.n))
    return value_series([(draws[start:end], values[start:end]) for start, end in bounds])


def _draws(base: int, first: int, count: int) -> Ints:
    """What `keeping.draw` gives for so many numbers on from `first`."""
    numbers = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
    words = np.uint64(base) + numbers * np.uint64(GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((words ^ (words >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _bounds(lengths: Ints) -> Iterator[tuple[int, int]]:
    """Where each of some neighbouring stretches begins and ends."""
    ends = np.cumsum(lengths).tolist()
    return zip([0, *ends[:-1]], ends, strict=True)


# --------------------------------------------------------------------------------------------------------- sketches


def _distinct(aggregator: Distinct, part: Segments) -> Column | None:
    values = part.values
    if part.value_lane is Lane.FLOAT:
        floats = values.to_numpy() + 0.0  # -0.0 becomes 0.0, as in keys
        floats[np.isnan(floats)] = NAN
        values = pl.Series("value", floats)
    frame = pl.DataFrame([pl.Series("code", _codes(part)), values.alias("value")]).unique(maintain_order=True)
    objects = values_list(frame.get_column("value"), part.value_lane)
    if part.value_lane is Lane.ENCODED:
        objects = list(map(normalised, objects))
    encodings = encode_value_list(objects)
    if encodings.bin.starts_with(PICKLE_MARK).any():
        return None  # refused by the methods, which know the key
    fingerprints = list(map(fingerprint_of, encodings.to_list()))
    lengths = np.bincount(frame.get_column("code").to_numpy(), minlength=len(part.starts))
    return value_series([aggregator.sketch_of(fingerprints[start:end]) for start, end in _bounds(lengths)])


def _digests(aggregator: Quantiles, part: Segments) -> Column | None:
    if part.value_lane in {Lane.INT, Lane.BOOL, Lane.FLOAT}:
        numbers = part.values.cast(pl.Float64).to_numpy()
    else:
        try:
            numbers = np.array([aggregator.number(value) for value in values_list(part.values, part.value_lane)])
        except ValueTypeError:
            return None  # told again by the methods, which know the key
    return value_series([aggregator.state_of(numbers[start:end]) for start, end in _bounds(part.lengths)])


def _merged_sketches(aggregator: Distinct | Quantiles, part: Segments) -> Column | None:
    states = values_list(part.values, part.value_lane)
    return value_series([aggregator.merge_all(states[start:end]) for start, end in _bounds(part.lengths)])


# ----------------------------------------------------------------------------------------------------------- kernels


def _by_methods(_aggregator: Any, _part: Segments) -> Column | None:
    return None


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
    Variance: Kernel(_variances, _by_methods, final=False),
    First: Kernel(_firsts, _firsts, final=True),
    Collect: Kernel(_collected, _by_methods, final=True),
    TopK: Kernel(_largest, _by_methods, final=True),
    Sample: Kernel(_samples, _by_methods, final=False),
    Distinct: Kernel(_distinct, _merged_sketches, final=False),
    Quantiles: Kernel(_digests, _merged_sketches, final=False),
}
BY_METHODS = Kernel(_by_methods, _by_methods, final=False)


def fields_of(part: Segments, count: int) -> list[Segments] | None:
    """The fields of a column of tuples, each as a column of its own, by the same keys.

    None where a value is no plain tuple of `count` fields. Tuples become objects a chunk at a time.
    """
    chunks: list[list[Column]] = []
    for start in range(0, part.values.len(), CHUNK_VALUES):
        values = values_list(part.values.slice(start, CHUNK_VALUES), part.value_lane)
        if set(map(type, values)) != {tuple} or set(map(len, values)) != {count}:
            return None
        chunks.append([value_series(list(field)) for field in zip(*values, strict=True)])
    columns = [_joined(column) for column in zip(*chunks, strict=True)]
    return [replace(part, values=values, value_lane=lane) for values, lane in columns]


def _joined(columns: Sequence[Column]) -> Column:
    """One column of several, in the lane where they meet."""
    lanes = {lane for _, lane in columns}
    if len(lanes) == 1:
        return pl.concat([values for values, _ in columns]), lanes.pop()
    return pl.concat([encode_values(values, lane) for values, lane in columns]), Lane.ENCODED
