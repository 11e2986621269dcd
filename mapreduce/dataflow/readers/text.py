"""Lines of text files: whole blocks are decoded and cut at newlines in C, never line by line.

Owns what a record of text is: it ends at a newline only, a carriage return before it is dropped, the last needs none,
and a byte-order mark at the start of a file is none of it. Refuses bad bytes (unless told to replace or skip), files
that are no text, and files that are not the planned ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import field
from functools import partial
from itertools import chain
from typing import TypeVar, cast

import numpy as np

from mapreduce.dataflow.inputs.binary_kinds import HEAD_BYTES, TAIL_BYTES, binary_kind
from mapreduce.dataflow.inputs.codecs import Codec, codec_of, decompressed
from mapreduce.dataflow.inputs.encoding import BAD_MARK, Encoding, check_error_mode, find_encoding
from mapreduce.dataflow.inputs.input_file import OpenFile, open_piece, read_on
from mapreduce.dataflow.readers.cut_lines import LongLineError, cut_at_newlines, in_blocks
from mapreduce.dataflow.readers.decoding import Decoder, why_bad
from mapreduce.dataflow.readers.line_columns import LineColumns, columns_of, cut_at, native_columns
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord
from mapreduce.dataflow.readers.word_columns import Words, native_words
from mapreduce.errors import InputError
from mapreduce.plan import Limits, Piece, Split
from mapreduce.quick_dataclass import dataclass

DECODE_BYTES = 128 << 10  # decoded at a time at most: with its lines it stays in the processor's cache (measured)
PAST_END_BYTES = 4 << 10  # read beyond a range for its last line: a line is rarely longer
T = TypeVar("T")
LINE_BYTES = 256 << 20  # of one line: some kilobytes may unpack to billions of bytes without a newline
_DTYPES = {(1, False): "u1", (2, False): "<u2", (2, True): ">u2", (4, False): "<u4", (4, True): ">u4"}


@dataclass(slots=True)
class LineBlock:
    """Consecutive lines of one file, one at least, as one `text`; `lines` has them without ends (see TextReader).

    `raw` holds the bytes they were decoded from, beginning at byte `start` of the (decompressed) file. `kept` names
    the lines that were kept, counted in `raw`, where some were left out for bad bytes.
    """

    text: str
    path: str
    raw: bytes
    start: int
    encoding: Encoding
    kept: list[int] | None = None
    _lines: list[str] | None = field(default=None, repr=False)
    _offsets: list[int] | None = field(default=None, repr=False)

    @property
    def lines(self) -> list[str]:
        """The lines. Cut at the first call."""
        if self._lines is None:
            self._lines = _lines(self.text)
        return self._lines

    @property
    def number(self) -> int:
        """How many lines there are."""
        return self.text.count("\n") + (not self.text.endswith("\n")) if self._lines is None else len(self._lines)

    def offset(self, i: int) -> int:
        """Give the byte offset of line `i` in the (decompressed) file; a file's first line is at 0."""
        return self.offsets()[i]

    def offsets(self) -> list[int]:
        """Give the byte offset of each line. Computed at the first call."""
        if self._offsets is None:
            newline = self.encoding.newline
            width = self.encoding.width
            dtype = _DTYPES[width, newline[0] == 0]
            units = np.frombuffer(self.raw, dtype=dtype, count=len(self.raw) // width)
            ends = np.flatnonzero(units == (newline[0] if width == 1 else ord("\n")))
            starts = np.empty(len(ends) + 1, dtype=np.int64)
            starts[0] = 0
            starts[1:] = (ends + 1) * width
            starts += self.start
            wanted = starts[: self.number] if self.kept is None else starts[self.kept]
            self._offsets = wanted.tolist()
        return self._offsets


class TextReader:
    """The lines of one split, as an iterator of `LineBlock`; goes through it once.

    With `keep_ends` lines keep their ends, and those with bad bytes are not left out but hold BAD_MARK: for formats
    whose records are not lines. In strict mode `aside` takes lines with bad bytes, where it is given. A line has at
    most `longest` bytes, LINE_BYTES if None.

    Attributes, up to date while iterating: `bytes_read` (as they lie on disk), `skipped` (records left out for bad
    bytes), `warnings` (texts, one a piece at most).

    Iterating raises BadBytes, InputError (missing, unreadable, not text, damaged), InputChangedError.
    """

    def __init__(
        self,
        split: Split,
        encoding: str = "utf-8",
        encoding_errors: str = "strict",
        limits: Limits | None = None,
        *,
        keep_ends: bool = False,
        longest: int | None = None,
        aside: PutAside | None = None,
    ) -> None:
        self._split = split
        self._encoding = find_encoding(encoding)
        self._errors = check_error_mode(encoding_errors)
        self._aside = aside if self._errors == "strict" else None
        if self._aside is not None:
            self._errors = "skip"
        self._read_most = max(1, (limits or Limits()).read)
        self._read = min(self._read_most, DECODE_BYTES)
        self._keep_ends = keep_ends
        self._longest = LINE_BYTES if longest is None else longest
        self.bytes_read = 0
        self.skipped = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[LineBlock]:
        for piece in self._split.pieces:
            yield from self.blocks_of(piece)

    def blocks_of(self, piece: Piece) -> Iterator[LineBlock]:
        """Yield the lines of one piece."""
        with open_piece(piece) as file:
            start, stream, encoding = self._opened(file, piece, self._read)
            yield from self._decoded(piece, start, stream, encoding)

    def columns_of(self, piece: Piece, most: int) -> Iterator[LineColumns]:
        """Yield the lines of one piece as columns: those together that begin in the same `most` bytes.

        Not for readers that keep ends.
        """
        stretches = self._stretches(piece, most, native_columns)
        for found in stretches:
            if isinstance(found, LineColumns):
                yield found
            else:
                yield from columns_of(chain([found], cast("Iterator[LineBlock]", stretches)), most)

    def words_of(self, piece: Piece, most: int) -> Iterator[Words | LineBlock]:
        """Yield the words of one piece, cut as in `columns_of`; or lines, from where bytes are not what they should be.

        Not for readers that keep ends.
        """
        return self._stretches(piece, most, partial(native_words, piece.path))

    def _stretches(
        self, piece: Piece, most: int, make: Callable[[bytes, int, int], T | None]
    ) -> Iterator[T | LineBlock]:
        """Yield what `make` makes of whole lines that begin in the same `most` bytes, while it does; then blocks.

        It is given their bytes, the offset of the first and the longest that a line may be.
        """
        with open_piece(piece) as file:
            start, stream, encoding = self._opened(file, piece, self._read_most)
            if self.are_bytes(piece):
                stream = cut_at(stream, most, self._longest)
                for raw in stream:
                    found = make(raw, start, self._longest)
                    if found is None:  # for what follows as well: lines may be left out, by which the next cuts lie
                        stream = in_blocks(chain([raw], stream), self._read)
                        break
                    yield found
                    start += len(raw)
            yield from self._decoded(piece, start, stream, encoding)

    def whole_lines_of(self, piece: Piece, most: int) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of lines that begin in the same `most` bytes, and the byte where they begin.

        Of one piece whose lines are `are_bytes`.
        """
        with open_piece(piece) as file:
            start, stream, _ = self._opened(file, piece, self._read_most)
            for raw in cut_at(stream, most, self._longest):
                yield start, raw
                start += len(raw)

    def are_bytes(self, piece: Piece) -> bool:
        """Whether the lines of the file lie in it as UTF-8, as they are."""
        return self._encoding.codec == "utf-8" and codec_of(piece.path) is Codec.NONE

    def _opened(self, file: OpenFile, piece: Piece, size: int) -> tuple[int, Iterator[bytes], Encoding]:
        """Give the offset of the piece's first record, its bytes from there on, `size` at a time, and its encoding."""
        encoding = self._encoding
        codec = codec_of(piece.path)
        if codec is not Codec.NONE:
            return 0, *self._compressed(file, piece.path, codec)
        head = file.read_at(HEAD_BYTES, 0)
        self._refuse_binary(piece.path, head, file.read_at(TAIL_BYTES, max(0, piece.file_size - TAIL_BYTES)))
        encoding = encoding.of_file(head)
        return *self._plain(file, piece, encoding, size), encoding

    def _decoded(self, piece: Piece, start: int, stream: Iterator[bytes], encoding: Encoding) -> Iterator[LineBlock]:
        decode = Decoder(piece.path, encoding, self._errors)
        before = self.skipped
        try:
            yield from self._blocks(piece.path, start, cut_at_newlines(stream, encoding, self._longest), decode)
        except LongLineError as error:
            raise InputError(
                f"{piece.path}, byte {start + error.at}: a line has more than {self._longest:,} bytes, too many to "
                "be one record: is this a file of lines?"
            ) from None
        self._warn_of_skipped(piece, self.skipped - before)

    def _blocks(self, path: str, start: int, chunks: Iterator[bytes], decode: Decoder) -> Iterator[LineBlock]:
        for raw in chunks:
            text, damaged = decode(raw, start)
            lines = list(io.StringIO(text, newline="\n")) if self._keep_ends else None
            block = LineBlock(text, path, raw, start, decode.encoding, None, lines)
            if damaged:
                block = self._repaired(block)
            if block.text:
                yield block
            start += len(raw)

    def _repaired(self, block: LineBlock) -> LineBlock:
        """What is taken of a block with bad bytes: of those that keep ends all, whose reader looks for the marks."""
        if self._errors != "skip":
            self._warn(f"{block.path} holds bytes that are not {self._encoding.name}: they were replaced by U+FFFD")
            return block
        if self._keep_ends:
            return block
        if self._aside is not None:
            kept = self._kept(block, self._aside)
        else:
            kept = [i for i, line in enumerate(block.lines) if BAD_MARK not in line]
            self.skipped += len(block.lines) - len(kept)
        lines = [block.lines[i] for i in kept]
        text = "".join(f"{line}\n" for line in lines)
        return LineBlock(text, block.path, block.raw, block.start, block.encoding, kept, lines)

    @staticmethod
    def _kept(block: LineBlock, aside: PutAside) -> list[int]:
        """Put the lines aside that hold bad bytes, and give the numbers of the others."""
        kept: list[int] = []
        for i, line in enumerate(block.lines):
            if BAD_MARK in line:
                aside(_bad_line(block, i))
            else:
                kept.append(i)
        return kept

    def _warn_of_skipped(self, piece: Piece, skipped: int) -> None:
        if skipped:
            cut = piece.size < piece.file_size
            where = f", bytes {piece.start} to {piece.start + piece.size}" if cut else ""
            self._warn(f"{piece.path}{where}: lines left out for bytes that are not {self._encoding.name}: {skipped}")

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _refuse_binary(self, path: str, head: bytes, tail: bytes | None) -> None:
        if self._encoding.width > 1:
            return  # any bytes may begin such a text
        kind = binary_kind(head, tail)
        if kind is not None:
            raise InputError(f"{path} is {kind}, not {self._encoding.name} text: name text files as input.")

    def _compressed(self, file: OpenFile, path: str, codec: Codec) -> tuple[Iterator[bytes], Encoding]:
        """Look at the first decompressed bytes, and give the stream with them put back."""
        on = read_on(file)

        def read(size: int) -> bytes:
            data = on(size)
            self.bytes_read += len(data)
            return data

        stream = decompressed(read, codec, path, self._read)
        first = b""
        while len(first) < HEAD_BYTES and (block := next(stream, b"")):
            first += block  # a member may have a byte alone
        self._refuse_binary(path, first[:HEAD_BYTES], None)
        return chain([first], stream), self._encoding.of_file(first)

    def _plain(self, file: OpenFile, piece: Piece, encoding: Encoding, size: int) -> tuple[int, Iterator[bytes]]:
        """Give the offset of the piece's first record, and the bytes from there to the end of its last."""
        end = piece.start + piece.size
        start = piece.start
        if start > 0:
            found = self._newline_after(file, start - 1, end, encoding.newline)
            if found is None:
                return end, iter(())
            start = found + 1
        if start >= end:
            return end, iter(())
        return start, self._range(file, start, end, encoding.newline if end < piece.file_size else None, size)

    def _newline_after(self, file: OpenFile, position: int, end: int, newline: bytes) -> int | None:
        """Find the first newline at or after `position`; None if there is none before `end`."""
        size = min(PAST_END_BYTES, self._read)
        while position < end:
            block = file.read_at(size, position)
            if not block:
                return None
            found = block.find(newline)
            if found >= 0:
                return position + found
            position += len(block)
            size = self._read
        return None

    def _range(self, file: OpenFile, position: int, end: int, newline: bytes | None, size: int) -> Iterator[bytes]:
        """Yield the bytes from `position` up to the newline at or after `end` - 1, or to the file's end."""
        while True:
            block = file.read_at(min(size, max(end - position, 0) + PAST_END_BYTES), position)
            if not block:
                return
            position += len(block)
            if newline is not None and position >= end:
                cut = block.find(newline, max(0, len(block) - (position - end) - 1))
                if cut >= 0:
                    self.bytes_read += cut + 1
                    yield block[: cut + 1]
                    return
            self.bytes_read += len(block)
            yield block


def _bad_line(block: LineBlock, i: int) -> UnreadableRecord:
    """What is told of a line with bad bytes: where it begins, and which byte is the first bad one."""
    offset, encoding = block.offset(i), block.encoding
    end = block.offset(i + 1) if i + 1 < block.number else block.start + len(block.raw)
    content = block.raw[offset - block.start : end - block.start].removesuffix(encoding.newline)
    at, why = offset, "bytes that it does not have"
    try:
        content.decode(encoding.codec)
    except UnicodeDecodeError as error:
        at, why = offset + error.start, why_bad(error)
    message = f"{block.path}, byte {at}: not valid {encoding.name}: {why}"
    return UnreadableRecord(block.path, offset, message, kind=f"not {encoding.name}", content=content)


def _lines(text: str) -> list[str]:
    """The lines of a text that ends behind a newline or with its file, without their ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline is no line
    return lines
