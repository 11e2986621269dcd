"""Files of web servers, to be read: by HTTP's own means, with the standard library.

A server is asked for ranges. One that gives the whole file in their place can be read from the beginning only.
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from mapreduce.dataflow.inputs.codecs import Codec, codec_of
from mapreduce.dataflow.stores.errors import ShortRead, persistently
from mapreduce.dataflow.stores.store import Facts, Small, version_of
from mapreduce.errors import StoreError

TIMEOUT_S = 30.0  # without a byte: then the request is tried again
PLAIN = {"", "identity"}  # values of Content-Encoding that say that the bytes are the file's own
WRITTEN = "".join(map(chr, range(33, 127)))  # characters that stay as they are given; others are escaped
GZIP = {"gzip", "x-gzip"}  # which some servers say of files that are so by themselves
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
READ_ONLY = "web servers are for inputs: name an output folder, or one of a store such as s3://"

T = TypeVar("T")


class HttpStore:
    """Files of web servers."""

    def facts(self, url: str) -> Facts | None:
        """What there is at a URL; None if there is nothing. Asks for the first byte, to see if ranges are given."""
        try:
            return self._asked("read", url, {"Range": "bytes=0-0"}, lambda answer: _facts(url, answer))
        except FileNotFoundError:
            return None

    def below(self, url: str) -> Iterator[tuple[str, Facts]]:
        """Raise StoreError: a web server has no folders that could be listed."""
        raise StoreError(f"{url} names no file: web servers do not list what they have, so name each file")

    def names(self, url: str) -> list[str]:
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def read(self, url: str, start: int, size: int) -> bytes:
        """Give a range of a file, which must be in it; of one without ranges only the whole."""
        if not size:
            return b""

        def body(answer: http.client.HTTPResponse) -> bytes:
            if answer.status == 200 and start == 0:
                data = answer.read(size)
            elif answer.status == 206 and _range_of(answer)[:2] == (start, start + size - 1):
                data = answer.read()
            else:
                raise StoreError(f"{url} cannot be read: the server gave another range than it was asked for")
            if len(data) != size:
                raise ShortRead(f"{len(data)} bytes came, and {size} were asked for")
            return data

        return self._asked("read", url, {"Range": f"bytes={start}-{start + size - 1}"}, body)

    def read_small(self, url: str) -> bytes | None:
        """Give a small file; None if there is none."""
        try:
            return self._asked("read", url, {}, lambda answer: answer.read())
        except FileNotFoundError:
            return None

    def look(self, url: str) -> Small:
        """Give a small file."""
        return Small(self.read_small(url))

    def replace(self, url: str, data: bytes, seen: Small) -> None:  # noqa: ARG002 - none is written
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def remove_seen(self, url: str, seen: Small) -> None:  # noqa: ARG002 - as above
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def fetch(self, url: str, size: int, put: Callable[[int, bytes], object], piece: int) -> None:
        """Hand a whole file of `size` bytes to `put`, `piece` bytes at a time with their offsets; may begin again."""

        def copy(answer: http.client.HTTPResponse) -> None:
            offset = 0
            while data := answer.read(piece):
                put(offset, data)
                offset += len(data)
            if offset != size:
                raise ShortRead(f"{offset} bytes came, and the file has {size}")

        self._asked("read", url, {}, copy)

    def _asked(self, what: str, url: str, headers: dict[str, str], use: Callable[[http.client.HTTPResponse], T]) -> T:
        if "@" in urlsplit(url).netloc:
            raise StoreError(f"{url} cannot be read: names and passwords in URLs of web servers are not supported")

        def once() -> T:
            named = {"Accept-Encoding": "identity", "User-Agent": "mapreduce-engine", **headers}
            # The scheme is http or https: others have other stores.
            request = urllib.request.Request(quote(url, safe=WRITTEN), headers=named)  # noqa: S310 - see above
            try:
                opened: Any = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above
            except urllib.error.HTTPError as error:
                with closing(error):
                    if error.code == 416:  # an empty file has no first byte
                        return use(error)  # type: ignore[arg-type] # it is an answer too
                    raise
            with closing(opened):
                return use(opened)

        return persistently(what, url, once)

    def write(self, url: str, data: bytes) -> None:  # noqa: ARG002 - none is written
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def upload(self, path: Path, url: str, checksum: str) -> None:  # noqa: ARG002 - as above
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def checksum(self, url: str) -> str | None:  # noqa: ARG002 - as above
        """None: whoever wants to know reads the file."""
        return None

    def remove(self, url: str) -> None:
        """Raise StoreError."""
        raise StoreError(f"{url}: {READ_ONLY}")

    def forget_uploads(self, folder: str, mark: str) -> None:
        """Nothing: there are no uploads."""


def _facts(url: str, answer: http.client.HTTPResponse) -> Facts:
    encoding = answer.headers.get("Content-Encoding", "")
    if encoding not in PLAIN and not (encoding in GZIP and codec_of(url) is Codec.GZIP):
        raise StoreError(f"{url} cannot be read: the server packs it ({encoding}), though asked for the plain file")
    if answer.status == 206:
        size = _range_of(answer)[2]
    elif answer.status == 416:
        size = 0
    else:
        size = int(answer.headers.get("Content-Length", "-1"))
    if size < 0:
        raise StoreError(f"{url} cannot be read: the server does not say how large it is; download it, and read that")
    info = {name: answer.headers.get(name) for name in ("ETag", "Content-MD5", "Digest", "Last-Modified")}
    return Facts(size, version_of({**info, "size": size}), ranges=answer.status != 200)


def _range_of(answer: http.client.HTTPResponse) -> tuple[int, int, int]:
    """First byte, last byte and size of the file, as the answer says; no such range if it says none."""
    found = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, -1)
