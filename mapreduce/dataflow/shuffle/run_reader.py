"""One run in a merge: its current block, and how its rows compare with those of the other runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import (
    TIMES_BYTES,
    VIEW_BYTES,
    Batch,
    Lane,
    Layout,
    common_lane,
    regroup,
    repeated,
    with_lanes,
)
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.quick_dataclass import dataclass

_BY_BYTES = frozenset({Lane.STR, Lane.BYTES, Lane.ENCODED})  # Python orders them as Polars does
ROW_BYTES = VIEW_BYTES + TIMES_BYTES  # what a value of a group takes more as a row: keys share their content
ENCODED_BYTES = 32  # what a small number takes more when it becomes encoded: a view, its tag, up to 11 bytes


@dataclass(frozen=True, slots=True)
class Lanes:
    """How all slices of one merge are read, so that their rows can be compared."""

    key: Lane
    value: Lane
    layout: Layout

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> Lanes:
        """Where the lanes and layouts of these slices meet.

        Groups and repeated rows meet as repeated rows: a row may stand for more pairs than fit in memory.
        """
        key, value = Lane.ENCODED, Lane.ENCODED
        for number, part in enumerate(slices):
            key = common_lane(key, part.key_lane) if number else part.key_lane
            value = common_lane(value, part.value_lane) if number else part.value_lane
        found = {part.layout for part in slices}
        layout = next((one for one in (Layout.REPEATED, Layout.GROUPED) if one in found), Layout.ROWS)
        return cls(key, value, layout)

    def sizes(self, part: Slice) -> list[int]:
        """Bytes that each of its blocks takes when it has been brought into these lanes and layout, at most."""
        becomes_rows = part.layout is not self.layout and self.layout is Layout.REPEATED
        sizes = []
        for ref in part.blocks:
            values = min(ref.records, ref.raw)  # a repeated row stands for many, and takes more than a byte
            changed = (ref.key_lane is not self.key) + (ref.value_lane is not self.value)
            sizes.append(ref.raw + values * (changed * ENCODED_BYTES + becomes_rows * ROW_BYTES))
        return sizes

    def fit(self, batch: Batch) -> Batch:
        """Bring a batch of sorted rows into these lanes, and into this layout."""
        batch = with_lanes(batch, self.key, self.value)
        if self.layout is Layout.REPEATED:
            return repeated(batch)
        return regroup(batch) if self.layout is Layout.GROUPED and not batch.grouped else batch


class RunReader:
    """One run being merged: the rows of its current block that are not yet taken.

    Blocks at the ends of a range of keys may have no rows in it: a run may be done from the start.
    """

    def __init__(self, blocks: Generator[Batch], sizes: list[int]) -> None:
        """Read these batches, which take so many bytes."""
        self._blocks = blocks
        self._sizes = sizes
        self._left = len(sizes)
        self._load()

    @property
    def has_more(self) -> bool:
        """Whether blocks are left beyond the current one."""
        return self._left > 0

    @property
    def is_done(self) -> bool:
        """Whether all rows of the run have been taken."""
        return self._start == self._batch.rows() and not self._left

    def bound(self) -> Bound:
        """The last key of the current block."""
        return self._last

    def loaded_below(self, bound: Bound | None) -> int:
        """About how many bytes the loaded rows below the bound take; without one, all of them."""
        rows = self._stop_below(bound) - self._start
        return rows * self._raw // self._batch.rows()

    def quantiles(self, bound: Bound | None, parts: int) -> list[Bound]:
        """Keys that cut the loaded rows below the bound into so many parts."""
        start, stop = self._start, self._stop_below(bound)
        rows = sorted({start + (stop - start) * part // parts for part in range(1, parts)})
        return [Bound.of(self._keys, row, self._batch.key_lane) for row in rows]

    def take_below(self, bound: Bound) -> Batch:
        """Take the loaded rows with keys strictly below the bound."""
        return self._take(self._position(bound, including=False))

    def take_equal(self, bound: Bound) -> Iterator[Batch]:
        """Take all rows with the bound as key, from as many blocks as they go on; there must be none below it."""
        while True:
            piece = self._take(self._position(bound, including=True))
            if piece.rows():
                yield piece
            if self._start < self._batch.rows() or not self._left:
                return
            self._load()

    def take_all(self) -> Batch:
        """Take all loaded rows."""
        return self._take(self._batch.rows())

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()

    def _load(self) -> None:
        """Go on to the next block that has rows; to the last one in any case."""
        while True:
            self._batch = next(self._blocks)
            self._raw = self._sizes[-self._left]
            self._left -= 1
            if self._batch.rows() or not self._left:
                break
        self._start = 0
        self._found: tuple[Bound | None, int] = None, 0  # the bound last looked for, and the first row not below it
        self._keys = self._batch.frame["key"]
        if self._batch.rows():  # else the run is done, and its last key is the one before
            self._last = Bound.of(self._keys, self._batch.rows() - 1, self._batch.key_lane)

    def _stop_below(self, bound: Bound | None) -> int:
        return self._batch.rows() if bound is None else self._position(bound, including=False)

    def _take(self, stop: int) -> Batch:
        start, self._start = self._start, stop
        return slice_of(self._batch, start, stop)

    def _position(self, bound: Bound, *, including: bool) -> int:
        """The first row above the bound, or with including=False not below it; never before the rows taken."""
        if self._last.order < bound.order or (including and self._last.order == bound.order):
            return self._batch.rows()
        if self._batch.key_lane not in _BY_BYTES:
            found = int(self._keys.search_sorted(bound.key, side="right" if including else "left"))
            return max(found, self._start)
        if including and self._start < self._batch.rows() and self._keys[self._start] > bound.key:
            return self._start  # most runs have no rows of the bound
        if not including and self._found[0] is bound:
            return max(self._found[1], self._start)
        bisect: Callable[..., int] = bisect_right if including else bisect_left  # a tenth of the time of Polars' search
        found = bisect(range(self._batch.rows()), bound.key, lo=self._start, key=self._keys.__getitem__)
        if not including:
            self._found = bound, found
        return found


@dataclass(frozen=True, slots=True)
class Bound:
    """A key as it lies in its lane, and something that Python compares in the order of keys."""

    key: Any
    order: Any

    @classmethod
    def of(cls, keys: pl.Series, row: int, lane: Lane) -> Bound:
        """The key in one row of a column."""
        key = keys[row]
        if lane is not Lane.FLOAT:
            return cls(key, key)
        return cls(key, (True, 0.0) if key != key else (False, key))  # noqa: PLR0124 - NaN, which sorts last
