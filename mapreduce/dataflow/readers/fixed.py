"""Binary records of one length: read at their borders, wherever a file is cut.

A file may begin with bytes that are no record (a header), which are skipped. A last record that is cut short is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import Place
from mapreduce.dataflow.inputs.codecs import Codec, codec_of, unpacked
from mapreduce.dataflow.inputs.input_file import OpenFile, open_piece, read_on
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.errors import InputError
from mapreduce.formats import FixedLength
from mapreduce.plan import Piece, Split, TaskOptions

_Block = tuple[int, bytes]  # whole records, one after another, and the byte where the first one begins


class FixedLengthReader:
    """The records that begin in the split: the key is the byte offset, the value the record's bytes."""

    def __init__(
        self, split: Split, options: TaskOptions, input_format: FixedLength, aside: PutAside | None = None
    ) -> None:
        self._split = split
        self._length = input_format.length
        self._skip = input_format.skip
        self._read = options.limits.read
        self._aside = aside
        self.bytes_read = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for first, data in self._blocks(piece, self._read):
                records = [data[at : at + self._length] for at in range(0, len(data), self._length)]
                offsets = range(first, first + len(data), self._length)
                yield Records(records, _given(offsets), _places(piece.path, offsets))

    def columns(self) -> Iterator[Batch]:
        """Yield the records as columns of numbers and bytes."""
        for frame in self.frames(self._read):
            yield Batch(frame.frame, Lane.INT, Lane.BYTES)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames of their offsets and bytes."""
        for piece in self._split.pieces:
            for first, data in self._blocks(piece, most):
                key = pl.Series("key", np.arange(first, first + len(data), self._length, dtype=np.int64))
                yield Frame(pl.DataFrame([key, _column(data, self._length)]), (piece.path, first))

    def _blocks(self, piece: Piece, most: int) -> Iterator[_Block]:
        """Yield the records of one piece, as many at a time as begin in `most` bytes, one at least."""
        block = max(1, most // self._length) * self._length
        with open_piece(piece) as file:
            if codec_of(piece.path) is Codec.NONE:
                chunks = self._plain(file, piece, block)
            else:
                chunks = self._compressed(file, piece.path, block)
            for first, data in chunks:
                rest = len(data) % self._length
                if rest:
                    self._refuse_rest(piece.path, first + len(data) - rest, data[-rest:])
                if len(data) > rest:
                    yield first, data[: len(data) - rest]

    def _plain(self, file: OpenFile, piece: Piece, block: int) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of the records that begin in the piece, whole ones but for the file's last."""
        if piece.start == 0:
            self._check_header(piece.path, piece.file_size)
        length, skip = self._length, self._skip
        at = skip + -(-max(piece.start - skip, 0) // length) * length
        end = skip + -(-max(piece.start + piece.size - skip, 0) // length) * length
        while at < min(end, piece.file_size):
            data = file.read_at(min(block, end - at), at)
            if len(data) < min(block, end - at, piece.file_size - at):
                return  # the file has changed: that is found out when it is closed
            self.bytes_read += len(data)
            yield at, data
            at += len(data)

    def _compressed(self, file: OpenFile, path: str, block: int) -> Iterator[tuple[int, bytes]]:
        """Yield the decompressed bytes of the records, whole ones but for the file's last."""
        on = read_on(file)

        def read(size: int) -> bytes:
            data = on(size)
            self.bytes_read += len(data)
            return data

        at, left = 0, self._skip
        held = bytearray()
        for chunk in unpacked(read, path, block):
            at += min(left, len(chunk))
            held += chunk[left:]
            left = max(left - len(chunk), 0)
            while len(held) >= block:
                yield at, bytes(held[:block])
                del held[:block]
                at += block
        if left:
            self._check_header(path, self._skip - left)
        if held:
            yield at, bytes(held)

    def _check_header(self, path: str, size: int) -> None:
        if size < self._skip:
            raise InputError(
                f"{path} has {size} bytes and should begin with {self._skip}, which FixedLength(skip={self._skip}) "
                "leaves out: it was cut off, or has another header. Write or copy it again, or leave it out."
            )

    def _refuse_rest(self, path: str, offset: int, rest: bytes) -> None:
        msg = (
            f"{path}, byte {offset}: the last record is cut short: it has {len(rest)} bytes, and a record "
            f"{self._length}. Was the file cut off, or is the length another?"
        )
        refuse(self._aside, UnreadableRecord(path, offset, msg, kind="record cut short", content=rest))


def _column(data: bytes, length: int) -> pl.Series:
    """The records as a column (Binary): no record becomes an object."""
    table = np.frombuffer(data, dtype=np.uint8).reshape(-1, length)
    return pl.Series("value", table).cast(pl.List(pl.UInt8)).cast(pl.Binary)


def _given(offsets: range) -> Callable[[], range]:
    return lambda: offsets


def _places(path: str, offsets: range) -> Callable[[int], Place]:
    return lambda i: (path, offsets[i])
