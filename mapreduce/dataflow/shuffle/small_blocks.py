"""Small blocks: a few rows as their bare columns, since an Arrow stream has 500 bytes beside its rows.

    HEAD, then of grouped or repeated rows how many values each has, then the keys, then the values

Integers and floats lie one behind the other, integers in the fewest bytes that hold all of the block's; strings and
bytes as their lengths, and then all of their content. Many such blocks are read as one: what lies in each is put
behind what lies in the others before there is any column. All of it is a function of the rows alone.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, Layout
from mapreduce.dataflow.shuffle.block_index import LAYOUTS, form_of, lanes_of
from mapreduce.dataflow.shuffle.sizes import Sizes, ends_of, value_counts

# Raw bytes of a block. Of twice as many, to write a stream and compress it takes no longer than to read columns back.
SMALL_BLOCK = 16 << 10
HEAD = struct.Struct("<BBBHHH")  # lanes, layout, widths, rows, values, bytes of the keys' content
FORM_BYTES = 2  # of the head: lanes and layout
UNSIGNED = tuple(np.dtype(f"<u{width}") for width in (1, 2, 4, 8))
SIGNED = tuple(np.dtype(f"<i{width}") for width in (1, 2, 4, 8))
BOUNDS = {kind: (int(np.iinfo(kind).min), int(np.iinfo(kind).max)) for kind in (*UNSIGNED, *SIGNED)}
FIXED = {Lane.FLOAT: np.dtype("<f8"), Lane.BOOL: np.dtype("?")}
VARYING = {Lane.STR, Lane.BYTES, Lane.ENCODED}
WIDTH_BITS = 2  # of the number of a width, of which there are three: of the keys, the values and the counts
ARROW = b"\xff"  # how an Arrow stream begins, and no small block

Array = npt.NDArray[Any]


class SmallBlocks:
    """The rows of a batch, ready to be cut into small blocks."""

    def __init__(self, batch: Batch) -> None:
        self._form = form_of(batch.key_lane, batch.value_lane)
        self._layout = LAYOUTS.index(batch.layout)
        self._counts = None if batch.layout is Layout.ROWS else value_counts(batch)
        self._values_before = ends_of(self._counts) if batch.grouped and self._counts is not None else None
        values = batch.frame["value"]
        self._keys = _Column(batch.frame["key"], batch.key_lane)
        self._values = _Column(values.explode() if batch.grouped else values, batch.value_lane)

    def block(self, start: int, stop: int) -> bytes:
        """The rows from `start` up to `stop`, of at most SMALL_BLOCK raw bytes, as a block."""
        count_width, counts, first, last = 0, b"", start, stop
        if self._counts is not None:
            count_width, counts = _narrow(self._counts[start:stop], UNSIGNED)
        if self._values_before is not None:
            first, last = int(self._values_before[start]), int(self._values_before[stop])
        key_width, keys, key_content = self._keys.packed(start, stop)
        value_width, values, value_content = self._values.packed(first, last)
        widths = key_width | value_width << WIDTH_BITS | count_width << 2 * WIDTH_BITS
        head = HEAD.pack(self._form, self._layout, widths, stop - start, last - first, len(key_content))
        return b"".join((head, counts, keys, key_content, values, value_content))


class _Column:
    """A column as arrays: numbers, or lengths and content."""

    def __init__(self, series: pl.Series, lane: Lane) -> None:
        self._content, self._ends, self._kinds = b"", None, SIGNED
        if lane not in VARYING:
            self._numbers: Array = series.to_numpy()
            if lane in FIXED:
                self._kinds = (FIXED[lane],)
            return
        items = (series.cast(pl.Binary) if lane is Lane.STR else series).to_list()
        self._numbers, self._kinds = np.fromiter(map(len, items), np.int64, len(items)), UNSIGNED
        self._content, self._ends = b"".join(items), ends_of(self._numbers)

    def packed(self, start: int, stop: int) -> tuple[int, bytes, bytes]:
        """The number of the width, the numbers and the content of these rows."""
        width, numbers = _narrow(self._numbers[start:stop], self._kinds)
        if self._ends is None:
            return width, numbers, b""
        return width, numbers, self._content[int(self._ends[start]) : int(self._ends[stop])]


def _narrow(numbers: Array, kinds: Sequence[np.dtype[Any]]) -> tuple[int, bytes]:
    """The numbers in the narrowest of these types that holds them all, and which that is."""
    if len(kinds) == 1:
        return 0, numbers.astype(kinds[0], copy=False).tobytes()
    least, most = int(numbers.min()), int(numbers.max())
    for number, kind in enumerate(kinds):
        low, high = BOUNDS[kind]
        if low <= least and most <= high:
            return number, numbers.astype(kind).tobytes()
    raise ValueError(f"{least} to {most} do not fit a small block")


def is_small(data: bytes) -> bool:
    """Whether a block is a small one, of columns: no Arrow stream."""
    return not data.startswith(ARROW)


def holds(data: bytes, key_lane: Lane, value_lane: Lane, *, layout: Layout, records: int) -> bool:
    """Whether a small block says that it has so many records, in these lanes and this layout."""
    if len(data) < HEAD.size:
        return False
    form, number, widths, rows, values, _ = HEAD.unpack_from(data)
    if (form, number) != (form_of(key_lane, value_lane), LAYOUTS.index(layout)):
        return False
    return bool(records == (_counts(data, widths, rows).sum() if layout is Layout.REPEATED else values))


def read_small(blocks: Iterable[bytes]) -> Batch:
    """The rows of small blocks, of the same form (their first FORM_BYTES), one behind the other.

    Raises ValueError for bytes that are no small block.
    """
    counts: list[Array] = []
    keys, values = _Gathered(), _Gathered()
    for data in blocks:
        try:
            _take(data, counts, keys, values)
        except (struct.error, IndexError) as error:
            raise ValueError(f"the columns of a small block end before their time: {error}") from error
    key_lane, value_lane = lanes_of(data[0])
    key = keys.series("key", key_lane)
    value = values.series("value", value_lane)
    columns, is_grouped = [key, value], LAYOUTS[data[1]] is Layout.GROUPED
    if counts:
        each = np.concatenate(counts).astype(np.int64)
        columns = [key, _listed(value, each)] if is_grouped else [key, value, pl.Series("times", each)]
    return Batch(pl.DataFrame(columns), key_lane, value_lane, is_grouped)


class _Gathered:
    """One column of several blocks: its numbers and its content."""

    def __init__(self) -> None:
        self.numbers: list[Array] = []
        self.content: list[bytes] = []

    def series(self, name: str, lane: Lane) -> pl.Series:
        """The column of all blocks. Raises ValueError where numbers and content do not fit each other."""
        numbers = self.numbers[0] if len(self.numbers) == 1 else np.concatenate(self.numbers)
        content = b"".join(self.content)
        ends = ends_of(numbers).tolist() if lane in VARYING else [0]
        if ends[-1] != len(content):
            raise ValueError(f"a small block has {len(content)} bytes of {name}s, and not {ends[-1]}")
        if lane not in VARYING:
            return pl.Series(name, numbers.astype(FIXED.get(lane, np.int64)))
        cuts = itertools.pairwise(ends)
        series = pl.Series(name, [content[start:stop] for start, stop in cuts], dtype=pl.Binary)
        return series.cast(pl.String) if lane is Lane.STR else series


def _take(data: bytes, counts: list[Array], keys: _Gathered, values: _Gathered) -> None:
    """Take the columns of one block apart."""
    form, layout, widths, rows, flat, key_bytes = HEAD.unpack_from(data)
    key_lane, value_lane = lanes_of(form)
    at = HEAD.size
    if LAYOUTS[layout] is not Layout.ROWS:
        counts.append(_counts(data, widths, rows))
        at += counts[-1].nbytes
    kind = _kind(key_lane, widths & 3)
    keys.numbers.append(np.frombuffer(data, kind, rows, at))
    at += rows * kind.itemsize
    keys.content.append(data[at : at + key_bytes])
    at += key_bytes
    kind = _kind(value_lane, widths >> WIDTH_BITS & 3)
    values.numbers.append(np.frombuffer(data, kind, flat, at))
    values.content.append(data[at + flat * kind.itemsize :])


def _counts(data: bytes, widths: int, rows: int) -> Array:
    """How many values each row has, of rows that have several."""
    return np.frombuffer(data, UNSIGNED[widths >> 2 * WIDTH_BITS], rows, HEAD.size)


def _kind(lane: Lane, width: int) -> np.dtype[Any]:
    return UNSIGNED[width] if lane in VARYING else FIXED[lane] if lane in FIXED else SIGNED[width]


def _listed(flat: pl.Series, counts: Sizes) -> pl.Series:
    """A column of lists of so many elements each, of the elements of `flat`."""
    rows = pl.Series("row", np.repeat(np.arange(len(counts)), counts))
    frame = pl.DataFrame([rows, flat])
    return frame.group_by("row", maintain_order=True).agg("value")["value"]
