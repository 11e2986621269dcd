"""One run in a merge: its loaded blocks, and how their rows compare with those of the other runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
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
    """One run being merged: the rows of its loaded blocks that are not yet taken.

    Blocks at the ends of a range of keys may have no rows in it: a run may be done from the start.
    """

    def __init__(self, blocks: Generator[Batch], sizes: list[int], room: int) -> None:
        """Read these batches, which take so many bytes: as many at a time as take `room` bytes, one at least."""
        self._blocks = blocks
        self._sizes = sizes
        self._left = len(sizes)
        self._room = room
        self._held = 0  # bytes of the loaded blocks: of those whose rows are taken in part, all
        self._loaded: deque[_Block] = deque()
        self.fill()

    @property
    def has_more(self) -> bool:
        """Whether blocks are left beyond the loaded ones."""
        return self._left > 0

    @property
    def is_done(self) -> bool:
        """Whether all rows of the run have been taken."""
        return not self._loaded and not self._left

    def fill(self) -> None:
        """Load what there is room for, of a run with rows left at least one of them."""
        while self._left and (not self._loaded or self._held + self._sizes[-self._left] <= self._room):
            self._load()

    def bound(self) -> Bound:
        """The last key of the loaded blocks, of which there must be some."""
        return self._loaded[-1].last

    def loaded_below(self, bound: Bound | None) -> int:
        """About how many bytes the loaded rows below the bound take; without one, all of them."""
        return sum((block.stop_below(bound) - block.start) * block.size // block.batch.rows() for block in self._loaded)

    def quantiles(self, bound: Bound | None, parts: int) -> list[Bound]:
        """Keys that cut the loaded rows below the bound into so many parts."""
        starts = [block.start for block in self._loaded]
        ends = np.cumsum([block.stop_below(bound) - start for block, start in zip(self._loaded, starts, strict=True)])
        found = []
        for row in sorted({int(ends[-1]) * part // parts for part in range(1, parts)}):
            number = int(np.searchsorted(ends, row, side="right"))
            block = self._loaded[number]
            before = int(ends[number - 1]) if number else 0
            found.append(Bound.of(block.keys, starts[number] + row - before, block.batch.key_lane))
        return found

    def take_below(self, bound: Bound) -> list[Batch]:
        """Take the loaded rows with keys strictly below the bound."""
        return list(self._taken(bound, including=False))

    def take_equal(self, bound: Bound) -> Iterator[Batch]:
        """Take all rows with the bound as key, from as many blocks as they go on; there must be none below it."""
        while True:
            yield from self._taken(bound, including=True)
            if self._loaded or not self._left:
                return
            self._load()

    def take_all(self) -> list[Batch]:
        """Take all loaded rows."""
        pieces = [block.take(block.batch.rows()) for block in self._loaded]
        self._loaded.clear()
        self._held = 0
        return pieces

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()

    def _load(self) -> None:
        """Read the next block. One without rows is left out."""
        batch = next(self._blocks)
        size = self._sizes[-self._left]
        self._left -= 1
        if batch.rows():
            self._loaded.append(_Block(batch, size))
            self._held += size

    def _taken(self, bound: Bound, *, including: bool) -> Iterator[Batch]:
        """Take the loaded rows below the bound, or with `including` up to it: of each block that has some, a batch."""
        while self._loaded:
            block = self._loaded[0]
            piece = block.take(block.position(bound, including=including))
            is_left = block.start < block.batch.rows()
            if not is_left:
                self._loaded.popleft()
                self._held -= block.size
            del block
            if piece.rows():
                yield piece
            if is_left:
                return


class _Block:
    """A loaded block; its rows from `start` on are not taken, and there are some. `size`, in bytes, is that of all."""

    def __init__(self, batch: Batch, size: int) -> None:
        self.batch = batch
        self.size = size
        self.start = 0
        self.keys = batch.frame["key"]
        self.last = Bound.of(self.keys, batch.rows() - 1, batch.key_lane)
        self._found: tuple[Bound | None, int] = None, 0  # the bound last looked for, and the first row not below it

    def stop_below(self, bound: Bound | None) -> int:
        """The first row not below the bound; without one, that after the last."""
        return self.batch.rows() if bound is None else self.position(bound, including=False)

    def take(self, stop: int) -> Batch:
        """Take the rows up to this one."""
        start, self.start = self.start, stop
        return slice_of(self.batch, start, stop)

    def position(self, bound: Bound, *, including: bool) -> int:
        """The first row above the bound, or with including=False not below it; never before the rows taken."""
        if self.last.order < bound.order or (including and self.last.order == bound.order):
            return self.batch.rows()
        if self.batch.key_lane not in _BY_BYTES:
            found = int(self.keys.search_sorted(bound.key, side="right" if including else "left"))
            return max(found, self.start)
        if self.keys[self.start] > bound.key:
            return self.start  # most blocks have no rows of a bound to include, and those behind one's own none at all
        if not including and self._found[0] is bound:
            return max(self._found[1], self.start)
        bisect: Callable[..., int] = bisect_right if including else bisect_left  # a tenth of the time of Polars' search
        found = bisect(range(self.batch.rows()), bound.key, lo=self.start, key=self.keys.__getitem__)
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
