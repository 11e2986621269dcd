"""The job's commit: the granted attempts' files become the output, of the job and each of its named outputs.

All files are checked where they lie, then moved, then the manifests are written, the job's own last. Parts that could
not know the types or columns of the others are written again on the way, so that all parts are one table. It
can die at any point and be run again: every step either has been done or can be. A reader that follows the manifest of
a folder sees the old output or the new, never a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.dataflow.bad.folder import GrantedBad, bad_names, move_bad, remove_old_bad
from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.manifest.disk import Disk, QuickDisk, unwritable
from mapreduce.dataflow.manifest.file import (
    JOB_FILE,
    MANIFEST,
    PART,
    Manifest,
    manifest_of,
    read_bytes,
    temporary_folder,
)
from mapreduce.dataflow.manifest.parts import Granted, Output, Part, manifest_bytes, outputs_of, warnings_of
from mapreduce.dataflow.manifest.reservation import REPLACED_FILE, Replaced
from mapreduce.dataflow.manifest.reserve import read_replaced
from mapreduce.errors import InputLostError, OutputError
from mapreduce.plan import AttemptId, PartFile, TaskOptions
from mapreduce.urls import is_url

if TYPE_CHECKING:
    from mapreduce.dataflow.outputs.common import Rewrite


def commit_job(
    output: str | Path,
    options: TaskOptions,
    granted: Sequence[Granted],
    job_facts: Mapping[str, Any],
    disk: Disk | None = None,
    *,
    bad: Sequence[GrantedBad] = (),
) -> tuple[str, ...]:
    """Make the granted attempts' files the output of the job, and return warnings about it.

    May die at any point and be run again, with the same arguments. `job_facts` (plain JSON: ids, times) go to
    `_job.json`. What the attempts in `bad`, of any step, have put aside becomes the folder of bad records. Raises
    InputLostError for a file that is missing or is not what its attempt wrote, OutputError if the folder holds another
    job's output, DiskFullError.
    """
    if is_url(str(output)):
        from mapreduce.dataflow.manifest.commit_in_store import commit_in_store  # noqa: PLC0415 - only for outputs in stores

        return commit_in_store(str(output), options, granted, job_facts, bad=bad)
    disk = disk or (Disk() if options.durable else QuickDisk())
    folder = Path(output)
    named, own = outputs_of(folder, options, sorted(granted, key=lambda one: one.attempt))
    temporary = temporary_folder(folder, options.job)
    try:
        if not own.is_written(manifest_of(folder)):
            _refuse_other(folder, options, own.manifest)
            sums = _move_parts(folder, [*named, own], temporary, disk)
            move_bad(folder, options, bad, disk)
            disk.make_folder(temporary)
            if options.overwrite:
                _note_replaced(folder, named, temporary, disk)
            for one in named:
                _put(temporary, one.folder, MANIFEST, manifest_bytes(one, sums), disk)
            _put(temporary, folder, JOB_FILE, _json_bytes(job_facts), disk)
            _put(temporary, folder, MANIFEST, manifest_bytes(own, sums), disk)
        if options.overwrite:
            _remove_old(folder, [*named, own], temporary, disk)
            remove_old_bad(folder, set(bad_names(bad, options).values()), disk)
        disk.remove_tree(temporary)
        disk.sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return tuple(warning for one in (own, *named) for warning in warnings_of(one))


def _json_bytes(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(facts), indent=1, sort_keys=True) + "\n").encode()


def _put(temporary: Path, folder: Path, name: str, data: bytes, disk: Disk) -> None:
    """Write a small file so that it is there whole or not at all."""
    disk.write(temporary / name, data)
    disk.rename(temporary / name, folder / name)
    disk.sync_folder(folder)


def _refuse_other(folder: Path, options: TaskOptions, manifest: Manifest) -> None:
    """Without `overwrite`, a manifest that is not ours means that another job has committed here."""
    if not options.overwrite and (folder / MANIFEST).exists():
        raise OutputError(
            f"the output folder {folder} holds the output of another job (its {MANIFEST} is not that of these "
            f"{len(manifest.files)} parts): run the job again with another folder"
        )


def _move_parts(folder: Path, outputs: Sequence[Output], temporary: Path, disk: Disk) -> dict[Path, tuple[int, str]]:
    """Check every file where it lies, and only then move those that are not in place yet.

    Gives the sizes and checksums of mended parts: of those what the attempt wrote stays until the job is committed.
    """
    moves: list[tuple[Part, Rewrite | None]] = []
    for output in outputs:
        for part in output.parts:
            waiting = part.mended or part.source.exists()
            _check_part(part.source if waiting else part.target, part.attempt, part.file)
            if waiting:
                moves.append((part, output.rewrite if part.mended else None))
        if output.name:
            disk.make_folder(output.folder)
    disk.sync_folder(folder)
    sums: dict[Path, tuple[int, str]] = {}
    for part, rewrite in moves:
        source = part.source
        if rewrite is not None:
            source = temporary / f"{source.name}.new"
            sums[part.target] = rewrite(part.source, source)
            disk.sync_file(source)
        disk.rename(source, part.target)
    for output in outputs:
        disk.sync_folder(output.folder)
    return sums


def _check_part(path: Path, attempt: AttemptId, info: PartFile) -> None:
    try:
        size = path.stat().st_size
        if size != info.size:
            raise InputLostError(attempt, f"its output {path} has {size} bytes and not the {info.size} it wrote")
        checksum = file_checksum(path)
    except FileNotFoundError:
        raise InputLostError(attempt, f"its output {path} is missing") from None
    if checksum != info.checksum:
        raise InputLostError(
            attempt, f"its output {path} is not what it wrote (checksum {checksum}, not {info.checksum})"
        )


def _note_replaced(folder: Path, named: Sequence[Output], temporary: Path, disk: Disk) -> None:
    """Note what is about to be replaced, unless a commit that died has done so: it may have replaced some."""
    if read_replaced(temporary) is not None:
        return
    former = manifest_of(folder)
    manifests = {one.name: data.decode() for one in named if (data := read_bytes(one.folder / MANIFEST)) is not None}
    job_file = read_bytes(folder / JOB_FILE)
    found = Replaced(sorted(former.outputs) if former else [], manifests, job_file.decode() if job_file else None)
    disk.write(temporary / f"{REPLACED_FILE}.new", json.dumps(asdict(found)).encode())
    disk.rename(temporary / f"{REPLACED_FILE}.new", temporary / REPLACED_FILE)
    disk.sync_folder(temporary)


def _remove_old(folder: Path, outputs: Sequence[Output], temporary: Path, disk: Disk) -> None:
    """Remove the parts that no manifest names any more; other files in the folders are left alone."""
    for output in outputs:
        _remove_parts(output.folder, {file.name for file in output.manifest.files}, disk)
    replaced = read_replaced(temporary)
    for name in replaced.outputs if replaced else ():
        gone = folder / name
        if gone.is_dir() and all(output.name != name for output in outputs):
            disk.remove(gone / MANIFEST)
            _remove_parts(gone, set(), disk)
            disk.remove_folder(gone)


def _remove_parts(folder: Path, current: set[str], disk: Disk) -> None:
    for name in sorted(path.name for path in folder.iterdir()):
        if PART.fullmatch(name) and name not in current:
            disk.remove(folder / name)
