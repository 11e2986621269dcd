"""What `_SUCCESS` says, the manifest of an output folder, to bytes and back; and what lies beside it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mapreduce.errors import OutputError
from mapreduce.plan import OUTPUT_NAME, TaskOptions

MANIFEST = "_SUCCESS"
VERSION = 1  # of the manifest's layout
JOB_FILE = "_job.json"
TEMPORARY = "_tmp-"  # begins the name of the folder in which a job's attempts write
ENDINGS = {"jsonl": ".jsonl", "parquet": ".parquet"}  # of parts, by format: what other programs go by
PART = re.compile(r"part-\d{5,}(-[A-Za-z0-9_.-]+)?(\.jsonl|\.parquet)?")


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

    The types are names of column types, sorted (see `json_text` and `outputs_parquet`); no key types: values alone.
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


def part_name(index: int, options: TaskOptions, output_format: str | None = None) -> str:
    """Name of a final part, of the job's own format unless another is given.

    With `overwrite` it carries the job's id, so that old and new parts never share one.
    """
    ending = ENDINGS.get(output_format or options.output_format, "")
    return f"part-{index:05d}-{options.job}{ending}" if options.overwrite else f"part-{index:05d}{ending}"


def is_part_of(job: str, name: str, *, overwrite: bool) -> bool:
    """Whether a file in an output folder can be a part that this job has moved there."""
    ours = f"-{re.escape(job)}" if overwrite else ""
    return re.fullmatch(rf"part-\d{{5,}}{ours}(\.jsonl|\.parquet)?", name) is not None


def read_bytes(path: Path) -> bytes | None:
    """Give the content of a small file, None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_manifest(output: str | Path) -> Manifest:
    """Read `_SUCCESS`. Raises OutputError if the folder holds no finished output, or a damaged manifest."""
    folder = Path(output)
    try:
        data = read_bytes(folder / MANIFEST)
    except OSError as error:
        raise OutputError(f"the output folder {folder} cannot be read: {error.strerror}") from error
    if data is None:
        raise OutputError(f"{folder} holds no finished output of a job (there is no {MANIFEST} in it)")
    return parse_manifest(folder, data)


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of a folder, if it has one that can be read."""
    data = read_bytes(folder / MANIFEST)
    if data is None:
        return None
    try:
        return parse_manifest(folder, data)
    except OutputError:
        return None  # whoever reads the output is told; what replaces it need not mind


def parse_manifest(folder: Path, data: bytes) -> Manifest:
    """Understand a manifest's bytes; `folder` is named in errors. Raises OutputError."""
    try:
        facts = json.loads(data)
        if facts["version"] != VERSION:
            raise OutputError(f"{folder / MANIFEST} is of version {facts['version']}, this engine reads {VERSION}")
        files = tuple(ManifestFile(**file) for file in facts["files"])
        strange = [file.name for file in files if not PART.fullmatch(file.name)]
        if strange:
            raise OutputError(f"{folder / MANIFEST} is no manifest of a job: it names the part {strange[0]!r}")
        columns = facts["columns"]
        outputs = {str(name): int(records) for name, records in facts.get("outputs", {}).items()}
        strange = [name for name in outputs if not OUTPUT_NAME.fullmatch(name)]
        if strange:
            raise OutputError(f"{folder / MANIFEST} is no manifest of a job: it names the output {strange[0]!r}")
        return Manifest(facts["format"], files, tuple(columns["key"]), tuple(columns["value"]), outputs)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{folder / MANIFEST} is no manifest of a job: {error!r}") from error
