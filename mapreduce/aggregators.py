"""Aggregating reducers: they fold values in the map task and merge in the shuffle, so no list of values is ever made.

An Aggregator says how with four methods on plain states. Ours have column kernels (`dataflow.tasks.kernels`), which
must give what the methods give: these are the meaning. Here are those that compute; those that keep some of the values
are in `keeping`, the approximate ones in `sketches`, and several at once in `several`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Protocol, TypeVar

from mapreduce.errors import ValueTypeError

V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
C = TypeVar("C")


class Aggregator(Generic[V_contra, S, R_co]):
    """Folds the values of a key into a state, merges states, and gives one result: `reducer=MyAggregator()`.

    States travel between processes, so they are plain values (or picklable). States of one key are merged in the order
    of the values; `merge` may change and return its first argument, `add` likewise. All four must be pure otherwise.

    One that says `commutative = True` is held to it by `mapreduce check`: its results must not depend on their order.
    """

    commutative: ClassVar[bool] = False

    def create(self, value: V_contra) -> S:
        """The state of one value."""
        raise NotImplementedError

    def add(self, state: S, value: V_contra) -> S:
        """The state with one more value."""
        return self.merge(state, self.create(value))

    def merge(self, state: S, other: S) -> S:
        """The state of the values of both; those of `other` come later."""
        raise NotImplementedError

    def finish(self, state: S) -> R_co:
        """The result of a key's whole state."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class BuiltIn(Aggregator[V_contra, S, R_co]):
    """An aggregator of ours: equal to another of its class with the same settings.

    `packages` are those that a worker must have installed for it.
    """

    packages: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class OverValues(BuiltIn[V_contra, S, R_co]):
    """An aggregator of ours that can do nothing with keys that come without values."""


class Several(Aggregator[V_contra, tuple[Any, ...], R_co]):
    """Folds with several aggregators at once, `members`; a state is the tuple of theirs."""

    members: tuple[Aggregator[Any, Any, Any], ...] = ()

    def merge(self, state: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        """Merge member by member."""
        return tuple([m.merge(one, two) for m, one, two in zip(self.members, state, other, strict=True)])

    def finished(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """The members' results, in their order."""
        return tuple([member.finish(one) for member, one in zip(self.members, state, strict=True)])


class Count(BuiltIn[Any, int, int]):
    """How many values a key has, whatever they are."""

    def create(self, value: Any) -> int:  # noqa: ARG002 - a value counts, whatever it is
        """One."""
        return 1

    def add(self, state: int, value: Any) -> int:  # noqa: ARG002 - a value counts, whatever it is
        """One more."""
        return state + 1

    def merge(self, state: int, other: int) -> int:
        """The sum of both counts."""
        return state + other

    def finish(self, state: int) -> int:
        """The count."""
        return state


class Number(Protocol):
    """What can be added to 0: ints, floats, Decimals, numpy arrays; text and lists cannot."""

    def __radd__(self, other: int, /) -> Any:
        """0 + self."""


class Sum(OverValues[Number, Any, Any]):
    """The sum of a key's values, as Python's `sum` gives it: exact for ints of any size.

    A sum of floats depends on the order of additions: on split size, not on workers or chance (`math.fsum` in a
    reducer does not). Anything numeric with `+` works (Decimal, numpy arrays); text and lists raise ValueTypeError.
    """

    def create(self, value: Number) -> Any:
        """The value as a number: True is 1, and -0.0 is 0.0, as in `sum`."""
        return 0 + number_of(value, "Sum")

    def add(self, state: Any, value: Number) -> Any:
        """The sum and one more value."""
        return state + number_of(value, "Sum")

    def merge(self, state: Any, other: Any) -> Any:
        """The sum of both."""
        return state + other

    def finish(self, state: Any) -> Any:
        """The sum."""
        return state


class Min(OverValues[C, C, C]):
    """The smallest of a key's values; the first of equal ones. A NaN among them makes it NaN. Raises ValueTypeError.

    A NaN inside a tuple counts as larger than all else.
    """

    def create(self, value: C) -> C:
        """The value."""
        return value

    def add(self, state: C, value: C) -> C:
        """The smaller."""
        return self.merge(state, value)

    def merge(self, state: C, other: C) -> C:
        """The smaller, NaN if either is."""
        if is_nan(state):
            return state
        return other if is_nan(other) or is_less(other, state, "Min()") else state

    def finish(self, state: C) -> C:
        """The smallest."""
        return state


class Max(OverValues[C, C, C]):
    """The largest of a key's values; the first of equal ones. A NaN among them makes it NaN. Raises ValueTypeError.

    A NaN inside a tuple counts as larger than all else.
    """

    def create(self, value: C) -> C:
        """The value."""
        return value

    def add(self, state: C, value: C) -> C:
        """The larger."""
        return self.merge(state, value)

    def merge(self, state: C, other: C) -> C:
        """The larger, NaN if either is."""
        if is_nan(state):
            return state
        return other if is_nan(other) or is_less(state, other, "Max()") else state

    def finish(self, state: C) -> C:
        """The largest."""
        return state


class Mean(OverValues[float, tuple[float, int], float]):
    """The arithmetic mean of a key's values, as a float; ints are summed exactly first. Raises ValueTypeError."""

    def create(self, value: float) -> tuple[float, int]:
        """(sum, count) of one value."""
        return 0 + number_of(value, "Mean"), 1

    def add(self, state: tuple[float, int], value: float) -> tuple[float, int]:
        """(sum, count) with one more."""
        return state[0] + number_of(value, "Mean"), state[1] + 1

    def merge(self, state: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
        """(sum, count) of both."""
        return state[0] + other[0], state[1] + other[1]

    def finish(self, state: tuple[float, int]) -> float:
        """Sum / count."""
        return state[0] / state[1]


VarianceState = tuple[int, Any, Any]


class Variance(OverValues[float, VarianceState, float]):
    """The variance of a key's values (of the whole population, as `statistics.pvariance`), as a float.

    Ints are summed exactly first, whatever their size and however they are split; of floats the last digits may depend
    on the split size. Anything that `float` takes is a number. Raises ValueTypeError. The standard deviation is its
    square root.

    The state of ints is (number, sum, sum of squares), all exact. That of floats is (number, mean, sum of squared
    differences from it): values are added as in Welford, "Note on a Method for Calculating Corrected Sums of Squares
    and Products" (1962), and states merged as in Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances" (1979): neither subtracts large numbers that are nearly equal.
    """

    def create(self, value: float) -> VarianceState:
        """The state of one value."""
        number = _real(value)
        return (1, number, number * number) if type(number) is int else (1, number, 0.0)

    def add(self, state: VarianceState, value: float) -> VarianceState:
        """The state with one more value."""
        number = _real(value)
        if type(number) is int and type(state[1]) is int:
            return state[0] + 1, state[1] + number, state[2] + number * number
        count, mean, squares = _about_mean(state)
        difference = number - mean
        mean += difference / (count + 1)
        return count + 1, mean, squares + difference * (number - mean)

    def merge(self, state: VarianceState, other: VarianceState) -> VarianceState:
        """The state of both."""
        if type(state[1]) is int and type(other[1]) is int:
            return state[0] + other[0], state[1] + other[1], state[2] + other[2]
        count, mean, squares = _about_mean(state)
        more, other_mean, other_squares = _about_mean(other)
        difference = other_mean - mean
        share = more / (count + more)
        return (
            count + more,
            mean + difference * share,
            squares + other_squares + difference * difference * (count * share),
        )

    def finish(self, state: VarianceState) -> float:
        """The mean of the squared differences from the mean."""
        count, total, squares = state
        if type(total) is int:
            return float((count * squares - total * total) / (count * count))
        return float(squares / count)


def _real(value: Any) -> int | float:
    """The value as an int (True is 1) or a float."""
    number = number_of(value, "Variance")
    if isinstance(number, int):
        return int(number)
    try:
        return float(number)
    except (TypeError, ValueError) as error:
        msg = f"Variance() needs numbers that float() takes, and got {shown(value)}: {error}"
        raise ValueTypeError(msg) from None


def _about_mean(state: VarianceState) -> tuple[int, float, float]:
    """The state in the form that floats have."""
    count, total, squares = state
    if type(total) is int:
        return count, total / count, (count * squares - total * total) / count
    return state


def missing_methods(aggregator: Aggregator[Any, Any, Any]) -> list[str]:
    """The methods without which it cannot fold, and that its class does not have; those of members are theirs."""
    kind = type(aggregator)
    return [name for name in ("create", "merge", "finish") if getattr(kind, name) is getattr(Aggregator, name)]


def incomplete_one(aggregator: Aggregator[Any, Any, Any]) -> Aggregator[Any, Any, Any] | None:
    """The aggregator (itself, or one inside it) that has not all methods, or None."""
    if isinstance(aggregator, Several):
        return next((found for member in aggregator.members if (found := incomplete_one(member)) is not None), None)
    return aggregator if missing_methods(aggregator) else None


def values_wanted_by(aggregator: Aggregator[Any, Any, Any]) -> Aggregator[Any, Any, Any] | None:
    """The aggregator (itself, or one inside it) that can do nothing with keys that come without values, or None."""
    if isinstance(aggregator, Several):
        return next((wants for member in aggregator.members if (wants := values_wanted_by(member)) is not None), None)
    return aggregator if isinstance(aggregator, OverValues) else None


def packages_wanted_by(aggregator: object) -> set[str]:
    """The packages that an aggregator, or one inside it, needs beside the engine; none for anything else."""
    if isinstance(aggregator, Several):
        return set().union(*map(packages_wanted_by, aggregator.members))
    return set(aggregator.packages) if isinstance(aggregator, BuiltIn) else set()


_NOT_NUMBERS = (str, bytes, bytearray, list, tuple, dict, set, frozenset, type(None))


def number_of(value: Any, name: str) -> Any:
    """The value, if it can be added to a number, with NumPy's scalars as Python's. Raises ValueTypeError."""
    kind = type(value)
    if kind is int or kind is float:
        return value
    if isinstance(value, _NOT_NUMBERS):
        msg = f"{name}() needs numbers, and got {shown(value)}: yield a number, or write a reducer function"
        raise ValueTypeError(msg)
    # numpy's scalars wrap around at 64 bits, Python's numbers don't
    return value.item() if kind.__module__ == "numpy" and kind.__name__ != "ndarray" else value


PLAIN = frozenset({int, bool, str, bytes})  # never a NaN: looked through in C, without a call for each value


def is_nan(value: Any) -> bool:
    """Whether a value is a NaN: Python's, NumPy's or Decimal's."""
    kind = type(value)
    if isinstance(value, float) or (kind.__module__ in {"numpy", "decimal"} and kind.__name__ != "ndarray"):
        return bool(value != value)  # noqa: PLR0124 - NaN (NumPy's and Decimal's too, and NaT) alone differs from itself
    return False


def is_less(one: Any, other: Any, who: str) -> bool:
    """Whether one value is less than the other; a NaN in a tuple or list is larger than all else.

    Raises ValueTypeError where they cannot be compared.
    """
    try:
        both_nested = type(one) is type(other) and type(one) in {tuple, list}
        if both_nested and not (PLAIN.issuperset(map(type, one)) and PLAIN.issuperset(map(type, other))):
            return bool(comparable(one) < comparable(other))
        return bool(one < other)
    except (TypeError, ValueError) as error:
        msg = f"{who} cannot compare {shown(one)} with {shown(other)}: {error}"
        raise ValueTypeError(msg) from None


class _Largest:
    """What stands for a NaN inside a tuple: larger than all else, so that tuples have one order."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return not isinstance(other, _Largest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Largest)

    def __hash__(self) -> int:
        return hash(_Largest)


_LARGEST = _Largest()


def comparable(value: Any) -> Any:
    """What to compare in the place of a value: tuples and lists with something that has an order for each NaN."""
    kind = type(value)
    if kind is tuple:
        return tuple(map(comparable, value))
    if kind is list:
        return list(map(comparable, value))
    return _LARGEST if is_nan(value) else value


def shown(value: object) -> str:
    """The type of a value and its repr, shortened, for a message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
