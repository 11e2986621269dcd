"""Streams of msgpack objects, one behind the other as `msgpack.pack` writes them.

An object is measured before it is made, so that what a few damaged bytes claim to hold is never made room for. Refuses
what is no msgpack, an object that is cut off, one that is too large or nested too deeply, and types of other programs
(ext) but timestamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NoReturn

import msgpack

from mapreduce.dataflow.columns.batches import Batch, make_batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import Place
from mapreduce.dataflow.inputs.codecs import unpacked
from mapreduce.dataflow.inputs.input_file import open_piece, read_on
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord, refuse
from mapreduce.errors import JobDefinitionError
from mapreduce.formats import NO_FRAMES
from mapreduce.plan import Piece, Split, TaskOptions

READ_BYTES = 128 << 10  # unpacked at a time: some hundred or thousand objects
OBJECT_BYTES = 256 << 20  # of one object: as Python objects it takes several times as much
NESTED = 1024  # levels that the library's stack has
_AS: dict[str, Any] = {"raw": False, "strict_map_key": False, "timestamp": 3}  # 3: a timestamp is a datetime


class MsgpackReader:
    """The objects of whole files: the key is the (decompressed) byte where an object begins."""

    def __init__(self, split: Split, options: TaskOptions, aside: PutAside | None = None) -> None:
        self._split = split
        self._read = max(1, min(options.limits.read, READ_BYTES))
        self._aside = aside
        self.bytes_read = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Records]:
        for piece in self._split.pieces:
            for data, borders in self._packed(piece):
                values, offsets = _all_unpacked(data), borders[:-1]
                if values is None:
                    values, offsets = self._good(piece.path, data, borders)
                if values:
                    yield Records(values, _given(offsets), _places(piece.path, offsets))

    def _good(self, path: str, data: bytes, borders: list[int]) -> tuple[list[Any], list[int]]:
        """Make those of several objects that can be made, with the bytes where they begin; put the others aside."""
        values: list[Any] = []
        offsets: list[int] = []
        for start, stop in pairwise(borders):
            try:
                values.append(_unpacked(path, start, data[start - borders[0] : stop - borders[0]]))
            except UnreadableRecord as error:
                refuse(self._aside, error)
            else:
                offsets.append(start)
        return values, offsets

    def columns(self) -> Iterator[Batch]:
        """Yield the objects as columns."""
        for records in self:
            yield make_batch(list(records.firsts()), records.values)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Raise JobDefinitionError: the objects have no columns."""
        del most
        raise JobDefinitionError(NO_FRAMES)

    def _packed(self, piece: Piece) -> Iterator[tuple[bytes, list[int]]]:
        """Yield the bytes of the objects that end in one block together, and where each begins and the last ends."""
        with open_piece(piece) as file:
            on = read_on(file)

            def read(size: int) -> bytes:
                data = on(size)
                self.bytes_read += len(data)
                return data

            measure = _Measure(piece.path)
            for block in unpacked(read, piece.path, self._read):
                data, borders = measure.objects(block)
                if data:
                    yield data, borders
            measure.finish()


class _Measure:
    """Finds where the objects of a stream end, from its blocks, without making them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._skipper = msgpack.Unpacker(max_buffer_size=2 * OBJECT_BYTES)  # it never holds more than we do
        self._begun: list[bytes] = []  # the beginning of an object whose end has not come yet
        self._size = 0
        self._start = 0  # where that object begins

    def objects(self, block: bytes) -> tuple[bytes, list[int]]:
        """Give the objects that end in the next block of the stream, and where each begins and the last ends."""
        before = self._start + self._size
        self._skipper.feed(block)
        borders = [self._start]
        self._skip(borders)
        rest = block[borders[-1] - before :] if len(borders) > 1 else block
        data = b""
        if len(borders) > 1:
            self._check_size(borders[1] - borders[0])
            data = b"".join([*self._begun, block[: len(block) - len(rest)]])
            self._begun.clear()
            self._start, self._size = borders[-1], 0
        if rest:
            self._begun.append(rest)
            self._size += len(rest)
        self._check_size(self._size)
        return data, borders

    def _check_size(self, size: int) -> None:
        if size > OBJECT_BYTES:
            raise self._unreadable(f"an object has more than {OBJECT_BYTES:,} bytes: is this a stream of msgpack?")

    def _skip(self, borders: list[int]) -> None:
        """Find where each object ends that is whole in what the library holds."""
        skip, tell = self._skipper.skip, self._skipper.tell
        try:
            while True:
                skip()
                borders.append(tell())
        except msgpack.OutOfData:
            return
        except msgpack.FormatError:
            why = "this is no msgpack: it holds 0xc1, which has no meaning there"
        except msgpack.StackError:
            why = f"the object is nested more than {NESTED:,} levels deep"
        self._start = borders[-1]
        raise self._unreadable(why)

    def finish(self) -> None:
        """Raise UnreadableRecord if the stream has ended within an object."""
        if self._size:
            end = self._start + self._size
            raise self._unreadable(
                f"the object that begins here is cut off: the file ends at byte {end}. Write or copy it again."
            )

    def _unreadable(self, why: str) -> UnreadableRecord:
        return UnreadableRecord(self._path, self._start, f"{self._path}, byte {self._start}: {why}", kind="no msgpack")


class _StrangeType(Exception):
    """An ext type that has no meaning here."""


def _refuse_ext(code: int, _data: bytes) -> NoReturn:
    raise _StrangeType(code)


def _all_unpacked(data: bytes) -> list[Any] | None:
    """Make all of the objects that lie behind one another in some bytes; None where one of them cannot be made."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), ext_hook=_refuse_ext, **_AS)
    unpacker.feed(data)
    try:
        return list(unpacker)
    except (_StrangeType, UnicodeDecodeError, TypeError, OverflowError, ValueError):
        return None


def _unpacked(path: str, offset: int, data: bytes) -> Any:
    """Make one object of its bytes, which are known to be all of it. Raises UnreadableRecord."""
    try:
        return msgpack.unpackb(data, ext_hook=_refuse_ext, **_AS)
    except _StrangeType as error:
        why, kind = f"it holds an ext of type {error}, which has a meaning to another program alone", "msgpack ext type"
    except UnicodeDecodeError as error:
        why, kind = f"it holds a str that is not UTF-8: {error.reason}", "msgpack str not utf-8"
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        why, kind = f"a map's key cannot be one of a dict: {error}", "msgpack map key"
    except (OverflowError, ValueError) as error:
        why, kind = f"it holds a timestamp that no datetime can be: {error}", "msgpack timestamp"
    raise UnreadableRecord(
        path, offset, f"{path}, byte {offset}: the object cannot be read: {why}", kind=kind, content=data
    )


def _given(offsets: list[int]) -> Callable[[], list[int]]:
    return lambda: offsets


def _places(path: str, offsets: list[int]) -> Callable[[int], Place]:
    return lambda i: (path, offsets[i])
