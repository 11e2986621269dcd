"""Objects in stores that a driver of fsspec serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mapreduce.dataflow.stores.errors import ShortRead, persistently, reason_of
from mapreduce.dataflow.stores.extras import EXTRAS, missing_driver
from mapreduce.dataflow.stores.store import Facts, Small, version_of
from mapreduce.errors import StoreError
from mapreduce.urls import join, scheme_of


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
