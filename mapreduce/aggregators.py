"""Aggregating reducers: they fold values in the map task and merge in the shuffle, so no list of values is ever made.

An Aggregator says how with four methods on plain states. `Count`, `Sum`, `Min`, `Max` and `Mean` have column kernels
beside (in `dataflow.fold`), which must give what these methods give: the methods here are the meaning.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from mapreduce.errors import ValueTypeError

V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
C = TypeVar("C")


class Aggregator(Generic[V_contra, S, R_co]):
    """Folds the values of a key into a state, merges states, and gives one result: `reducer=MyAggregator()`.

    States travel between processes, so they are plain values (or picklable). States of one key are merged in the order
    of the values; `merge` may change and return its first argument, `add` likewise. All four must be pure otherwise.
    """

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


class Count(Aggregator[Any, int, int]):
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


class Sum(Aggregator[Number, Any, Any]):
    """The sum of a key's values, as Python's `sum` gives it: exact for ints of any size.

    A sum of floats depends on the order of additions: on split size, not on workers or chance (`math.fsum` in a
    reducer does not). Anything numeric with `+` works (Decimal, numpy arrays); text and lists raise ValueTypeError.
    """

    def create(self, value: Number) -> Any:
        """The value as a number: True is 1, and -0.0 is 0.0, as in `sum`."""
        return 0 + _number(value, "Sum")

    def add(self, state: Any, value: Number) -> Any:
        """The sum and one more value."""
        return state + _number(value, "Sum")

    def merge(self, state: Any, other: Any) -> Any:
        """The sum of both."""
        return state + other

    def finish(self, state: Any) -> Any:
        """The sum."""
        return state


class Min(Aggregator[C, C, C]):
    """The smallest of a key's values; the first of equal ones. A NaN among them makes it NaN. Raises ValueTypeError."""

    def create(self, value: C) -> C:
        """The value."""
        return value

    def add(self, state: C, value: C) -> C:
        """The smaller."""
        return self.merge(state, value)

    def merge(self, state: C, other: C) -> C:
        """The smaller, NaN if either is."""
        if _is_nan(state):
            return state
        return other if _is_nan(other) or _less(other, state, "Min") else state

    def finish(self, state: C) -> C:
        """The smallest."""
        return state


class Max(Aggregator[C, C, C]):
    """The largest of a key's values; the first of equal ones. A NaN among them makes it NaN. Raises ValueTypeError."""

    def create(self, value: C) -> C:
        """The value."""
        return value

    def add(self, state: C, value: C) -> C:
        """The larger."""
        return self.merge(state, value)

    def merge(self, state: C, other: C) -> C:
        """The larger, NaN if either is."""
        if _is_nan(state):
            return state
        return other if _is_nan(other) or _less(state, other, "Max") else state

    def finish(self, state: C) -> C:
        """The largest."""
        return state


class Mean(Aggregator[float, tuple[float, int], float]):
    """The arithmetic mean of a key's values, as a float; ints are summed exactly first. Raises ValueTypeError."""

    def create(self, value: float) -> tuple[float, int]:
        """(sum, count) of one value."""
        return 0 + _number(value, "Mean"), 1

    def add(self, state: tuple[float, int], value: float) -> tuple[float, int]:
        """(sum, count) with one more."""
        return state[0] + _number(value, "Mean"), state[1] + 1

    def merge(self, state: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
        """(sum, count) of both."""
        return state[0] + other[0], state[1] + other[1]

    def finish(self, state: tuple[float, int]) -> float:
        """Sum / count."""
        return state[0] / state[1]


def values_wanted_by(aggregator: Aggregator[Any, Any, Any]) -> Aggregator[Any, Any, Any] | None:
    """The aggregator (itself, or one inside it) that can do nothing with keys that come without values, or None."""
    return aggregator if isinstance(aggregator, (Sum, Min, Max, Mean)) else None


_NOT_NUMBERS = (str, bytes, bytearray, list, tuple, dict, set, frozenset, type(None))


def _number(value: Any, name: str) -> Any:
    kind = type(value)
    if kind is int or kind is float:
        return value
    if isinstance(value, _NOT_NUMBERS):
        msg = f"{name}() adds numbers, and got {_shown(value)}: yield a number, or write a reducer function"
        raise ValueTypeError(msg)
    # numpy's scalars wrap around at 64 bits, Python's numbers don't
    return value.item() if kind.__module__ == "numpy" and kind.__name__ != "ndarray" else value


def _is_nan(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, float) or (kind.__module__ in {"numpy", "decimal"} and kind.__name__ != "ndarray"):
        return bool(value != value)  # noqa: PLR0124 - NaN (NumPy's and Decimal's too, and NaT) alone differs from itself
    return False


def _less(one: Any, other: Any, name: str) -> bool:
    try:
        return bool(one < other)
    except (TypeError, ValueError) as error:
        msg = f"{name}() cannot compare {_shown(one)} with {_shown(other)}: {error}"
        raise ValueTypeError(msg) from None


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
