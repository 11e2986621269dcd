"""Which files were meant for which input of a job: paths for a job with one input, a name before each for several.

Looks at no file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mapreduce.errors import UsageError
from mapreduce.request import KeptInput, ResultFolders, Source
from mapreduce.step_inputs import INPUT_NAME

if TYPE_CHECKING:
    from mapreduce.job import Job

STDIN = "-"  # standard input, on a command line


def arguments_of(job: Job, given: Source | Sequence[str] | Mapping[str, Source]) -> tuple[Source, ...]:
    """Give the paths of each of the job's inputs, or the former results, in the order of its inputs.

    A job with named inputs takes a mapping from name to paths, or texts such as "users=u.csv", a name several times
    too. Raises UsageError, which lists the names, for an unknown or missing one, and for an empty path.
    """
    for source in given.values() if isinstance(given, Mapping) else [given]:
        if not isinstance(source, ResultFolders | KeptInput) and "" in source:
            raise UsageError("an input is empty: name a file, a folder (. is the current one) or a glob")
    names = [source.name for source in job.resolved[0].inputs]
    if names == [""]:
        if isinstance(given, Mapping):
            raise UsageError(
                f"the job {job.name} has one input without a name: give its files as a list, or give the job "
                "inputs={...} with a mapper for each"
            )
        if not given:
            raise UsageError("no inputs: give files, folders or globs")
        return (given if isinstance(given, ResultFolders | KeptInput) else tuple(given),)
    if isinstance(given, ResultFolders | KeptInput):
        raise UsageError(f"say which input of the job {job.name} the result is; {_advice(names)}")
    found = _by_name(job, names, given if isinstance(given, Mapping) else _named(job, names, given))
    for name in names:
        if not found[name]:
            raise UsageError(f"no files for the input {name} of the job {job.name}; {_advice(names)}")
    return tuple(found[name] for name in names)


def _by_name(job: Job, names: list[str], given: Mapping[str, Source]) -> dict[str, Source]:
    for name in given:
        if name not in names:
            raise UsageError(f"the job {job.name} has no input {name!r}; {_advice(names)}")
    return {name: given.get(name, ()) for name in names}


def _named(job: Job, names: list[str], texts: Sequence[str]) -> dict[str, Source]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, path = split_name(text)
        if not name:
            raise UsageError(f"{text}: say which input of the job {job.name} this is; {_advice(names)}")
        if not path:
            raise UsageError(f"{text} names no file; {_advice(names)}")
        found.setdefault(name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _advice(names: list[str]) -> str:
    written = " ".join(f"{name}=PATH" for name in names)
    python = ", ".join(f'"{name}": PATH' for name in names)
    return f"its inputs are {', '.join(names)}: write {written} (in Python {{{python}}})"


def split_name(text: str) -> tuple[str, str]:
    """Give the name and path of an argument NAME=PATH; the name is "" where there is none."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and INPUT_NAME.fullmatch(name) else ("", text)


def is_stdin(text: str) -> bool:
    """Whether an argument means standard input, with a name before it or without."""
    return text == STDIN or (split_name(text)[1] == STDIN and not os.path.lexists(text))
