"""Ranges of keys that make parts of about equal size, found from the sorted runs themselves.

Each run is measured when it is written: some keys of it, with how many records lie from each to the next. All reduce
tasks of a step put the measures of all map tasks together and so find the same boundaries, each by itself; then each
reads its own range of every run. A boundary is bytes that are compared with keys' encodings, and the shortest that
tell two keys apart; it is no key. Nothing here depends on the order in which measures come.

A *measure* is a list of (boundary, records), ascending: so many records have keys from this boundary on up to the next.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import Lane
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.errors import MapReduceError
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

Measure = list[tuple[bytes, int]]

BOUNDARY_BYTES = 256  # of two keys that are alike for longer, the boundary lies before both
MEASURE_BYTES = 12 << 10  # of a map task's packed measure: it crosses in control frames, and lies in the journal
POINTS = 64  # of a measure at least: with few parts they cost nothing and make them the more even
# Points a part. A boundary lies within half a point of where it should in each run, which makes a part 2% too large in
# the mean; the errors of several runs cancel out, so each of more runs needs fewer points.
POINTS_PER_PART = 16
BLOCKS_PER_PART = 4  # a range begins and ends inside a block of each run: so an eighth of what is read is not its own
SMALL_BLOCK = 64 << 10  # smaller blocks cost more in calls than they save in reading


def points_of(partitions: int, maps: int) -> int:
    """How many points a map task's measure has at most; a multiple of the partitions, so that one run is cut exactly.

    `maps` is how many map tasks there are.
    """
    wanted = max(POINTS, math.ceil(POINTS_PER_PART * partitions / math.sqrt(max(maps, 1))))
    return math.ceil(wanted / partitions) * partitions


def block_of(limits: Limits, partitions: int) -> int:
    """The raw size of blocks in runs that are read by ranges, in bytes."""
    return min(limits.block, max(SMALL_BLOCK, limits.sort_buffer // (BLOCKS_PER_PART * partitions)))


def encoded_at(keys: pl.Series, row: int, lane: Lane) -> bytes:
    """The encoding of one key of a column."""
    key: Any = keys[row]
    encoded: bytes = key if lane is Lane.ENCODED else encode_key(key)
    return encoded


def rows_within(keys: pl.Series, lane: Lane, low: bytes, high: bytes) -> tuple[int, int]:
    """The first row of a sorted column that is in [low, high), and the row after the last; an empty bound is none."""
    at, rows = partial(encoded_at, keys, lane=lane), range(len(keys))
    if not rows:
        return 0, 0
    # Of a slice's blocks most lie in its range whole: to see that takes a key, to search a dozen.
    start = bisect_left(rows, low, key=at) if low and at(0) < low else 0
    stop = bisect_left(rows, high, key=at) if high and at(-1) >= high else len(keys)
    return start, max(start, stop)


def measure(keys: pl.Series, lane: Lane, records: npt.NDArray[np.int64], points: int) -> Measure:
    """Measure a run at about so many points: `keys` are its distinct keys, ascending, with the records of each."""
    if not len(keys):
        return []
    ends = np.cumsum(records)
    rows = np.unique(np.concatenate(([0], np.searchsorted(ends, _cuts(int(ends[-1]), points), side="left") + 1)))
    rows = rows[rows < len(keys)]
    before = np.concatenate(([0], ends))[rows]
    weights = np.diff(before, append=ends[-1]).tolist()
    return [(_boundary(keys, lane, row), weight) for row, weight in zip(rows.tolist(), weights, strict=True)]


def _boundary(keys: pl.Series, lane: Lane, row: int) -> bytes:
    """The shortest bytes above the key before this row, and not above the row's own; the first row's own."""
    key = encoded_at(keys, row, lane)[:BOUNDARY_BYTES]
    if not row:
        return key
    before = encoded_at(keys, row - 1, lane)
    shared = next((i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before)))
    return key[: shared + 1]


def merged(measures: Iterable[Measure], points: int) -> Measure:
    """One measure of all runs together, with at most so many points, about equally far from each other."""
    boundaries, before, total = _together(measures)
    if not total:
        return []
    rows = np.unique(np.concatenate(([0], _nearest(before, _cuts(total, points)))))
    weights = np.diff(before[rows], append=total).tolist()
    return list(zip(boundaries.gather(rows).to_list(), weights, strict=True))


def _together(measures: Iterable[Measure]) -> tuple[pl.Series, npt.NDArray[np.int64], int]:
    """All boundaries ascending, how many records lie below each, and how many there are.

    Where a boundary lies between two points of another run, what is between counts as below it by half, but for the
    record at the first of them, which is.
    """
    filled = [found for found in measures if found]
    frame = pl.DataFrame(
        {
            "key": [key for found in filled for key, _ in found],
            # In halves of records: what a point adds for boundaries above it, and the next one from itself on.
            "above": [weight + (weight > 0) for found in filled for _, weight in found],
            "from": [half for found in filled for half in (0, *(max(weight - 1, 0) for _, weight in found[:-1]))],
        },
        schema={"key": pl.Binary, "above": pl.Int64, "from": pl.Int64},
    )
    total = sum(weight for found in filled for _, weight in found)
    frame = frame.group_by("key").agg(pl.col("above").sum(), pl.col("from").sum()).sort("key")
    above, at = frame["above"].to_numpy(), frame["from"].to_numpy()
    return frame["key"], (np.cumsum(above) - above + np.cumsum(at)) // 2, total


def _cuts(total: int, parts: int) -> npt.NDArray[np.int64]:
    """Where records would be cut into so many equal parts."""
    return np.arange(1, parts, dtype=np.int64) * total // parts


def _nearest(ascending: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each wanted number the row of the number nearest to it, of two the lower."""
    right = np.clip(np.searchsorted(ascending, wanted, side="left"), 0, len(ascending) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted - ascending[left] <= ascending[right] - wanted, left, right)


def pack_measures(measures: Sequence[Measure], points: int) -> bytes:
    """The measures of one map task's runs as one, in at most MEASURE_BYTES; b"" for no records."""
    found = merged(measures, points)
    packed = _packed(found)
    while len(packed) > MEASURE_BYTES:
        points = min(points, len(found)) // 2
        packed = _packed(found := merged([found], points))
    return packed


def _packed(found: Measure) -> bytes:
    packed: bytes = msgpack.packb([part for point in found for part in point]) if found else b""
    return packed


def unpack_measure(packed: bytes) -> Measure:
    """Read what `pack_measures` made. Raises MapReduceError for anything else."""
    if not packed:
        return []
    try:
        flat = msgpack.unpackb(packed)
        found = list(zip(flat[::2], flat[1::2], strict=True))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        msg = f"a map task's measure of its keys cannot be read: {error}"
        raise MapReduceError(msg) from error
    if not all(type(key) is bytes and type(weight) is int for key, weight in found):
        msg = "a map task's measure of its keys holds something else"
        raise MapReduceError(msg)
    return found


@dataclass(frozen=True, slots=True)
class Share:
    """What one reduce task reads of each run: a partition of it, and of that the keys in [low, high), as encodings."""

    partition: int
    low: bytes = b""
    high: bytes = b""


def share_of(partition: int, partitions: int, bounds: Sequence[bytes]) -> Share:
    """What the reduce task of one partition reads; `bounds` are those of all map tasks, empty where runs are cut."""
    if not any(bounds):
        return Share(partition)
    return Share(0, *range_of(bounds, partition, partitions))


def range_of(packed: Iterable[bytes], partition: int, partitions: int) -> tuple[bytes, bytes]:
    """The range [low, high) of one partition, from the measures of all map tasks; an empty bound is none.

    Where there are fewer boundaries than partitions need, or one key is more than a part, some ranges are empty: their
    bounds are equal.
    """
    boundaries = _boundaries(tuple(packed), partitions)
    if boundaries is None:
        return b"", b""  # there are no runs to read
    low = boundaries[partition - 1] if partition else b""
    return low, boundaries[partition] if partition < partitions - 1 else b""


@functools.lru_cache(maxsize=1)  # every reduce task of a step needs the same, and a process runs many of them
def _boundaries(packed: tuple[bytes, ...], partitions: int) -> tuple[bytes, ...] | None:
    """Where all partitions but the first begin; None without any records."""
    keys, before, total = _together(map(unpack_measure, packed))
    if not total:
        return None
    return tuple(keys.gather(_nearest(before, _cuts(total, partitions))).to_list())
