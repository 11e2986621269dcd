"""The inputs of a step met by key: the groups of several merges, side by side, keys ascending over all of them.

Each side is a stream of chunks of its own, as `merged_chunks` makes them, with its own lane of values. In each round
the keys up to the smallest of the chunks' last ones are taken from all sides and put side by side as columns; a key
that is a stream on any side comes alone, as a stream on each. No side is ever held whole, nor is any large group.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Lane, common_lane, encode_keys, key_series
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.columns.segments import Positions
from mapreduce.dataflow.columns.sorting import sort_frame
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups
from mapreduce.dataflow.shuffle.sizes import group_starts
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

Chunks = Iterator[WholeGroups | OneGroup]


@dataclass(frozen=True, slots=True)
class Side:
    """One input's values of some keys: those of the i-th are the `lengths[i]` values from `starts[i]` on, maybe none.

    The values of a key follow those of the key before.
    """

    starts: Positions
    lengths: Positions
    values: pl.Series
    lane: Lane


@dataclass(frozen=True, slots=True)
class Groups:
    """Some complete groups, keys ascending, each key on at least one side."""

    keys: pl.Series
    key_lane: Lane
    sides: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Stream:
    """One side's values of one key, as a stream of flat columns; to be read before the next groups are asked for."""

    lane: Lane
    columns: Iterator[pl.Series]


@dataclass(frozen=True, slots=True)
class LargeGroup:
    """One key, as a Python object, with a stream of values for each side; None where the side has not the key."""

    key: Any
    sides: tuple[Stream | None, ...]

    def column(self) -> tuple[pl.Series, Lane]:
        """The key as a column of one row, and its lane."""
        return key_series([self.key])


def sides_of(slices: Sequence[Slice], maps: Sequence[int]) -> list[list[Slice]]:
    """The slices of each input, in their order, by the map task that made each; `maps` counts the tasks of each."""
    ends = np.cumsum(maps).tolist()
    sides: list[list[Slice]] = [[] for _ in maps]
    for part in slices:
        assert 0 <= part.map_index < ends[-1], "a slice whose map task is not known"
        sides[bisect_right(ends, part.map_index)].append(part)
    return sides


def side_limits(limits: Limits, sides: int) -> Limits:
    """The limits of each of so many merges that run at once."""
    return replace(limits, merge=max(limits.merge // sides, 1), block=max(limits.block // sides, 1))


def shared_key_lane(sides: Sequence[Sequence[Slice]]) -> Lane:
    """The lane in which the keys of all sides meet."""
    lanes = [part.key_lane for side in sides for part in side if part.blocks]
    return reduce(common_lane, lanes) if lanes else Lane.ENCODED


def cogrouped(sides: Sequence[Chunks], key_lane: Lane) -> Generator[Groups | LargeGroup]:
    """The groups of all sides by key. `key_lane` is ENCODED, or the lane of every chunk's keys."""
    heads = [_Head(chunks, key_lane) for chunks in sides]
    while True:
        live = [head for head in heads if head.fill()]
        if not live:
            return
        bound = min(head.last for head in live)
        large = any(isinstance(head.chunk, OneGroup) and head.last == bound for head in live)
        if large and all(head.first >= bound for head in live):
            key = next(h.chunk.key for h in live if isinstance(h.chunk, OneGroup) and h.last == bound)
            yield LargeGroup(key, tuple(head.take_stream(bound) for head in heads))
        else:
            yield _aligned([head.take(bound, inclusive=not large) for head in heads], key_lane)


class _Head:
    """One side: what is not yet taken of its current chunk. Bounds are encodings of keys."""

    def __init__(self, chunks: Chunks, key_lane: Lane) -> None:
        self._chunks = chunks
        self._lane = key_lane
        self.chunk: WholeGroups | OneGroup | None = None
        self.first = self.last = b""

    def fill(self) -> bool:
        """Have a chunk, if there is one more."""
        while self.chunk is None:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            if isinstance(chunk, WholeGroups) and chunk.key_lane is not self._lane:
                chunk = replace(chunk, keys=encode_keys(chunk.keys, chunk.key_lane), key_lane=self._lane)
            if isinstance(chunk, OneGroup) or len(chunk.keys):
                self._set(chunk)
        return True

    def take(self, bound: bytes, *, inclusive: bool) -> WholeGroups | None:
        """Take the groups below the bound, and with `inclusive` that of the bound; None for none."""
        chunk = self.chunk
        if not isinstance(chunk, WholeGroups) or self.first > bound:
            return None
        bisect: Callable[..., int] = bisect_right if inclusive else bisect_left
        return self._cut(chunk, bisect(range(len(chunk.keys)), bound, key=self._bound(chunk)))

    def take_stream(self, bound: bytes) -> Stream | None:
        """Take the group of the bound, which is the first if it is there at all."""
        chunk = self.chunk
        if chunk is None or self.first != bound:
            return None
        if isinstance(chunk, OneGroup):
            self._set(None)
            return Stream(chunk.value_lane, chunk.values)
        taken = self._cut(chunk, 1)
        assert taken is not None
        return Stream(taken.value_lane, iter([taken.values]))

    def _cut(self, chunk: WholeGroups, groups: int) -> WholeGroups | None:
        if not groups:
            return None
        if groups == len(chunk.keys):
            self._set(None)
            return chunk
        at = int(chunk.ends[groups - 1])
        rest = replace(chunk, keys=chunk.keys.slice(groups), ends=chunk.ends[groups:] - at, values=chunk.values[at:])
        self._set(rest)
        return replace(chunk, keys=chunk.keys.head(groups), ends=chunk.ends[:groups], values=chunk.values.head(at))

    def _set(self, chunk: WholeGroups | OneGroup | None) -> None:
        self.chunk = chunk
        if isinstance(chunk, WholeGroups):
            bound = self._bound(chunk)
            self.first, self.last = bound(0), bound(len(chunk.keys) - 1)
        elif chunk is not None:
            self.first = self.last = encode_key(chunk.key)

    def _bound(self, chunk: WholeGroups) -> Callable[[int], bytes]:
        keys = chunk.keys
        return keys.__getitem__ if chunk.key_lane is Lane.ENCODED else lambda row: encode_key(keys[row])


def _aligned(parts: list[WholeGroups | None], key_lane: Lane) -> Groups:
    """Put the groups of all sides side by side: one row for each key that any of them has."""
    filled = [part for part in parts if part is not None]
    if len(filled) == 1:
        keys = filled[0].keys
        rows = {id(filled[0]): np.arange(len(keys))}
    else:
        keys, rows = _union(filled)
    return Groups(keys, key_lane, tuple(_side(part, None if part is None else rows[id(part)], keys) for part in parts))


def _union(parts: list[WholeGroups]) -> tuple[pl.Series, dict[int, Positions]]:
    """All keys, ascending, each once; and for each part the rows of its keys among them, by its id()."""
    frames = [
        pl.DataFrame({"key": part.keys, "part": np.full(len(part.keys), number, dtype=np.int32)})
        for number, part in enumerate(parts)
    ]
    merged = sort_frame(pl.concat(frames))
    starts = group_starts(merged["key"])
    numbers = merged["part"].to_numpy()
    rows = np.zeros(merged.height, dtype=np.int64)
    rows[starts] = 1
    rows = np.cumsum(rows) - 1
    return merged["key"].gather(starts), {id(part): rows[numbers == number] for number, part in enumerate(parts)}


def _side(part: WholeGroups | None, rows: Positions | None, keys: pl.Series) -> Side:
    lengths = np.zeros(len(keys), dtype=np.int64)
    if part is None or rows is None:
        return Side(lengths, lengths, pl.Series("value", [], dtype=pl.Binary), Lane.ENCODED)
    lengths[rows] = np.diff(part.ends, prepend=0)
    return Side(np.cumsum(lengths) - lengths, lengths, part.values, part.value_lane)
