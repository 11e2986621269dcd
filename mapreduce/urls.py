"""URLs in the place of paths: what is one, and how its parts go together. Light, and asks no store for anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mapreduce.errors import StoreError, UsageError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least
WEB = ("http", "https")  # schemes of what can be read only
SAME_STORE = {"s3a": "s3", "gcs": "gs"}  # other names of schemes: one place has one name here
MEMORY = "memory"  # the scheme of what lies in one process's memory


def is_url(text: str) -> bool:
    """Whether a text names something in a store, and no local path."""
    return URL.match(text) is not None and scheme_of(text) != "file"


def settled(text: str) -> str:
    """One text for one place: the path that a file:// URL names, any other URL with its scheme's usual name.

    A path is left as it is. Raises StoreError for a file of another machine, and for a URL that names no place.
    """
    if URL.match(text) is None:
        return text
    scheme, _, rest = text.partition("://")
    scheme = SAME_STORE.get(scheme.lower(), scheme.lower())
    text = f"{scheme}://{rest}"
    if scheme != "file":
        if not rest.strip("/"):
            raise StoreError(f"{text} names no place: a bucket, or a host, comes after the slashes")
        return text
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"}:
        raise StoreError(f"{text} names a file of the machine {parts.netloc}: a file:// URL has three slashes")
    return unquote(parts.path)


def scheme_of(url: str) -> str:
    """The part of a URL before the colon."""
    return url.partition(":")[0].lower()


def file_part(path: str) -> str:
    """A path or URL without what comes behind the file's name: the query of a web server's URL."""
    return re.split("[?#]", path, maxsplit=1)[0] if scheme_of(path) in WEB and is_url(path) else path


def join(folder: str, name: str) -> str:
    """The URL of a name below a folder."""
    return f"{folder.rstrip('/')}/{name}"


def whole_place(given: str | os.PathLike[str]) -> str:
    """The text that means an output folder everywhere: an absolute path, or a URL. Raises UsageError."""
    text = settled(os.fspath(given))
    if not text:
        raise UsageError("the output is empty: name a folder")
    text = text.rstrip("/") if is_url(text) else str(Path(text).absolute())
    check_utf8(text, "output folder, or choose another one")
    return text


def check_utf8(path: str, what: str, kind: type[UsageError] = UsageError) -> None:
    """Raise an error of this kind for a path that cannot be sent to workers; `what` is to be renamed."""
    try:
        path.encode()
    except UnicodeEncodeError:
        msg = f"the name of {path!r} is no UTF-8: rename the {what}"
        raise kind(msg) from None


def place(output: str) -> Path | str:
    """An output folder as what is read from there: a path, or the text of a URL."""
    return output if is_url(output) else Path(output)


def below(folder: Path | str, name: str) -> Path | str:
    """What is called so below a folder, of either kind."""
    return join(folder, name) if isinstance(folder, str) and is_url(folder) else Path(folder) / name
