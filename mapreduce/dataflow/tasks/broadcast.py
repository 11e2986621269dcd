"""Broadcast joins: the small right input as a table in a task process, and the left one joined to it as it is mapped.

The table is loaded by the first map attempt of a process and kept with the loaded job for the others. It is made by the
right input's own mapper, as a task of its own (behind the last map task), so that every process makes the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl

from mapreduce.dataflow.bad.file import AsideInMemory
from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    common_lane,
    concat,
    encode_keys,
    key_series,
    regroup,
    ungroup,
)
from mapreduce.dataflow.columns.said import said_value
from mapreduce.dataflow.columns.segments import Positions
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.tasks.cogroup import Side
from mapreduce.dataflow.tasks.join_task import Coded, Matched, can_be_said, kept, paired, warn_of_strangers
from mapreduce.dataflow.tasks.sinks import Sink, Written, keeping, keys_alone
from mapreduce.joins import Join
from mapreduce.quick_dataclass import dataclass

BROADCAST = "broadcast"  # the table's name among what a loaded job keeps


@dataclass(slots=True)
class Loaded:
    """What loading the right input gave beside its records: to be counted by one task, though every process loads."""

    records: int = 0
    bytes: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    aside: AsideInMemory | None = None


class Table:
    """The right input's values by key, each key's in the order in which the mapper gave them."""

    def __init__(self, batches: list[Batch], loaded: Loaded) -> None:
        self.loaded = loaded
        grouped = regroup(concat([ungroup(batch) for batch in batches])) if batches else None
        if grouped is None or grouped.rows() == 0:
            self._keys, self._lane = key_series([])
            self._values, self._value_lane = pl.Series("value", [], dtype=pl.Binary), Lane.ENCODED
            self._lengths: Positions = np.zeros(0, dtype=np.int64)
        else:
            self._keys, self._lane = grouped.frame["key"], grouped.key_lane
            lists = grouped.frame["value"]
            self._values, self._value_lane = lists.explode(), grouped.value_lane
            self._lengths = lists.list.len().to_numpy().astype(np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._rows: dict[Lane, dict[Any, int]] = {}
        self._coded: dict[bool, Coded] = {}

    def values(self, *, said: bool) -> Coded:
        """All values, as JSON or encoded."""
        if said not in self._coded:
            self._coded[said] = (Coded.said if said else Coded.of)(self._values, self._value_lane)
        return self._coded[said]

    @property
    def can_be_said(self) -> bool:
        """Whether its values can be had as JSON."""
        return can_be_said(self._values, self._value_lane)

    @property
    def lanes(self) -> set[Lane]:
        """That of its keys, if it has any."""
        return {self._lane} if len(self._lengths) else set()

    def find(self, keys: pl.Series, lane: Lane) -> tuple[Positions, Positions]:
        """Where the values of each key begin, and how many there are: 0 for a key that is not there."""
        if not len(self._lengths):
            nothing = np.zeros(len(keys), dtype=np.int64)
            return nothing, nothing
        shared = common_lane(lane, self._lane)
        if shared is Lane.FLOAT:
            shared = Lane.ENCODED  # for Python a NaN is unlike itself
        rows = self._rows.get(shared)
        if rows is None:
            rows = {key: row for row, key in enumerate(_comparable(self._keys, self._lane, shared))}
            self._rows[shared] = rows
        found = np.fromiter(map(rows.get, _comparable(keys, lane, shared), repeat(-1)), np.int64, len(keys))
        return self._starts[found], np.where(found < 0, 0, self._lengths[found])


def _comparable(keys: pl.Series, lane: Lane, shared: Lane) -> list[Any]:
    """Keys as Python objects that are equal where the keys are: of one type, or encodings."""
    if shared is Lane.ENCODED:
        return encode_keys(keys, lane).to_list()
    return keys.to_list()


class Collected:
    """A sink that keeps the records in memory."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def add(self, batch: Batch) -> None:
        """Take rows, in emission order."""
        self.batches.append(batch)

    def add_keys(self, keys: list[Any]) -> None:
        """Take keys alone, with the value None. Raises KeyTypeError."""
        self.add(keys_alone(*key_series(keys)))

    def finish(self) -> Written:
        """Nothing is written."""
        return Written()

    def abort(self) -> None:
        """Nothing is written."""


class BroadcastSink:
    """Joins the left input's records to a table, in their order, and hands the results on."""

    def __init__(self, join: Join, context: Context, sink: Sink, names: Sequence[str]) -> None:
        self._how = join.how
        self._context = context
        self._sink = sink
        self._says = keeping(sink) is said_value
        self._table: Table | None = None
        self._counted = False
        self._emitted = 0
        self._names = names
        self._lanes: set[Lane] = set()

    def join_to(self, table: Table, *, counted: bool) -> None:
        """Say which table to join to, and whether this task accounts for its loading. Before any record."""
        self._table, self._counted = table, counted

    @property
    def aside(self) -> AsideInMemory | None:
        """The records that were put aside while the table was loaded, where this task accounts for it."""
        return self._table.loaded.aside if self._table is not None and self._counted else None

    def add(self, batch: Batch) -> None:
        """Take rows of the left input, in emission order."""
        assert self._table is not None, "nothing to join to yet"
        flat = ungroup(batch)
        self._lanes.add(flat.key_lane)
        keys, values, rows = flat.frame["key"], flat.frame["value"], flat.rows()
        starts, lengths = self._table.find(keys, flat.key_lane)
        places, ones = np.arange(rows), np.ones(rows, dtype=np.int64)
        if self._how in {"semi", "anti"}:
            self._emit(kept(self._how, keys, flat.key_lane, Side(places, ones, values, flat.value_lane), lengths))
            return
        matched = Matched(keys, flat.key_lane, places, ones, starts, lengths)
        said = self._says and self._table.can_be_said and can_be_said(values, flat.value_lane)
        left = (Coded.said if said else Coded.of)(values, flat.value_lane)
        for joined in paired(self._how, matched, left, self._table.values(said=said)):
            self._emit(joined)

    def add_keys(self, keys: list[Any]) -> None:
        """Take keys alone, with the value None. Raises KeyTypeError."""
        self.add(keys_alone(*key_series(keys)))

    def finish(self) -> Written:
        """Write all that is left."""
        written = self._sink.finish()
        written.records_out = self._emitted
        if self._table is not None:
            warn_of_strangers(self._context, self._names, [self._lanes, self._table.lanes])
        if self._counted and self._table is not None:
            loaded = self._table.loaded
            written.records_in, written.bytes_in = loaded.records, loaded.bytes
            for name, count in loaded.counters.items():
                self._context.counters[name] += count
            for warning in loaded.warnings:
                self._context.warn(warning)
        return written

    def abort(self) -> None:
        """Remove what was written."""
        self._sink.abort()

    def _emit(self, batch: Batch) -> None:
        if batch.rows():
            self._emitted += batch.rows()
            self._sink.add(batch)
