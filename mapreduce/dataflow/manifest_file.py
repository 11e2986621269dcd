"""What `_SUCCESS` says: the manifest of an output folder, to bytes and back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mapreduce.errors import OutputError

MANIFEST = "_SUCCESS"
VERSION = 1  # of the manifest's layout
PART = re.compile(r"part-\d{5,}(-.+)?")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One part: its name in the output folder, sizes in bytes, xxh3-64 in hex."""

    name: str
    records: int
    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `_SUCCESS` says. The types are names of column types, sorted (see `tsv`); no key types: values alone."""

    format: str
    files: tuple[ManifestFile, ...]
    key_types: tuple[str, ...]
    value_types: tuple[str, ...]

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
        }
        return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()


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
        return Manifest(facts["format"], files, tuple(columns["key"]), tuple(columns["value"]))
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{folder / MANIFEST} is no manifest of a job: {error!r}") from error
