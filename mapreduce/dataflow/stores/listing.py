"""The files that an argument means which is a URL: of one object, of all below a prefix, or of a glob.

The rules are those of local paths: names that begin with . or _ are skipped unless they are asked for, files are
ordered by the bytes of their names. Of a former job's output only the parts that its manifest names are files of the
input: in a store others may lie beside them, of attempts that came to nothing.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterator, Sequence

from mapreduce.dataflow.manifest.file import MANIFEST, PART, TEMPORARY, Manifest, is_foreign, parse_manifest
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.store import Facts, Store
from mapreduce.errors import InputError
from mapreduce.urls import WEB, join, scheme_of

HIDDEN = (".", "_")  # as of local names


def find_in_store(argument: str, *, typed: bool = False) -> list[tuple[str, Facts]]:
    """Find the objects that a URL means, with what the store says of each.

    With `typed` a former job's output must be typed records. Raises InputError where there are none, StoreError.
    """
    store = store_of(argument)
    facts = None if argument.endswith("/") else store.facts(argument)
    if facts is not None:
        return [(argument, facts)]
    if scheme_of(argument) in WEB:
        raise InputError(f"no such input: {argument} (web servers do not list what they have: name each file)")
    folder = argument.rstrip("/")
    found = list(store.below(folder))
    if found:
        base, chosen = folder, [(url, facts) for url, facts in found if not _is_hidden(_names(url, folder))]
    else:
        base, pattern = _cut_glob(argument)
        found = list(store.below(base)) if pattern else []
        chosen = [(url, facts) for url, facts in found if _matches(pattern, _names(url, base))]
        if not chosen:
            raise InputError(f"no input matches {argument}" if pattern else f"no such input: {argument}")
    formers = _formers(store, base, [url for url, _ in found], typed=typed)
    chosen = [(url, facts) for url, facts in chosen if not _is_left_out(url, folder, formers)]
    return sorted(chosen, key=lambda one: one[0].encode())


def _names(url: str, folder: str) -> list[str]:
    """The components of a name below a folder."""
    return url[len(folder) + 1 :].split("/")


def _is_hidden(names: Sequence[str]) -> bool:
    return any(name.startswith(HIDDEN) for name in names)


def _cut_glob(argument: str) -> tuple[str, list[str]]:
    """The folder before the first component with wildcards, and the components from there on; none without any."""
    scheme, _, rest = argument.partition("://")
    names = rest.split("/")
    first = next((i for i, name in enumerate(names) if glob.has_magic(name)), None)
    if first is None:
        return argument, []
    if first == 0:
        raise InputError(f"{argument}: name the bucket, wildcards are for what is in it")
    return f"{scheme}://{'/'.join(names[:first])}", names[first:]


def _matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the beginning of a name matches a glob, and what is hidden in it was asked for; nothing after it is."""
    asked = [part for part in pattern if part.startswith(HIDDEN)]

    def is_meant(name: str) -> bool:
        return not name.startswith(HIDDEN) or any(fnmatch.fnmatchcase(name, part) for part in asked)

    return any(
        all(map(is_meant, names[:length])) and not _is_hidden(names[length:]) for length in _lengths(pattern, names)
    )


def _lengths(pattern: Sequence[str], names: Sequence[str]) -> Iterator[int]:
    """How many components of a name match a whole glob, in each way in which they do."""
    if not pattern:
        yield 0
        return
    if not names:
        return
    head, rest = pattern[0], pattern[1:]
    dotted = names[0].startswith(".") and not head.startswith(".")  # no wildcard stands for a dot at the beginning
    if head == "**":
        # Any number of folders, none among them; at the end a folder itself, which has more names.
        yield from _lengths(rest, names)
        if not dotted:
            further = _lengths(pattern, names[1:]) if names[1:] or rest else (0,)
            yield from (length + 1 for length in further)
    elif not dotted and fnmatch.fnmatchcase(names[0], head):
        yield from (length + 1 for length in _lengths(rest, names[1:]))


def _formers(store: Store, base: str, urls: Sequence[str], *, typed: bool) -> dict[str, Manifest]:
    """The manifests of the jobs' outputs among the folders, by these. Raises InputError for an output without one."""
    found: dict[str, Manifest] = {}
    writing: set[str] = set()
    for url in urls:
        folder, _, name = url.rpartition("/")
        if name == MANIFEST:
            data = store.read_small(url)
            if data is None:
                raise InputError(f"{url} was removed while it was being read")
            if is_foreign(data):
                continue
            found[folder] = parse_manifest(folder, data)
            if typed and found[folder].format != "records":
                raise InputError(
                    f"{folder} holds results in the format {found[folder].format}, not typed records: read them in the "
                    "format that they are in"
                )
        elif folder.rpartition("/")[2].startswith(TEMPORARY):
            writing.add(folder.rpartition("/")[0])
    for folder in sorted(writing - set(found)):
        if len(folder) >= len(base):
            raise InputError(
                f"{folder} is the output folder of a job that is running or has died before its end: it has no "
                f"{MANIFEST}, which says what of it counts. Wait for the job's end"
            )
    return found


def _is_left_out(url: str, folder: str, formers: dict[str, Manifest]) -> bool:
    """Whether a file is a part that no manifest names, or one of a named output whose folder was not asked for."""
    for former, manifest in formers.items():
        if not url.startswith(f"{former}/"):
            continue
        names = _names(url, former)
        if len(names) == 1 and PART.fullmatch(names[0]) and all(file.name != names[0] for file in manifest.files):
            return True
        is_asked_for = f"{folder}/".startswith(f"{join(former, names[0])}/")
        if len(names) > 1 and names[0] in manifest.outputs and not is_asked_for:
            return True
    return False
