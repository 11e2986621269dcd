"""The loop for mappers of which it is proven that their pairs share their values: pairs are counted, not collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn

from mapreduce.calls import Call
from mapreduce.dataflow.columns.tally import Tallied, Tally
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.emit import Emitter
from mapreduce.dataflow.tasks.sinks import ShuffleSink, Sink
from mapreduce.dataflow.tasks.yields import Constant, Fixed, proven
from mapreduce.errors import KeyTypeError
from mapreduce.plan import Limits

CHUNK_PAIRS = 512  # counted by one call: 1 ns a pair for it, and their tuples are used again and again, in the cache


class Tallying:
    """Takes pairs of a mapper of which `proof` is known, into a sink that takes tallied ones.

    `across_calls` says that all pairs of all calls have one value; else `take` must be given those of one call.
    `refuse` is called with keys one of which has no hash. `is_open` holds until `end`. Pairs are cut into chunks by
    their number alone, so that what is counted together is the same in every loop.
    """

    def __init__(
        self,
        proof: Constant | Fixed,
        sink: ShuffleSink,
        site: Site,
        refuse: Callable[[list[Any]], NoReturn],
        most_bytes: int,
    ) -> None:
        self._proof = proof
        self._sink = sink
        self._site = site
        self._refuse = refuse
        self._tally = Tally(self._hand_on, sink.tallied_kinds, most_bytes)
        self._chunk: list[Any] = []
        self.across_calls = isinstance(proof, Constant)
        self.is_open = True

    @property
    def pairs(self) -> int:
        """How many pairs have been counted."""
        return self._tally.pairs

    def take(self, pairs: Iterator[Any]) -> list[Any]:
        """Take all pairs; or those that it pays to count, then give what else was asked for, which is never nothing."""
        while True:
            chunk = self._chunk
            chunk += islice(pairs, CHUNK_PAIRS - len(chunk))
            if not chunk or (self.across_calls and len(chunk) < CHUNK_PAIRS):
                return []  # some wait for those of the next call
            if not self._add():
                self._chunk = []
                return chunk

    def end(self) -> list[Any]:
        """Hand on what has been counted, and give the pairs that have not. To be called once."""
        left = [] if not self._chunk or self._add() else self._chunk
        self._tally.end()
        self.is_open = False
        return left

    def _add(self) -> bool:
        chunk = self._chunk
        value = self._proof.value if isinstance(self._proof, Constant) else chunk[0][1]
        try:
            counted = self._tally.add(chunk, value)
        except KeyTypeError:
            self._refuse([key for key, _ in chunk])
        if counted:
            chunk.clear()
        return counted

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
