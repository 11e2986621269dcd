"""Reducers that take Polars frames: groups become frames of whole keys, cut by the data alone.

A frame holds keys with all their values, as many as make FRAME_BYTES, so that no key is ever in two frames. With
several inputs there is a frame for each, with the same range of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.batches import Batch, Lane, encode_keys, key_series, keys_list, values_list
from mapreduce.dataflow.columns.frames import FRAME_BYTES, batches_of, exact_column
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.shuffle.sizes import Sizes, row_sizes
from mapreduce.dataflow.tasks.cogroup import Groups, LargeGroup, Side, Stream
from mapreduce.errors import UnwritableResult

Column = tuple[Sizes, pl.Series]  # of one side: how many values each key has, and the values


class FrameLoop:
    """Calls a reducer with frames; what it gives goes to `sink`.

    `key_lane` is that of all groups' keys, `value_lanes` those of each side, for a side that has no values in a frame.
    `records` counts the values read, `emitted` the records given.
    """

    def __init__(
        self,
        call: Call,
        function: Callable[..., Any],
        sink: Callable[[Batch], None],
        site: Site,
        *,
        lanes: tuple[Lane, Sequence[Lane]],
        frame_bytes: int = FRAME_BYTES,
    ) -> None:
        self._call = call
        self._function = function
        self._who = in_role(call.function, call.role)
        self._sink = sink
        self._site = site
        self._key_lane, self._value_lanes = lanes
        self._most = frame_bytes
        self._pending: list[Groups] = []
        self._size = 0
        self.records = 0
        self.emitted = 0

    def run(self, groups: Groups | LargeGroup) -> None:
        """Take some complete groups, and reduce what makes a whole frame."""
        if isinstance(groups, LargeGroup):
            groups = self._collected(groups)
        self.records += sum(int(side.lengths.sum()) for side in groups.sides)
        sizes = _group_sizes(groups)
        ends = np.cumsum(sizes)
        row, rows = 0, len(ends)
        while row < rows:
            before = int(ends[row - 1]) if row else 0
            # The groups up to the first that fills the frame: the same ones wherever chunks were cut.
            stop = int(np.searchsorted(ends, before + self._most - self._size)) + 1
            self._pending.append(_rows_of(groups, row, min(stop, rows)))
            if stop > rows:
                self._size += int(ends[-1]) - before
                return
            self._reduce()
            row = stop

    def finish(self) -> None:
        """Reduce what is left."""
        if self._pending:
            self._reduce()

    def _collected(self, group: LargeGroup) -> Groups:
        """A large group whole: a key's values must fit in memory where they are wanted as a frame."""
        keys, lane = key_series([group.key])
        if lane is not self._key_lane:
            keys, lane = encode_keys(keys, lane), Lane.ENCODED
        return Groups(keys, lane, tuple(map(_collected_side, group.sides)))

    def _reduce(self) -> None:
        pending, self._pending, self._size = self._pending, [], 0
        sides = zip(*(groups.sides for groups in pending), strict=True)
        columns = [_joined_side(parts, lane) for parts, lane in zip(sides, self._value_lanes, strict=True)]
        keys = pl.concat([groups.keys for groups in pending])
        pending.clear()
        if self._key_lane is Lane.ENCODED:  # over all sides at once: their columns then have the same type
            keys = exact_column("key", keys_list(keys, self._key_lane))
        self._give(keys, columns)

    def _give(self, keys: pl.Series, columns: Sequence[Column]) -> None:
        for batch in self._called(keys, [frame_of_side(keys, column) for column in columns]):
            self._emit(batch)

    def _emit(self, batch: Batch) -> None:
        self.emitted += batch.rows()
        try:
            self._sink(batch)
        except UnwritableResult:
            self._site.blame(self._call.title)
            raise

    def _called(self, keys: pl.Series, frames: list[pl.DataFrame]) -> Iterator[Batch]:
        try:
            # Sorted, since Polars' group_by gives its groups in any order, another at each run.
            yield from batches_of(self._function(*frames), self._who, by_key=True)
        except (Exception, SystemExit):
            first, last = shorten(keys[0]), shorten(keys[-1])
            rows = " and ".join(f"{frame.height:,}" for frame in frames)
            self._site.blame(self._call.title, f"{first} to {last} (a frame of {rows} rows)")
            raise


def _group_sizes(groups: Groups) -> Sizes:
    """Bytes that each group takes, over all sides, as rows of a key and a value: a function of the records alone."""
    total = np.zeros(len(groups.keys), dtype=np.int64)
    for side in groups.sides:
        rows = np.repeat(np.arange(len(total)), side.lengths)
        frame = pl.DataFrame([groups.keys.gather(rows).alias("key"), side.values.alias("value")])
        sizes = row_sizes(Batch(frame, groups.key_lane, side.lane))
        total += np.bincount(rows, weights=sizes, minlength=len(total)).astype(np.int64)
    return total


def _rows_of(groups: Groups, row: int, stop: int) -> Groups:
    """Some of the groups, sharing memory."""
    sides = []
    for side in groups.sides:
        start, lengths = int(side.starts[row]), side.lengths[row:stop]
        values = side.values.slice(start, int(lengths.sum()))
        sides.append(Side(side.starts[row:stop] - start, lengths, values, side.lane))
    return Groups(groups.keys.slice(row, stop - row), groups.key_lane, tuple(sides))


def _collected_side(stream: Stream | None) -> Side:
    columns = [] if stream is None else list(stream.columns)
    lengths = np.array([sum(column.len() for column in columns)])
    if stream is None or not columns:
        return Side(np.zeros(1, dtype=np.int64), lengths, pl.Series("value", [], dtype=pl.Binary), Lane.ENCODED)
    return Side(np.zeros(1, dtype=np.int64), lengths, pl.concat(columns), stream.lane)


def _joined_side(parts: Sequence[Side], lane: Lane) -> Column:
    """One side's number of values of each key, and its column of values as users see it."""
    lengths = np.concatenate([side.lengths for side in parts])
    filled = [side for side in parts if side.values.len()]
    if not filled:
        dtype = pl.Null if lane is Lane.ENCODED else lane.dtype
        return lengths, pl.Series("value", [], dtype=dtype)
    if any(side.lane is Lane.ENCODED for side in filled):
        objects = list(chain.from_iterable(values_list(side.values, side.lane) for side in filled))
        return lengths, exact_column("value", objects)
    return lengths, pl.concat([side.values.alias("value") for side in filled])


def frame_of_side(keys: pl.Series, column: Column) -> pl.DataFrame:
    """The frame of one side: each key as often as it has values there."""
    lengths, values = column
    return pl.DataFrame([keys.gather(np.repeat(np.arange(len(keys)), lengths)).alias("key"), values])
