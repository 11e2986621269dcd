"""Aggregators that keep some of a key's values: `TopK`, `Collect`, `First` and `Sample`."""

from __future__ import annotations

import copy
from bisect import insort
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import xxhash

from mapreduce.aggregators import PLAIN, OverValues, comparable, is_less, is_nan
from mapreduce.errors import JobDefinitionError, ValueTypeError

V = TypeVar("V")
SampleState = tuple[list[int], list[Any]]

MOST_KEPT = 1_000_000  # values of a key: a state is one record, which lies in memory whole
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: the step of SplitMix64
WORD = 2**64 - 1
_NEVER_NAN = PLAIN | {tuple, list}


def _checked_n(name: str, n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_KEPT:
        msg = f"{name}(n) keeps n values, a whole number from 1 to {MOST_KEPT:,}, not {n!r}"
        raise JobDefinitionError(msg)
    return n


class First(OverValues[V, V, V]):
    """The first of a key's values, in the order of the input."""

    def create(self, value: V) -> V:
        """The value."""
        return value

    def add(self, state: V, value: V) -> V:  # noqa: ARG002 - what comes later does not matter
        """The first one still."""
        return state

    def merge(self, state: V, other: V) -> V:  # noqa: ARG002 - what comes later does not matter
        """The first one still."""
        return state

    def finish(self, state: V) -> V:
        """The first."""
        return state


class Collect(OverValues[V, list[V], list[V]]):
    """All values of a key as a list, in the order of the input. They must fit into memory: a reducer streams them."""

    def create(self, value: V) -> list[V]:
        """A list of one."""
        return [value]

    def add(self, state: list[V], value: V) -> list[V]:
        """The list, longer by one."""
        state.append(value)
        return state

    def merge(self, state: list[V], other: list[V]) -> list[V]:
        """Both lists in one."""
        state += other
        return state

    def finish(self, state: list[V]) -> list[V]:
        """The list."""
        return state


class TopK(OverValues[V, list[V], list[V]]):
    """The `n` largest of a key's values as a list, largest first; of equal ones the earlier first.

    A NaN counts as larger than all else, inside a tuple too. For the keys with the largest values, let them be values:
    (count, word). Raises ValueTypeError for values that cannot be compared, JobDefinitionError for an `n` that is no
    number of values.
    """

    def __init__(self, n: int) -> None:
        self.n = _checked_n("TopK", n)

    def create(self, value: V) -> list[V]:
        """A list of one."""
        return [value]

    def add(self, state: list[V], value: V) -> list[V]:
        """The list with the value, if it belongs there."""
        if len(state) == self.n and not is_nan(value):
            last = state[-1]
            if is_nan(last) or not is_less(last, value, repr(self)):
                return state
        return self.merge(state, [value])

    def merge(self, state: list[V], other: list[V]) -> list[V]:
        """The largest of both."""
        both: list[Any] = state + other
        nans: list[Any] = []
        kinds = set(map(type, both))
        if not _NEVER_NAN.issuperset(kinds):
            nans = [value for value in both if is_nan(value)]
            both = [value for value in both if not is_nan(value)]
        try:
            both.sort(reverse=True, key=comparable if _may_hold_nan(kinds, both) else None)
        except (TypeError, ValueError) as error:
            msg = f"{self!r} cannot compare the values of a key: {error}"
            raise ValueTypeError(msg) from None
        return (nans + both)[: self.n]

    def finish(self, state: list[V]) -> list[V]:
        """The largest."""
        return state

    def __repr__(self) -> str:
        return f"TopK({self.n})"


def _may_hold_nan(kinds: set[type], values: list[Any]) -> bool:
    """Whether there may be a NaN inside a value; in tuples of texts and whole numbers there is none."""
    if kinds == {tuple}:
        return not PLAIN.issuperset(map(type, chain.from_iterable(values)))
    return not kinds.isdisjoint({tuple, list})


class Sample(OverValues[V, SampleState, list[V]]):
    """`n` of a key's values as a list in random order, or all if there are fewer: each subset is equally likely.

    Every value draws a number from a stream of its task, made of `seed` and the task's place in the job; the `n` least
    ones stay, which makes merging exact. So the sample is the same at each run, and another one with another seed or
    split size; samples of one seed take the same records. Raises JobDefinitionError for a strange `n` or `seed`.
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = _checked_n("Sample", n)
        if isinstance(seed, bool) or not isinstance(seed, int):
            msg = f"the seed of Sample(n, seed) is a whole number, not {seed!r}"
            raise JobDefinitionError(msg)
        self.seed = seed
        self.base: int | None = None  # of its stream, which a task gives
        self.drawn = 0

    def on_stream(self, name: str) -> Sample[V]:
        """A copy that draws from the stream of this name, from its beginning."""
        other = copy.copy(self)
        other.base = xxhash.xxh3_64_intdigest(f"{self.seed}/{name}".encode())
        other.drawn = 0
        return other

    def take(self, count: int) -> tuple[int, int]:
        """Take the next `count` draws of the stream: its base, and the number of the first. Raises as `create`."""
        if self.base is None:
            msg = (
                f"{self!r} draws from a stream of its task, and has none here: give it as the reducer, or inside a "
                "dict or tuple of aggregators; on its own, as in a test, call on_stream('test') first"
            )
            raise JobDefinitionError(msg)
        first = self.drawn
        self.drawn += count
        return self.base, first

    def create(self, value: V) -> SampleState:
        """(draws, values) of one value. Raises JobDefinitionError where no stream was given."""
        return [draw(*self.take(1))], [value]

    def add(self, state: SampleState, value: V) -> SampleState:
        """The state with the value, if its draw is low enough."""
        drawn = draw(*self.take(1))
        if len(state[0]) == self.n and drawn >= state[0][-1]:
            return state
        pairs = list(zip(*state, strict=True))
        insort(pairs, (drawn, value), key=itemgetter(0))
        return _unzipped(pairs[: self.n])

    def merge(self, state: SampleState, other: SampleState) -> SampleState:
        """The values of both with the lowest draws."""
        pairs = sorted([*zip(*state, strict=True), *zip(*other, strict=True)], key=itemgetter(0))
        return _unzipped(pairs[: self.n])

    def finish(self, state: SampleState) -> list[V]:
        """The values."""
        return state[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and (other.n, other.seed) == (self.n, self.seed)

    def __hash__(self) -> int:
        return hash((self.n, self.seed))

    def __repr__(self) -> str:
        return f"Sample({self.n}{f', seed={self.seed}' if self.seed else ''})"


def _unzipped(pairs: list[tuple[int, Any]]) -> SampleState:
    return [drawn for drawn, _ in pairs], [value for _, value in pairs]


def draw(base: int, number: int) -> int:
    """Draw number `number` of a stream, below 2**63.

    SplitMix64: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
    """
    word = (base + (number + 1) * GOLDEN) & WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return (word ^ (word >> 31)) >> 1  # of 63 bits, so that a column of them is one of ints
