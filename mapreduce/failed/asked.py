"""What a user asked for, in words that JSON can say: how a job is asked for again, a program or a week later."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapreduce.output_formats import RECORDS
from mapreduce.quick_dataclass import dataclass
from mapreduce.request import KeptInput, Request, ResultFolders
from mapreduce.secret_urls import without_secrets

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
    "former_maps",
}

COMMAND_CHARS = 240  # of a command in a message: three lines of a terminal are read, and copied, as one thing
_PLACEHOLDERS = "JOB INPUT..."

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
    datetime.fromisoformat(texts["when"])
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


def run_command(request: Request) -> str:
    """The command that runs what was asked for in this folder, as a shell takes it, without what is of its output.

    It has placeholders in place of words that are not known or too many, and of what a command line cannot say: a job
    or an input that was made in a program, a parameter that is no text, a password.
    """
    words = _words(request)
    command = shlex.join(["mapreduce", "run", *words]) if words is not None else ""
    if not command or len(command) > COMMAND_CHARS or not command.isprintable() or without_secrets(command) != command:
        return f"mapreduce run {_PLACEHOLDERS}"
    return command


def _words(request: Request) -> list[str] | None:
    """The arguments of `mapreduce run`; None where there are none that say the same."""
    inputs, gone = _inputs(request)
    if not isinstance(request.job, str) or gone:
        return None
    given = (
        [f"{name}={path}" for name, paths in inputs.items() for path in paths] if isinstance(inputs, dict) else inputs
    )
    if any(word.startswith("-") for word in (request.job, *given)):
        return None
    words = [request.job, *given]
    for name, value in request.params.items():
        if type(value) is not str:  # what a text would become depends on the function's annotations
            return None
        words += ["-p", f"{name}={value}"]
    for name, path in request.files.items():
        if "=" in name:
            return None
        words += ["--file", path if Path(path).name == name and "=" not in path else f"{name}={path}"]
    formats = request.input_format or ()
    if isinstance(formats, Mapping):
        formats = tuple(f"{name}={text}" for name, text in formats.items())
    several = {"--input-format": (formats,) if isinstance(formats, str) else formats, "--columns": request.columns}
    words += [word for option, texts in several.items() for text in texts for word in (option, text)]
    for option in ("reducers", "split_size", "encoding", "encoding_errors", "max_bad"):
        value = getattr(request, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    return words
