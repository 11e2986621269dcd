"""What Python programs give as inputs: paths, or former results in their place. Looks at no file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mapreduce.errors import UsageError
from mapreduce.kept import Kept
from mapreduce.request import ResultFolders, Source
from mapreduce.result import Records

if TYPE_CHECKING:
    from mapreduce.runners.warm import WarmRunner

Paths = str | os.PathLike[str] | Kept | Sequence[str | os.PathLike[str]]


def read_paths(given: Paths | Mapping[str, Paths], runner: WarmRunner | None = None) -> Source | dict[str, Source]:
    """Give the texts of one path or several, or of those of each name; or what stands for former results.

    `runner` is what the job is to run on, if that may hold kept results. Raises UsageError for results that are not to
    be had.
    """
    if isinstance(given, Mapping):
        return {name: _source(paths, runner) for name, paths in given.items()}
    return _source(given, runner)


def lasting_paths(given: Paths | Mapping[str, Paths]) -> Source | dict[str, Source]:
    """As `read_paths`, for a job that its program does not wait for: UsageError for what goes with the program."""
    read = read_paths(given)
    if any(isinstance(source, ResultFolders) for source in (read.values() if isinstance(read, dict) else [read])):
        raise UsageError(
            "a result without an output folder may be gone before a submitted job has read it: run the former job with "
            "an output folder, and give that"
        )
    return read


def _source(given: Paths, runner: WarmRunner | None) -> Source:
    if isinstance(given, Kept):
        return given.read_by(runner)
    if not isinstance(given, str | os.PathLike | Iterable) or isinstance(given, bytes):
        raise UsageError(f"inputs are a path, a list of paths or a former result, not {given!r:.200}")
    several = (given,) if isinstance(given, str | os.PathLike) else tuple(given)
    for one in several:
        if not isinstance(one, str | os.PathLike | Kept):
            raise UsageError(f"inputs are paths or former results, and one is {one!r:.200} ({type(one).__name__})")
    if any(isinstance(one, Kept) for one in several):
        raise UsageError("a kept result is an input by itself: give it alone, not in a list")
    results = [one for one in several if isinstance(one, Records)]
    for result in results:
        if result.output is not None:
            raise UsageError(
                f"the records of {result!r} lie in files: give its folder, which is its attribute output, as the input"
            )
    if results and len(results) < len(several):
        raise UsageError("results without a folder cannot be one input together with files: name an input for each")
    paths = tuple(os.fspath(path) for path in several)
    return ResultFolders(paths) if results else paths
