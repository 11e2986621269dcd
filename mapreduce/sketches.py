"""Approximate aggregators, whose states stay small however many values a key has: `Distinct` and `Quantiles`.

They stand on Apache DataSketches (the package `datasketches`, the extra `sketches`). Of its sketches these two use no
random numbers: HyperLogLog, whose registers are a function of the set of values, and t-digest, which is a function of
the values in their order. Hashes are our own, over a value's canonical encoding.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mapreduce.aggregators import OverValues, number_of, shown
from mapreduce.errors import JobDefinitionError, ValueTypeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PACKAGE = "datasketches"
PRECISION = 14  # 0.8% of error for at most 8 KiB a key
LEAST_PRECISION, MOST_PRECISION = 7, 21  # what the library takes: 9% and 64 bytes, 0.07% and 1 MiB
CENTROIDS = 1000  # of a digest: ranks are within 0.5%, and within 0.01% at the ends, for at most 20 KiB a key
MOST_POINTS = 1000


QuantilesState = tuple[bytes, int, int, int]


def _library(name: str) -> Any:
    """The module of the sketches. Raises JobDefinitionError where it is not installed."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        msg = f"{name} needs the package datasketches: pip install 'mapreduce-engine[sketches]' ({error})"
        raise JobDefinitionError(msg) from None


class Distinct(OverValues[Any, bytes, int]):
    """About how many different values a key has, in little memory: HyperLogLog with 2**precision registers.

    The standard error is 1.04 / sqrt(2**precision), 0.8% by default, and next to none for a few hundred values. Values
    are told apart as keys are: 1, 1.0 and True are three, while NaN is one and -0.0 is 0.0; what can be no key counts
    by type and content. The result does not depend on how the input is split. Raises JobDefinitionError for a precision
    out of range, or where the package is missing; ValueTypeError for values that only pickle can write.
    """

    packages = (PACKAGE,)

    def __init__(self, precision: int = PRECISION) -> None:
        right = isinstance(precision, int) and not isinstance(precision, bool)
        if not right or not LEAST_PRECISION <= precision <= MOST_PRECISION:
            msg = (
                f"precision= of Distinct is a whole number from {LEAST_PRECISION} (9% of error) to {MOST_PRECISION} "
                f"(0.07%), not {precision!r}"
            )
            raise JobDefinitionError(msg)
        self.precision = precision
        _library("Distinct()")

    def create(self, value: Any) -> bytes:
        """The sketch of one value. Raises ValueTypeError for one that only pickle can write."""
        from mapreduce.dataflow.columns.fingerprints import fingerprint  # noqa: PLC0415 - describing a job does not need it

        return self.sketch_of([fingerprint(value)])

    def merge(self, state: bytes, other: bytes) -> bytes:
        """The sketch of both."""
        return self.merge_all([state, other])

    def finish(self, state: bytes) -> int:
        """The estimate, as a whole number."""
        library = _library("Distinct()")
        sketch = library.hll_sketch.deserialize(state)
        union = library.hll_union(self.precision)
        # A sketch that was never merged estimates by its history. Once merged, even with itself, it estimates by its
        # registers alone: the same number for the same set of values, however the work was cut.
        union.update(sketch)
        union.update(sketch)
        return round(float(union.get_estimate()))

    def sketch_of(self, fingerprints: Iterable[int]) -> bytes:
        """The sketch of values by their fingerprints."""
        library = _library("Distinct()")
        sketch = library.hll_sketch(self.precision, library.HLL_4)
        update = sketch.update
        for one in fingerprints:
            update(one)
        return bytes(sketch.serialize_compact())

    def merge_all(self, states: Sequence[bytes]) -> bytes:
        """The sketch of all of them."""
        library = _library("Distinct()")
        union = library.hll_union(self.precision)
        for state in states:
            union.update(library.hll_sketch.deserialize(state))
        return bytes(union.get_result(library.HLL_4).serialize_compact())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive on a worker. Raises JobDefinitionError where the package is missing there."""
        _library("Distinct()")
        vars(self).update(state)

    def __repr__(self) -> str:
        return "Distinct()" if self.precision == PRECISION else f"Distinct(precision={self.precision})"


class Quantiles(OverValues[float, QuantilesState, list[float]]):
    """About the quantiles of a key's numbers at `points` from 0 to 1, as a list of floats, in their order: a t-digest.

    `Quantiles([0.5, 0.99])` is the median and the 99th percentile; 0 is the minimum and 1 the maximum. Ranks are within
    0.5%, and far closer at both ends; up to some hundred values they are exact, and of an even number the median is the
    upper of two. Infinities have their rank; a NaN makes all quantiles NaN. The last digits may depend on the split
    size. Raises JobDefinitionError for strange points or where the package is missing, ValueTypeError for what is no
    number.
    """

    packages = (PACKAGE,)

    def __init__(self, points: Iterable[float]) -> None:
        if isinstance(points, (str, bytes)) or not isinstance(points, Iterable):
            msg = f"Quantiles takes a list of points from 0 to 1, such as Quantiles([0.5, 0.99]), not {points!r}"
            raise JobDefinitionError(msg)
        self.points = tuple(points)
        if not 1 <= len(self.points) <= MOST_POINTS:
            msg = (
                f"Quantiles takes 1 to {MOST_POINTS:,} points, such as Quantiles([0.5, 0.99]), not {len(self.points):,}"
            )
            raise JobDefinitionError(msg)
        for point in self.points:
            if isinstance(point, bool) or not isinstance(point, (int, float)) or not 0 <= point <= 1:
                msg = f"a point of Quantiles is a number from 0 to 1 (0.5 is the median), not {point!r}"
                raise JobDefinitionError(msg)
        _library("Quantiles()")

    def create(self, value: float) -> QuantilesState:
        """The state of one number: (digest of finite ones, number of -inf, of inf, of NaN)."""
        import numpy as np  # noqa: PLC0415 - describing a job does not need it

        return self.state_of(np.array([self.number(value)]))

    def merge(self, state: QuantilesState, other: QuantilesState) -> QuantilesState:
        """The state of both."""
        return self.merge_all([state, other])

    def finish(self, state: QuantilesState) -> list[float]:
        """The quantiles."""
        data, below, above, nans = state
        if nans:
            return [math.nan] * len(self.points)
        digest = _library("Quantiles()").tdigest_double.deserialize(data)
        inside = 0 if digest.is_empty() else int(digest.get_total_weight())
        found = []
        for point in self.points:
            rank = point * (below + inside + above) - below
            if rank < 0 or (rank == inside == 0 and not above):
                found.append(-math.inf)
            elif inside == 0 or (above and rank >= inside):
                found.append(math.inf)
            else:
                found.append(float(digest.get_quantile(rank / inside)))
        return found

    def number(self, value: Any) -> float:
        """The value as a float. Raises ValueTypeError."""
        try:
            return float(number_of(value, "Quantiles"))
        except (TypeError, ValueError, OverflowError) as error:
            msg = f"Quantiles() needs numbers that float() takes, and got {shown(value)}: {error}"
            raise ValueTypeError(msg) from None

    def state_of(self, numbers: npt.NDArray[np.float64]) -> QuantilesState:
        """The state of a column of floats."""
        import numpy as np  # noqa: PLC0415 - describing a job does not need it

        digest = _library("Quantiles()").tdigest_double(CENTROIDS)
        finite = np.isfinite(numbers)
        if finite.all():
            digest.update(np.array(numbers))  # the library takes no array that is read-only, as columns are
            return bytes(digest.serialize()), 0, 0, 0
        digest.update(numbers[finite])
        above, below = int(np.isposinf(numbers).sum()), int(np.isneginf(numbers).sum())
        return bytes(digest.serialize()), below, above, int(np.isnan(numbers).sum())

    def merge_all(self, states: Sequence[QuantilesState]) -> QuantilesState:
        """The state of all of them, from left to right."""
        library = _library("Quantiles()")
        digest = library.tdigest_double.deserialize(states[0][0])
        for state in states[1:]:
            digest.merge(library.tdigest_double.deserialize(state[0]))
        below, above, nans = (sum(counts) for counts in list(zip(*states, strict=True))[1:])
        return bytes(digest.serialize()), below, above, nans

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive on a worker. Raises JobDefinitionError where the package is missing there."""
        _library("Quantiles()")
        vars(self).update(state)

    def __repr__(self) -> str:
        return f"Quantiles({list(self.points)})"
