"""Files that travel with a job: read at the client, packed into one blob, unpacked once on each worker.

Owns the blob's bytes and the names that files may have. The bytes are a function of names and contents alone, so that a
job with the same files needs them only once. Imports next to nothing: the agent needs it at its start.

The blob is a length of 8 bytes, little-endian; that many bytes of msgpack, an array of [name, size]; then the contents,
one after the other.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mapreduce.config import BLOB_BYTES
from mapreduce.errors import RecordError, UsageError, WireError
from mapreduce.quick_dataclass import dataclass

HEAD = struct.Struct("<Q")
NAME_BYTES = 255  # of a file's name: NAME_MAX of the usual file systems
COPY_BYTES = 1 << 20  # unpacked at a time

Files = Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the blob holds: names and sizes, in the order of the names."""

    files: tuple[tuple[str, int], ...]


class TravelledFiles(dict[str, Path]):
    """What `ctx.files` is: the paths of the files that travelled with the job, by their names."""

    def __missing__(self, name: object) -> Path:
        """Raise RecordError for a name that no file has."""
        known = ", ".join(map(repr, self)) or "none: give them with --file, or files= in Python"
        raise RecordError(f"ctx.files has no {name!r}; the files that travelled with the job are {known}")


def read_files(files: Files | None) -> dict[str, str]:
    """Give the path of each file by its name, from a dict or from a list of paths. Raises UsageError."""
    if files is None:
        return {}
    if isinstance(files, str | os.PathLike):
        raise UsageError(f"files= takes a list of paths or a dict of names, not a single path: write [{files!r}]")
    if isinstance(files, Mapping):
        given = [(name, os.fspath(path)) for name, path in files.items()]
    else:
        given = [(Path(path).name, os.fspath(path)) for path in files]
    found: dict[str, str] = {}
    for name, path in given:
        check_name(name)
        if found.get(name, path) != path:
            raise UsageError(f"two files are called {name!r}, {found[name]} and {path}: give one of them another name")
        found[name] = path
    return found


def read_arguments(texts: Sequence[str]) -> dict[str, str]:
    """Give the path of each file by its name, from the texts of `--file PATH` and `--file NAME=PATH`.

    A text is NAME=PATH where what is before its first "=" can be a file's name. Raises UsageError.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or os.sep in name:
            name, path = Path(text).name, text
        if name in found:
            raise UsageError(f"--file {text}: a file called {name!r} is given already; write --file OTHER_NAME={path}")
        found |= read_files({name: path})
    return found


def check_name(name: object) -> None:
    """Raise UsageError for what cannot be the name of a file in a folder."""
    text = name if isinstance(name, str) else ""
    separators = {os.sep, "\0"} | ({os.altsep} if os.altsep else set())
    if text in {"", ".", ".."} or any(mark in text for mark in separators):
        raise UsageError(
            f"{name!r} cannot be the name of a file that travels: it is one plain name, without {os.sep!r}"
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{name!r} cannot be the name of a file that travels: it is not text") from None
    if size > NAME_BYTES:
        raise UsageError(f"{text[:40]!r}... cannot be the name of a file that travels: it is longer than {NAME_BYTES}")


def pack_files(files: Mapping[str, str]) -> bytes:
    """Read the files into one blob; b"" for none. Raises UsageError naming one that cannot travel."""
    if not files:
        return b""
    from mapreduce.protocol.plain import pack  # noqa: PLC0415 - `run` starts an agent before anything dear is imported

    contents: list[bytes] = []
    total = 0
    for name in sorted(files):
        data = _read(files[name], BLOB_BYTES - total)
        contents.append(data)
        total += len(data)
    head = pack(_Contents(tuple((name, len(data)) for name, data in zip(sorted(files), contents, strict=True))))
    blob = b"".join([HEAD.pack(len(head)), head, *contents])
    if len(blob) > BLOB_BYTES:
        raise _too_large()
    return blob


def _read(path: str, room: int) -> bytes:
    if Path(path).is_dir():
        raise UsageError(
            f"{path} is a folder, and files travel alone: make an archive of it (tar -cf {Path(path).name}.tar {path}) "
            "and give that; open it with tarfile in the function that needs it"
        )
    try:
        with Path(path).open("rb") as file:
            data = file.read(room + 1)
    except OSError as error:
        raise UsageError(f"the file {path} cannot travel with the job: {error.strerror}") from error
    if len(data) > room:
        raise _too_large(path)
    return data


def _too_large(path: str = "") -> UsageError:
    return UsageError(
        f"the files that travel with the job have more than {BLOB_BYTES >> 20} MB in all"
        f"{f' ({path} is one too many)' if path else ''}: put large ones where all workers see them, and give their "
        "paths as parameters"
    )


def extract_files(blob: Path, folder: Path) -> None:
    """Unpack a blob into a new folder of mode 0700; its files have the mode 0600.

    Raises UsageError for a blob that is none of ours, OSError where the disk fails.
    """
    from mapreduce.protocol.plain import unpack  # noqa: PLC0415 - as above

    with blob.open("rb") as packed:
        try:
            (length,) = HEAD.unpack(packed.read(HEAD.size))
            contents = unpack(_Contents, packed.read(min(length, BLOB_BYTES)))
        except (struct.error, WireError) as error:
            raise UsageError(f"the files that travel with the job cannot be unpacked: {error}") from error
        folder.mkdir(mode=0o700)
        for name, size in contents.files:
            check_name(name)
            with open(folder / name, "xb", opener=_private) as file:
                _copy(packed, file, size)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    left = size
    while left:
        data = source.read(min(left, COPY_BYTES))
        if not data:
            raise UsageError("the files that travel with the job cannot be unpacked: the blob ends too early")
        target.write(data)
        left -= len(data)


def travelled_files(folder: Path) -> TravelledFiles:
    """The files that were unpacked into a folder, by their names, in order."""
    return TravelledFiles((entry.name, Path(entry.path)) for entry in sorted(os.scandir(folder), key=lambda e: e.name))
