"""Readers: the records of a split, in the format of its input, as objects, columns or frames.

Owns the choice of the reader, and the formats of whole files and typed records. Others have modules of their own.
Every reader refuses files that are not the planned ones, and says of a record that is none in which file, and where in
it, that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import polars as pl

from mapreduce.dataflow.columns.batches import Batch, concat, holds_pickles, make_batch, ungroup
from mapreduce.dataflow.columns.frames import FRAME_BYTES, frame_of
from mapreduce.dataflow.inputs.encoding import BAD_MARK
from mapreduce.dataflow.inputs.find import FILE_BYTES
from mapreduce.dataflow.inputs.input_file import open_piece, read_on
from mapreduce.dataflow.readers.arrow import ArrowReader
from mapreduce.dataflow.readers.csv_records import CsvReader
from mapreduce.dataflow.readers.fixed import FixedLengthReader
from mapreduce.dataflow.readers.lines import JsonLinesReader, LinesReader
from mapreduce.dataflow.readers.msgpack_objects import MsgpackReader
from mapreduce.dataflow.readers.parquet import ParquetReader
from mapreduce.dataflow.readers.records import Frame, Records, in_file, of_pairs
from mapreduce.dataflow.readers.text import TextReader
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.dataflow.shuffle.block_file import Slice, read_blocks, read_index
from mapreduce.errors import CorruptBlockError, InputError
from mapreduce.formats import Arrow, Csv, Files, FixedLength, Format, JsonLines, Msgpack, Parquet
from mapreduce.formats import Records as RecordsFormat
from mapreduce.plan import Piece, Split, TaskOptions

READ_BYTES = 1 << 20  # of a whole file at a time


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


def reader_for(
    input_format: Format | None, split: Split, options: TaskOptions, aside: PutAside | None = None
) -> Reader:
    """Choose the reader of a split; without a format it is Text. `aside` takes records that are none, if given."""
    if isinstance(input_format, JsonLines):
        return JsonLinesReader(split, options, aside, nan=input_format.nan)
    if isinstance(input_format, Files):
        return FilesReader(split, options, aside, text=input_format.text)
    if isinstance(input_format, Csv):
        return CsvReader(split, options, input_format, aside)
    if isinstance(input_format, Msgpack):
        return MsgpackReader(split, options, aside)
    if isinstance(input_format, FixedLength):
        return FixedLengthReader(split, options, input_format, aside)
    if isinstance(input_format, Parquet):
        return ParquetReader(split, input_format.columns, aside)
    if isinstance(input_format, Arrow):
        return ArrowReader(split, input_format.columns, aside)
    if isinstance(input_format, RecordsFormat):
        return RecordsReader(split)
    return LinesReader(split, options, aside)


class FilesReader:
    """Whole files: the key is the path, the value the bytes as they lie on disk, or the (unpacked) text."""

    def __init__(self, split: Split, options: TaskOptions, aside: PutAside | None = None, *, text: bool) -> None:
        self._split = split
        self._text = None
        self._aside = aside if options.encoding_errors == "strict" else None
        errors = options.encoding_errors if self._aside is None else "skip"
        if text:
            self._text = TextReader(split, options.encoding, errors, options.limits, keep_ends=True, longest=FILE_BYTES)
        self._leaves_out = errors == "skip"
        self._may_be_bad = options.max_bad is not None
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
            try:
                text = self._unpacked(self._text, piece)
            except InputError as error:
                if not self._may_be_bad or isinstance(error.__cause__, OSError):
                    raise
                # The file is the record here: damage to it, or that it is no text, leaves the others as they are.
                refuse(self._aside, UnreadableRecord(piece.path, None, str(error), kind="no text"))
                continue
            if self._aside is not None and BAD_MARK in text:
                self._aside(_bad_text(piece.path, text, self._encoding))
                continue
            if self._leaves_out and BAD_MARK in text:
                self._warnings.append(f"{piece.path} was left out: it holds bytes that are not {self._encoding}")
                continue
            yield piece.path, text

    @staticmethod
    def _unpacked(reader: TextReader, piece: Piece) -> str:
        lines: list[str] = []
        for block in reader.blocks_of(piece):
            lines += block.lines
            if block.start + len(block.raw) > FILE_BYTES:
                raise InputError(
                    f"{piece.path} has more than {FILE_BYTES:,} bytes when it is unpacked, and with Files() a file is "
                    "one value: cut it, or read it in a format that has more than one record"
                )
        return "".join(lines)

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


def _bad_text(path: str, text: str, encoding: str) -> UnreadableRecord:
    """What is told of a whole file with bad bytes: its text, with a mark for each."""
    message = f"{path} holds bytes that are not {encoding}"
    return UnreadableRecord(path, None, message, kind=f"not {encoding}", content=text.replace(BAD_MARK, "\ufffd"))


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
    return Slice(piece.path, tuple(refs), index.key_lane, index.value_lane, index.layout)


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
