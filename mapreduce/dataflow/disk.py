"""What reading and writing files needs everywhere, quick to load: disk errors, checksums, durable names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import xxhash

CHECKSUM_READ_BYTES = 1 << 20
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS})


def file_checksum(path: str | Path) -> str:
    """Give the xxh3-64 of a file's bytes, in hex, read in pieces."""
    total = xxhash.xxh3_64()
    with Path(path).open("rb") as file:
        while data := file.read(CHECKSUM_READ_BYTES):
            total.update(data)
    return total.hexdigest()


def sync_file(path: str | Path) -> None:
    """Make a file's bytes durable."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Make renames and new names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
