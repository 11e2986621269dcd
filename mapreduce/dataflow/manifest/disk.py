"""The changes that reserving, committing and cleaning up make to a file system, and what their errors are called."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mapreduce.dataflow.disk import DISK_ERRORS, sync_file, sync_folder
from mapreduce.errors import DiskFullError, OutputError

NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})  # what rmdir says, by system

REMOVE_TRIES = 20  # of a folder in which others remove files, or dying tasks still make some: a file each


class Disk:
    """The changes that a commit makes to a file system, one method each, so that a test can stop at any of them."""

    def rename(self, source: Path, target: Path) -> None:
        """Move a file, replacing the target."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        sync_folder(folder)

    def sync_file(self, path: Path) -> None:
        """Make a file's bytes durable."""
        sync_file(path)

    def write(self, path: Path, data: bytes) -> None:
        """Write and sync a small file."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def make_folder(self, path: Path) -> None:
        """Make a folder, if it is not there."""
        path.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder, if it is there and empty: what others have put there stays."""
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in NOT_EMPTY:
                raise

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it, if it is there."""
        for _ in range(REMOVE_TRIES):
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                if not path.exists():
                    return
                # Somebody else removes it too: on with what is left, to the end.
            except OSError as error:
                if error.errno not in NOT_EMPTY:
                    raise
            else:
                return
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


class QuickDisk(Disk):
    """For an output that goes away with the program that asked for it: nothing needs to outlast a power cut."""

    def sync_folder(self, folder: Path) -> None:
        """Leave it to the system."""

    def sync_file(self, path: Path) -> None:
        """Leave it to the system."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a small file."""
        path.write_bytes(data)


def unwritable(folder: Path, error: OSError) -> DiskFullError | OutputError:
    """What an error of the system means for the output folder, and what to do."""
    if error.errno in DISK_ERRORS and error.errno != errno.EROFS:  # no space would help there
        return DiskFullError(f"cannot write to the output folder {folder}: {error.strerror}; free space there")
    return OutputError(f"the output folder {folder} cannot be used: {error.strerror} ({error.filename or folder})")
