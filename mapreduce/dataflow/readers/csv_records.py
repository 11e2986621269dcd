"""Comma-separated values: RFC 4180, read by Python's csv module, strictly.

A record may span lines (quoted newlines); a file is then read from its beginning. Where none does, a file is cut at
lines, and each task reads the first record for itself. Empty lines hold no record. Refuses records that have not as
many fields as the first, column names that occur twice, and quotes that are not closed.
"""

from __future__ import annotations

import csv
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import Batch, make_batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import shorten
from mapreduce.dataflow.inputs.encoding import BAD_MARK, find_encoding
from mapreduce.dataflow.readers.csv_columns import native_fields
from mapreduce.dataflow.readers.csv_lines import EachLine, Lines, Spans
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.readers.text import LineBlock, TextReader
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.errors import InputError
from mapreduce.formats import Csv
from mapreduce.plan import Limits, Piece, Split, TaskOptions
from mapreduce.quick_dataclass import dataclass

FIELD_CHARS = 16 << 20  # of one field: a quote that is not closed would otherwise take in the rest of the file
FIRST_BYTES = 4 << 10  # read at a time where only a file's first record is wanted: it is rarely longer
EMPTY_BYTES = 1 << 20  # of empty lines before the first record, looked through at a time
_OPEN = "a quote is still open at the end of the line"
_WHOLE = (
    "where fields may hold newlines, nobody knows where the next record begins, and such a one cannot be put aside "
    "(max_bad): if none of this file does, say Csv(quoted_newlines=False), or --input-format csv:quoted_newlines=no"
)


class CsvReader:
    """The records that begin in the split: the key is the byte where the record begins."""

    def __init__(self, split: Split, options: TaskOptions, input_format: Csv, aside: PutAside | None = None) -> None:
        self._split = split
        self._options = options
        put_aside = aside is not None and options.encoding_errors == "strict"
        self._errors = "skip" if put_aside else options.encoding_errors
        name = find_encoding(options.encoding).name
        self._rules = _Rules(input_format, name, aside, marks=self._errors == "skip", skips=not put_aside)
        self._text = TextReader(split, options.encoding, self._errors, options.limits, keep_ends=True)
        self._warnings: list[str] = []

    @property
    def bytes_read(self) -> int:
        """How much has been read so far, as it lies on disk."""
        return self._text.bytes_read

    @property
    def warnings(self) -> list[str]:
        """What it has to say so far."""
        return self._text.warnings + self._warnings

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for table, rows, spans in self._tables(piece):
                yield _records(piece.path, table.values(rows), spans)

    def columns(self) -> Iterator[Batch]:
        """Yield the records as columns of numbers and dicts (or lists)."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames of text, with the file's columns (column_1 and so on if they have no names).

        A frame has those that begin in the same `most` bytes.
        """
        for piece in self._split.pieces:
            read = self._text.bytes_read
            for given, frame in enumerate(self._quick_frames(piece, most)):
                if frame is None:  # the other way from the piece's beginning: messages count its lines
                    self._text.bytes_read = read
                    yield from islice(self._slow_frames(piece, most), given, None)
                    break
                yield frame

    def _quick_frames(self, piece: Piece, most: int) -> Iterator[Frame | None]:
        """Yield frames that are made without Python objects; None where there are others that cannot be."""
        separator = self._rules.format.separator
        table = _Table(self._rules, piece.path, (), numbered=False)
        if self._rules.aside is None and separator.isascii() and self._text.are_bytes(piece):
            with suppress(InputError, UnreadableRecord):  # told the other way, which may find another one first
                table = self._first_record(piece)
        begin = table.first_row(piece.start)
        if begin is None or begin >= piece.start + piece.size:
            yield None
            return
        lines = replace(piece, start=begin, size=piece.start + piece.size - begin)
        for start, raw in self._text.whole_lines_of(lines, most):
            fields = native_fields(raw, start, separator, table.width, FIELD_CHARS)
            if fields is None:
                yield None
                return
            yield Frame(table.named(fields), (piece.path, start))

    def _slow_frames(self, piece: Piece, most: int) -> Iterator[Frame]:
        held: list[pl.DataFrame] = []
        start = 0
        # In blocks: as Python objects the text of a whole frame would take twenty times as much memory.
        for table, rows, spans in self._tables(piece):
            offsets, at = spans.offsets(), 0
            while at < len(rows):
                if not held:
                    start = offsets[at]
                stop = bisect_left(offsets, start + most, at)
                held += [table.frame(rows[at:stop])] if stop > at else []
                if stop < len(rows):
                    yield Frame(pl.concat(held, rechunk=True), (piece.path, start))
                    held = []
                at = stop
        if held:
            yield Frame(pl.concat(held, rechunk=True), (piece.path, start))

    def _tables(self, piece: Piece) -> Iterator[tuple[_Table, list[list[str]], Spans]]:
        """Yield rows of one piece, a block at a time: its table, the rows, and where they lie."""
        table = _Table(self._rules, piece.path, self._text.blocks_of(piece), numbered=piece.start == 0)
        if piece.start > 0:
            table.learn_from(self._first_record(piece), piece.start)
        while True:
            rows, spans = table.some()
            if not rows:
                break
            yield table, rows, spans
        if table.skipped:
            where = f", bytes {piece.start} to {piece.start + piece.size}" if piece.size < piece.file_size else ""
            self._warnings.append(
                f"{piece.path}{where}: records left out for bytes that are not {self._options.encoding}: "
                f"{table.skipped}"
            )

    def _first_record(self, piece: Piece) -> _Table:
        """The table of the piece's file, of which the first record alone has been read."""
        limits = Limits(read=min(FIRST_BYTES, self._options.limits.read))
        text = TextReader(self._split, self._options.encoding, self._errors, limits, keep_ends=True)

        def blocks() -> Iterator[LineBlock]:
            start, size = 0, 1
            while start < piece.file_size:
                size = min(size, piece.file_size - start)
                yield from text.blocks_of(replace(piece, start=start, size=size))
                start, size = start + size, EMPTY_BYTES

        table = _Table(self._rules, piece.path, blocks(), numbered=True)
        table.read_first()
        return table


def _records(path: str, values: list[Any], spans: Spans) -> Records:
    return Records(values, spans.offsets, lambda i: (path, spans.offsets()[i]), spans.content)


@dataclass(frozen=True, slots=True)
class _Rules:
    """How records are read. With `marks` bad bytes are in them as BAD_MARK, and with `skips` such records are skipped.

    `aside` takes those that are put aside.
    """

    format: Csv
    encoding: str
    aside: PutAside | None
    marks: bool
    skips: bool


@dataclass(slots=True)
class _Found:
    """Rows that are records: the i-th lies in the lines from `starts[i]` up to `stops[i]`."""

    rows: list[list[str]]
    starts: list[int]
    stops: list[int]


class _Table:
    """The rows of one piece of a file. `width` is how many fields a record has, 0 until the first one is known.

    `skipped` counts records that were left out for bad bytes. With `numbered` the piece begins with its file, so that
    lines have numbers.
    """

    def __init__(self, rules: _Rules, path: str, blocks: Iterable[LineBlock], *, numbered: bool) -> None:
        self._rules = rules
        self._path = path
        self._lines = Lines(blocks)
        self._by_line = not rules.format.quoted_newlines
        separator = rules.format.separator
        self._rows: Any = (
            EachLine(iter(self._lines), separator)
            if self._by_line and rules.aside is not None
            else csv.reader(iter(self._lines), delimiter=separator, strict=True)
        )
        self._numbered = numbered
        self._names: list[str] | None = None
        self._picked: list[int] | None = None  # the places of the columns that are wanted, if not all are
        self._first: int | None = None  # the byte where the first record begins
        self.width = 0
        self.skipped = 0

    def values(self, rows: list[list[str]]) -> list[Any]:
        """The rows as a mapper gets them."""
        names, picked = self._names, self._picked
        if names is None:
            return rows
        if picked is None:
            return [dict(zip(names, row, strict=True)) for row in rows]
        return [dict(zip(names, [row[i] for i in picked], strict=True)) for row in rows]

    def frame(self, rows: list[list[str]]) -> pl.DataFrame:
        """The rows as a frame of text."""
        return self.named([pl.Series(list(texts), dtype=pl.String) for texts in zip(*rows, strict=True)])

    def named(self, fields: list[pl.Series]) -> pl.DataFrame:
        """The columns of all fields as a frame: those that are wanted, by their names."""
        names = self._names or [f"column_{i + 1}" for i in range(self.width)]
        fields = fields if self._picked is None else [fields[i] for i in self._picked]
        return pl.DataFrame([texts.alias(name) for name, texts in zip(names, fields, strict=True)])

    def first_row(self, start: int) -> int | None:
        """Of a table with its first record alone: the byte from which on lines may be rows; None where nobody knows."""
        if not self.width:
            return None
        if not self._rules.format.header:
            return start
        if start:
            return start if self._first is not None and self._first < start else None
        return None if self._first else self._lines.end_of_first()

    def read_first(self) -> None:
        """Read the file's first record, and nothing behind it."""
        line = 0
        with _long_fields():
            try:
                for row in self._rows:
                    stop = self._rows.line_num
                    if self._by_line and stop > line + 1:
                        raise self._unparsed(line, stop)
                    if row:
                        self._learn(row, line, stop)
                        return
                    line = stop
            except csv.Error as error:
                raise self._unparsed(line, self._rows.line_num, str(error)) from None

    def learn_from(self, table: _Table, start: int) -> None:
        """Take over what another table knows of this file's first record, unless that lies in this piece."""
        if table._first is not None and table._first < start:
            self._names, self._picked, self.width = table._names, table._picked, table.width

    def some(self) -> tuple[list[list[str]], Spans]:
        """Read on for about a block of lines. Gives the rows, none at the end, and where they lie."""
        found = _Found([], [], [])
        more = True
        while more and not found.rows:
            self._lines.forget_before(self._rows.line_num)
            more = self._read(found)
        return found.rows, self._lines.spans(found.starts, found.stops)

    def _read(self, found: _Found) -> bool:
        """Read on up to the end of a block, or into the next where a record goes on. Gives False at the end of all."""
        reader, lines = self._rows, self._lines
        line = reader.line_num
        parsed: list[list[str]] = []
        stops: list[int] = []
        failed = None
        until = 0
        more = False
        with _long_fields():
            try:
                for row in reader:
                    parsed.append(row)
                    stops.append(reader.line_num)
                    until = until or lines.count  # as of now: records may go on from one block into the next for ever
                    if stops[-1] >= until:
                        more = True
                        break
            except csv.Error as error:
                failed = str(error)
        self._keep(parsed, [line, *stops], found)
        if failed is not None:
            unparsed = self._unparsed(stops[-1] if stops else line, reader.line_num, failed)
            if not self._by_line or not self.width:
                raise unparsed  # where the next record begins is not known, or what it is to have
            refuse(self._rules.aside, unparsed)
            return True
        return more

    def _keep(self, parsed: list[list[str]], borders: list[int], found: _Found) -> None:
        """Add the rows that are records. The i-th lies in the lines from one of the borders up to the next."""
        if self._by_line and borders[-1] - borders[0] > len(parsed):
            long = next(i for i in range(len(parsed)) if borders[i + 1] > borders[i] + 1)
            self._keep(parsed[:long], borders[: long + 1], found)
            raise self._unparsed(borders[long], borders[long + 1])
        if self.width and not self._rules.marks and set(map(len, parsed)) == {self.width}:
            found.rows += parsed
            found.starts += borders[:-1]
            found.stops += borders[1:]
            return
        for i, row in enumerate(parsed):
            if row and self._is_record(row, borders[i], borders[i + 1]):
                found.rows.append(row)
                found.starts.append(borders[i])
                found.stops.append(borders[i + 1])

    def _is_record(self, row: list[str], line: int, stop: int) -> bool:
        """Whether a row is a record to be given: the header is none. Raises UnreadableRecord."""
        if not self.width:
            self._learn(row, line, stop)
            return not self._rules.format.header
        if self._rules.marks and any(BAD_MARK in field for field in row):
            if self._rules.skips:
                self.skipped += 1
            else:
                why = f"the record holds bytes that are not valid {self._rules.encoding}"
                refuse(self._rules.aside, self._unreadable(line, stop, why, f"not {self._rules.encoding}"))
            return False
        if len(row) != self.width:
            why = f"it has {len(row)} fields, and the file's first record has {self.width}: {shorten(row):.200}"
            refuse(self._rules.aside, self._unreadable(line, stop, why, "wrong number of fields"))
            return False
        return True

    def _learn(self, row: list[str], line: int, stop: int) -> None:
        """Take a file's first record for what it says of all others. Raises UnreadableRecord."""
        if self._rules.marks and any(BAD_MARK in field for field in row):
            raise self._unreadable(line, stop, "the file's first record holds bytes that are not in its encoding")
        self.width = len(row)
        (self._first,) = self._lines.spans([line], [stop]).offsets()
        if not self._rules.format.header:
            return
        twice = next((name for name, times in Counter(row).items() if times > 1), None)
        if twice is not None:
            why = f"two columns are called {twice!r}: rename one, or write Csv(header=False), for lists without names"
            raise self._unreadable(line, stop, why)
        columns = self._rules.format.columns
        if columns is None:
            self._names = row
            return
        places = {name: i for i, name in enumerate(row)}
        missing = [name for name in columns if name not in places]
        if missing:
            shown = ", ".join(map(repr, missing))
            why = f"there is no column {shown}: the columns are {', '.join(map(repr, row)):.500}"
            raise self._unreadable(line, stop, why)
        self._names, self._picked = list(columns), [places[name] for name in columns]

    def _unparsed(self, line: int, stop: int, message: str = "") -> UnreadableRecord:
        """What a row is that the csv module refuses, or that goes on over the end of its line where none may."""
        # The module says what it finds at last; a row that has more than one line went on over the end of its first.
        if self._by_line and ("unexpected end of data" in message or stop > line + 1):
            why = f"{_OPEN}; if fields of this file hold newlines, leave quoted_newlines=False out"
        else:
            why = _why(message)
        if not self._by_line:
            why = f"{why}; {_WHOLE}"
        return self._unreadable(line, stop, why)

    def _unreadable(self, line: int, stop: int, why: str, kind: str = "no CSV") -> UnreadableRecord:
        """What is wrong with the record in the lines from one up to another."""
        span = self._lines.spans([line], [stop])
        (offset,) = span.offsets()
        where = f"line {line + 1} (byte {offset})" if self._numbered else f"byte {offset}"
        content = span.content(0) if self._rules.aside is not None else None
        return UnreadableRecord(self._path, offset, f"{self._path}, {where}: {why}", kind=kind, content=content)


def _why(message: str) -> str:
    if "unexpected end of data" in message:
        return "a quoted field is not closed before the end of the file"
    if "field larger than field limit" in message:
        return f"a field has more than {FIELD_CHARS:,} characters: is a quote before it not closed?"
    if "new-line character seen" in message:
        return "a carriage return stands alone in a field without quotes: lines end at a newline here"
    return message


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let fields be long, while no code of the user runs: the limit is the whole process's."""
    before = csv.field_size_limit(FIELD_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)
