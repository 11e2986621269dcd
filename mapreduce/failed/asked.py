"""What a user asked for, in words that JSON can say: how a job is asked for again, a program or a week later."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapreduce.output_formats import RECORDS
from mapreduce.request import KeptInput, Request, ResultFolders

# What of a Request is said elsewhere in an entry, or is a matter of one run of a program.
_NO_OPTIONS = {
    "job",
    "inputs",
    "output",
    "limits",
    "warm",
    "durable",
    "keep",
    "user_attempts",
    "passing",
    "resumes",
    "former",
}

JsonInputs = tuple[str, ...] | dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for.

    `target` is the job as it was named ("jobs/word_count.py"), relative to `cwd`, or "" for one that was made in a
    program. `inputs` are paths, or paths by the inputs' names, as they were given, relative to `cwd`. `output` is the
    folder, "" where none was given. `options` are those fields of the Request that were given, by their names; `unsaid`
    names those whose values JSON cannot say (they are in the setup that travelled). `runner` is "local", "inline" or
    "cluster", then `coordinator` is its address. `gone` says what of the inputs went with the program that ran the job,
    "" if nothing did.
    """

    target: str
    inputs: JsonInputs
    output: str
    options: dict[str, Any]
    unsaid: tuple[str, ...]
    cwd: str
    runner: str
    coordinator: str
    when: str
    gone: str = ""


def asked_of(request: Request, output: str, runner: str, coordinator: str) -> Asked:
    """Put into words what a request asks for; `output` is the folder as an absolute path or URL, or ""."""
    options: dict[str, Any] = {}
    unsaid: list[str] = []
    for one in dataclasses.fields(Request):
        value = getattr(request, one.name)
        default = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
        if one.name in _NO_OPTIONS or value == default or (one.name == "output_format" and value == RECORDS):
            continue  # typed records are of results without a folder, and nothing that a user asks for
        if type(value) is tuple:
            value = list(value)  # as JSON has it
        if _is_json(value):
            options[one.name] = value
        else:
            unsaid.append(one.name)
    inputs, gone = _inputs(request)
    return Asked(
        target=request.job if isinstance(request.job, str) else "",
        inputs=inputs,
        output=output,
        options=options,
        unsaid=tuple(unsaid),
        cwd=str(Path.cwd()),
        runner=runner,
        coordinator=coordinator,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        gone=gone,
    )


def _inputs(request: Request) -> tuple[JsonInputs, str]:
    """The inputs as paths, and what is no path that will last."""
    gone: list[str] = [request.passing] if request.passing else []

    def paths(source: object) -> tuple[str, ...]:
        if isinstance(source, ResultFolders):
            gone.append("a result without an output folder")
            return ()
        if isinstance(source, KeptInput):
            gone.append(f"the kept results of {source.job}")
            return ()
        assert isinstance(source, tuple), "the rest are paths"
        return source

    given = request.inputs
    inputs = {name: paths(one) for name, one in given.items()} if isinstance(given, dict) else paths(given)
    return inputs, " and ".join(gone)


def _is_json(value: object) -> bool:
    """Whether JSON gives back this very value."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def asked_from(told: Mapping[str, Any]) -> Asked:
    """Read what JSON has made of the fields. Raises KeyError, TypeError, ValueError or AttributeError for others."""
    texts = {name: _text(told[name]) for name in ("target", "output", "cwd", "runner", "coordinator", "when", "gone")}
    given = told["inputs"]
    inputs = {name: _texts(paths) for name, paths in given.items()} if isinstance(given, dict) else _texts(given)
    return Asked(inputs=inputs, options=dict(told["options"]), unsaid=_texts(told["unsaid"]), **texts)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is no text")
    return value


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r:.100} is no list")
    return tuple(map(_text, values))
