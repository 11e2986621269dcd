"""The output folder before a job and after one that failed: reserved, and left as it was found.

What was found, and what was made, stands in `_tmp-JOB/_reserved`; a commit that replaces an output notes in
`_tmp-JOB/_replaced` what it replaces. Refuses folders that hold what no job wrote.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from mapreduce.dataflow.manifest.disk import NOT_EMPTY, Disk, unwritable
from mapreduce.dataflow.manifest.file import (
    JOB_FILE,
    MANIFEST,
    PART,
    TEMPORARY,
    is_part_of,
    manifest_of,
    parse_manifest,
    read_bytes,
    temporary_folder,
)
from mapreduce.dataflow.manifest.reservation import REPLACED_FILE, RESERVED_FILE, Replaced, Reserved, occupied
from mapreduce.errors import MapReduceError, OutputError
from mapreduce.max_bad import BAD_FOLDER
from mapreduce.urls import is_url

log = logging.getLogger("mapreduce.output")


def read_replaced(temporary: Path) -> Replaced | None:
    """What the commit of the job with this temporary folder replaces; None before it has replaced anything."""
    data = read_bytes(temporary / REPLACED_FILE)
    return None if data is None else Replaced(**json.loads(data))


# ----------------------------------------------------------------------------------------------------- reserving


def prepare_output(
    output: str | Path, job: str, overwrite: bool, outputs: Sequence[str] = (), disk: Disk | None = None
) -> tuple[str, ...]:
    """Reserve an output folder for a job: make it and `_tmp-JOB` in it. May be repeated for the same job.

    `outputs` are the names of the job's named outputs, its sub-folders. Gives the folders that it made, the innermost
    first. Raises OutputError if something is there already (with `overwrite`: something that is no job's output), or if
    the folder cannot be made or written; DiskFullError.
    """
    if is_url(str(output)):
        from mapreduce.dataflow.manifest.in_store import prepare_in_store  # noqa: PLC0415 - only for outputs in stores

        prepare_in_store(str(output), job, overwrite=overwrite, outputs=outputs)
        return ()
    disk = disk or Disk()
    folder = Path(output).absolute()
    temporary = temporary_folder(folder, job)
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"the output {folder} is a file: name a folder")
        if temporary.is_dir():
            return tuple(_read_reserved(temporary).made)
        if folder.is_dir():
            _refuse_occupied(folder, overwrite, outputs)
        made = [str(path) for path in (folder, *folder.parents) if not path.exists()]
        temporary.mkdir(parents=True)
        disk.write(temporary / RESERVED_FILE, json.dumps(asdict(Reserved(made, overwrite, list(outputs)))).encode())
        disk.sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return tuple(made)


def _read_reserved(temporary: Path) -> Reserved:
    data = read_bytes(temporary / RESERVED_FILE)
    return Reserved(**json.loads(data)) if data else Reserved([], overwrite=True, outputs=[])


def _refuse_occupied(folder: Path, overwrite: bool, outputs: Sequence[str]) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return
    former = manifest_of(folder)
    known = {MANIFEST, JOB_FILE, BAD_FOLDER, *(former.outputs if former else ())}
    ours = [name for name in names if name in known or PART.fullmatch(name) or name.startswith(TEMPORARY)]
    strange = sorted(set(names) - set(ours))
    if not overwrite:
        raise OutputError(occupied(folder, ours, strange))
    if strange and MANIFEST not in names:
        raise OutputError(
            f"the output folder {folder} holds {strange[0]}, which no job wrote: --overwrite replaces a job's output "
            "only. Name another folder."
        )
    for name in sorted(set(outputs) & set(strange)):
        _refuse_strangers(folder / name, name)


def _refuse_strangers(folder: Path, name: str) -> None:
    """Refuse to make a named output of something that no job wrote."""
    if not folder.is_dir():
        raise OutputError(
            f"{folder} is a file, and the job's output {name!r} needs a folder there: name another folder"
        )
    found = sorted(path.name for path in folder.iterdir())
    strange = [other for other in found if other != MANIFEST and not PART.fullmatch(other)]
    if strange:
        raise OutputError(
            f"the folder {folder}, where the job's output {name!r} goes, holds {strange[0]}, which no job wrote: name "
            "another output folder"
        )


# --------------------------------------------------------------------------------------------------- cleaning up


def remove_attempts(output: str | Path, job: str, made: Sequence[str] = ()) -> None:
    """Clean up after a job that failed or was cancelled. A finished commit, or another job's output, stays.

    Removes its attempts' files, the parts that a half commit had moved, and the folders that the job made, if they
    are empty; brings back the manifests that a half commit had replaced. `made`, of `prepare_output`, tells of these
    folders also where another cleaner was stopped after it had begun. Raises OutputError, DiskFullError.
    """
    if is_url(str(output)):
        from mapreduce.dataflow.manifest.in_store import remove_from_store  # noqa: PLC0415 - as above

        remove_from_store(str(output), job)
        return
    folder = Path(output)
    temporary = temporary_folder(folder, job)
    try:
        reserved = _read_reserved(temporary)
        if temporary.is_dir():
            with suppress(FileNotFoundError):  # another cleaner was quicker
                _remove_half_commit(folder, job, reserved)
            Disk().remove_tree(temporary)
        for path in reserved.made or made:
            with suppress(FileNotFoundError):  # as above
                Path(path).rmdir()
    except OSError as error:
        if error.errno in NOT_EMPTY:
            return  # something else lies in a folder that we made: it stays
        raise unwritable(folder, error) from error


def remove_after_failure(output: str | Path, job: str, made: Sequence[str] = ()) -> None:
    """As `remove_attempts`; that it cannot be done is logged, since what the job failed of matters more."""
    try:
        remove_attempts(output, job, made)
    except MapReduceError as error:
        log.warning("what the job %s has left in %s stays there: %s", job, output, error)


def _remove_half_commit(folder: Path, job: str, reserved: Reserved) -> None:
    data = read_bytes(folder / MANIFEST)
    named = {file.name for file in parse_manifest(folder, data).files} if data else set()
    # With overwrite the manifest may be the one that was to be replaced.
    finished = any(is_part_of(job, name, overwrite=reserved.overwrite) for name in named)
    if not finished:
        replaced = read_replaced(temporary_folder(folder, job))
        for name in reserved.outputs:
            if (folder / name).is_dir():
                _undo_output(folder, name, job, reserved, replaced)
        if (folder / BAD_FOLDER).is_dir():
            _remove_parts(folder / BAD_FOLDER, temporary_folder(folder, job), job, reserved, set())
            Disk().remove_folder(folder / BAD_FOLDER)
        if replaced is not None and replaced.job_file is not None:
            _bring_back(folder, job, JOB_FILE, replaced.job_file)
    _remove_parts(folder, temporary_folder(folder, job), job, reserved, named)
    if data is None:
        _remove_own(folder / JOB_FILE, temporary_folder(folder, job))


def _undo_output(folder: Path, name: str, job: str, reserved: Reserved, replaced: Replaced | None) -> None:
    """Leave the folder of a named output as it was before the commit."""
    manifest = folder / name / MANIFEST
    old = replaced.manifests.get(name) if replaced else None
    if old is not None:
        _bring_back(folder, job, f"{name}/{MANIFEST}", old)
    elif replaced is not None or not reserved.overwrite:
        # There was none: a folder that must be empty has no sub-folders.
        _remove_own(manifest, temporary_folder(folder, job))
    current = manifest_of(folder / name)
    kept = {file.name for file in current.files} if current else set()
    _remove_parts(folder / name, temporary_folder(folder, job), job, reserved, kept)
    Disk().remove_folder(folder / name)


def _bring_back(folder: Path, job: str, name: str, text: str) -> None:
    copy = temporary_folder(folder, job) / "_copy"
    Disk().write(copy, text.encode())
    copy.replace(folder / name)


def _remove_parts(folder: Path, temporary: Path, job: str, reserved: Reserved, kept: set[str]) -> None:
    # A folder that was empty when the job reserved it holds no parts but its own.
    for name in sorted(path.name for path in folder.iterdir()):
        if is_part_of(job, name, overwrite=reserved.overwrite) and name not in kept:
            _remove_own(folder / name, temporary)


def _remove_own(path: Path, temporary: Path) -> None:
    """Remove a file of the job with this temporary folder. Raises FileNotFoundError once another cleaner is through.

    What lies there then is of a job that has reserved the output since.
    """
    if not temporary.is_dir():
        raise FileNotFoundError(errno.ENOENT, "it was cleaned up already", str(temporary))
    path.unlink(missing_ok=True)
