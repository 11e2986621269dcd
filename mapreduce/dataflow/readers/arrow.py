"""Arrow IPC files and streams: their record batches.

Of a file each is read by the task in whose piece its first byte lies, the columns alone that were named. A stream has
no footer that says where its batches are: the task of its first piece reads it from beginning to end, a batch at a
time. Refuses files that are neither, and names columns that are missing or of a type that Polars cannot read.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import polars as pl

from mapreduce.dataflow.inputs.input_file import LocalFile, OpenFile
from mapreduce.dataflow.readers.arrow_buffers import damage_of_buffers
from mapreduce.dataflow.readers.arrow_footer import (
    ArrowColumn,
    ArrowFooter,
    Block,
    DamagedError,
    Message,
    is_stream,
    read_footer,
    read_message,
    read_messages,
    read_schema,
    refused,
)
from mapreduce.dataflow.readers.columnar import POLARS_ERRORS, ColumnarReader, Group, Span, merged, spanning
from mapreduce.errors import InputError
from mapreduce.plan import Piece
from mapreduce.quick_dataclass import dataclass

BATCH_BYTES = 2 << 30  # of a record batch of a stream: it is held whole, and Polars' copy of it


class ArrowReader(ColumnarReader):
    """The rows of the record batches that begin in a split's pieces."""

    FORMAT = "Arrow IPC"

    def _spans(self, file: OpenFile, piece: Piece) -> Iterator[Span]:
        try:
            if not is_stream(file, piece.file_size):
                yield from self._of_file(file, piece)
            elif piece.start == 0:
                yield from self._of_stream(file, piece)
        except DamagedError as error:
            raise refused(piece.path, error) from None

    def _of_file(self, file: OpenFile, piece: Piece) -> Iterator[Span]:
        footer = read_footer(file, piece.file_size)
        chosen = self._readable(piece.path, footer.columns)
        blocks = footer.dictionaries + footer.batches
        beginning = range(min((footer.bytes.start, *(block.metadata.start for block in blocks))))
        # What Polars looks at, whatever it reads: the schema, all dictionaries, and how many rows each batch has.
        always = [beginning, footer.bytes, *(block.metadata for block in blocks)]
        always += [block.bytes for block in footer.dictionaries]
        place = file.local_path(merged(always))
        scan = self._selected(pl.scan_ipc(place, glob=False, hive_partitioning=False))
        mine = _groups(place, footer, chosen, piece)
        packed = {group.first: columns for group, columns in mine}
        for groups in spanning(group for group, _ in mine):
            file.local_path(merged(chain.from_iterable(group.ranges for group in groups)))
            with open(place, "rb") as copy:  # noqa: PTH123 - a path of a file of the input, as text
                for group in groups:
                    _check_buffers(LocalFile(place, copy.fileno()).read_at, group.name, packed[group.first])
            yield Span(scan, groups)

    def _of_stream(self, file: OpenFile, piece: Piece) -> Iterator[Span]:
        """Give each batch to Polars as a stream of its own, behind the schema and the dictionaries so far."""
        beginning, columns = read_schema(file, piece.file_size)
        chosen = [(i, f", column {columns[i].name!r}") for i in self._readable(piece.path, columns)]
        schema = _content(file, beginning)
        dictionaries: dict[int, bytes] = {}
        first = number = 0
        for message in read_messages(file, beginning.body.stop, piece.file_size, columns):
            if message.is_dictionary:
                dictionaries[message.dictionary] = _checked(file, _whole(message))
            if not message.is_batch:
                continue
            group = Group(f"record batch {number}", first, message.rows, (message.body,))
            if message.rows:
                batch = _checked(file, message, group.name, chosen)
                content = b"".join([schema, *dictionaries.values(), batch])
                yield Span(self._of_bytes(piece.path, group, content), (group,), first)
            first += message.rows
            number += 1

    def _of_bytes(self, path: str, group: Group, content: bytes) -> pl.LazyFrame:
        try:
            frame = pl.read_ipc_stream(io.BytesIO(content), columns=list(self._columns) if self._columns else None)
        except POLARS_ERRORS as error:
            raise self._unreadable(path, group.name, error) from error
        return self._selected(frame.lazy())

    def _readable(self, path: str, columns: Sequence[ArrowColumn]) -> list[int]:
        """The numbers of the chosen columns. Raises InputError for types that Polars refuses, chosen or not."""
        names = [column.name for column in columns]
        for column in columns:
            if column.unreadable:
                raise InputError(
                    f"{path} cannot be read as Arrow IPC: the column {column.name!r} has a type that Polars cannot "
                    f"read ({column.unreadable}): write the file without it, or as another type"
                )
        return [names.index(name) for name in self._chosen(path, names)]


@dataclass(frozen=True, slots=True)
class _Packed:
    """The compressed buffers of one column, or dictionary, in a batch; none where they are not compressed."""

    name: str
    buffers: tuple[range, ...]
    codec: int


def _packed(message: Message, columns: Sequence[tuple[int, str]]) -> tuple[_Packed, ...]:
    codec = message.codec
    return () if codec is None else tuple(_Packed(name, message.columns[i], codec) for i, name in columns)


def _check_buffers(read: Callable[[int, int], bytes], where: str, packed: Sequence[_Packed]) -> None:
    """Raise DamagedError for a compressed buffer that Polars could end the process over."""
    for column in packed:
        damage = damage_of_buffers(read, column.buffers, column.codec)
        if damage is not None:
            raise DamagedError(f"{where}{column.name}: {damage}")


def _checked(
    file: OpenFile, message: Message, where: str = "", columns: Sequence[tuple[int, str]] = ((0, ""),)
) -> bytes:
    """The bytes of a batch in a stream, after a look at the compressed buffers of some columns, or of a dictionary."""
    content = _content(file, message)

    def read(size: int, offset: int) -> bytes:
        start = offset - message.metadata.start
        return content[start : start + size]

    _check_buffers(read, where or f"the dictionary {message.dictionary}", _packed(message, columns))
    return content


def _groups(
    place: str, footer: ArrowFooter, chosen: Sequence[int], piece: Piece
) -> list[tuple[Group, tuple[_Packed, ...]]]:
    """The record batches that begin in the piece. `place` is a local file with all metadata and dictionaries."""
    groups: list[tuple[Group, tuple[_Packed, ...]]] = []
    wanted = [(i, f", column {footer.columns[i].name!r}") for i in chosen]
    first = 0
    with open(place, "rb") as copy:  # noqa: PTH123 - a path of a file of the input, as text
        file = LocalFile(place, copy.fileno())
        for block in footer.dictionaries:
            dictionary = _whole(_message(file, block, piece.file_size))
            _check_buffers(file.read_at, f"the dictionary {dictionary.dictionary}", _packed(dictionary, [(0, "")]))
        for number, block in enumerate(footer.batches):
            batch = _message(file, block, piece.file_size, footer.columns)
            if batch.rows and piece.start <= batch.metadata.start < piece.start + piece.size:
                ranges = tuple(_extent(batch.columns[i]) for i in chosen)
                group = Group(f"record batch {number}", first, batch.rows, ranges)
                groups.append((group, _packed(batch, wanted)))
            first += batch.rows
    return groups


def _extent(buffers: Sequence[range]) -> range:
    """The bytes from the first to the last of a column's buffers."""
    full = [buffer for buffer in buffers if buffer]
    return range(min(one.start for one in full), max(one.stop for one in full)) if full else range(0)


def _message(file: OpenFile, block: Block, size: int, columns: Sequence[ArrowColumn] = ()) -> Message:
    message = read_message(file, block.metadata.start, size, columns)
    if message is None:
        raise DamagedError(f"there is no message at byte {block.metadata.start}, where its footer says")
    return message


def _whole(dictionary: Message) -> Message:
    if dictionary.is_delta:
        raise DamagedError(
            f"the dictionary {dictionary.dictionary} comes in pieces (a delta at byte {dictionary.metadata.start}), "
            "which Polars cannot read: write the file with whole dictionaries"
        )
    return dictionary


def _content(file: OpenFile, message: Message) -> bytes:
    """The bytes of a message, whole."""
    place = range(message.metadata.start, message.body.stop)
    if len(place) > BATCH_BYTES:
        raise DamagedError(
            f"the message at byte {place.start} has {len(place):,} bytes, and of a stream at most {BATCH_BYTES:,} are "
            "held: write smaller record batches, or a file in place of a stream"
        )
    return file.read_at(len(place), place.start)
