"""A file of the input, opened for a piece of it: checked before and after to be the one that was planned.

Owns how bytes of inputs are read, so that readers need not know where a file lies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from mapreduce.errors import InputChangedError, InputError
from mapreduce.plan import Piece
from mapreduce.urls import is_url


class OpenFile(Protocol):
    """A file that is open for reading, as long as the piece is.

    Its methods may raise OSError, InputError and StoreError.
    """

    def read_at(self, size: int, offset: int) -> bytes:
        """Give `size` bytes from `offset` on; fewer only at the file's end, none behind it."""

    def local_path(self, ranges: Sequence[range] | None = None) -> str:
        """Give the path of a file on this machine with the same bytes, for libraries that read by path.

        With `ranges` (of byte offsets) only these bytes need be there, and those of earlier calls; any others may be
        zeros. It is one and the same file each time, of full size, and is there as long as the piece is open.
        """


class LocalFile:
    """A file on this machine."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def read_at(self, size: int, offset: int) -> bytes:
        """Give `size` bytes from `offset` on."""
        return os.pread(self._fd, size, offset)

    def local_path(self, ranges: Sequence[range] | None = None) -> str:  # noqa: ARG002 - it has all bytes
        """Give the file's own path."""
        return self._path


def read_on(file: OpenFile) -> Callable[[int], bytes]:
    """Give a function that reads on from the file's beginning: at most so many bytes, none at its end."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        data = file.read_at(size, position)
        position += len(data)
        return data

    return read


@contextmanager
def open_piece(piece: Piece) -> Iterator[OpenFile]:
    """Open a piece's file.

    Raises InputError where it cannot be opened or read, InputChangedError where it is not the one that was planned,
    StoreError.
    """
    if is_url(piece.path):
        from mapreduce.dataflow.stores.file import open_in_store  # noqa: PLC0415 - most jobs read local files

        with open_in_store(piece) as in_store:
            yield in_store
        return
    try:
        fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"the input {piece.path} cannot be opened: {error.strerror}") from error
    try:
        check_unchanged(piece, os.fstat(fd))
        yield LocalFile(piece.path, fd)
        check_unchanged(piece, os.fstat(fd))
        check_unchanged(piece, _stat(piece.path))
    except OSError as error:
        raise InputError(f"the input {piece.path} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def check_unchanged(piece: Piece, now: os.stat_result) -> None:
    """Raise InputChangedError if the file is not the one that was planned."""
    if now.st_size != piece.file_size or now.st_mtime_ns != piece.version:
        what = (
            f"it had {piece.file_size} bytes and has {now.st_size}"
            if now.st_size != piece.file_size
            else "it was written to"
        )
        raise InputChangedError(
            f"the input {piece.path} changed since the job was planned: {what}.",
            "Run the job again when nothing writes to its inputs.",
        )


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - as cheap as can be: once for each of many small tasks
    except FileNotFoundError:
        raise InputChangedError(f"the input {path} was removed while it was being read.") from None
