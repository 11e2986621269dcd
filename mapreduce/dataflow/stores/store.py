"""Stores: objects by their URLs (s3://bucket/key, ...), the one door to the libraries that speak with them.

Owns which driver serves a URL: of fsspec for all but HTTP, loaded when a job first needs it. A store has no folders,
only objects with slashes in their names, and no renames: what is written is there at once and whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import xxhash

from mapreduce.quick_dataclass import dataclass

AT_A_TIME = 16  # requests under way: a thousand parts take seconds, and no store minds
VERSION_BITS = 63  # so that a version fits a signed integer, as a modification time does
# What tells one content of an object from another, in the drivers' words: the first that is there counts. A time comes
# last: it may be rounded, or be told otherwise in a list than of the object itself.
TAGS = ("ETag", "etag", "e_tag", "generation", "md5Hash", "Content-MD5", "Digest")
TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "created")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a store says of an object: bytes, and a number that changes with its content (see `version_of`).

    Without `ranges` it can be read only from its beginning to its end.
    """

    size: int
    version: int
    ranges: bool = True


@dataclass(frozen=True, slots=True)
class Small:
    """A small object as it was at one moment, without `data` if there was none; its tag, if the store has such."""

    data: bytes | None
    tag: str = ""


class Store(Protocol):
    """One kind of store. All methods try again what may pass, and raise StoreError for what does not.

    Those that name an object which is not there raise FileNotFoundError, unless they say otherwise.
    """

    def facts(self, url: str) -> Facts | None:
        """What there is at a URL; None if there is no object."""

    def below(self, url: str) -> Iterator[tuple[str, Facts]]:
        """Yield the URLs of all objects whose names begin with that of a folder and a slash, and their facts."""

    def names(self, url: str) -> list[str]:
        """The first components of the names of all objects below a folder, sorted; folders end in a slash."""

    def read(self, url: str, start: int, size: int) -> bytes:
        """Give a range of an object, which must be in it."""

    def read_small(self, url: str) -> bytes | None:
        """Give a small object as it was at one moment; None if there is none."""

    def look(self, url: str) -> Small:
        """Give a small object as it was at one moment, to be replaced by `replace` if it is still so."""

    def replace(self, url: str, data: bytes, seen: Small) -> None:
        """Make an object of these bytes, in place of what `look` has seen there.

        Raises FileExistsError, if the store can tell, where that is not what is there any more.
        """

    def remove_seen(self, url: str, seen: Small) -> None:
        """Remove what `look` has seen there; raises as `replace` does."""

    def write(self, url: str, data: bytes) -> None:
        """Make an object of these bytes, in place of one that may be there."""

    def upload(self, path: Path, url: str, checksum: str) -> None:
        """Make an object of a local file, whose xxh3-64 is noted with it if the store can do that."""

    def checksum(self, url: str) -> str | None:
        """The noted xxh3-64 of an object; None if the store notes none."""

    def remove(self, url: str) -> None:
        """Remove an object, if it is there."""

    def forget_uploads(self, folder: str, mark: str) -> None:
        """Drop what unfinished uploads to below a folder have left, of objects with `mark` in their names."""


def at_once(function: Callable[[T], object], items: Iterable[T], at_a_time: int = AT_A_TIME) -> None:
    """Call a function that asks a store for each of the items, several at a time. Raises what the first error was."""
    with ThreadPoolExecutor(at_a_time) as pool:
        for _ in pool.map(function, items):
            pass


def version_of(info: dict[str, Any]) -> int:
    """A number that tells contents of an object apart, from what a driver says of it."""
    for name in (*TAGS, *TIMES):
        told = info.get(name)
        if told:
            if isinstance(told, datetime):
                told = told.timestamp()
            elif isinstance(told, bytes | bytearray):
                told = bytes(told).hex()
            text = str(told).strip('"').removeprefix("W/").strip('"')
            return _number(f"{name.lower().replace('_', '')} {text} {info.get('size')}")
    return _number(f"size {info.get('size')}")


def _number(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode()) >> (64 - VERSION_BITS)
