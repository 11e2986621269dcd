"""Stores: objects by their URLs (s3://bucket/key, ...), the one door to the libraries that speak with them.

Owns which driver serves a URL: of fsspec for all but HTTP, loaded when a job first needs it. A store has no folders,
only objects with slashes in their names, and no renames: what is written is there at once and whole.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import xxhash

from mapreduce.dataflow.stores.errors import ShortRead, persistently, reason_of
from mapreduce.errors import StoreError
from mapreduce.urls import WEB, join, scheme_of

EXTRAS = {  # of our distribution, that bring the driver of a scheme
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "hdfs": "hdfs",
}
MODULES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "hdfs": "pyarrow"}  # that an extra brings
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


def store_of(url: str) -> Store:
    """The store that has a URL. Raises StoreError where its driver is missing or cannot be set up."""
    scheme = scheme_of(url)
    shared = scheme in WEB or EXTRAS.get(scheme) == "s3"  # whatever stands after the slashes
    return _store(scheme, "" if shared else urlsplit(url).netloc)


@functools.cache
def _store(scheme: str, place: str) -> Store:
    """Made once in a process: a driver keeps its connections. `place` is the host or account, where it counts."""
    if scheme in WEB:
        from mapreduce.dataflow.stores.web import HttpStore  # noqa: PLC0415 - only for those who need it

        return HttpStore()
    extra = EXTRAS.get(scheme)
    if importlib.util.find_spec("fsspec") is None or (extra and importlib.util.find_spec(MODULES[extra]) is None):
        raise StoreError(missing_driver(scheme))
    if extra == "s3":
        from mapreduce.dataflow.stores.s3 import S3Store  # noqa: PLC0415 - as above

        return S3Store(scheme)
    return FsspecStore(scheme, place)


def forget_stores() -> None:
    """Set drivers up again when they are needed: for programs that change how they are set up."""
    _store.cache_clear()


os.register_at_fork(after_in_child=forget_stores)  # drivers cannot be used on both sides of a fork


def at_once(function: Callable[[T], object], items: Iterable[T], at_a_time: int = AT_A_TIME) -> None:
    """Call a function that asks a store for each of the items, several at a time. Raises what the first error was."""
    with ThreadPoolExecutor(at_a_time) as pool:
        for _ in pool.map(function, items):
            pass


def missing_driver(scheme: str) -> str:
    """What to install for a scheme."""
    extra = EXTRAS.get(scheme)
    if extra is None:
        return (
            f"there is no driver for {scheme}:// URLs: install fsspec and the package that serves them, here and on "
            "every worker"
        )
    return (
        f"{scheme}:// URLs need the package {MODULES[extra]}: pip install 'mapreduce-engine[{extra}]', here and on "
        "every worker"
    )


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


class FsspecStore:
    """A store that a driver of fsspec serves."""

    def __init__(self, scheme: str, place: str = "", **options: Any) -> None:
        """Set the driver up; users' own settings for it are in fsspec's configuration. Raises StoreError."""
        import fsspec  # noqa: PLC0415 - takes a moment, for those who need it

        if scheme not in fsspec.available_protocols():
            raise StoreError(missing_driver(scheme))
        try:
            driver = fsspec.get_filesystem_class(scheme)
            told = driver._get_kwargs_from_urls(f"{scheme}://{place}/") if place else {}  # noqa: SLF001 - as in _path
            # Lists are asked for when they are needed, and then as they are. This module alone keeps drivers.
            self._fs: Any = driver(use_listings_cache=False, skip_instance_cache=True, **told, **options)
        except ImportError as error:
            raise StoreError(missing_driver(scheme)) from error
        except Exception as error:
            raise StoreError(
                f"{scheme}:// URLs cannot be used as things are set up here: {reason_of(error)}"
            ) from error

    def _path(self, url: str) -> str:
        return str(self._fs._strip_protocol(url))  # noqa: SLF001 - what every driver offers for this, under that name

    def _url(self, path: str) -> str:
        return str(self._fs.unstrip_protocol(path))

    def facts(self, url: str) -> Facts | None:
        """What there is at a URL; None if there is no object."""
        try:
            info = persistently("read", url, lambda: self._fs.info(self._path(url)))
        except FileNotFoundError:
            return None
        return _facts(info)

    def below(self, url: str) -> Iterator[tuple[str, Facts]]:
        """Yield the URLs of all objects below a folder, and their facts."""
        folder = self._path(url.rstrip("/"))
        try:
            found = persistently("listed", url, lambda: self._fs.find(folder, detail=True))
        except FileNotFoundError:
            return
        for path, info in found.items():
            facts = _facts(info)
            if facts is not None and path.startswith(f"{folder}/") and not path.endswith("/"):
                yield join(url, path[len(folder) + 1 :]), facts

    def names(self, url: str) -> list[str]:
        """The first components of the names of all objects below a folder, sorted; folders end in a slash."""
        # By the objects alone: where there are true folders (HDFS), empty ones may be left over.
        start = len(url.rstrip("/")) + 1
        return sorted({"".join(found[start:].partition("/")[:2]) for found, _ in self.below(url)})

    def read(self, url: str, start: int, size: int) -> bytes:
        """Give a range of an object, which must be in it."""
        path = self._path(url)

        def get() -> bytes:
            data = bytes(self._fs.cat_file(path, start=start, end=start + size))
            if len(data) != size:
                raise ShortRead(f"{len(data)} bytes came, and {size} were asked for")
            return data

        return persistently("read", url, get) if size else b""

    def read_small(self, url: str) -> bytes | None:
        """Give a small object as it was at one moment, by one request; None if there is none."""
        try:
            return persistently("read", url, lambda: bytes(self._fs.cat_file(self._path(url))))
        except FileNotFoundError:
            return None

    def look(self, url: str) -> Small:
        """Give a small object as it was at one moment; its tag says nothing."""
        return Small(self.read_small(url))

    def replace(self, url: str, data: bytes, seen: Small) -> None:  # noqa: ARG002 - drivers know no conditions
        """Make an object of these bytes, whatever is there."""
        self.write(url, data)

    def remove_seen(self, url: str, seen: Small) -> None:  # noqa: ARG002 - as above
        """Remove an object, whatever it is."""
        self.remove(url)

    def write(self, url: str, data: bytes) -> None:
        """Make an object of these bytes, in place of one that may be there."""
        self._make_parent(url)
        self._change(url, lambda: self._fs.pipe_file(self._path(url), data))

    def _change(self, url: str, change: Callable[[], object]) -> None:
        try:
            persistently("written", url, change)
        except FileNotFoundError as error:
            raise StoreError(f"{url} cannot be written: there is no such bucket or container") from error

    def upload(self, path: Path, url: str, checksum: str) -> None:  # noqa: ARG002 - S3 alone notes it
        """Make an object of a local file."""
        self._make_parent(url)
        self._change(url, lambda: self._fs.put_file(str(path), self._path(url)))

    def _make_parent(self, url: str) -> None:
        """Make the folder around an object, where there are such things (HDFS)."""
        if scheme_of(url) in EXTRAS and EXTRAS[scheme_of(url)] != "hdfs":
            return  # with the others it would ask for buckets
        parent = self._path(url).rpartition("/")[0]
        persistently("written", url, lambda: self._fs.makedirs(parent, exist_ok=True))

    def checksum(self, url: str) -> str | None:  # noqa: ARG002 - S3 alone notes it
        """None: whoever wants to know reads the object."""
        return None

    def remove(self, url: str) -> None:
        """Remove an object, if it is there."""
        try:
            persistently("removed", url, lambda: self._fs.rm_file(self._path(url)))
        except FileNotFoundError:
            return

    def forget_uploads(self, folder: str, mark: str) -> None:
        """Nothing: these stores drop unfinished uploads themselves."""


def _facts(info: dict[str, Any]) -> Facts | None:
    """The facts of an object; None for a folder."""
    size = info.get("size")
    return None if info.get("type") == "directory" or size is None else Facts(int(size), version_of(info))
