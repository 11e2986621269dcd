"""The folder of bad records in a job's output: what attempts of all steps have put aside, moved there by the commit.

It is beside the result and no part of it: no manifest names its files, `_job.json` does. Readers and later jobs pass it
by, since its name begins with an underscore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapreduce.dataflow.manifest.disk import Disk
from mapreduce.dataflow.manifest.file import JOB_FILE, PART, read_bytes, temporary_folder
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import bad_file_name
from mapreduce.max_bad import BAD_FOLDER
from mapreduce.plan import AttemptId, TaskKind, TaskOptions
from mapreduce.quick_dataclass import dataclass
from mapreduce.urls import is_url, join

ENDING = ".jsonl"
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class GrantedBad:
    """A granted attempt, of any step, that has put records aside: so many in all."""

    attempt: AttemptId
    records: int


def bad_names(granted: Sequence[GrantedBad], options: TaskOptions) -> dict[AttemptId, str]:
    """The names of the files in the folder of bad records, in the order of steps and tasks."""
    job = f"-{options.job}" if options.overwrite or is_url(options.output) else ""
    attempts = [one.attempt for one in granted]
    ordered = sorted(attempts, key=lambda one: (one.task.step, one.task.kind is not TaskKind.MAP, one))
    return {attempt: f"part-{number:05d}{job}{ENDING}" for number, attempt in enumerate(ordered)}


def move_bad(folder: Path, options: TaskOptions, granted: Sequence[GrantedBad], disk: Disk) -> list[str]:
    """Move the granted files of bad records into place, and give their names. May be done again after dying.

    Raises InputLostError for a file that is missing or has another number of records.
    """
    names = bad_names(granted, options)
    if not names:
        return []
    place, temporary = folder / BAD_FOLDER, temporary_folder(folder, options.job)
    moves: list[tuple[Path, Path]] = []
    for one in granted:
        source, target = temporary / bad_file_name(one.attempt), place / names[one.attempt]
        waiting = source.exists()
        _check_lines(source if waiting else target, one)
        if waiting:
            moves.append((source, target))
    disk.make_folder(place)
    disk.sync_folder(folder)
    for source, target in moves:
        disk.rename(source, target)
    disk.sync_folder(place)
    return sorted(names.values())


def _check_lines(path: Path, one: GrantedBad) -> None:
    try:
        with path.open("rb") as file:
            lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(READ_BYTES), b""))
    except FileNotFoundError:
        raise InputLostError(one.attempt, f"the file of its bad records, {path}, is missing") from None
    if lines != one.records:
        raise InputLostError(one.attempt, f"{path} has {lines} of the {one.records} bad records that it put aside")


def remove_old_bad(folder: Path, current: set[str], disk: Disk) -> None:
    """Remove the files of a job whose output has been replaced, and the folder if nothing is left in it."""
    place = folder / BAD_FOLDER
    if not place.is_dir():
        return
    for name in sorted(path.name for path in place.iterdir()):
        if PART.fullmatch(name) and name not in current:
            disk.remove(place / name)
    if not current:
        disk.remove_folder(place)


def bad_facts(granted: Sequence[GrantedBad], options: TaskOptions) -> dict[str, Any]:
    """What `_job.json` says of the bad records: how many, and in which files; nothing where there are none."""
    names = sorted(bad_names(granted, options).values())
    return {"bad": {"records": sum(one.records for one in granted), "files": names}} if names else {}


def bad_told(output: str | Path) -> tuple[int, list[str]]:
    """How many bad records a finished output has, and in which files. Raises OutputError for damage."""
    if is_url(str(output)):
        from mapreduce.dataflow.stores.drivers import store_of  # noqa: PLC0415 - only for outputs in stores

        data = store_of(str(output)).read_small(join(str(output), JOB_FILE))
    else:
        data = read_bytes(Path(output, JOB_FILE))
    with _telling(output):
        told = json.loads(data or b"{}").get("bad", {})
        return int(told.get("records", 0)), list(told.get("files", []))


def bad_lines(output: str | Path) -> Iterator[bytes]:
    """Yield a line of JSON for each bad record of a finished output, in the order of steps and tasks.

    Those of a task are in the order of its input; of a format that has no offsets, what the reader refuses comes last.
    Raises OutputError for a file that is missing.
    """
    for name in bad_told(output)[1]:
        with _telling(output), _file(output, name) as path, path.open("rb") as file:
            yield from file


def read_bad(output: str | Path) -> Iterator[dict[str, Any]]:
    """Yield what is told of each bad record, in the order of `bad_lines`. Raises OutputError, for damage too."""
    for line in bad_lines(output):
        with _telling(output):
            told: dict[str, Any] = json.loads(line)
        yield told


@contextmanager
def _file(output: str | Path, name: str) -> Iterator[Path]:
    """A local file of bad records: of an output in a store a copy."""
    if is_url(str(output)):
        from mapreduce.dataflow.manifest.attempts import downloaded  # noqa: PLC0415 - only for outputs in stores

        with downloaded(join(join(str(output), BAD_FOLDER), name)) as path:
            yield path
    else:
        yield Path(output, BAD_FOLDER, name)


@contextmanager
def _telling(output: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError(f"the bad records in {output}/{BAD_FOLDER} cannot be read: {error}") from error
