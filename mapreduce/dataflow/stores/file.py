"""A file of the input that lies in a store, opened for a piece of it.

Owns how much is asked of the store at a time: reading on is served from windows, the next of which is on its way while
one is used. Libraries that read by path get a copy in scratch, of the whole or only of the ranges that they need.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.inputs.copies import copies_folder
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.errors import ShortRead
from mapreduce.dataflow.stores.store import Facts, Store, at_once
from mapreduce.dataflow.stores.web import HttpStore
from mapreduce.errors import DiskFullError, InputChangedError, InputError, StoreError, StoreUnavailable
from mapreduce.plan import Piece

WINDOW_BYTES = 8 << 20  # of one request: its latency (20-100 ms) is small beside the time that so much takes to arrive
WINDOWS = 2  # kept: a reader of a piece looks at its file's beginning or end in between
COPY_BYTES = 8 << 20  # of one request when a file is copied
COPIES = 4  # requests for a copy that are under way: as much memory as the windows take, and a quarter of the waits
JOINED_BYTES = 256 << 10  # ranges that lie so near to each other are fetched as one: a request costs as much


@contextmanager
def open_in_store(piece: Piece) -> Iterator[StoreFile]:
    """Open a piece's file. Raises as `open_piece` does, and StoreError."""
    store = store_of(piece.path)
    facts = _check_unchanged(store, piece)
    file = StoreFile(store, piece, ranges=facts.ranges)
    try:
        yield file
        # What was read in between was of one and the same content: a version does not come back.
        _check_unchanged(store, piece)
    except FileNotFoundError as error:
        raise _removed(piece) from error
    except StoreError as error:
        if not isinstance(error, StoreUnavailable) or isinstance(error.__cause__, ShortRead):
            _check_unchanged(store, piece)  # what was cut off meanwhile is not what was asked for
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise DiskFullError(f"a copy of {piece.path} cannot be written: {error.strerror}") from error
        raise InputError(f"the input {piece.path} cannot be read: {error.strerror or error}") from error
    finally:
        file.close()


def _check_unchanged(store: Store, piece: Piece) -> Facts:
    facts = store.facts(piece.path)
    if facts is None:
        raise _removed(piece)
    if facts.size != piece.file_size or facts.version != piece.version:
        what = (
            f"it had {piece.file_size} bytes and has {facts.size}"
            if facts.size != piece.file_size
            else "it was written again"
        )
        raise InputChangedError(
            f"the input {piece.path} changed since the job was planned: {what}.",
            "Run the job again when nothing writes to its inputs.",
        )
    return facts


def _removed(piece: Piece) -> InputChangedError:
    return InputChangedError(f"the input {piece.path} was removed since the job was planned.")


class StoreFile:
    """A file in a store; see `OpenFile`. Each method may raise StoreError."""

    def __init__(self, store: Store, piece: Piece, *, ranges: bool) -> None:
        """Read nothing yet. Without `ranges` the file is copied as a whole when anything of it is asked for."""
        self._store = store
        self._url = piece.path
        self._size = piece.file_size
        self._piece = range(piece.start, piece.start + piece.size)
        self._ranges = ranges
        self._windows: dict[int, bytes] = {}  # by their offsets, the one used last at the end
        self._next: tuple[int, Future[bytes]] | None = None
        self._ahead: ThreadPoolExecutor | None = None
        self._end = -1  # of what was asked for last
        self._copy: _Copy | None = None

    def read_at(self, size: int, offset: int) -> bytes:
        """Give `size` bytes from `offset` on; fewer only at the file's end."""
        end = min(offset + size, self._size)
        if not self._ranges:
            return os.pread(self._whole().fd, size, offset)
        blocks = []
        reads_on, self._end = offset == self._end, end
        while offset < end:
            start, window = self._window(offset, end)
            blocks.append(window[offset - start : end - start])
            offset = min(end, start + len(window))
            if reads_on:
                self._prefetch(start + len(window))
        return b"".join(blocks)

    def _window(self, offset: int, end: int) -> tuple[int, bytes]:
        """A window that holds the byte at `offset`, and its own offset."""
        if self._next is not None and self._next[0] == offset:
            coming, self._next = self._next[1], None
            self._keep(offset, coming.result())
        for start, window in self._windows.items():
            if start <= offset < start + len(window):
                self._keep(start, window)
                return start, window
        # Within the piece the rest of it will be wanted; of anything outside only what is asked for.
        wanted = min(self._piece.stop, offset + WINDOW_BYTES) if offset in self._piece else end
        window = self._store.read(self._url, offset, max(wanted, min(end, offset + WINDOW_BYTES)) - offset)
        self._keep(offset, window)
        return offset, window

    def _keep(self, start: int, window: bytes) -> None:
        self._windows.pop(start, None)
        self._windows[start] = window
        while len(self._windows) > WINDOWS:
            del self._windows[next(iter(self._windows))]

    def _prefetch(self, offset: int) -> None:
        """Have the window at `offset` on its way, if it is in the piece and not here yet."""
        if offset not in self._piece or offset in self._windows or (self._next and self._next[0] == offset):
            return
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        size = min(self._piece.stop, offset + WINDOW_BYTES) - offset
        self._next = (offset, self._ahead.submit(self._store.read, self._url, offset, size))

    def local_path(self, ranges: Sequence[range] | None = None) -> str:
        """Give the path of a copy in scratch with these bytes, or all."""
        if ranges is None or not self._ranges:
            return str(self._whole().path)
        return str(self._fetched(_joined([one for one in ranges if one])).path)

    def _fetched(self, ranges: Iterable[range]) -> _Copy:
        """The copy, with these ranges."""
        copy = self._opened_copy()
        pieces = [one[start : start + COPY_BYTES] for one in ranges for start in range(0, len(one), COPY_BYTES)]

        def fetch(piece: range) -> None:
            copy.put(piece.start, self._store.read(self._url, piece.start, len(piece)))

        if len(pieces) > 1:
            at_once(fetch, pieces, COPIES)
        else:
            for piece in pieces:
                fetch(piece)
        return copy

    def _opened_copy(self) -> _Copy:
        if self._copy is None:
            self._copy = _Copy(self._size)
        return self._copy

    def _whole(self) -> _Copy:
        copy = self._opened_copy()
        if not copy.whole:
            if isinstance(self._store, HttpStore) and not self._ranges:
                self._store.fetch(self._url, self._size, copy.put, COPY_BYTES)
            else:
                self._fetched([range(self._size)])
            copy.whole = True
        return copy

    def close(self) -> None:
        """Let go of everything; the copy is removed."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)
        if self._copy is not None:
            self._copy.close()


def _joined(ranges: Sequence[range]) -> Iterator[range]:
    """Ranges in order, those that overlap or lie near to each other as one."""
    current: range | None = None
    for one in sorted(ranges, key=lambda found: found.start):
        if current is None:
            current = one
        elif one.start <= current.stop + JOINED_BYTES:
            current = range(current.start, max(current.stop, one.stop))
        else:
            yield current
            current = one
    if current is not None:
        yield current


class _Copy:
    """A file in scratch of a given size, with zeros where nothing was put yet."""

    def __init__(self, size: int) -> None:
        fd, name = tempfile.mkstemp(prefix="copy-", dir=copies_folder.get())
        self.fd = fd
        self.path = Path(name)
        self.whole = False
        os.truncate(fd, size)

    def put(self, offset: int, data: bytes) -> None:
        """Write bytes where they belong."""
        while data:
            written = os.pwrite(self.fd, data, offset)
            data, offset = data[written:], offset + written

    def close(self) -> None:
        """Remove it."""
        os.close(self.fd)
        self.path.unlink(missing_ok=True)
