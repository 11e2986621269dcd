"""Arrow IPC files and streams: which columns and record batches they have, and where these lie.

All metadata are flatbuffers; this reads what planning needs of them. Sources: apache/arrow (`format/File.fbs`,
`Message.fbs`, `Schema.fbs`, docs "Arrow Columnar Format", IPC) and google/flatbuffers (docs "Internals"). A record
batch begins where its message does. Refuses files of the first Feather version, types that Polars cannot read, and
metadata that are damaged or point behind the file's end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapreduce.dataflow.inputs.input_file import OpenFile
from mapreduce.errors import InputError
from mapreduce.quick_dataclass import dataclass

MAGIC = b"ARROW1"
FEATHER_1 = b"FEA1"
CONTINUES = b"\xff\xff\xff\xff"  # before the length of a message's metadata
HEAD_BYTES = 8  # of a file: the magic, padded; of a message: the mark and the length of its metadata
TAIL_BYTES = 10  # of a file: the footer's length, 4 bytes, and the magic
METADATA_BYTES = 64 << 20  # of a footer or a message: a million columns or batches; each task reads them
FIELD_BYTES = 8  # of a field at least: a crafted schema may point to the same fields many times over
DEPTH = 64  # of nested types: Arrow's readers stop there too

_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # kinds of messages
_VIEWS = -1  # buffers of a column of views: 2, and as many as the batch says
# Buffers of each type by its number in Schema.fbs, children apart.
_BUFFERS = {1: 0, 4: 3, 5: 3, 12: 2, 13: 1, 16: 1, 17: 2, 19: 3, 20: 3, 21: 2, 23: _VIEWS, 24: _VIEWS}
_FIXED_WIDTH = (2, 3, 6, 7, 8, 9, 10, 11, 15, 18)
_BUFFERS.update(dict.fromkeys(_FIXED_WIDTH, 2))
_DECIMAL, _INTERVAL = 7, 11
_UNREADABLE = {14: "union", 22: "run-end encoded", 25: "list view", 26: "large list view"}


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """A column of the top level: the number of buffers of each field of it, and its types that cannot be read."""

    name: str
    buffers: tuple[int, ...]
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: where its metadata and its body lie, and of a batch the rows, and the buffers of each column.

    `codec` is how the buffers are compressed, if they are. A batch of a dictionary has one column.
    """

    kind: int
    metadata: range
    body: range
    rows: int = 0
    columns: tuple[tuple[range, ...], ...] = ()
    codec: int | None = None
    dictionary: int = 0
    is_delta: bool = False

    @property
    def is_batch(self) -> bool:
        """Whether it is a record batch."""
        return self.kind == _BATCH

    @property
    def is_dictionary(self) -> bool:
        """Whether it is a batch of a dictionary, `dictionary`."""
        return self.kind == _DICTIONARY


@dataclass(frozen=True, slots=True)
class Block:
    """Where a footer says that a message lies: its metadata, and all of it; or a few bytes more."""

    metadata: range
    bytes: range


@dataclass(frozen=True, slots=True)
class ArrowFooter:
    """What a file's footer says: its columns, where the messages of dictionaries and batches lie, where it lies."""

    columns: tuple[ArrowColumn, ...]
    dictionaries: tuple[Block, ...]
    batches: tuple[Block, ...]
    bytes: range


class DamagedError(Exception):
    """What is wrong with a file, without its name."""


def refused(path: str, error: object) -> InputError:
    """The error that names the file."""
    return InputError(f"{path} cannot be read as Arrow IPC: {error}")


def is_stream(file: OpenFile, size: int) -> bool:
    """Tell whether a file of `size` bytes is a stream, without a footer. Raises DamagedError for what is neither."""
    head = file.read_at(min(HEAD_BYTES, size), 0)
    if head.startswith(MAGIC):
        return False
    if head.startswith(CONTINUES):
        return True
    if head.startswith(FEATHER_1):
        raise DamagedError("it is a Feather file of version 1: write it anew as version 2, which is Arrow IPC")
    raise DamagedError(f"it begins neither with {MAGIC.decode()}, as files do, nor as streams do")


def read_footer(file: OpenFile, size: int) -> ArrowFooter:
    """Read the footer of a file of `size` bytes. Raises DamagedError."""
    if size < HEAD_BYTES + TAIL_BYTES:
        raise DamagedError(f"it has {size} bytes, too few for any")
    tail = file.read_at(TAIL_BYTES, size - TAIL_BYTES)
    if tail[4:] != MAGIC:
        raise DamagedError(f"it does not end in {MAGIC.decode()}: it was cut short, or is still being written")
    length = int.from_bytes(tail[:4], "little")
    start = size - TAIL_BYTES - length
    if start < HEAD_BYTES or length > METADATA_BYTES:
        raise DamagedError(f"its footer is damaged: it would have {length:,} bytes")
    footer = _root(file.read_at(length, start))
    schema = footer.table(1)
    if schema is None:
        raise DamagedError("its footer is damaged: it has no schema")
    dictionaries, batches = (_blocks(footer, field, start) for field in (2, 3))
    return ArrowFooter(_columns(schema), dictionaries, batches, range(start, size))


def _blocks(footer: _Table, field: int, end: int) -> tuple[Block, ...]:
    data, at, count = footer.vector(field, 24)
    found: list[Block] = []
    for place in range(at, at + 24 * count, 24):
        start, length, body = _unpack("q", data, place), _unpack("i", data, place + 8), _unpack("q", data, place + 16)
        stop = start + length + body
        if start <= 0 or length <= 0 or body < 0 or stop > end:
            raise DamagedError("its footer is damaged: a record batch would lie outside the file")
        # Not all writers count the head of a message in the length of its metadata.
        metadata = range(start, min(start + length + HEAD_BYTES, end))
        found.append(Block(metadata, range(start, min(stop + HEAD_BYTES, end))))
    return tuple(found)


def read_message(file: OpenFile, at: int, size: int, columns: Sequence[ArrowColumn] = ()) -> Message | None:
    """Read the message at a byte of a file of `size` bytes; None at a stream's end. Raises DamagedError.

    Of a record batch each of the `columns` is found.
    """
    head = file.read_at(HEAD_BYTES, at)
    if head == CONTINUES + bytes(4) or not head:
        return None
    if len(head) < HEAD_BYTES:
        raise DamagedError(f"the message at byte {at} is cut short")
    if not head.startswith(CONTINUES):
        raise DamagedError(f"there is no message at byte {at}: it is damaged, or older than Arrow 0.15")
    length = int.from_bytes(head[4:], "little")
    metadata = range(at, at + HEAD_BYTES + length)
    if length > METADATA_BYTES or metadata.stop > size:
        raise DamagedError(f"the message at byte {at} is cut short or damaged: it is {length:,} bytes long")
    message = _root(file.read_at(length, at + HEAD_BYTES))
    body_length = message.number(3, "q")
    body = range(metadata.stop, metadata.stop + body_length)
    if body_length < 0 or body.stop > size:
        raise DamagedError(f"the message at byte {at} is cut short or damaged: its body is {body_length:,} bytes long")
    kind, header = message.number(1, "B"), message.table(2)
    if header is None:
        raise DamagedError(f"the message at byte {at} is damaged: it has no header")
    if kind not in (_DICTIONARY, _BATCH):
        return Message(kind, metadata, body)
    return _with_batch(Message(kind, metadata, body), header, columns)


def _with_batch(message: Message, header: _Table, columns: Sequence[ArrowColumn]) -> Message:
    """The same message, with what its header says of its batch."""
    at, body = message.metadata.start, message.body
    batch = header.table(1) if message.is_dictionary else header
    if batch is None:
        raise DamagedError(f"the message at byte {at} is damaged: it has no values")
    compression = batch.table(3)
    codec = None if compression is None else compression.number(0, "b")
    if message.is_dictionary:
        number, is_delta, buffers = header.number(0, "q"), bool(header.number(2, "B")), tuple(_buffers(batch, body))
        return replace(message, columns=(buffers,), codec=codec, dictionary=number, is_delta=is_delta)
    rows = header.number(0, "q")
    if rows < 0:
        raise DamagedError(f"the record batch at byte {at} is damaged: it would have {rows} rows")
    return replace(message, rows=rows, columns=tuple(_by_column(batch, columns, body)), codec=codec)


def read_messages(file: OpenFile, at: int, size: int, columns: Sequence[ArrowColumn]) -> Iterator[Message]:
    """Yield the messages from a byte of a stream on, up to its end. Raises DamagedError."""
    while (message := read_message(file, at, size, columns)) is not None:
        yield message
        at = message.body.stop


def _buffers(batch: _Table, body: range) -> Iterator[range]:
    """Yield where each buffer of a batch lies."""
    data, at, count = batch.vector(2, 16)
    for place in range(at, at + 16 * count, 16):
        offset, length = _unpack("q", data, place), _unpack("q", data, place + 8)
        if length and (offset < 0 or length < 0 or offset + length > len(body)):
            raise DamagedError(f"a batch at byte {body.start} is damaged: a buffer would lie outside it")
        yield range(body.start + offset, body.start + offset + length)


def _by_column(batch: _Table, columns: Sequence[ArrowColumn], body: range) -> Iterator[tuple[range, ...]]:
    """Yield the buffers of each column."""
    views, views_at, views_count = batch.vector(4, 8)
    extra = iter([_unpack("q", views, views_at + 8 * i) for i in range(views_count)])
    buffers = list(_buffers(batch, body))
    used = 0
    for column in columns:
        mine = sum(2 + next(extra, 0) if number == _VIEWS else number for number in column.buffers)
        if not used <= used + mine <= len(buffers):
            raise DamagedError(f"a record batch at byte {body.start} is damaged: it has no column {column.name!r}")
        yield tuple(buffers[used : used + mine])
        used += mine


def read_schema(file: OpenFile, size: int) -> tuple[Message, tuple[ArrowColumn, ...]]:
    """Read the message that a stream begins with: it says which columns there are. Raises DamagedError."""
    message = read_message(file, 0, size)
    if message is None or message.kind != _SCHEMA:
        raise DamagedError("it does not begin with a schema")
    header = _root(file.read_at(len(message.metadata) - HEAD_BYTES, HEAD_BYTES)).table(2)
    assert header is not None
    return message, _columns(header)


# ------------------------------------------------------------------------------------------------------------- schema


def _columns(schema: _Table) -> tuple[ArrowColumn, ...]:
    if schema.number(0, "h"):
        raise DamagedError("its numbers are big-endian, which Polars cannot read: write it anew on this machine")
    most = schema.extent // FIELD_BYTES
    seen = 0
    found: list[ArrowColumn] = []
    for field in schema.tables(1):
        name = field.text(0)
        buffers: list[int] = []
        unreadable: list[str] = []
        stack = [(field, 1)]
        while stack:
            inner, depth = stack.pop()
            seen += 1
            if seen > most or depth > DEPTH:
                raise DamagedError(f"its schema has more fields than fit into it, or fields more than {DEPTH} deep")
            kind = inner.number(2, "B")
            unreadable += [text] if (text := _unreadable(inner, kind)) else []
            if inner.table(4) is not None:
                buffers.append(2)
                continue
            buffers.append(_BUFFERS.get(kind, 0))
            stack += [(child, depth + 1) for child in reversed(list(inner.tables(5)))]
        found.append(ArrowColumn(name, tuple(buffers), ", ".join(unreadable)))
    return tuple(found)


def _unreadable(field: _Table, kind: int) -> str:
    """The name of a type that Polars cannot read, or an empty text."""
    if kind in _UNREADABLE:
        return _UNREADABLE[kind]
    about = field.table(3)
    if kind == _INTERVAL:
        return "interval"
    if kind == _DECIMAL and about is not None and about.number(2, "i", 128) > 128:
        return "decimal of 256 bits"
    return "" if kind in _BUFFERS else f"number {kind}, unknown here"


# -------------------------------------------------------------------------------------------------------- flatbuffers


def _unpack(kind: str, data: bytes, at: int) -> int:
    if at < 0:
        raise DamagedError("its metadata are damaged: an offset points before them")
    try:
        (number,) = struct.unpack_from("<" + kind, data, at)
    except struct.error:
        raise DamagedError("its metadata are damaged: an offset points behind them") from None
    return int(number)


def _root(data: bytes) -> _Table:
    return _Table(data, _unpack("I", data, 0))


class _Table:
    """A table of a flatbuffer, its fields by their numbers."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _unpack("i", data, at)
        self._size = _unpack("H", data, self._vtable)

    @property
    def extent(self) -> int:
        """The bytes of the flatbuffer that it is in."""
        return len(self._data)

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _unpack("H", self._data, self._vtable + entry) if entry + 2 <= self._size else 0
        return self._at + offset if offset else None

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + _unpack("I", self._data, place)

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A number, of the `struct` module's kind."""
        place = self._place(field)
        return default if place is None else _unpack(kind, self._data, place)

    def table(self, field: int) -> _Table | None:
        """A table, or None where there is none."""
        target = self._target(field)
        return None if target is None else _Table(self._data, target)

    def vector(self, field: int, item_size: int) -> tuple[bytes, int, int]:
        """The data, the byte of a vector's first item in them, and the number of its items."""
        target = self._target(field)
        if target is None:
            return self._data, 0, 0
        count = _unpack("I", self._data, target)
        if target + 4 + count * item_size > len(self._data):
            raise DamagedError("its metadata are damaged: a list would be longer than they are")
        return self._data, target + 4, count

    def tables(self, field: int) -> Iterator[_Table]:
        """The tables of a vector."""
        data, at, count = self.vector(field, 4)
        for place in range(at, at + 4 * count, 4):
            yield _Table(data, place + _unpack("I", data, place))

    def text(self, field: int) -> str:
        """A text, empty where there is none."""
        data, at, count = self.vector(field, 1)
        try:
            return data[at : at + count].decode()
        except UnicodeDecodeError:
            raise DamagedError("its metadata are damaged: a name is no UTF-8") from None
