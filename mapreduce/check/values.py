"""The values that laws are tried on: some keys with some of the values that the job's mapper has emitted for them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mapreduce.check.compare import Likeness, alike
from mapreduce.check.trial import encoded_pairs
from mapreduce.dataflow.columns.batches import Batch
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.columns.values import decode_value
from mapreduce.dataflow.context import shorten
from mapreduce.quick_dataclass import dataclass

LAW_KEYS = 20  # tried of each step: those with the most values
LAW_VALUES = 32  # of each key
LENGTHS = (2, 3, 4, LAW_VALUES)  # of the lists that are tried
CUTS = 6  # random ones of a long list; of a short one all are tried
SEED = 1  # of these cuts: the same at every check
SHOWN_CHARS = 200  # of a value in an example


@dataclass(frozen=True, slots=True)
class Group:
    """A key with values of it, as their encodings: a function may change what it is given, so each gets its own."""

    key: Any
    values: tuple[bytes, ...]

    def decoded(self) -> list[Any]:
        """The values, made anew."""
        return list(map(decode_value, self.values))

    def parts(self, places: Sequence[int]) -> list[Group]:
        """The group cut at these places."""
        cuts = itertools.pairwise([0, *places, len(self.values)])
        return [Group(self.key, self.values[start:stop]) for start, stop in cuts]

    def beginnings(self) -> Iterator[Group]:
        """The groups of its first values that are tried, the shortest first: two show more than thirty."""
        for length in LENGTHS:
            yield Group(self.key, self.values[:length])
            if length >= len(self.values):
                return

    def cuts(self, chance: random.Random) -> Iterator[list[int]]:
        """Where to cut it: every place or two of a short one, else some random places."""
        length = len(self.values)
        if length <= LENGTHS[-2]:
            for number in (1, 2):
                yield from map(list, itertools.combinations(range(1, length), number))
            return
        for _ in range(CUTS):
            yield sorted(chance.sample(range(1, length), min(length - 1, chance.randint(1, 5))))

    def __str__(self) -> str:
        return f"key {shown(self.key)}, values {shown(self.decoded())}"


def groups_of(batches: Iterable[Batch]) -> list[Group]:
    """The keys with the most values, two at least, each with the first of them."""
    found: dict[bytes, list[bytes]] = {}
    for batch in batches:
        for key, value in encoded_pairs(batch):
            values = found.setdefault(key, [])
            if len(values) < LAW_VALUES:
                values.append(value)
    several = [(key, values) for key, values in found.items() if len(values) > 1]
    several.sort(key=lambda item: (-len(item[1]), item[0]))
    return [Group(decode_key(key), tuple(values)) for key, values in several[:LAW_KEYS]]


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one way: a result, or what was raised."""

    result: Any
    error: Exception | None = None

    def __str__(self) -> str:
        if self.error is None:
            return shown(self.result)
        first = str(self.error).strip().partition("\n")[0]
        return f"{type(self.error).__name__}: {first:.{SHOWN_CHARS}}"


Way = tuple[str, Tried]  # what was done with values, in words, and what came of it


def tried(function: Callable[..., Any], *arguments: Any) -> Tried:
    """Call a function, and keep what it gives or raises."""
    try:
        return Tried(function(*arguments))
    except Exception as error:  # noqa: BLE001 - what the user's function raises is what is to be known
        return Tried(None, error)


def likeness(one: Tried, other: Tried) -> Likeness:
    """How alike two ways have come out; one that raises is like no other."""
    if one.error is not None or other.error is not None:
        return Likeness.DIFFERENT
    return alike(one.result, other.result)


def shown(thing: Any) -> str:
    """A value for people, shortened."""
    return f"{shorten(thing):.{SHOWN_CHARS}}"
