"""What `_SUCCESS` says, the manifest of an output folder, to bytes and back; and what lies beside it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mapreduce.errors import OutputError
from mapreduce.file_names import numbered
from mapreduce.output_formats import ENDING, ending_of
from mapreduce.plan import OUTPUT_NAME, AttemptId, TaskOptions
from mapreduce.urls import join, place

MANIFEST = "_SUCCESS"
VERSION = 1  # of the manifest's layout
JOB_FILE = "_job.json"
MENDED = "m"  # ends the attempt's number in the name of an object that the commit wrote in place of the attempt's
TEMPORARY = "_tmp-"  # begins the name of the folder in which a job's attempts write
PART = re.compile(rf"part-\d{{5,}}(-[A-Za-z0-9_.-]+)?{ENDING}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One part: its name in the output folder, sizes in bytes, xxh3-64 in hex."""

    name: str
    records: int
    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `_SUCCESS` says.

    The types are names of column types, sorted (see `outputs.column_types`); no key types: values alone.
    `outputs` has the records of each named output, whose own manifest lies in the folder of that name.
    """

    format: str
    files: tuple[ManifestFile, ...]
    key_types: tuple[str, ...]
    value_types: tuple[str, ...]
    outputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Records in all parts."""
        return sum(file.records for file in self.files)

    def to_bytes(self) -> bytes:
        """Give the JSON that is written: the same manifest, the same bytes."""
        facts = {
            "version": VERSION,
            "format": self.format,
            "records": self.records,
            "bytes": sum(file.bytes for file in self.files),
            "columns": {"key": list(self.key_types), "value": list(self.value_types)},
            "files": [asdict(file) for file in self.files],
            "outputs": dict(self.outputs),
        }
        return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


def temporary_folder(output: str | Path, job: str) -> Path:
    """Where a job's attempts write: below the output folder, so that a rename moves no bytes."""
    return Path(output) / f"{TEMPORARY}{job}"


def part_name(index: int, options: TaskOptions, output_format: str | None = None, file: int | None = None) -> str:
    """Name of a final part, of the job's own format unless another is given; or of its file of that number.

    With `overwrite` it carries the job's id, so that old and new parts never share one.
    """
    ending = ending_of(output_format or options.output_format)
    name = f"part-{index:05d}" if file is None else numbered(f"part-{index:05d}", file)
    return f"{name}-{options.job}{ending}" if options.overwrite else f"{name}{ending}"


def is_part_of(job: str, name: str, *, overwrite: bool) -> bool:
    """Whether a file in an output folder can be a part that this job has moved there."""
    ours = f"-{re.escape(job)}" if overwrite else ""
    return re.fullmatch(rf"part-\d{{5,}}(-\d{{5,}})?{ours}{ENDING}", name) is not None


def object_name(attempt: AttemptId, output_format: str, file: int | None = None, *, mended: bool = False) -> str:
    """Name of an attempt's part in a store, which has no renames; of its file of that number, or as it was mended.

    It carries the job's id and the attempt's number, so that none is ever written twice with other bytes.
    """
    part = f"part-{attempt.task.index:05d}"
    part = part if file is None else numbered(part, file)
    return f"{part}-{attempt.task.job}-{attempt.number}{MENDED if mended else ''}{ending_of(output_format)}"


def is_object_of(job: str, name: str) -> bool:
    """Whether a name in an output folder in a store is that of a part which an attempt of this job has uploaded."""
    return re.fullmatch(rf"part-\d{{5,}}(-\d{{5,}})?-{re.escape(job)}-\d+{MENDED}?{ENDING}", name) is not None


def read_bytes(path: Path) -> bytes | None:
    """Give the content of a small file, None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_manifest(output: str | Path) -> Manifest:
    """Read `_SUCCESS`. Raises OutputError if the folder holds no finished output, or a damaged manifest."""
    folder = place(str(output))
    try:
        data = _read_from(folder)
    except OSError as error:
        raise OutputError(f"the output folder {folder} cannot be read: {error.strerror}") from error
    if data is None:
        raise OutputError(f"{folder} holds no finished output of a job (there is no {MANIFEST} in it)")
    return parse_manifest(folder, data)


def _read_from(folder: Path | str) -> bytes | None:
    if isinstance(folder, Path):
        return read_bytes(folder / MANIFEST)
    from mapreduce.dataflow.stores.drivers import store_of  # noqa: PLC0415 - only for outputs in stores

    return store_of(folder).read_small(join(folder, MANIFEST))


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a folder, if it has one that can be read."""
    data = read_bytes(folder / MANIFEST)
    if data is None:
        return None
    try:
        return parse_manifest(folder, data)
    except OutputError:
        return None  # whoever reads the output is told; what replaces it need not mind


def parse_manifest(folder: Path | str, data: bytes) -> Manifest:
    """Understand a manifest's bytes; `folder` is named in errors. Raises OutputError."""
    where = f"{folder}/{MANIFEST}"
    try:
        facts = json.loads(data)
        if facts["version"] != VERSION:
            raise OutputError(f"{where} is of version {facts['version']}, this engine reads {VERSION}")
        files = tuple(ManifestFile(**file) for file in facts["files"])
        strange = [file.name for file in files if not PART.fullmatch(file.name)]
        if strange:
            raise OutputError(f"{where} is no manifest of a job: it names the part {strange[0]!r}")
        columns = facts["columns"]
        outputs = {str(name): int(records) for name, records in facts.get("outputs", {}).items()}
        strange = [name for name in outputs if not OUTPUT_NAME.fullmatch(name)]
        if strange:
            raise OutputError(f"{where} is no manifest of a job: it names the output {strange[0]!r}")
        return Manifest(facts["format"], files, tuple(columns["key"]), tuple(columns["value"]), outputs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{where} is no manifest of a job: {error!r}") from error
