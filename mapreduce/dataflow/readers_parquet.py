"""Parquet files, read by Polars in slices of rows, so that a file need not fit in memory.

A row's columns and types are the file's own. Refuses files that are no Parquet, and names columns that are missing.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from polars import selectors

from mapreduce.dataflow.columns import OFFSET_BYTES, VIEW_BYTES, Batch, make_batch
from mapreduce.dataflow.frames import FRAME_BYTES
from mapreduce.dataflow.input_file import open_piece
from mapreduce.dataflow.records import Frame, Records, in_file, numbered
from mapreduce.dataflow.text import UnreadableRecord
from mapreduce.errors import InputError
from mapreduce.plan import Piece, Split

FIRST_ROWS = 8192  # of a file, unless it is so large that fewer make a frame: until it is known how large rows are
GROWTH = 2  # a slice has at most so many times the rows of the one before: the next rows may be larger
OBJECT_SLICES = 8  # a frame becomes Python objects in so many pieces: they take several times its memory
CELL_BYTES = 16  # of a cell of a type without a formula of its own, at most
_POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # it panics over some damaged files


class ParquetReader:
    """The rows of whole files: the key is the row's number in its file."""

    def __init__(self, split: Split, columns: tuple[str, ...] | None) -> None:
        self._split = split
        self._columns = columns
        self.bytes_read = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for first, frame in self._slices(piece, FRAME_BYTES):
                step = max(1, frame.height // OBJECT_SLICES)
                for at in range(0, frame.height, step):
                    rows = frame.slice(at, step).to_dicts()
                    yield Records(rows, numbered(first + at, len(rows)), in_file(piece.path))

    def columns(self) -> Iterator[Batch]:
        """Yield the rows as columns of numbers and dicts."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the rows as frames with the file's columns and types."""
        for piece in self._split.pieces:
            for _, frame in self._slices(piece, most):
                yield Frame(frame, (piece.path, None))

    def _slices(self, piece: Piece, most: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield slices of about `most` bytes, each with the number of its first row."""
        before = self.bytes_read
        with open_piece(piece):
            scan = self._scan(piece.path)
            total = int(_collected(scan.select(pl.len()), piece.path).item())
            rows = max(1, min(FIRST_ROWS, total * most // max(piece.file_size, 1)))
            at = 0
            while at < total:
                frame = _collected(scan.slice(at, rows), piece.path)
                if frame.height != min(rows, total - at):
                    raise InputError(f"{piece.path}: {frame.height} rows from row {at} on, of {total}: it is damaged")
                self.bytes_read = before + piece.size * min(at + rows, total) // total
                yield at, frame
                at += rows
                fits = max(1, frame.height * most // max(frame_bytes(frame), 1))
                rows = min(GROWTH * rows, fits)
        self.bytes_read = before + piece.size

    def _scan(self, path: str) -> pl.LazyFrame:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        try:
            names = scan.collect_schema().names()
        except _POLARS_ERRORS as error:
            raise _unreadable(path, error) from error
        if self._columns is None:
            return scan
        missing = [name for name in self._columns if name not in names]
        if missing:
            shown = ", ".join(map(repr, missing))
            msg = f"{path} has no column {shown}: its columns are {', '.join(map(repr, names)):.500}"
            raise UnreadableRecord(path, None, msg)
        return scan.select(selectors.by_name(*self._columns))  # a text could be a pattern: "*", "^a.*$"


def _collected(scan: pl.LazyFrame, path: str) -> pl.DataFrame:
    try:
        return scan.collect(engine="in-memory")
    except _POLARS_ERRORS as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: BaseException) -> InputError:
    first = str(error).strip().partition("\n")[0]
    return InputError(f"{path} cannot be read as Parquet: {first:.300}")


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
    return CELL_BYTES * len(series)
