"""Comma-separated values: RFC 4180, read by Python's csv module, strictly.

A record may span lines (quoted newlines), so a file is read from its beginning; the first record may name the columns.
Empty lines hold no record. Refuses records that have not as many fields as the first, column names that occur twice,
and quotes that are not closed.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from mapreduce.dataflow.columns import Batch, make_batch
from mapreduce.dataflow.context import Place, shorten
from mapreduce.dataflow.encoding import BAD_MARK
from mapreduce.dataflow.frames import FRAME_BYTES
from mapreduce.dataflow.records import Frame, Records, numbered
from mapreduce.dataflow.text import LineBlock, TextReader, UnreadableRecord
from mapreduce.formats import Csv
from mapreduce.plan import Piece, Split, TaskOptions

BLOCK_CHARS = 128 << 10  # of text that become records at a time: some hundred or thousand
FIELD_CHARS = 16 << 20  # of one field: a quote that is not closed would otherwise take in the rest of the file


class CsvReader:
    """The records of whole files: the key is the record's number in its file."""

    def __init__(self, split: Split, options: TaskOptions, input_format: Csv) -> None:
        self._split = split
        self._format = input_format
        self._text = TextReader(split, options.encoding, options.encoding_errors, options.limits, keep_ends=True)
        self._encoding = options.encoding
        self._leaves_out = options.encoding_errors == "skip"
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
            for table, first, rows, places in self._tables(piece, BLOCK_CHARS):
                names = table.names
                values: list[Any] = rows if names is None else [dict(zip(names, row, strict=True)) for row in rows]
                yield Records(values, numbered(first, len(values)), places)

    def columns(self) -> Iterator[Batch]:
        """Yield the records as columns of numbers and dicts (or lists)."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames of text, with the file's columns (column_1 and so on if they have no names)."""
        for piece in self._split.pieces:
            held: list[pl.DataFrame] = []
            before = 0
            place: Place = (piece.path, 0)
            # In blocks: as Python objects the text of a whole frame would take twenty times as much memory.
            for table, _, rows, places in self._tables(piece, min(BLOCK_CHARS, most)):
                if not held:
                    place = places(0)
                held.append(_frame_of(table, rows))
                if table.chars - before >= most:
                    yield Frame(pl.concat(held, rechunk=True), place)
                    held, before = [], table.chars
            if held:
                yield Frame(pl.concat(held, rechunk=True), place)

    def _tables(self, piece: Piece, most: int) -> Iterator[tuple[_Table, int, list[list[str]], Callable[[int], Place]]]:
        """Yield rows of one file, of about `most` characters: its table, the first one's number, rows and places."""
        table = _Table(self._format, piece.path, self._text.blocks_of(piece), skip=self._leaves_out)
        while True:
            first = table.records
            rows, places = table.some(most)
            if not rows:
                break
            yield table, first, rows, places
        if table.skipped:
            self._warnings.append(
                f"{piece.path}: records left out for bytes that are not {self._encoding}: {table.skipped}"
            )


def _frame_of(table: _Table, rows: list[list[str]]) -> pl.DataFrame:
    names = table.names or [f"column_{i + 1}" for i in range(table.width)]
    fields = zip(*rows, strict=True)
    return pl.DataFrame(
        [pl.Series(name, list(texts), dtype=pl.String) for name, texts in zip(names, fields, strict=True)]
    )


class _Lines:
    """The lines of one file, one by one, and where those lie that were given last. `chars` counts what was given."""

    def __init__(self, path: str, blocks: Iterable[LineBlock]) -> None:
        self._path = path
        self._blocks = iter(blocks)
        self._held: list[tuple[int, LineBlock]] = []  # with the number of each block's first line
        self.chars = 0

    def __iter__(self) -> Iterator[str]:
        number = 0
        for block in self._blocks:
            self._held.append((number, block))
            number += len(block.lines)
            for line in block.lines:
                self.chars += len(line)
                yield line

    def forget_before(self, line: int) -> None:
        """Let go of blocks that lie before a line."""
        at = bisect_right(self._held, line, key=lambda held: held[0]) - 1
        del self._held[: max(at, 0)]

    def places(self, starts: list[int]) -> Callable[[int], Place]:
        """Give what knows path and byte of the i-th of these lines, which are still held."""
        held = list(self._held)

        def place(i: int) -> Place:
            number, block = held[bisect_right(held, starts[i], key=lambda one: one[0]) - 1]
            return self._path, block.offset(starts[i] - number)

        return place


class _Table:
    """The rows of one file. `names` are those of the columns, if it has any, `width` their number.

    `records` counts those that were given, `skipped` those that were left out for bad bytes.
    """

    def __init__(self, input_format: Csv, path: str, blocks: Iterable[LineBlock], *, skip: bool) -> None:
        self._path = path
        self._lines = _Lines(path, blocks)
        self._rows = csv.reader(iter(self._lines), delimiter=input_format.separator, strict=True)
        self._skip = skip
        self._header = input_format.header
        self.names: list[str] | None = None
        self.width = 0
        self.records = 0
        self.skipped = 0

    @property
    def chars(self) -> int:
        """How much of the text has been read."""
        return self._lines.chars

    def some(self, most: int) -> tuple[list[list[str]], Callable[[int], Place]]:
        """Read on for about `most` characters. Gives the rows, none at the file's end, and what knows their places."""
        rows: list[list[str]] = []
        starts: list[int] = []
        reader, lines = self._rows, self._lines
        line = reader.line_num
        lines.forget_before(line)
        until = lines.chars + most
        plain = 0 if self._skip else self.width  # how many fields a row has that needs no look at
        with _long_fields():
            try:
                for row in reader:
                    if row and (len(row) == plain or self._is_record(row, line)):
                        rows.append(row)
                        starts.append(line)
                        self.records += 1
                        if lines.chars >= until:
                            break
                    line = reader.line_num
            except csv.Error as error:
                raise self._unreadable(line, _why(str(error))) from None
        return rows, lines.places(starts)

    def _is_record(self, row: list[str], line: int) -> bool:
        """Whether a row is a record to be given: the header is none. Raises UnreadableRecord."""
        damaged = self._skip and any(BAD_MARK in field for field in row)
        if not self.width:
            if damaged:
                raise self._unreadable(line, "the file's first record holds bytes that are not in its encoding")
            self.width = len(row)
            if self._header:
                self._take_names(row, line)
                return False
        elif damaged:
            self.skipped += 1
            return False
        elif len(row) != self.width:
            wanted = f"the file's first record has {self.width}"
            raise self._unreadable(line, f"it has {len(row)} fields, and {wanted}: {shorten(row):.200}")
        return True

    def _take_names(self, row: list[str], line: int) -> None:
        twice = next((name for name in row if row.count(name) > 1), None)
        if twice is not None:
            why = f"two columns are called {twice!r}: rename one, or write Csv(header=False), for lists without names"
            raise self._unreadable(line, why)
        self.names = row

    def _unreadable(self, line: int, why: str) -> UnreadableRecord:
        place = self._lines.places([line])(0)
        what = f"record {self.records}" if self.width else "the first record"
        return UnreadableRecord(*place, f"{self._path}, {what} (from 0 on; line {line + 1}): {why}")


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
