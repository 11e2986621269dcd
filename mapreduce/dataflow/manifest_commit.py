"""The job's commit: the granted attempts' files become the output, of the job and each of its named outputs.

All files are checked where they lie, then moved, then the manifests are written, the job's own last. Parquet parts that
could not know the types of the others are written again on the way, so that all parts of an output are one table. It
can die at any point and be run again: every step either has been done or can be. A reader that follows the manifest of
a folder sees the old output or the new, never a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.manifest_disk import Disk, QuickDisk, unwritable
from mapreduce.dataflow.manifest_file import (
    JOB_FILE,
    MANIFEST,
    PART,
    Manifest,
    ManifestFile,
    manifest_of,
    part_name,
    read_bytes,
    temporary_folder,
)
from mapreduce.dataflow.manifest_reserve import REPLACED_FILE, Replaced, read_replaced
from mapreduce.errors import InputLostError, MapReduceError, OutputError
from mapreduce.plan import AttemptId, PartInfo, TaskOptions, attempt_output_name

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Granted:
    """An attempt whose files are granted: its part of the job's output, and of each named output."""

    attempt: AttemptId
    part: PartInfo
    outputs: Mapping[str, PartInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """One part on its way: from `source` to `target`; `mended` says that it is written again on the way."""

    attempt: AttemptId
    source: Path
    target: Path
    info: PartInfo
    mended: bool

    def entry(self) -> ManifestFile:
        """What the manifest says of it; the size and checksum of a mended one are those of what it was."""
        return ManifestFile(self.target.name, self.info.records, self.info.size, self.info.checksum)


@dataclass(frozen=True, slots=True)
class _Output:
    """One output of the job on its way; `name` is "" for the job's own.

    `schema` are the columns that all parts should have, if their format has any.
    """

    name: str
    folder: Path
    parts: list[_Part]
    manifest: Manifest
    schema: pl.Schema | None

    def is_written(self, found: Manifest | None) -> bool:
        """Whether a manifest is this output's: mended parts are known by name and records."""
        if found is None or len(found.files) != len(self.parts):
            return False
        pairs = zip(found.files, self.parts, strict=True)
        files = [
            replace(file, bytes=part.info.size, checksum=part.info.checksum) if part.mended else file
            for file, part in pairs
        ]
        return replace(found, files=tuple(files)) == self.manifest


def commit_job(
    output: str | Path,
    options: TaskOptions,
    granted: Sequence[Granted],
    job_facts: Mapping[str, Any],
    disk: Disk | None = None,
) -> tuple[str, ...]:
    """Make the granted attempts' files the output of the job, and return warnings about it.

    May die at any point and be run again, with the same arguments. `job_facts` (plain JSON: ids, times) go to
    `_job.json`. Raises InputLostError for a file that is missing or is not what its attempt wrote, OutputError if
    the folder holds another job's output, DiskFullError.
    """
    disk = disk or (Disk() if options.durable else QuickDisk())
    folder = Path(output)
    named, own = _outputs_of(folder, options, sorted(granted, key=lambda one: one.attempt))
    temporary = temporary_folder(folder, options.job)
    try:
        if not own.is_written(manifest_of(folder)):
            _refuse_other(folder, options, own.manifest)
            sums = _move_parts(folder, [*named, own], temporary, disk)
            disk.make_folder(temporary)
            if options.overwrite:
                _note_replaced(folder, named, temporary, disk)
            for one in named:
                _put(temporary, one.folder, MANIFEST, _manifest_bytes(one, sums), disk)
            _put(temporary, folder, JOB_FILE, _json_bytes(job_facts), disk)
            _put(temporary, folder, MANIFEST, _manifest_bytes(own, sums), disk)
        if options.overwrite:
            _remove_old(folder, [*named, own], temporary, disk)
        disk.remove_tree(temporary)
        disk.sync_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    return tuple(warning for one in (own, *named) for warning in _warnings(one))


def _outputs_of(folder: Path, options: TaskOptions, granted: Sequence[Granted]) -> tuple[list[_Output], _Output]:
    """The named outputs, and the job's own, whose manifest lists them."""
    named: list[_Output] = []
    for name, output_format in options.outputs:
        infos = [(one.attempt, _info_of(one, name)) for one in granted]
        named.append(_output_of(folder, (name, output_format), options, infos))
    records = {one.name: one.manifest.records for one in named}
    infos = [(one.attempt, one.part) for one in granted]
    return named, _output_of(folder, ("", options.output_format), options, infos, outputs=records)


def _info_of(granted: Granted, name: str) -> PartInfo:
    info = granted.outputs.get(name)
    if info is None:
        msg = f"{granted.attempt} was granted without a part of the output {name!r}"
        raise MapReduceError(msg)
    return info


def _output_of(
    folder: Path,
    output: tuple[str, str],
    options: TaskOptions,
    infos: Sequence[tuple[AttemptId, PartInfo]],
    *,
    outputs: Mapping[str, int] | None = None,
) -> _Output:
    name, output_format = output
    keys = {kind for _, info in infos for kind in info.key_types}
    values = {kind for _, info in infos for kind in info.value_types}
    schema: pl.Schema | None = None
    if output_format == "parquet":
        from mapreduce.dataflow.parquet_types import common_types  # noqa: PLC0415 - as in `_warnings`

        keys, values, schema = common_types(keys, values)
    place, temporary = folder / name, temporary_folder(folder, options.job)
    parts: list[_Part] = []
    for attempt, info in infos:
        target = place / part_name(attempt.task.index, options, output_format)
        mended = schema is not None and (set(info.key_types), set(info.value_types)) != (keys, values)
        parts.append(_Part(attempt, temporary / attempt_output_name(attempt, name), target, info, mended))
    files = tuple(part.entry() for part in parts)
    manifest = Manifest(output_format, files, tuple(sorted(keys)), tuple(sorted(values)), outputs or {})
    return _Output(name, place, parts, manifest, schema)


def _manifest_bytes(output: _Output, sums: Mapping[Path, tuple[int, str]]) -> bytes:
    """The manifest, with the `sums` (size, checksum) of parts that were mended, by their paths."""
    found = [sums.get(part.target, (part.info.size, part.info.checksum)) for part in output.parts]
    entries = zip(output.manifest.files, found, strict=True)
    files = [replace(file, bytes=size, checksum=checksum) for file, (size, checksum) in entries]
    return replace(output.manifest, files=tuple(files)).to_bytes()


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


def _move_parts(folder: Path, outputs: Sequence[_Output], temporary: Path, disk: Disk) -> dict[Path, tuple[int, str]]:
    """Check every file where it lies, and only then move those that are not in place yet.

    Gives the sizes and checksums of mended parts: of those what the attempt wrote stays until the job is committed.
    """
    moves: list[tuple[_Part, pl.Schema | None]] = []
    for output in outputs:
        for part in output.parts:
            waiting = part.mended or part.source.exists()
            _check_part(part.source if waiting else part.target, part.attempt, part.info)
            if waiting:
                moves.append((part, output.schema))
        if output.name:
            disk.make_folder(output.folder)
    disk.sync_folder(folder)
    sums: dict[Path, tuple[int, str]] = {}
    for part, schema in moves:
        source = part.source
        if part.mended and schema is not None:
            from mapreduce.dataflow.outputs_parquet import rewrite  # noqa: PLC0415 - as in `_warnings`

            source = temporary / f"{source.name}.new"
            sums[part.target] = rewrite(part.source, source, schema)
            disk.sync_file(source)
        disk.rename(source, part.target)
    for output in outputs:
        disk.sync_folder(output.folder)
    return sums


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


def _note_replaced(folder: Path, named: Sequence[_Output], temporary: Path, disk: Disk) -> None:
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


def _remove_old(folder: Path, outputs: Sequence[_Output], temporary: Path, disk: Disk) -> None:
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


def _warnings(output: _Output) -> list[str]:
    from mapreduce.dataflow.outputs import read_back  # noqa: PLC0415 - imports Polars, which a client can do without

    manifest = output.manifest
    whose = f"the output {output.name!r}" if output.name else "the output"
    columns = (("keys", manifest.key_types), ("values", manifest.value_types))
    told = [(column, read_back(manifest.format, types, key=column == "keys")) for column, types in columns]
    return [f"the {column} of {whose} {what}" for column, what in told if what]
