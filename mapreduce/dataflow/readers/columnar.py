"""Rows of columnar files (Parquet, Arrow IPC), read by Polars in slices, so that a file need not fit in memory.

A file is cut by bytes, like text, and without being opened: its groups of rows (row groups, record batches) belong to
the piece in which their first byte lies. The key of a row is its number in its file. Owns the slices and their errors;
where groups lie is the formats' own.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from polars import selectors

from mapreduce.dataflow.columns.batches import OFFSET_BYTES, VIEW_BYTES, Batch, make_batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.inputs.input_file import OpenFile, open_piece
from mapreduce.dataflow.readers.records import Frame, Records, in_file, numbered
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.errors import InputError
from mapreduce.plan import Piece, Split
from mapreduce.quick_dataclass import dataclass

FIRST_ROWS = 8192  # of a piece, unless it is so large that fewer make a frame: until it is known how large rows are
GROWTH = 2  # a slice has at most so many times the rows of the one before: the next rows may be larger
OBJECT_SLICES = 8  # a frame becomes Python objects in so many pieces: they take several times its memory
SPAN_BYTES = 16 << 20  # of small groups that are fetched and read together: some frames, and no file at once
CELL_BYTES = 16  # of a cell of a type without a formula of its own, at most
_MAP = getattr(pl, "Map", None)  # a type of Polars 2
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # it panics over some damaged files
_OBJECT_ERRORS = (*POLARS_ERRORS, RuntimeError, TypeError, ValueError, OverflowError)  # as Python objects are made
_INNER_TEXT = re.compile(r'ErrString\("((?:[^"\\]|\\.)*)')  # of an error that Polars panicked over

# Polars refuses a column whose time zone is an offset ("+05:30"), as other programs write them, unless told not to.
os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a file that lie together: what they are called, the number of the first, and how many.

    `ranges` are the bytes of the columns that are read; `unpacked` says how many they are without compression, as far
    as the file tells.
    """

    name: str
    first: int
    rows: int
    ranges: tuple[range, ...]
    unpacked: int = 0

    @property
    def size(self) -> int:
        """How many bytes are read of it."""
        return sum(map(len, self.ranges))


@dataclass(frozen=True, slots=True)
class Span:
    """Groups that follow one another, and what reads them: the number of the first row of `scan` is `origin`."""

    scan: pl.LazyFrame
    groups: tuple[Group, ...]
    origin: int = 0

    @property
    def rows(self) -> range:
        """The numbers of its rows in their file."""
        last = self.groups[-1]
        return range(self.groups[0].first, last.first + last.rows)

    def slice(self, rows: range) -> pl.LazyFrame:
        """Some of its rows."""
        return self.scan.slice(rows.start - self.origin, len(rows))


class ColumnarReader(ABC):
    """The rows of a split; each format says where they lie."""

    FORMAT: str  # for messages

    def __init__(self, split: Split, columns: tuple[str, ...] | None, aside: PutAside | None = None) -> None:
        self._split = split
        self._aside = aside
        self._columns = columns
        self.bytes_read = 0
        self.warnings: list[str] = []

    @abstractmethod
    def _spans(self, file: OpenFile, piece: Piece) -> Iterator[Span]:
        """Yield the piece's rows, in the order of the file."""

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for rows, frame in self._slices(piece, FRAME_BYTES):
                step = max(1, frame.height // OBJECT_SLICES)
                for at in range(0, frame.height, step):
                    yield self._objects(piece.path, rows.start + at, frame.slice(at, step))

    def columns(self) -> Iterator[Batch]:
        """Yield the rows as columns of numbers and dicts."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the rows as frames with the file's columns and types."""
        for piece in self._split.pieces:
            for _, frame in self._slices(piece, most):
                yield Frame(frame, (piece.path, None))

    def _slices(self, piece: Piece, most: int) -> Iterator[tuple[range, pl.DataFrame]]:
        """Yield slices of about `most` bytes, each with the numbers of its rows."""
        before = self.bytes_read
        fits = 0
        with open_piece(piece) as file:
            for span in self._spans(file, piece):
                size = max(sum(max(group.size, group.unpacked) for group in span.groups), 1)
                count = fits or max(1, min(FIRST_ROWS, len(span.rows) * most // size))
                last = span.groups[-1].ranges
                done = max((group.stop for group in last), default=piece.start)
                begun, ended = self.bytes_read, before + min(max(done - piece.start, 0), piece.size)
                at = span.rows.start
                while at < span.rows.stop:
                    rows = range(at, min(at + count, span.rows.stop))
                    frame = self._collected(piece.path, span, rows)
                    self.bytes_read = begun + (ended - begun) * (rows.stop - span.rows.start) // len(span.rows)
                    yield rows, frame
                    at = rows.stop
                    fits = max(1, len(rows) * most // max(frame_bytes(frame), 1))
                    count = fits = min(GROWTH * count, fits)
        self.bytes_read = before + piece.size

    def _chosen(self, path: str, names: Sequence[str]) -> tuple[str, ...]:
        """The columns that are read. Raises UnreadableRecord for one that the file has not."""
        if self._columns is None:
            return tuple(names)
        missing = [name for name in self._columns if name not in names]
        if missing:
            shown = ", ".join(map(repr, missing))
            msg = f"{path} has no column {shown}: its columns are {', '.join(map(repr, names)):.500}"
            raise UnreadableRecord(path, None, msg)
        return self._columns

    def _selected(self, scan: pl.LazyFrame) -> pl.LazyFrame:
        if self._columns is None:
            return scan
        return scan.select(selectors.by_name(*self._columns))  # a text could be a pattern: "*", "^a.*$"

    def _collected(self, path: str, span: Span, rows: range) -> pl.DataFrame:
        try:
            frame = _collect(span.slice(rows))
        except POLARS_ERRORS as error:
            raise self._blamed(path, span, rows, error) from error
        if frame.height != len(rows):
            where = self._where(span, rows)
            raise InputError(f"{path}, {where}: {frame.height} rows in place of {len(rows)}: it is damaged")
        return frame

    def _blamed(self, path: str, span: Span, rows: range, error: BaseException) -> InputError:
        """Find the group and the column that cannot be read."""
        where = self._where(span, rows)
        names = _names(span.scan)
        for group in span.groups if names else ():
            common = range(max(group.first, rows.start), min(group.first + group.rows, rows.stop))
            if not common or (found := _failure(span.slice(common))) is None:
                continue
            where, error = group.name, found
            for name in names:
                column = span.slice(common).select(selectors.by_name(name))
                if (found := _failure(column)) is not None:
                    return self._unreadable(path, f"{where}, column {name!r}", found)
        return self._unreadable(path, where, error)

    def _unreadable(self, path: str, where: str, error: BaseException) -> InputError:
        text = str(error)
        inner = _INNER_TEXT.search(text)
        first = (inner.group(1) if inner else text.strip()).partition("\n")[0]
        return InputError(f"{path} cannot be read as {self.FORMAT}: {where}: {first:.300}")

    def _objects(self, path: str, first: int, frame: pl.DataFrame) -> Records:
        """The rows as dicts. Raises UnreadableRecord for values that Python has no objects for, or puts rows aside."""
        try:
            return Records(frame.to_dicts(), numbered(first, frame.height), in_file(path))
        except _OBJECT_ERRORS:
            kept: list[int] = []
            values: list[dict[str, Any]] = []
            for i in range(frame.height):
                try:
                    values += frame.slice(i, 1).to_dicts()
                except _OBJECT_ERRORS as error:
                    refuse(self._aside, _without_object(path, first + i, frame.slice(i, 1), error))
                else:
                    kept.append(first + i)
            return Records(values, lambda: kept, in_file(path))

    def _where(self, span: Span, rows: range) -> str:
        """The names of the groups that hold some rows."""
        names = [one.name for one in span.groups if one.first < rows.stop and rows.start < one.first + one.rows]
        return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _without_object(path: str, number: int, row: pl.DataFrame, error: BaseException) -> UnreadableRecord:
    """What is wrong with a row that has a value of which Python has no object."""
    where, why = "", str(error)
    for series in row.get_columns():
        try:
            series.to_list()
        except _OBJECT_ERRORS as found:
            where, why = f"the column {series.name!r} of type {series.dtype}", str(found)
            break
    return UnreadableRecord(
        path,
        None,
        f"{path}, row {number}: {where or 'it'} has a value that Python has no object for: {why:.300}. Read it with "
        "frames=True, or leave it out with columns=",
        kind="no Python object",
    )


def spanning(groups: Iterable[Group]) -> Iterator[tuple[Group, ...]]:
    """Put groups together that follow one another, until they have SPAN_BYTES."""
    span: list[Group] = []
    held = 0
    for group in groups:
        follows = not span or group.first == span[-1].first + span[-1].rows
        if span and (held + group.size > SPAN_BYTES or not follows):
            yield tuple(span)
            span, held = [], 0
        span.append(group)
        held += group.size
    if span:
        yield tuple(span)


def merged(ranges: Iterable[range]) -> list[range]:
    """Put ranges together that touch, in order, and leave out empty ones."""
    found: list[range] = []
    for one in sorted(filter(len, ranges), key=lambda one: one.start):
        if found and one.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, one.stop))
        else:
            found.append(one)
    return found


def _collect(scan: pl.LazyFrame) -> pl.DataFrame:
    return scan.collect(engine="in-memory")


def _failure(scan: pl.LazyFrame) -> BaseException | None:
    """How reading fails, if it does."""
    try:
        _collect(scan)
    except POLARS_ERRORS as error:
        return error
    return None


def _names(scan: pl.LazyFrame) -> list[str]:
    try:
        return scan.collect_schema().names()
    except POLARS_ERRORS:
        return []  # what is wrong is the schema, and no column of it


def frame_bytes(frame: pl.DataFrame) -> int:
    """Bytes that a frame takes in memory: a function of its rows alone, unlike Polars' estimate."""
    return sum(_bytes(series) for series in frame.get_columns())


def _bytes(series: pl.Series) -> int:
    dtype = series.dtype
    if dtype == pl.String:
        return int(series.str.len_bytes().sum()) + VIEW_BYTES * len(series)
    if dtype == pl.Binary:
        return int(series.bin.size().sum()) + VIEW_BYTES * len(series)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _bytes(series.explode()) + OFFSET_BYTES * len(series)
    if isinstance(dtype, pl.Struct):
        return sum(_bytes(field) for field in series.struct.unnest().get_columns())
    if _MAP is not None and isinstance(dtype, _MAP):
        return _bytes(series.map.entries())
    if dtype.is_extension():
        return _bytes(series.ext.storage())
    return CELL_BYTES * len(series)
