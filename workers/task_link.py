"""Frames over socketpairs between agent, fork server and task processes.

Owns framing and buffering, never their meaning. `AgentLink` never blocks: it is the end of the agent and of the fork
server, which have other things to do. `TaskLink` blocks: it is the end of a task process, which has not.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence

from mapreduce.errors import WireError
from workers.task_messages import FRAME_BYTES, LENGTH, LinkMessage, decode, encode

READ_BYTES = 256 << 10  # read in one turn from one peer, so that none can hold up the others
FDS_PER_FRAME = 4  # a task process gets its socket, its log pipe, the memory for its marks and its turns


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[LinkMessage]:
        """Give the messages that are complete with `data`. Raises WireError for a frame that is not ours."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > FRAME_BYTES:
                msg = f"a frame of {length} bytes between agent and task process; the limit is {FRAME_BYTES}"
                raise WireError(msg)
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            yield decode(body)


class AgentLink:
    """The end that must never wait. `open` turns False when the peer is gone; what is unsent then is dropped."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._unsent: list[tuple[memoryview, tuple[int, ...]]] = []
        self.open = True

    def fileno(self) -> int:
        """The socket, for a poller."""
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits for room in the socket."""
        return self.open and bool(self._unsent)

    def send(self, message: LinkMessage, fds: Sequence[int] = ()) -> None:
        """Send as soon as there is room. `fds` are passed along and must stay open until `wants_write` is False."""
        self._unsent.append((memoryview(encode(message)), tuple(fds)))
        self.flush()

    def flush(self) -> None:
        """Send what there is room for."""
        while self.open and self._unsent:
            view, fds = self._unsent[0]
            try:
                sent = self._send_some(view, fds)
            except BlockingIOError:
                return
            except OSError:  # the peer is gone: its end is reported by who waits for it
                self._lost()
                return
            if sent < len(view):
                self._unsent[0] = (view[sent:], ())
            else:
                self._unsent.pop(0)

    def receive(self) -> list[LinkMessage]:
        """Read at most READ_BYTES and give the complete messages. Raises WireError for a frame that is not ours."""
        if not self.open:
            return []
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._lost()
            return []
        return list(self._reader.feed(data))

    def close(self) -> None:
        """Close the socket: the peer sees its end."""
        self._lost()
        self._sock.close()

    def _send_some(self, view: memoryview, fds: tuple[int, ...]) -> int:
        if not fds:
            return self._sock.send(view)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        return self._sock.sendmsg([view], ancillary)

    def _lost(self) -> None:
        self.open = False
        self._unsent.clear()


class FdLink(AgentLink):
    """The fork server's end: descriptors that came along wait in `fds`, in the order of their frames."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.fds: list[int] = []

    def receive(self) -> list[LinkMessage]:
        """Read as `AgentLink.receive` does, collecting the descriptors."""
        if not self.open:
            return []
        try:
            # One frame's descriptors at a time: the kernel ends a read at the next frame that has some.
            data, fds, _, _ = socket.recv_fds(self._sock, READ_BYTES, FDS_PER_FRAME)
        except BlockingIOError:
            return []
        except OSError:
            data, fds = b"", []
        self.fds += fds
        if not data:
            self._lost()
            return []
        return list(self._reader.feed(data))


class TaskLink:
    """The end of a task process: sending and receiving wait; sending is safe from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock
        self._owner = os.getpid()
        self._reader = FrameReader()
        self._ready: list[LinkMessage] = []
        self._lock = threading.Lock()

    def send(self, message: LinkMessage) -> None:
        """Send the whole message. Raises OSError if the agent is gone, WireError if user code closed our socket."""
        self.only_owner()
        frame = encode(message)
        with self._lock, _closed_by_user_code():
            self._sock.sendall(frame)

    def receive(self) -> LinkMessage | None:
        """Wait for a message; None when the agent is gone. Raises WireError for a frame that is not ours."""
        self.only_owner()
        while not self._ready:
            with _closed_by_user_code():
                data = self._sock.recv(READ_BYTES)
            if not data:
                return None
            self._ready.extend(self._reader.feed(data))
        return self._ready.pop(0)

    def only_owner(self) -> None:
        """End a copy of the process that user code has forked and let come back here: two would speak as one."""
        if os.getpid() != self._owner:
            os._exit(1)


@contextlib.contextmanager
def _closed_by_user_code() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.EBADF, errno.ENOTSOCK}:
            raise
        msg = "the task process lost its agent: user code has closed a descriptor that it did not open (os.closerange?)"
        raise WireError(msg) from None
