"""The output folder: reserved before a job, committed by its last task, read by its manifest.

`_SUCCESS` is the manifest: JSON with sorted keys and nothing that varies between runs; ids and times are in
`_job.json`. Attempts write below `_tmp-JOB`. The commit can die at any point and be run again: every step either has
been done or can be. A reader that follows the manifest sees the old output or the new, never a mixture.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mapreduce.dataflow.disk import DISK_ERRORS, file_checksum, sync_folder
from mapreduce.dataflow.manifest_file import (
    MANIFEST,
    PART,
    Manifest,
    ManifestFile,
    parse_manifest,
    read_bytes,
    read_manifest,
)
from mapreduce.errors import DiskFullError, InputLostError, OutputError
from mapreduce.plan import AttemptId, PartInfo, TaskId, TaskOptions, attempt_output_name

__all__ = [
    "JOB_FILE",
    "MANIFEST",
    "Disk",
    "Manifest",
    "ManifestFile",
    "commit_job",
    "part_name",
    "part_paths",
    "prepare_output",
    "read_manifest",
    "read_output",
    "remove_attempts",
    "temporary_folder",
    "write_tsv_to",
]

JOB_FILE = "_job.json"
TSV = "tsv"  # the format whose parts are copied as they are; `outputs` has the others
RESERVED_FILE = "_reserved"  # in the temporary folder: what the job found and made when it reserved the output
COPY_BYTES = 1 << 20
REREADS = 3  # a reader whose output is overwritten under it starts again; more often than this is no accident

_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})  # what rmdir says, by system


class Disk:
    """The changes that a commit makes to a file system, one method each, so that a test can stop at any of them."""

    def rename(self, source: Path, target: Path) -> None:
        """Move a file, replacing the target."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        sync_folder(folder)

    def write(self, path: Path, data: bytes) -> None:
        """Write and sync a small file."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder with all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def temporary_folder(output: str | Path, job: str) -> Path:
    """Where a job's attempts write: below the output folder, so that a rename moves no bytes."""
    return Path(output) / f"_tmp-{job}"


def part_name(index: int, options: TaskOptions) -> str:
    """Name of a final part; with `overwrite` it carries the job's id, so that old and new parts never share one."""
    return f"part-{index:05d}-{options.job}" if options.overwrite else f"part-{index:05d}"


# ----------------------------------------------------------------------------------------------------- reserving


def prepare_output(output: str | Path, job: str, overwrite: bool) -> None:
    """Reserve an output folder for a job: make it and `_tmp-JOB` in it, durably. May be repeated for the same job.

    Raises OutputError if something is there already (with `overwrite`: something that is no job's output), or if the
    folder cannot be made or written; DiskFullError.
    """
    folder = Path(output).absolute()
    temporary = temporary_folder(folder, job)
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"the output {folder} is a file: name a folder")
        if temporary.is_dir():
            return
        if folder.is_dir():
            _refuse_occupied(folder, overwrite)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        facts = {"made": [str(path) for path in made], "overwrite": overwrite}
        Disk().write(temporary / RESERVED_FILE, json.dumps(facts).encode())
        sync_folder(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _refuse_occupied(folder: Path, overwrite: bool) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return
    ours = [name for name in names if name in {MANIFEST, JOB_FILE} or PART.fullmatch(name) or name.startswith("_tmp-")]
    strange = sorted(set(names) - set(ours))
    if not overwrite:
        raise OutputError(_occupied(folder, ours, strange))
    if strange and MANIFEST not in names:
        raise OutputError(
            f"the output folder {folder} holds {strange[0]}, which no job wrote: --overwrite replaces a job's output "
            "only. Name another folder."
        )


def _occupied(folder: Path, ours: list[str], strange: list[str]) -> str:
    """Say what is in the way, and what to do. Never to remove a folder with files that no job wrote."""
    if strange:
        return f"the output folder {folder} is not empty (it holds {strange[0]}): name another folder"
    if all(name.startswith("_tmp-") for name in ours):
        job = ours[0].removeprefix("_tmp-")
        return (
            f"the output folder {folder} is that of the job {job}, which is running or has died before its end: name "
            f"another folder, or, if nothing runs there, remove this one (rm -r {shlex.quote(str(folder))})"
        )
    return f"the output folder {folder} holds another job's output: name another, remove this one, or say --overwrite"


def _unwritable(folder: Path, error: OSError) -> DiskFullError | OutputError:
    if error.errno in DISK_ERRORS and error.errno != errno.EROFS:  # no space would help there
        return DiskFullError(f"cannot write to the output folder {folder}: {error.strerror}; free space there")
    return OutputError(f"the output folder {folder} cannot be used: {error.strerror} ({error.filename or folder})")


# ---------------------------------------------------------------------------------------------------- committing


def commit_job(
    output: str | Path,
    options: TaskOptions,
    sources: Sequence[tuple[TaskId, AttemptId, PartInfo]],
    job_facts: Mapping[str, Any],
    disk: Disk | None = None,
) -> tuple[str, ...]:
    """Make the granted attempts' files the output of the job, and return warnings about it.

    May die at any point and be run again, with the same arguments. `job_facts` (plain JSON: ids, times) go to
    `_job.json`. Raises InputLostError for a file that is missing or is not what its attempt wrote, OutputError if
    the folder holds another job's output, DiskFullError.
    """
    disk = disk or Disk()
    folder = Path(output)
    parts = [(part_name(task.index, options), attempt, info) for task, attempt, info in sorted(sources)]
    manifest = _manifest_of(options, parts)
    wanted = manifest.to_bytes()
    try:
        if read_bytes(folder / MANIFEST) != wanted:
            _refuse_other(folder, options, manifest)
            _move_parts(folder, options, parts, disk)
            temporary = temporary_folder(folder, options.job)
            temporary.mkdir(exist_ok=True)
            for name, data in ((JOB_FILE, _json_bytes(job_facts)), (MANIFEST, wanted)):
                disk.write(temporary / name, data)
                disk.rename(temporary / name, folder / name)
                disk.sync_folder(folder)
        if options.overwrite:
            _remove_old_parts(folder, manifest, disk)
        disk.remove_tree(temporary_folder(folder, options.job))
        disk.sync_folder(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return _warnings(manifest)


def _manifest_of(options: TaskOptions, parts: list[tuple[str, AttemptId, PartInfo]]) -> Manifest:
    files = tuple(ManifestFile(name, info.records, info.size, info.checksum) for name, _, info in parts)
    keys = sorted({name for _, _, info in parts for name in info.key_types})
    values = sorted({name for _, _, info in parts for name in info.value_types})
    return Manifest(options.output_format, files, tuple(keys), tuple(values))


def _json_bytes(facts: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(facts), indent=1, sort_keys=True) + "\n").encode()


def _refuse_other(folder: Path, options: TaskOptions, manifest: Manifest) -> None:
    """Without `overwrite`, a manifest that is not ours means that another job has committed here."""
    if not options.overwrite and (folder / MANIFEST).exists():
        raise OutputError(
            f"the output folder {folder} holds the output of another job (its {MANIFEST} is not that of these "
            f"{len(manifest.files)} parts): run the job again with another folder"
        )


def _move_parts(folder: Path, options: TaskOptions, parts: list[tuple[str, AttemptId, PartInfo]], disk: Disk) -> None:
    """Check every file where it lies, and only then move those that are not in place yet."""
    temporary = temporary_folder(folder, options.job)
    moves: list[tuple[Path, Path]] = []
    for name, attempt, info in parts:
        source, target = temporary / attempt_output_name(attempt), folder / name
        waiting = source.exists()
        _check_part(source if waiting else target, attempt, info)
        if waiting:
            moves.append((source, target))
    for source, target in moves:
        disk.rename(source, target)
    disk.sync_folder(folder)


def _check_part(path: Path, attempt: AttemptId, info: PartInfo) -> None:
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


def _remove_old_parts(folder: Path, manifest: Manifest, disk: Disk) -> None:
    """Remove the parts that no manifest names any more; other files in the folder are left alone."""
    current = {file.name for file in manifest.files}
    for name in sorted(path.name for path in folder.iterdir()):
        if PART.fullmatch(name) and name not in current:
            disk.remove(folder / name)


def _warnings(manifest: Manifest) -> tuple[str, ...]:
    if manifest.format != TSV:
        return ()
    from mapreduce.dataflow import tsv  # noqa: PLC0415 - imports Polars, which a client can do without

    texts = []
    for column, types in (("keys", manifest.key_types), ("values", manifest.value_types)):
        if len(types) > 1:
            texts.append(
                f"the {column} of the output are of several types ({', '.join(types)}): in TSV they are read back as "
                "text; emit one type to keep it"
            )
        elif types == (tsv.JSON,):
            texts.append(
                f"the {column} of the output hold bytes or tuples inside other containers: JSON has none, so they are "
                "read back as str (base64) and lists"
            )
    return tuple(texts)


def remove_attempts(output: str | Path, job: str) -> None:
    """Clean up after a job that failed or was cancelled. A finished commit, or another job's output, stays.

    Removes its attempts' files, the parts that a half commit had moved, and the folders that the job made, if they
    are empty. Raises OutputError, DiskFullError.
    """
    folder = Path(output)
    temporary = temporary_folder(folder, job)
    try:
        data = read_bytes(temporary / RESERVED_FILE)
        reserved: dict[str, Any] = json.loads(data) if data else {"made": [], "overwrite": True}
        if temporary.is_dir():
            _remove_half_commit(folder, job, overwrite=reserved["overwrite"])
            Disk().remove_tree(temporary)
        for path in reserved["made"]:
            Path(path).rmdir()
    except FileNotFoundError:
        return  # another cleaner was quicker
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return  # something else lies in a folder that we made: it stays
        raise _unwritable(folder, error) from error


def _remove_half_commit(folder: Path, job: str, *, overwrite: bool) -> None:
    manifest = read_bytes(folder / MANIFEST)
    kept = {file.name for file in parse_manifest(folder, manifest).files} if manifest else set()
    # A folder that was empty when the job reserved it holds no parts but its own.
    ours = re.compile(rf"part-\d{{5,}}-{re.escape(job)}" if overwrite else r"part-\d{5,}")
    for name in sorted(path.name for path in folder.iterdir()):
        if ours.fullmatch(name) and name not in kept:
            (folder / name).unlink(missing_ok=True)
    if manifest is None:
        (folder / JOB_FILE).unlink(missing_ok=True)


# -------------------------------------------------------------------------------------------------------- reading


def part_paths(output: str | Path, manifest: Manifest) -> list[Path]:
    """Give the paths of the parts, in order. Raises OutputError for one that is missing or of another size."""
    paths = []
    for file in manifest.files:
        path = Path(output) / file.name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise OutputError(f"the part {path} cannot be read: {error.strerror}. Run the job again.") from error
        if size != file.bytes:
            raise OutputError(
                f"the part {path} has {size} bytes, and the manifest says {file.bytes}: it was changed or cut off. "
                "Run the job again."
            )
        paths.append(path)
    return paths


def _settled(output: str | Path) -> tuple[Manifest, list[Path]]:
    """Give a manifest whose parts are all there, also while another job replaces the output."""
    for _ in range(REREADS):
        manifest = read_manifest(output)
        try:
            return manifest, part_paths(output, manifest)
        except OutputError:
            if read_manifest(output) == manifest:
                raise
    raise OutputError(f"the output {output} is being overwritten again and again: read it when nothing writes there")


def read_output(output: str | Path) -> Iterator[tuple[Any, Any]]:
    """Yield all pairs of a finished output, parts in order; keys are None where the job's results are values alone.

    Raises OutputError for a missing or damaged part, CorruptBlockError. Never unpickles.
    """
    from mapreduce.dataflow.outputs import read_part_records  # noqa: PLC0415 - as above

    manifest, paths = _settled(output)
    for path in paths:
        try:
            yield from read_part_records(path, manifest.format, manifest.key_types, manifest.value_types)
        except FileNotFoundError as error:
            raise OutputError(f"the part {path} was removed while the output was being read") from error


def write_tsv_to(stream: BinaryIO, output: str | Path, limit: int | None = None) -> int:
    """Write a finished output as TSV to a binary stream; at most `limit` records. Returns how many were left out.

    Raises OutputError, ValueTypeError where records cannot be said in TSV, and what the stream raises (a closed pipe).
    """
    manifest, paths = _settled(output)
    wanted = manifest.records if limit is None else min(limit, manifest.records)
    left = wanted
    for path in paths:
        if left == 0:
            break
        pieces = _copied(path) if manifest.format == TSV else _as_tsv(path, keys=bool(manifest.key_types))
        for piece in pieces:
            count = piece.count(b"\n")
            if limit is not None and count >= left:
                stream.write(b"".join(line + b"\n" for line in piece.split(b"\n", left)[:left]))
                left = 0
                break
            stream.write(piece)
            left -= count
    return manifest.records - wanted


def _copied(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(COPY_BYTES):
            yield piece


def _as_tsv(path: Path, *, keys: bool) -> Iterator[bytes]:
    from mapreduce.dataflow import tsv  # noqa: PLC0415 - as above
    from mapreduce.dataflow.shuffle.block_file import open_slice, read_blocks  # noqa: PLC0415 - as above

    for batch in read_blocks(open_slice(path, 0)):
        columns = []
        if keys:
            columns.append(tsv.column_text(batch.frame["key"], batch.key_lane, key=True)[0])
        columns.append(tsv.column_text(batch.frame["value"], batch.value_lane, key=False)[0])
        yield tsv.lines(columns)
