"""The store of blobs: code, plans and probes of jobs, named by their SHA-256, in the coordinator's state folder.

Owns their bytes and bounds; never looks inside. A blob is there as a whole and with the right sum, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mapreduce.config import BLOB_BYTES, BLOB_PIECE_BYTES
from mapreduce.errors import JournalError, WireError

UNUSED_S = 600.0  # a blob that no job has named: its Submit follows within seconds, or never
OPEN_UPLOADS = 100  # blobs partly here: two or three for each client that is submitting

_NAME = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Blobs in a folder (made if needed). `durable` has files fsynced before they count as stored.

    Raises JournalError when the disk fails, WireError for pieces and names that are none.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable
        self._uploads: dict[str, int] = {}  # bytes in each partial file
        self._unused_since: dict[str, float] = {}
        with _reporting(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in folder.glob("*.part"):
                path.unlink()
            self._sizes = {path.name: path.stat().st_size for path in folder.iterdir() if _NAME.fullmatch(path.name)}

    def missing(self, sha256s: tuple[str, ...]) -> tuple[str, ...]:
        """Give those that are not here, each once."""
        return tuple(dict.fromkeys(sha256 for sha256 in sha256s if sha256 not in self._sizes))

    def put(self, sha256: str, offset: int, total: int, data: bytes) -> int:
        """Store a piece, and give how many bytes of the blob are here: where the next piece begins.

        A piece that does not begin there changes nothing. Raises WireError if the whole has another sum.
        """
        _check_name(sha256)
        if sha256 in self._sizes:
            return self._sizes[sha256]
        if not 0 <= total <= BLOB_BYTES:
            msg = f"a blob of {total} bytes; at most {BLOB_BYTES} are allowed: a job's code and plan are far smaller"
            raise WireError(msg)
        have = self._uploads.get(sha256, 0)
        if offset != have or have + len(data) > total or (not data and total):
            return have
        if sha256 not in self._uploads and len(self._uploads) >= OPEN_UPLOADS:
            self._abandon(next(iter(self._uploads)))  # the oldest: its client sees 0 stored, and begins again
        with _reporting(self._folder), self._part(sha256).open("r+b" if have else "wb") as file:
            file.seek(have)
            file.write(data)
        self._uploads[sha256] = have + len(data)
        if have + len(data) == total:
            self._finish(sha256, total)
        return have + len(data)

    def _part(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.part"

    def _abandon(self, sha256: str) -> None:
        with _reporting(self._folder):
            self._part(sha256).unlink()
        del self._uploads[sha256]

    def _finish(self, sha256: str, total: int) -> None:
        with _reporting(self._folder):
            with self._part(sha256).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                if found == sha256 and self._durable:
                    os.fsync(file.fileno())
            if found != sha256:
                self._abandon(sha256)
                msg = f"the blob {sha256[:12]}... arrived with the sum {found[:12]}...: send it again"
                raise WireError(msg)
            self._part(sha256).replace(self._folder / sha256)
            if self._durable:
                _sync_folder(self._folder)
        del self._uploads[sha256]
        self._sizes[sha256] = total

    def get(self, sha256: str, offset: int) -> tuple[int, bytes] | None:
        """Give the blob's size and a piece of it from `offset` on; None if it is not here."""
        _check_name(sha256)
        size = self._sizes.get(sha256)
        if size is None:
            return None
        with _reporting(self._folder), (self._folder / sha256).open("rb") as file:
            file.seek(max(0, offset))
            return size, file.read(BLOB_PIECE_BYTES)

    def sweep(self, in_use: frozenset[str], now_s: float) -> None:
        """Delete blobs that no live job has used for a while."""
        self._unused_since = {
            sha256: self._unused_since.get(sha256, now_s) for sha256 in self._sizes if sha256 not in in_use
        }
        for sha256, since_s in tuple(self._unused_since.items()):
            if now_s - since_s >= UNUSED_S:
                with _reporting(self._folder):
                    (self._folder / sha256).unlink(missing_ok=True)
                del self._sizes[sha256], self._unused_since[sha256]


def _check_name(sha256: str) -> None:
    if not _NAME.fullmatch(sha256):
        raise WireError("a blob's name is its SHA-256 in 64 lower-case hex digits")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _reporting(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"the blobs in {folder} cannot be read or written: {error}"
        raise JournalError(msg) from error
