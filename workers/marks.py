"""The notes that a task process keeps of its work, in memory that its agent shares: they outlive the process.

    byte 0    which of two slots holds the note of the record at hand, and whether it is through; 0 without a note
    slots     ordinal, count, length of the rest; then the rest, msgpack
    place     length (0 without a place); then path and offset of where the attempt began, msgpack
    turn      number of the attempt that was begun last in turns, 0 without one

A slot is written while the other is the valid one, and becomes valid by one byte: a process may die at any point.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from typing import TYPE_CHECKING

import msgpack

from mapreduce.errors import WireError
from mapreduce.protocol import plain
from workers.killers import Mark

if TYPE_CHECKING:
    from mapreduce.dataflow.bad.at_work import AtWork

SLOT_BYTES = 32 << 10  # a path has 4 KiB at most, a key and a record 500 characters each
SLOTS_START = 8
PLACE_START = SLOTS_START + 2 * SLOT_BYTES
PLACE_BYTES = 8 << 10  # a path has 4 KiB at most
TURN_START = PLACE_START + PLACE_BYTES
SIZE = TURN_START + 4
_HEADER = struct.Struct("<QQI")
_LENGTH = struct.Struct("<I")


def shared_memory() -> int:
    """Make the memory of one task process; gives its descriptor. Raises OSError."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("mapreduce-mark", os.MFD_CLOEXEC)
    else:  # macOS: a file without a name, of which nothing but these pages is ever touched
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd


def read_mark(fd: int) -> Mark | None:
    """What the process noted last, if it was at work with care. `fd` is of `shared_memory`."""
    return parse_mark(os.pread(fd, SIZE, 0))


def parse_mark(memory: bytes) -> Mark | None:
    """Read the note; None if there is none, or if user code has written over it."""
    state = memory[0]
    if not 2 <= state <= 5 or len(memory) < SIZE:
        return None
    start = SLOTS_START + (state // 2 - 1) * SLOT_BYTES
    ordinal, count, length = _HEADER.unpack_from(memory, start)
    mark = Mark(ordinal, count, through=bool(state % 2))
    if not length:
        return mark
    start += _HEADER.size
    try:
        fields = msgpack.unpackb(memory[start : start + length], unicode_errors="surrogatepass")
        return plain.from_plain(Mark, [ordinal, count, bool(state % 2), *fields])
    except (ValueError, TypeError, msgpack.UnpackException, WireError):
        return None


def read_place(fd: int) -> tuple[str, int] | None:
    """Where the attempt at hand began, unless it has reported its progress since. `fd` is of `shared_memory`."""
    memory = os.pread(fd, PLACE_BYTES, PLACE_START)
    (length,) = _LENGTH.unpack_from(memory)
    if not 0 < length <= PLACE_BYTES - _LENGTH.size:
        return None
    try:
        path, offset = msgpack.unpackb(memory[_LENGTH.size : _LENGTH.size + length], unicode_errors="surrogatepass")
    except (ValueError, TypeError, msgpack.UnpackException):  # user code has written over it
        return None
    return (path, offset) if type(path) is str and type(offset) is int else None


def read_turn(fd: int) -> int:
    """The turn of the attempt that was begun last, 0 where none was begun in turns. `fd` is of `shared_memory`."""
    (turn,) = _LENGTH.unpack(os.pread(fd, _LENGTH.size, TURN_START))
    return int(turn)


class MarkWriter:
    """Notes what an attempt is at work on: its TaskSetup.mark."""

    def __init__(self, fd: int) -> None:
        """`fd` is of `shared_memory`; it is not needed any more after this."""
        self._memory = mmap.mmap(fd, SIZE)
        self._owner = os.getpid()
        self._slot = 0

    def __call__(self, at: AtWork | None) -> None:
        """Note it before the user's function sees it; None when the function is through."""
        if os.getpid() != self._owner:
            return  # a copy of the process that user code has forked
        if at is None:
            self._memory[0] |= 1
            return
        self._write(at.ordinal, at.count, b"")  # first: to show a record may run user code, which may die as well
        rest: bytes = msgpack.packb(at.told(), unicode_errors="surrogatepass")
        if _HEADER.size + len(rest) <= SLOT_BYTES:
            self._write(at.ordinal, at.count, rest)

    def begin_at(self, path: str, offset: int) -> None:
        """Note where the attempt begins, in case it dies at its first record."""
        data: bytes = msgpack.packb((path, offset), unicode_errors="surrogatepass")
        start = PLACE_START + _LENGTH.size
        if _LENGTH.size + len(data) <= PLACE_BYTES:
            self._memory[start : start + len(data)] = data
            _LENGTH.pack_into(self._memory, PLACE_START, len(data))

    def begun(self) -> None:
        """Forget where the attempt began: its progress says more."""
        _LENGTH.pack_into(self._memory, PLACE_START, 0)

    def begin_turn(self, turn: int) -> None:
        """Note whose turn it is."""
        _LENGTH.pack_into(self._memory, TURN_START, turn)

    def clear(self) -> None:
        """Forget what was noted: the attempt is over."""
        self._memory[0] = 0
        self.begun()

    def _write(self, ordinal: int, count: int, rest: bytes) -> None:
        self._slot ^= 1
        start = SLOTS_START + self._slot * SLOT_BYTES
        _HEADER.pack_into(self._memory, start, ordinal, count, len(rest))
        start += _HEADER.size
        self._memory[start : start + len(rest)] = rest
        self._memory[0] = 2 + 2 * self._slot
