"""The output folder: reserved before a job, committed by its last task, read by its manifest.

`_SUCCESS` is the manifest: JSON with sorted keys and nothing that varies between runs; ids and times are in
`_job.json`. Attempts write below `_tmp-JOB`. A named output is a sub-folder with a manifest of its own. This module
owns the reading; `manifest_reserve` and `manifest_commit` have the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mapreduce.dataflow.manifest_commit import Granted, commit_job
from mapreduce.dataflow.manifest_disk import Disk
from mapreduce.dataflow.manifest_file import (
    JOB_FILE,
    MANIFEST,
    Manifest,
    ManifestFile,
    part_name,
    read_manifest,
    temporary_folder,
)
from mapreduce.dataflow.manifest_reserve import prepare_output, remove_attempts
from mapreduce.errors import OutputError

__all__ = [
    "JOB_FILE",
    "MANIFEST",
    "Disk",
    "Granted",
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
    "write_text_to",
]

TEXTS = ("tsv", "jsonl")  # the formats whose parts are copied as they are; `outputs` has the others
COPY_BYTES = 1 << 20
REREADS = 3  # a reader whose output is overwritten under it starts again; more often than this is no accident


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


def settled(output: str | Path) -> tuple[Manifest, list[Path]]:
    """Give a manifest whose parts are all there, also while another job replaces the output. Raises OutputError."""
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
    from mapreduce.dataflow.outputs import read_part_records  # noqa: PLC0415 - imports Polars, for those who need it

    manifest, paths = settled(output)
    for path in paths:
        try:
            yield from read_part_records(path, manifest.format, manifest.key_types, manifest.value_types)
        except FileNotFoundError as error:
            raise OutputError(f"the part {path} was removed while the output was being read") from error


def write_text_to(stream: BinaryIO, output: str | Path, limit: int | None = None) -> int:
    """Write a finished output to a binary stream, a record on a line: text as it is, any other format as TSV.

    At most `limit` records. Returns how many were left out. Raises OutputError, ValueTypeError where records cannot be
    said in TSV, and what the stream raises (a closed pipe).
    """
    manifest, paths = settled(output)
    wanted = manifest.records if limit is None else min(limit, manifest.records)
    left = wanted
    for path in paths:
        if left == 0:
            break
        for piece in _copied(path) if manifest.format in TEXTS else _as_tsv(path, manifest):
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


def _as_tsv(path: Path, manifest: Manifest) -> Iterator[bytes]:
    from mapreduce.dataflow.outputs import part_as_tsv  # noqa: PLC0415 - as above

    return part_as_tsv(path, manifest.format, keys=bool(manifest.key_types))
