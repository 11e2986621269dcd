"""Private temporary folders that do not outlive their owner for long.

Owns folders of mode 0700 with a lock file in each: the lock is held by a file descriptor, so it goes with the process
however it ends, and the next folder made here sweeps away those of dead owners.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from mapreduce.errors import UsageError

PREFIX = "mapreduce-"
LOCK = "lock"
SWEEP_AGE_S = 60.0  # a younger folder may belong to somebody who has not locked it yet, or to an agent on its way out
SOCKET_PATH_BYTES = 104  # sun_path on macOS, its ending zero included; Linux has 108
SOCKET_NAME_BYTES = 48  # room for the folder's random name and the names of our sockets in it


class PrivateFolder:
    """A new folder, 0700, removed by `close`, by the garbage collector, at exit, or by a later sweep."""

    def __init__(self, parent: str | None = None) -> None:
        """Make it in `parent`, by default where temporary files go. Raises UsageError if that cannot be done."""
        parent = parent or tempfile.gettempdir()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).absolute()
            lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"cannot make a temporary folder in {parent}: {error.strerror}; set TMPDIR to one that is writable"
            raise UsageError(msg) from error
        self._finalizer = weakref.finalize(self, _remove, str(self.path), lock, os.getpid())
        sweep(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder and all in it; may be called twice."""
        self._finalizer()


def scratch_folder() -> Path:
    """The default scratch folder of a worker: one for each user, among the temporary files, kept between lives."""
    return Path(tempfile.gettempdir()) / f"mapreduce-worker-{os.getuid()}"


def short_parent() -> str | None:
    """A parent in which sockets have short enough paths: TMPDIR if it is; None if there is no such folder."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - a private folder is made inside
        if len(os.fsencode(parent)) + SOCKET_NAME_BYTES < SOCKET_PATH_BYTES and os.access(parent, os.W_OK | os.X_OK):
            return parent
    return None


def sweep(parent: str) -> None:
    """Remove the folders here whose owners have died. What is not ours, or in use, is left alone."""
    for folder in _old_folders(parent):
        with contextlib.suppress(OSError):  # no lock file, another user's, or swept by somebody else this moment
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _old_folders(parent: str) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX):
                continue
            with contextlib.suppress(OSError):  # it went while we looked
                facts = entry.stat(follow_symlinks=False)
                # Wall clock, since that is what files carry; an odd clock only delays the sweep.
                if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > SWEEP_AGE_S and entry.is_dir():
                    yield Path(entry.path)


def _remove(path: str, lock: int, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the owner ends: the folder is not its
    shutil.rmtree(path, ignore_errors=True)  # a file that appears meanwhile is left to the sweep
    os.close(lock)
