"""Lines of text, and JSON documents of which each is a line."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, make_batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import Place, shorten
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.readers.text import LineBlock, TextReader
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.dataflow.readers.word_columns import Words
from mapreduce.plan import Split, TaskOptions

NESTED = 512  # levels of a document: Python's own limit, 1,000, counts the levels of whatever calls it too
WORDS_BYTES = 8 << 20  # of lines whose words become a column, which is counted at once: most splits are as small
SPACE = " \t\r"  # what JSON has of it within a line
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?')  # the last quote may be missing: then it has no end


class LinesReader:
    """Lines of text: the key is the byte offset."""

    def __init__(self, split: Split, options: TaskOptions, aside: PutAside | None = None) -> None:
        self._split = split
        self._aside = aside
        self._text = TextReader(split, options.encoding, options.encoding_errors, options.limits, aside=aside)

    @property
    def bytes_read(self) -> int:
        """How much has been read so far, as it lies on disk."""
        return self._text.bytes_read

    @property
    def warnings(self) -> list[str]:
        """What it has to say so far."""
        return self._text.warnings

    def __iter__(self) -> Iterator[Records]:
        return map(of_lines, self._text)

    def blocks(self) -> Iterator[LineBlock]:
        """Yield the lines that `__iter__` yields, in the same blocks, not cut."""
        return iter(self._text)

    def words(self) -> Iterator[Words | LineBlock]:
        """Yield the words of the lines as columns, or blocks of lines where they are not to be had so."""
        for piece in self._split.pieces:
            yield from self._text.words_of(piece, WORDS_BYTES)

    def columns(self) -> Iterator[Batch]:
        """Yield the lines as columns."""
        for piece in self._split.pieces:
            for columns in self._text.columns_of(piece, FRAME_BYTES):
                yield Batch(columns.frame(), Lane.INT, Lane.STR)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the lines as frames: a frame has those that begin in the same `most` bytes."""
        for piece in self._split.pieces:
            for columns in self._text.columns_of(piece, most):
                yield Frame(columns.frame(), (piece.path, columns.first))


class JsonLinesReader(LinesReader):
    """A JSON document on each line: the key is the line's byte offset. Lines of white space hold none.

    With `nan` the numbers NaN, Infinity and -Infinity are read, which JSON does not have, and as the latter those that
    are too large for a float.
    """

    def __init__(self, split: Split, options: TaskOptions, aside: PutAside | None = None, *, nan: bool = False) -> None:
        super().__init__(split, options, aside)
        strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
        self._decode = (json.JSONDecoder() if nan else strict).decode

    def __iter__(self) -> Iterator[Records]:
        for block in self._text:
            documents = self._documents(block.lines)
            if documents is not None:
                yield _records(block, documents, range(len(documents)))
                continue
            kept: list[int] = []
            values: list[Any] = []
            for i, line in enumerate(block.lines):
                if not line.strip(SPACE):
                    continue
                try:
                    values.append(self._document(block, i))
                except UnreadableRecord as error:
                    refuse(self._aside, error)
                else:
                    kept.append(i)
            if values:
                yield _records(block, values, kept)

    def _documents(self, lines: list[str]) -> list[Any] | None:
        """The documents of these lines; None where a line is none, or empty."""
        try:
            documents = list(map(self._decode, lines))
        except (ValueError, RecursionError):
            return None
        long = max(map(len, lines)) > 2 * NESTED  # only then can one be nested too deeply
        return None if long and any(map(_is_deep, lines)) else documents

    def _document(self, block: LineBlock, i: int) -> Any:
        line = block.lines[i]
        try:
            if not _is_deep(line):
                return self._decode(line)
            why = f"it is nested more than {NESTED} levels deep"
        except RecursionError:
            why = "it is nested too deeply for what Python's stack has left"
        except ValueError as error:
            why = str(error)
            if "integer string conversion" in why:
                why = f"a number in it has more than {sys.get_int_max_str_digits():,} digits"
        offset = block.offset(i)
        msg = f"{block.path}, byte {offset}: the line is no JSON document: {why}; it begins with {shorten(line[:100])}"
        raise UnreadableRecord(block.path, offset, msg, kind="no JSON", content=line)

    def columns(self) -> Iterator[Batch]:
        """Yield the documents as columns."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the lines as frames, as text: Polars reads JSON into columns of the types that the user gives it."""
        for piece in self._split.pieces:
            for columns in self._text.columns_of(piece, most):
                frame = columns.frame().filter(pl.col("value").str.strip_chars(SPACE) != "")
                if frame.height:
                    yield Frame(frame, (piece.path, frame.item(0, "key")))


def _firsts(block: LineBlock, kept: Sequence[int]) -> Callable[[], list[int]]:
    """Give what works out the offsets of some lines of a block, once: it may be asked for each batch."""

    def firsts() -> list[int]:
        offsets = block.offsets()
        return [offsets[i] for i in kept]

    return functools.cache(firsts)


def _records(block: LineBlock, documents: list[Any], kept: Sequence[int]) -> Records:
    """The documents of some lines of a block."""

    def place(i: int) -> Place:
        return block.path, block.offset(kept[i])

    return Records(documents, _firsts(block, kept), place, lambda i: block.lines[kept[i]])


def of_lines(block: LineBlock) -> Records:
    """Lines of text: the first argument is the byte offset."""
    return Records(block.lines, block.offsets, lambda i: (block.path, block.offset(i)), path=block.path)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is no number in JSON, and is read with JsonLines(nan=True), or --input-format jsonl:nan=yes"
    raise ValueError(msg)


def _finite(digits: str) -> float:
    number = float(digits)
    if number - number != 0.0:  # the quickest question
        msg = (
            f"{shorten(digits):.100} is too large for a float, and is read as infinite with JsonLines(nan=True), or "
            "--input-format jsonl:nan=yes"
        )
        raise ValueError(msg)
    return number


def _is_deep(line: str) -> bool:
    """Whether brackets are open in more than NESTED levels somewhere in the line."""
    if line.count("[") + line.count("{") <= NESTED:
        return False
    marks = np.frombuffer(_STRING.sub("", line).encode(), dtype=np.uint8)
    opened = (marks == ord("[")) | (marks == ord("{"))
    closed = (marks == ord("]")) | (marks == ord("}"))
    depth = np.cumsum(opened.astype(np.int32) - closed.astype(np.int32), dtype=np.int32)
    return bool(depth.max(initial=0) > NESTED)
