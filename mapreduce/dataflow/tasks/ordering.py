"""The values of a key in order: what `sort_values` asks for.

Owns both ends of it. In the map task rows get composite keys (`shuffle.composite`), so that the shuffle, which sorts by
key, sorts values along with it; in the reduce task the merged rows become groups of plain keys again. No key's values
are held in memory at either end. Equal ones keep the order in which they would come without `sort_values`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.batches import Batch, Lane, concat, key_series, keys_list, values_list
from mapreduce.dataflow.columns.keys import normalise_key
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.composite import compose, key_elements, key_encodings
from mapreduce.dataflow.shuffle.merge import CHUNK_BLOCKS, OneGroup, ValueStream, WholeGroups, chunked, merged_batches
from mapreduce.dataflow.shuffle.sizes import group_starts, slice_of
from mapreduce.errors import KeyTypeError, RecordError
from mapreduce.plan import Limits

Column = tuple[pl.Series, Lane]


class ValueOrder:
    """Gives rows the composite keys that sort their values, by themselves or by what the user's function says.

    `call` and `function` are that function as written and as bound, or None. Raises RecordError for a value that has no
    order, or a function's result that has none.
    """

    def __init__(self, call: Call | None, function: Callable[..., Any] | None, site: Site) -> None:
        self._call = call
        self._function = function
        self._site = site

    def __call__(self, batch: Batch) -> Batch:
        """Give ungrouped rows their composite keys."""
        orders, lane = self._orders(batch)
        keys = compose(batch.frame["key"], batch.key_lane, orders, lane)
        return Batch(pl.DataFrame([keys.alias("key"), batch.frame["value"]]), Lane.ENCODED, batch.value_lane)

    def _orders(self, batch: Batch) -> Column:
        """What to order each row by, as a column of keys."""
        values, lane = batch.frame["value"], batch.value_lane
        if self._function is None and lane is not Lane.ENCODED:
            return values, lane
        objects = values_list(values, lane)
        orders = objects if self._function is None else self._asked(batch, objects)
        try:
            return key_series(orders)
        except KeyTypeError:
            self._refuse(batch, objects, orders)
            raise

    def _asked(self, batch: Batch, values: list[Any]) -> list[Any]:
        assert self._call is not None
        assert self._function is not None
        orders: list[Any] = []
        try:
            orders.extend(map(self._function, values))
        except Exception:
            self._site.blame(self._call.title, shorten(_key_at(batch, len(orders))))
            raise
        if len(orders) < len(values):  # `map` takes a StopIteration for the end of the values
            self._site.blame(self._call.title, shorten(_key_at(batch, len(orders))))
            who = in_role(self._call.function, "sort_values function")
            raise RecordError(f"{who} raised StopIteration: write `next(iterator, default)`, or catch it")
        return orders

    def _refuse(self, batch: Batch, values: list[Any], orders: list[Any]) -> None:
        """Raise a RecordError for the first value that has no order."""
        for row, order in enumerate(orders):
            try:
                normalise_key(order)
            except KeyTypeError as error:
                of_key = f"of the key {shorten(_key_at(batch, row)):.200}"
                if self._call is None:
                    text = (
                        f"sort_values=True cannot order the value {shorten(order):.200} ({type(order).__name__}) "
                        f"{of_key}: give a function of a value that gives what to order by, "
                        "sort_values=lambda value: value['time']"
                    )
                else:
                    who = in_role(self._call.function, "sort_values function")
                    text = (
                        f"{who} gave {shorten(order):.200} for the value {shorten(values[row]):.200} {of_key}, by "
                        f"which nothing can be ordered: {error}"
                    )
                raise RecordError(text) from None


def _key_at(batch: Batch, row: int) -> Any:
    return keys_list(batch.frame["key"].slice(row, 1), batch.key_lane)[0]


def ordered_chunks(slices: Sequence[Slice], limits: Limits, scratch: str | Path) -> Generator[WholeGroups | OneGroup]:
    """All groups of slices whose rows have composite keys: keys ascending, each in one chunk, its values in order.

    The chunks have plain keys, in the lane ENCODED. Small groups come many at a time, a large one on its own as a
    stream. Raises as `merged_chunks` does.
    """
    most = limits.block * CHUNK_BLOCKS
    with closing(merged_batches(slices, limits, scratch)) as merged:
        rows = _Rows(merged)
        held: list[Batch] = []  # of one key, which may go on in the next batch
        size = 0
        for batch in rows:
            last = rows.last_group
            if held and (last or not _same_key(held[0], batch)):
                complete = [*held, slice_of(batch, 0, last)] if last else held
                held, size = [], 0
                yield from chunked(concat(complete), most)
                del complete
            elif last:
                yield from chunked(slice_of(batch, 0, last), most)
            rest = slice_of(batch, last, batch.rows())
            held.append(rest)
            size += rest.nbytes()
            del batch, rest  # large, and not to be held while a chunk is used
            if size > most:
                group = _continued(held, rows)
                stream = ValueStream(group)
                yield OneGroup(stream.key, stream.value_lane, stream)
                stream.end()
                for _ in group:
                    pass  # what the reducer has left
                held, size = [], 0
        if held:
            yield from chunked(concat(held), most)


class _Rows(Iterator[Batch]):
    """Merged rows with plain keys in place of the composites; `last_group` is where the last key's rows begin."""

    def __init__(self, merged: Iterator[Batch]) -> None:
        self._merged = merged
        self._back: tuple[Batch, int] | None = None
        self.last_group = 0

    def __next__(self) -> Batch:
        if self._back is not None:
            (batch, self.last_group), self._back = self._back, None
            return batch
        batch, starts = _with_plain_keys(next(self._merged))
        self.last_group = int(starts[-1])
        return batch

    def give_back(self, batch: Batch, last_group: int) -> None:
        """Have these rows come again next."""
        self._back = batch, last_group


def _with_plain_keys(batch: Batch) -> tuple[Batch, np.ndarray[Any, Any]]:
    """The same rows with their keys' encodings, and where each group begins."""
    found = key_elements(batch.frame["key"])
    starts = group_starts(found)
    lengths = np.diff(starts, append=batch.rows())
    keys = key_encodings(found.gather(starts)).gather(np.repeat(np.arange(len(starts)), lengths))
    frame = pl.DataFrame([keys.alias("key"), batch.frame["value"]])
    return Batch(frame, Lane.ENCODED, batch.value_lane), starts


def _same_key(one: Batch, other: Batch) -> bool:
    return bool(one.frame["key"][0] == other.frame["key"][0])


def _continued(held: list[Batch], rows: _Rows) -> Generator[Batch]:
    """The rows of one key: those held, then those that follow, up to the next key, whose rows are given back."""
    first = slice_of(held[0], 0, 1)
    held.reverse()
    while held:
        yield held.pop()
    for batch in rows:
        if not _same_key(first, batch):
            rows.give_back(batch, rows.last_group)
            return
        if not rows.last_group:
            yield batch
            continue
        stop = int(group_starts(batch.frame["key"])[1])
        rows.give_back(slice_of(batch, stop, batch.rows()), rows.last_group - stop)
        yield slice_of(batch, 0, stop)
        return
