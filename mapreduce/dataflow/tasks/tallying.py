"""The loop for mappers of which it is proven that their pairs share their values: pairs are counted, not collected."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice, repeat
from typing import Any, NoReturn

from mapreduce.calls import Call
from mapreduce.dataflow.columns.tally import PLAIN_VALUES, Tallied, Tally, same_value
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.emit import Emitter
from mapreduce.dataflow.tasks.lifting import PLAIN, pairs_of
from mapreduce.dataflow.tasks.sinks import ShuffleSink, Sink
from mapreduce.dataflow.tasks.yields import Constant, Fixed, proven
from mapreduce.errors import KeyTypeError
from mapreduce.plan import Limits

CHUNK_PAIRS = 512  # counted by one call: 1 ns a pair for it, and their tuples are used again and again, in the cache


class Tallying:
    """Takes pairs of a mapper whose pairs are proven to share values, into a sink that takes tallied ones.

    `across_calls` says that all pairs of all calls have one value, else those of one call have. `refuse` is called with
    keys one of which has no hash. `is_open` holds until `end`. Pairs are cut into chunks where their value changes, and
    by their number: what is counted together is the same in every loop.
    """

    def __init__(
        self,
        proof: Constant | Fixed,
        sink: ShuffleSink,
        site: Site,
        refuse: Callable[[list[Any]], NoReturn],
        most_bytes: int,
    ) -> None:
        self._sink = sink
        self._site = site
        self._refuse = refuse
        self._tally = Tally(self._hand_on, sink.tallied_kinds, most_bytes)
        self._chunk: list[Any] = []  # pairs of one value, which wait for more
        self.across_calls = isinstance(proof, Constant)
        self.is_open = True
        self._keys: list[Any] = []  # as `_chunk`, of lifted pairs; one of the two is empty
        self._value: Any = None
        self.lifts = True

    @property
    def pairs(self) -> int:
        """How many pairs have been counted."""
        return self._tally.pairs

    def take(self, calls: Iterable[Iterator[Any]]) -> Iterator[Any] | None:
        """Take the pairs that each call yields; or as many as it pays to count, and give the rest of that call.

        Raises KeyTypeError for a key that has no hash, and whatever the iterators raise.
        """
        chunk = self._chunk
        value = chunk[0][1] if chunk else None
        for call in calls:
            pairs, is_fixed = self._opened(call)
            if not is_fixed:
                return pairs
            while True:
                before = len(chunk)
                asked = CHUNK_PAIRS - before
                chunk += islice(pairs, asked)
                given = len(chunk) - before
                if not given:
                    break
                first = chunk[before][1]
                if first is not value and before and not same_value(first, value):
                    rest = chunk[before:]
                    del chunk[before:]
                    if not self._count():
                        return chain(self._left(), rest, pairs)
                    chunk += rest
                value = first
                if len(chunk) == CHUNK_PAIRS and not self._count():
                    return chain(self._left(), pairs)
                if given < asked:
                    break  # the call is over; a chunk that is not full is no sign of it, where the value has changed
        return None

    def _opened(self, call: Iterator[Any]) -> tuple[Iterator[Any], bool]:
        """The pairs of a call, and whether nobody can change their value: else it is settled before it goes on."""
        if self.across_calls:
            return call, True
        opening = next(call, None)
        if opening is None:
            return iter(()), True
        return chain((opening,), call), type(opening[1]) in PLAIN_VALUES

    def take_lifted(self, calls: Iterable[Generator[Any]]) -> Iterator[Any] | None:
        """Take the pairs of each call of the twin, as `take` does; the rest of a call is given as pairs."""
        keys = self._keys
        for call in calls:
            for items, value in call:
                if type(items) is list and len(items) < CHUNK_PAIRS and value is self._value:
                    keys += items
                    if len(keys) >= CHUNK_PAIRS:
                        rest = keys[CHUNK_PAIRS:]
                        del keys[CHUNK_PAIRS:]
                        if not self._count_keys():
                            return chain(self._left_keys(), zip(rest, repeat(value)), pairs_of((), value, call))
                        keys += rest
                elif type(value) not in PLAIN_VALUES:  # as in `take`
                    return pairs_of(items, value, call)
                elif type(items) not in PLAIN:
                    self.lifts = False
                    self._chunk = self._left_keys()
                    return pairs_of(items, value, call)
                elif (left := self._take_plain(iter(items), value)) is not None:
                    return chain(left, pairs_of((), value, call))
        return None

    def _take_plain(self, items: Iterator[Any], value: Any) -> Iterator[Any] | None:
        """Take keys of a value that may be another one; what is left of them is given as pairs."""
        keys = self._keys
        first = list(islice(items, 1))
        if (
            first
            and keys
            and value is not self._value
            and not same_value(value, self._value)
            and not self._count_keys()
        ):
            return chain(self._left_keys(), zip(chain(first, items), repeat(value)))
        if first:
            self._value = value
        keys += first
        while first:
            keys += islice(items, CHUNK_PAIRS - len(keys))
            if len(keys) < CHUNK_PAIRS:
                break
            if not self._count_keys():
                return chain(self._left_keys(), zip(items, repeat(value)))
        return None

    def _count_keys(self) -> bool:
        try:
            counted = self._tally.add_keys(self._keys, self._value)
        except KeyTypeError:
            self._refuse(self._keys)
        if counted:
            self._keys.clear()
        return counted

    def _left_keys(self) -> list[Any]:
        left = [(key, self._value) for key in self._keys]
        self._keys.clear()
        return left

    def end(self) -> list[Any]:
        """Hand on what has been counted, and give the pairs that have not. To be called once."""
        if self._keys and not self._count_keys():
            left = self._left_keys()
        else:
            left = [] if not self._chunk or self._count() else self._left()
        self._tally.end()
        self.is_open = False
        return left

    def _count(self) -> bool:
        """Count the chunk, and empty it; or say that it is better made columns."""
        chunk = self._chunk
        try:
            counted = self._tally.add(chunk, chunk[0][1])
        except KeyTypeError:
            self._refuse([key for key, _ in chunk])
        if counted:
            chunk.clear()
        return counted

    def _left(self) -> list[Any]:
        left, self._chunk = self._chunk, []
        return left

    def _hand_on(self, pairs: Tallied) -> None:
        try:
            self._sink.add_tallied(pairs)
        except Exception:
            self._site.spare_user()  # unless a user's function under it has been blamed
            raise


def tallying(call: Call, sink: Sink, emitter: Emitter, site: Site, limits: Limits) -> Tallying | None:
    """What counts the pairs of a mapper on their way into this sink; None where they must be looked at one by one."""
    if call.role != "mapper" or not isinstance(sink, ShuffleSink) or not sink.tallied_kinds:
        return None
    proof = proven(call)
    return None if proof is None else Tallying(proof, sink, site, emitter.refuse_key, limits.sort_buffer)
