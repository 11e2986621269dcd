"""What `_SUCCESS` says, the manifest of an output folder, to bytes and back; and what lies beside it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

from mapreduce.errors import OutputError
from mapreduce.file_names import numbered
from mapreduce.output_formats import ENDING, ending_of, is_output_format
from mapreduce.plan import OUTPUT_NAME, AttemptId, TaskOptions
from mapreduce.quick_dataclass import dataclass
from mapreduce.urls import join, place, whole_place

MANIFEST = "_SUCCESS"
VERSION = 1  # of the manifest's layout
JOB_FILE = "_job.json"
MENDED = "m"  # ends the attempt's number in the name of an object that the commit wrote in place of the attempt's
TEMPORARY = "_tmp-"  # begins the name of the folder in which a job's attempts write
_KINDS = {dict: "a JSON object", list: "an array", str: "text", int: "a whole number, 0 or more"}
_FILE_KINDS = {"name": str, "records": int, "bytes": int, "checksum": str}
_CHANGED = ": it was changed. Run the job again"
_OURS = frozenset({"format", "columns", "files"})  # names that other engines' JSON does not have
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
        if isinstance(folder, Path) and not folder.exists():
            raise OutputError(f"the output folder {folder} does not exist")
        raise OutputError(f"{folder} holds no finished output of a job (there is no {MANIFEST} in it)")
    return parse_manifest(folder, data)


def _read_from(folder: Path | str, name: str = MANIFEST) -> bytes | None:
    if isinstance(folder, Path):
        return read_bytes(folder / name)
    from mapreduce.dataflow.stores.drivers import store_of  # noqa: PLC0415 - only for outputs in stores

    return store_of(folder).read_small(join(folder, name))


def committed_job(output: str) -> str:
    """The id of the job whose finished output a folder holds, "" where there is none or it does not say.

    Raises OSError.
    """
    folder = place(whole_place(output))
    data = _read_from(folder, JOB_FILE) if _read_from(folder) is not None else None
    try:
        return str(json.loads(data or b"{}")["job"])
    except (ValueError, KeyError, TypeError):
        return ""


def manifest_of(folder: Path | str) -> Manifest | None:
    """The manifest of a folder, or of its URL, if it has one that can be read."""
    data = _read_from(folder)
    if data is None:
        return None
    try:
        return parse_manifest(folder, data)
    except OutputError:
        return None  # whoever reads the output is told; what replaces it need not mind


def is_foreign(data: bytes) -> bool:
    """Whether a file called `_SUCCESS` is no manifest of ours: Hadoop and Spark leave one too, empty or of JSON."""
    if not data.lstrip().startswith(b"{"):
        return True
    try:
        return _OURS.isdisjoint(json.loads(data))
    except (ValueError, RecursionError):
        return False  # one of ours that is damaged, it may be


def parse_manifest(folder: Path | str, data: bytes) -> Manifest:
    """Understand a manifest's bytes; `folder` is named in errors. Raises OutputError, which names the field."""
    where = f"{folder}/{MANIFEST}"
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{where} is no manifest of a job: {error!r}") from error
    if type(facts) is not dict:
        raise _wrong(where, "all of it", facts, dict)
    version = _field(where, facts, "version", int)
    if version != VERSION:
        raise OutputError(f"{where} is of version {version}, this engine reads {VERSION}")
    output_format = _field(where, facts, "format", str)
    if not is_output_format(output_format):
        raise OutputError(f"{where} says format {output_format!r:.100}, which this engine does not have{_CHANGED}")
    files = tuple(_file(where, number, file) for number, file in enumerate(_field(where, facts, "files", list)))
    columns = _field(where, facts, "columns", dict)
    types = [_field(where, columns, name, list, "columns.") for name in ("key", "value")]
    for name, one in zip(("key", "value"), types, strict=True):
        for number, kind in enumerate(one):
            if type(kind) is not str:
                raise _wrong(where, f"columns.{name}[{number}]", kind, str)
    outputs = _field(where, facts, "outputs", dict) if "outputs" in facts else {}
    for name in outputs:
        _field(where, outputs, name, int, "outputs.")
        if not OUTPUT_NAME.fullmatch(name):
            raise OutputError(f"{where} is no manifest of a job: it names the output {name!r:.100}")
    return Manifest(output_format, files, tuple(types[0]), tuple(types[1]), outputs)


def _file(where: str, number: int, facts: object) -> ManifestFile:
    place = f"files[{number}]"
    if type(facts) is not dict:
        raise _wrong(where, place, facts, dict)
    found = {
        one.name: _field(where, facts, one.name, _FILE_KINDS[one.name], f"{place}.") for one in fields(ManifestFile)
    }
    if not PART.fullmatch(found["name"]):
        raise OutputError(f"{where} is no manifest of a job: it names the part {found['name']!r:.100}")
    return ManifestFile(**found)


def _field(where: str, facts: Mapping[str, Any], name: str, kind: type, above: str = "") -> Any:
    """One fact of a manifest, which is of this kind. Raises OutputError."""
    if name not in facts:
        raise OutputError(f"{where} is no manifest of a job: it has no {above}{name}{_CHANGED}")
    value = facts[name]
    if type(value) is not kind or (isinstance(value, int) and value < 0):
        raise _wrong(where, f"{above}{name}", value, kind)
    return value


def _wrong(where: str, field_name: str, value: object, kind: type) -> OutputError:
    return OutputError(
        f"{where} is no manifest of a job: {field_name} must be {_KINDS[kind]}, and is {json.dumps(value):.100}"
        f"{_CHANGED}"
    )
