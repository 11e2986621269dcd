"""Turns: the right to begin attempts that a task process was handed ahead, which its agent can take back.

A turn is a number in a pipe of which both hold the reading end: who reads it has it. So an attempt that a process was
handed is begun by it or given to another, never both, and no process need listen while user code runs.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from mapreduce.errors import WireError

_TURN = struct.Struct("<I")
_ALL_BYTES = 4096  # more than all turns that are given at a time; so much is written and read as one


class Turns:
    """The agent's end: gives turns and takes them back. `reading` is the descriptor that the process gets as well."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)  # for the process too: it is one open file

    def give(self, turns: Iterable[int]) -> None:
        """Let the process begin these attempts. Before it hears of them: one without a turn is not begun."""
        os.write(self._writing, b"".join(map(_TURN.pack, turns)))

    def take_back(self) -> int:
        """Take all turns that the process has not begun; gives the first, 0 if there was none."""
        try:
            data = os.read(self.reading, _ALL_BYTES)
        except BlockingIOError:
            return 0
        (first,) = _TURN.unpack_from(data)
        return int(first)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reading)
        os.close(self._writing)


class TurnTaker:
    """The process's end."""

    def __init__(self, fd: int) -> None:
        """`fd` is the agent's `reading`."""
        self._fd = fd
        self._next: int | None = None  # a turn that was read too early

    def take(self, turn: int) -> bool:
        """Whether this attempt may begin; False where its turn was taken back, with all behind it.

        Raises WireError if user code has closed the pipe, or has read from it.
        """
        if self._next is None:
            try:
                data = os.read(self._fd, _TURN.size)
            except BlockingIOError:
                return False
            except OSError as error:
                msg = f"user code has closed a descriptor that it did not open (os.closerange?): {error}"
                raise WireError(msg) from None
            (self._next,) = _TURN.unpack(data)
        if self._next > turn:  # of what comes next: the agent has handed it already
            return False
        found, self._next = self._next, None
        if found != turn:
            raise WireError("user code has read from a descriptor that it did not open")
        return True

    def give_up(self) -> None:
        """Give up all turns that are left."""
        try:
            os.read(self._fd, _ALL_BYTES)
        except BlockingIOError:
            return
