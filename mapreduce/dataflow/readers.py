"""Readers: the records of a split, in the format of its input, as objects, columns or frames.

Owns the choice of the reader, and the formats of lines, whole files and typed records. Csv and Parquet have modules of
their own. Every reader refuses files that are not the planned ones, and says of a record that is none in which file,
and where in it, that is.
"""

from __future__ import annotations

import functools
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import polars as pl

from mapreduce.dataflow.columns import Batch, concat, holds_pickles, make_batch, ungroup
from mapreduce.dataflow.context import Place, shorten
from mapreduce.dataflow.encoding import BAD_MARK
from mapreduce.dataflow.frames import FRAME_BYTES, frame_of
from mapreduce.dataflow.input_file import open_piece, read_on
from mapreduce.dataflow.readers_csv import CsvReader
from mapreduce.dataflow.readers_parquet import ParquetReader
from mapreduce.dataflow.records import Frame, Records, in_file, of_pairs
from mapreduce.dataflow.shuffle.block_file import Slice, read_blocks, read_index
from mapreduce.dataflow.text import LineBlock, TextReader, UnreadableRecord
from mapreduce.errors import CorruptBlockError, InputError
from mapreduce.formats import Csv, Files, Format, JsonLines, Parquet
from mapreduce.formats import Records as RecordsFormat
from mapreduce.plan import Piece, Split, TaskOptions

READ_BYTES = 1 << 20  # of a whole file at a time
_DECODE = json.JSONDecoder().decode


class Reader(Protocol):
    """The records of one split; goes through it once, in one of three ways. Counts `bytes_read` (on disk) as it goes.

    Raises UnreadableRecord, InputError, InputChangedError.
    """

    @property
    def bytes_read(self) -> int:
        """How much has been read so far, as it lies on disk."""

    @property
    def warnings(self) -> list[str]:
        """What it has to say so far."""

    def __iter__(self) -> Iterator[Records]:
        """Yield the records as Python objects, a block at a time."""

    def columns(self) -> Iterator[Batch]:
        """Yield the same records as columns."""

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames of about `most` bytes each, cut by the data alone; none spans two files."""


def reader_for(input_format: Format | None, split: Split, options: TaskOptions) -> Reader:
    """Choose the reader of a split; without a format it is Text."""
    if isinstance(input_format, JsonLines):
        return JsonLinesReader(split, options)
    if isinstance(input_format, Files):
        return FilesReader(split, options, text=input_format.text)
    if isinstance(input_format, Csv):
        return CsvReader(split, options, input_format)
    if isinstance(input_format, Parquet):
        return ParquetReader(split, input_format.columns)
    if isinstance(input_format, RecordsFormat):
        return RecordsReader(split)
    return LinesReader(split, options)


class LinesReader:
    """Lines of text: the key is the byte offset."""

    def __init__(self, split: Split, options: TaskOptions) -> None:
        self._split = split
        self._text = TextReader(split, options.encoding, options.encoding_errors, options.limits)

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

    def columns(self) -> Iterator[Batch]:
        """Yield the lines as columns."""
        for block in self._text:
            yield make_batch(block.offsets(), block.lines)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the lines as frames: a frame has those that begin in the same `most` bytes."""
        for piece in self._split.pieces:
            for offsets, lines in _cut_lines(self._text.blocks_of(piece), most):
                yield _frame(piece, offsets, lines)


class JsonLinesReader(LinesReader):
    """A JSON document on each line: the key is the line's byte offset. Lines of white space hold none."""

    def __iter__(self) -> Iterator[Records]:
        for block in self._text:
            documents = _decoded(block.lines)
            if documents is not None:
                yield Records(documents, block.offsets, _places(block, range(len(documents))))
                continue
            kept = [i for i, line in enumerate(block.lines) if line and not line.isspace()]
            values = [_document(block, i) for i in kept]
            if values:
                yield Records(values, _firsts(block, kept), _places(block, kept))

    def columns(self) -> Iterator[Batch]:
        """Yield the documents as columns."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the lines as frames, as text: Polars reads JSON into columns of the types that the user gives it."""
        for piece in self._split.pieces:
            for offsets, lines in _cut_lines(self._text.blocks_of(piece), most):
                kept = [(offset, line) for offset, line in zip(offsets, lines, strict=True) if not line.isspace()]
                full = [(offset, line) for offset, line in kept if line]
                if full:
                    yield _frame(piece, [offset for offset, _ in full], [line for _, line in full])


def _firsts(block: LineBlock, kept: Sequence[int]) -> Callable[[], list[int]]:
    """Give what works out the offsets of some lines of a block, once: it may be asked for each batch."""

    def firsts() -> list[int]:
        offsets = block.offsets()
        return [offsets[i] for i in kept]

    return functools.cache(firsts)


def _places(block: LineBlock, kept: Sequence[int]) -> Callable[[int], Place]:
    """Give what knows path and offset of some lines of a block."""
    return lambda i: (block.path, block.offset(kept[i]))


def of_lines(block: LineBlock) -> Records:
    """Lines of text: the first argument is the byte offset."""
    return Records(block.lines, block.offsets, lambda i: (block.path, block.offset(i)))


def _decoded(lines: list[str]) -> list[Any] | None:
    """The documents of these lines; None where a line is none, or empty."""
    try:
        return list(map(_DECODE, lines))
    except (ValueError, RecursionError):
        return None


def _document(block: LineBlock, i: int) -> Any:
    try:
        return _DECODE(block.lines[i])
    except (ValueError, RecursionError) as error:
        offset = block.offset(i)
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        msg = (
            f"{block.path}, byte {offset}: the line is no JSON document: {why}; it begins with "
            f"{shorten(block.lines[i][:100])}"
        )
        raise UnreadableRecord(block.path, offset, msg) from None


def _cut_lines(blocks: Iterable[LineBlock], most: int) -> Iterator[tuple[list[int], list[str]]]:
    """Put lines of one file together that begin less than `most` bytes after the first of them: however blocks fall."""
    offsets: list[int] = []
    lines: list[str] = []
    for block in blocks:
        starts, i = block.offsets(), 0
        while i < len(starts):
            if not offsets:
                end = starts[i] + most
            stop = bisect_left(starts, end, i)
            offsets += starts[i:stop]
            lines += block.lines[i:stop]
            if stop < len(starts):
                yield offsets, lines
                offsets, lines = [], []
            i = stop
    if offsets:
        yield offsets, lines


def _frame(piece: Piece, offsets: list[int], lines: list[str]) -> Frame:
    columns = [pl.Series("key", offsets, dtype=pl.Int64), pl.Series("value", lines, dtype=pl.String)]
    return Frame(pl.DataFrame(columns), (piece.path, offsets[0]))


class FilesReader:
    """Whole files: the key is the path, the value the bytes as they lie on disk, or the (unpacked) text."""

    def __init__(self, split: Split, options: TaskOptions, *, text: bool) -> None:
        self._split = split
        self._text = None
        if text:
            self._text = TextReader(split, options.encoding, options.encoding_errors, options.limits, keep_ends=True)
        self._leaves_out = options.encoding_errors == "skip"
        self._encoding = options.encoding
        self._bytes_read = 0
        self._warnings: list[str] = []

    @property
    def bytes_read(self) -> int:
        """How much has been read so far, as it lies on disk."""
        return self._bytes_read if self._text is None else self._text.bytes_read

    @property
    def warnings(self) -> list[str]:
        """What it has to say so far."""
        return self._warnings if self._text is None else self._warnings + self._text.warnings

    def _files(self) -> Iterator[tuple[str, Any]]:
        for piece in self._split.pieces:
            if self._text is None:
                yield piece.path, self._content(piece)
                continue
            text = "".join([line for block in self._text.blocks_of(piece) for line in block.lines])
            if self._leaves_out and BAD_MARK in text:
                self._warnings.append(f"{piece.path} was left out: it holds bytes that are not {self._encoding}")
                continue
            yield piece.path, text

    def _content(self, piece: Piece) -> bytes:
        with open_piece(piece) as file:
            blocks = []
            read = read_on(file)
            while block := read(READ_BYTES):
                blocks.append(block)
                self._bytes_read += len(block)
        return b"".join(blocks)

    def __iter__(self) -> Iterator[Records]:
        for path, content in self._files():
            yield _one_file(path, content)

    def columns(self) -> Iterator[Batch]:
        """Yield the files as columns, several small ones together."""
        for paths, contents in self._several(FRAME_BYTES):
            yield make_batch(paths, contents)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the files as frames, a row for each."""
        dtype = pl.Binary if self._text is None else pl.String
        for paths, contents in self._several(most):
            columns = [pl.Series("key", paths, dtype=pl.String), pl.Series("value", contents, dtype=dtype)]
            yield Frame(pl.DataFrame(columns), (paths[0], None))

    def _several(self, most: int) -> Iterator[tuple[list[str], list[Any]]]:
        paths: list[str] = []
        contents: list[Any] = []
        held = 0
        for path, content in self._files():
            paths.append(path)
            contents.append(content)
            held += len(path) + len(content)
            if held >= most:
                yield paths, contents
                paths, contents, held = [], [], 0
        if paths:
            yield paths, contents


def _one_file(path: str, content: Any) -> Records:
    return Records([content], lambda: [path], in_file(path))


class RecordsReader:
    """The typed records of a former job: a piece has the blocks of a part that begin in it."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.bytes_read = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for batch in self._batches(piece):
                records = of_pairs(batch, unpickle=False)
                records.place = in_file(piece.path)
                yield records

    def columns(self) -> Iterator[Batch]:
        """Yield the records as they lie there: no Python object is made."""
        for piece in self._split.pieces:
            yield from self._batches(piece)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames."""
        for piece in self._split.pieces:
            for batch in gathered(self._batches(piece), most):
                yield Frame(frame_of(batch), (piece.path, None))

    def _batches(self, piece: Piece) -> Iterator[Batch]:
        before = self.bytes_read
        with open_piece(piece):
            part = _part_of(piece)
            total = max(part.byte_range[1], 1)
            seen = 0
            try:
                for ref, batch in zip(part.blocks, read_blocks(part), strict=True):
                    if holds_pickles(batch.frame["value"], batch.value_lane):
                        raise InputError(
                            f"{piece.path} holds pickled values, which no result of a job has: leave it out"
                        )
                    seen += ref.length
                    self.bytes_read = before + piece.size * seen // total
                    yield ungroup(batch)
            except CorruptBlockError as error:
                raise InputError(f"{error}. Run the job that made it again") from error
        self.bytes_read = before + piece.size


def _part_of(piece: Piece) -> Slice:
    """The blocks of a part that begin in the piece, in the lanes of the whole part."""
    try:
        index = read_index(piece.path)
    except CorruptBlockError as error:
        raise InputError(
            f"{piece.path} holds no typed records, as a job without an output folder leaves them: {error}"
        ) from error
    end = piece.start + piece.size
    refs = [ref for refs in index.partitions for ref in refs if piece.start <= ref.offset < end]
    return Slice(piece.path, tuple(refs), index.key_lane, index.value_lane, index.grouped)


def gathered(batches: Iterable[Batch], most: int) -> Iterator[Batch]:
    """Put batches together until they are `most` bytes or more."""
    held: list[Batch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes()
        if size >= most:
            yield concat(held)
            held, size = [], 0
    if held:
        yield concat(held)
