"""Pairs that share their value, as keys with the number of times that each came: counted in C, pair by pair.

A mapper that yields `word, 1`, or the words of a document with its name, makes many pairs and few different ones. Here
a pair costs one look into a dict, and no column is made of what comes again. Only for keys whose equality is that of
their encodings, never 1 beside True: strings, bytes, and tuples of these. An object of a subclass, of str or
tuple, that equals a key which came before counts as that, where a column of all keys would be refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter
from typing import Any

from mapreduce.errors import KeyTypeError
from mapreduce.quick_dataclass import dataclass

TEXTS = frozenset({str, bytes})
PLAIN_VALUES: frozenset[type] = frozenset({str, bytes, int, bool, float, type(None)})  # what nobody can change
COMPARED: frozenset[type] = PLAIN_VALUES - {float}
ENTRY_BYTES = 160  # of a key in the dict, beside its characters: the object's head, the slot, its share of free ones
TRIED_PAIRS = 32_768  # before it is judged whether keys repeat: some milliseconds
REPEATS = 2  # pairs a key: with fewer a dict costs more than a column of all keys
TRIED_VALUES = 16  # values before it is judged whether pairs share them
PAIRS_PER_VALUE = 256  # on average: with fewer, what each value costs outweighs what its pairs save

_key_of = itemgetter(0)
_NONE = object()


@dataclass(frozen=True, slots=True)
class Tallied:
    """Pairs with the same value, unordered: `times[i]` of them have the key `keys[i]`. Each key is there once."""

    keys: list[Any]
    times: list[int]
    value: Any

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return sum(self.times)


class Tally:
    """Collects pairs of one value after the other, and gives those of each to `take`, at `most_bytes` at the latest.

    `kinds` are the types of values that it takes, some of PLAIN_VALUES. `is_open` says whether it takes more; once it
    is closed, pairs are better made columns. `pairs` counts those taken. What it does is a function of the pairs, and
    of how they are cut into chunks, alone.
    """

    def __init__(self, take: Callable[[Tallied], None], kinds: frozenset[type], most_bytes: int) -> None:
        self._take = take
        self._kinds = kinds
        self._most_bytes = most_bytes
        self._counts: Counter[Any] = Counter()
        self._value: Any = _NONE
        self._held = 0  # pairs in the dict
        self._bytes = 0
        self._values = 0
        self.is_open = True
        self.pairs = 0

    def add(self, pairs: list[tuple[Any, Any]], value: Any) -> bool:
        """Take pairs with this value, all or none of them. Raises KeyTypeError for a key that has no hash."""
        return self._add(lambda: map(_key_of, pairs), len(pairs), value)

    def add_keys(self, keys: list[Any], value: Any = None) -> bool:
        """Take the keys of pairs with this value, all or none of them. Raises as `add` does."""
        return self._add(lambda: keys, len(keys), value)

    def _add(self, keys: Callable[[], Iterable[Any]], number: int, value: Any) -> bool:
        if not self.is_open or not self._begin(value):
            return False
        counts = self._counts
        known = len(counts)
        try:
            counts.update(keys())
        except TypeError as error:
            raise KeyTypeError(str(error)) from error
        if new := len(counts) - known:
            added = list(islice(reversed(counts), new))
            are_texts = TEXTS.issuperset(map(type, added))
            if not are_texts and not all(map(_is_plain, added)):
                self._undo(keys(), added)
                return False
            self._bytes += ENTRY_BYTES * new + sum(map(len if are_texts else _size, added))
        self._held += number
        self.pairs += number
        if self._held >= TRIED_PAIRS and REPEATS * len(counts) > self._held:
            self.is_open = False
        if self._bytes >= self._most_bytes:
            self.end()
        return True

    def end(self) -> None:
        """Give away what is held."""
        if self._held:
            counts, self._counts = self._counts, Counter()
            self._held = self._bytes = 0
            self._take(Tallied(list(counts), list(counts.values()), self._value))

    def _begin(self, value: Any) -> bool:
        """Whether pairs of this value are taken; those of another are given away."""
        if same_value(value, self._value):
            return True
        kind = type(value)
        self._values += 1
        if kind not in self._kinds or (self._values > TRIED_VALUES and self.pairs < PAIRS_PER_VALUE * self._values):
            self.is_open = False
            return False
        self.end()
        self._value = value
        return True

    def _undo(self, keys: Iterable[Any], added: list[Any]) -> None:
        """Take back what was counted of these keys, of which some were added."""
        counts = self._counts
        for key in added:
            del counts[key]
        counts.subtract(filter(counts.__contains__, keys))
        self.is_open = False


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same, for all who see them: not 1 and True, nor 0.0 and -0.0."""
    return one is other or (type(one) is type(other) and type(one) in COMPARED and bool(one == other))


def _is_plain(key: Any) -> bool:
    kind = type(key)
    return kind in TEXTS or (kind is tuple and TEXTS.issuperset(map(type, key)))


def _size(key: Any) -> int:
    return sum(map(len, key)) if type(key) is tuple else len(key)
