"""Keys that a mapper gives alone: collected as lists, and counted where the sink takes counts, else made columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import Lane
from mapreduce.dataflow.columns.tally import TEXTS, Tally
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.emit import Emitter, weight
from mapreduce.dataflow.tasks.sinks import ShuffleSink, Sink
from mapreduce.errors import KeyTypeError
from mapreduce.plan import Limits

CHUNK_KEYS = 1024  # counted by one call while they are in the processor's cache: they have just been made
FEW_KEYS = 2048  # keys that are left over from a block are kept for the next only if they are few, and small
FEW_BYTES = 4 << 20


class KeyEmitter:
    """Collects the keys that one user function gives, and hands them on. `records` counts those handed on.

    `emitter` is the function's, for messages.
    """

    def __init__(self, sink: Sink, emitter: Emitter, site: Site, limits: Limits) -> None:
        self._sink = sink
        self._emitter = emitter
        self._site = site
        self._keys: list[Any] = []
        self._most = self._column_keys = limits.flush_records
        self._tally: Tally | None = None
        if isinstance(sink, ShuffleSink) and type(None) in sink.tallied_kinds:
            self._tally = Tally(sink.add_tallied, sink.tallied_kinds, limits.sort_buffer)
            self._most = min(CHUNK_KEYS, self._most)
        self.records = 0

    @property
    def counts_columns(self) -> bool:
        """Whether the sink counts keys that are a column already, so that no objects need to be made of them."""
        return isinstance(self._sink, ShuffleSink) and self._sink.counts_keys

    def take_column(self, keys: pl.Series) -> None:
        """Take a column of strings, where `counts_columns` holds."""
        assert isinstance(self._sink, ShuffleSink)
        try:
            self._sink.add_key_column(keys, Lane.STR)
        except Exception:
            self._site.spare_user()  # as in `flush`
            raise
        self.records += keys.len()

    def take_lists(self, results: Iterable[Any]) -> None:
        """Take whole results, each before the next is asked for: no step of Python for a key."""
        for found in results:
            if type(found) is list:
                self._keys += found
                if len(self._keys) >= self._most:
                    self.flush()
            else:
                self.take(iter(found))

    def take_evenly(self, lists: Iterable[list[Any]]) -> None:
        """Take the keys of lists as `take` does, handed on in the same numbers, without a step for each key."""
        for found in lists:
            at = 0
            while (room := self._most - len(self._keys)) <= len(found) - at:
                self._keys += found[at : at + room]
                at += room
                self.flush()
            self._keys += found[at:] if at else found

    def take(self, keys: Iterator[Any]) -> None:
        """Take keys one by one."""
        while True:
            before = len(self._keys)
            self._keys += islice(keys, self._most - before)
            if len(self._keys) >= self._most:
                self.flush()
            elif len(self._keys) == before:
                return

    def end_block(self) -> None:
        """Hand keys on, unless they are so few that columns of them would be a waste."""
        if len(self._keys) > FEW_KEYS or sum(map(_weight(self._keys), self._keys)) > FEW_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand on what was collected. Raises KeyTypeError with the function and the key."""
        keys, self._keys = self._keys, []
        if not keys:
            return
        try:
            self._hand_on(keys)
        except KeyTypeError:
            self._emitter.refuse_key(keys)
        except Exception:
            self._site.spare_user()  # unless a user's function under it has been blamed
            raise
        self.records += len(keys)

    def finish(self) -> None:
        """Hand on everything."""
        self.flush()
        if self._tally is not None:
            try:
                self._tally.end()
            except Exception:
                self._site.spare_user()
                raise

    def _hand_on(self, keys: list[Any]) -> None:
        if self._tally is not None:
            if self._tally.add_keys(keys):
                return
            self._tally.end()  # what was counted comes before these, and all that follow are better made columns
            self._tally, self._most = None, self._column_keys
        self._sink.add_keys(keys)


def _weight(keys: list[Any]) -> Callable[[Any], int]:
    """What weighs these keys: in C where it can."""
    return len if TEXTS.issuperset(map(type, keys)) else weight
