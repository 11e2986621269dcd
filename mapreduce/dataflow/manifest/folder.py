"""The output folder: reserved before a job, committed by its last task, read by its manifest.

`_SUCCESS` is the manifest: JSON with sorted keys and nothing that varies between runs; ids and times are in
`_job.json`. Attempts write below `_tmp-JOB`. A named output is a sub-folder with a manifest of its own. This module
owns the reading; `reserve` and `commit` have the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.manifest.commit import commit_job
from mapreduce.dataflow.manifest.disk import Disk
from mapreduce.dataflow.manifest.file import (
    JOB_FILE,
    MANIFEST,
    Manifest,
    ManifestFile,
    part_name,
    read_manifest,
    temporary_folder,
)
from mapreduce.dataflow.manifest.parts import Granted
from mapreduce.dataflow.manifest.reserve import prepare_output, remove_after_failure, remove_attempts
from mapreduce.errors import OutputError
from mapreduce.output_formats import COLUMNAR
from mapreduce.urls import is_url

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "JOB_FILE",
    "MANIFEST",
    "Disk",
    "Granted",
    "Manifest",
    "ManifestFile",
    "check_part",
    "commit_job",
    "open_part",
    "part_name",
    "part_paths",
    "prepare_output",
    "read_frame",
    "read_manifest",
    "read_output",
    "remove_after_failure",
    "remove_attempts",
    "temporary_folder",
    "write_text_to",
]

REREADS = 3  # a reader whose output is overwritten under it starts again; more often than this is no accident


def part_paths(output: str | Path, manifest: Manifest) -> list[Path | str]:
    """Give the paths or URLs of the parts, in order. Raises OutputError for one that is missing or of another size."""
    if is_url(str(output)):
        from mapreduce.dataflow.manifest.attempts import checked_parts  # noqa: PLC0415 - only for outputs in stores

        return [*checked_parts(str(output), manifest)]
    paths: list[Path | str] = []
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


def settled(output: str | Path) -> tuple[Manifest, list[Path | str]]:
    """Give a manifest whose parts are all there, also while another job replaces the output. Raises OutputError."""
    for _ in range(REREADS):
        manifest = read_manifest(output)
        try:
            return manifest, part_paths(output, manifest)
        except OutputError:
            if read_manifest(output) == manifest:
                raise
    raise OutputError(f"the output {output} is being overwritten again and again: read it when nothing writes there")


@contextmanager
def open_part(path: Path | str) -> Iterator[Path]:
    """Give a local file with a part's bytes, for as long as the context lasts: the only door of readers to a part.

    Of a part in a store it is a copy. Raises FileNotFoundError where such a part is gone, StoreError.
    """
    if isinstance(path, Path):
        yield path
        return
    from mapreduce.dataflow.manifest.attempts import downloaded  # noqa: PLC0415 - only for outputs in stores

    with downloaded(path) as local:
        yield local


def check_part(path: Path | str, local: Path, file: ManifestFile) -> None:
    """Compare a part with what the manifest says of it; `local` has its bytes. Raises OutputError, OSError."""
    checksum = file_checksum(local)
    if checksum != file.checksum:
        raise OutputError(
            f"the part {path} is not what the job wrote (checksum {checksum}, and the manifest says {file.checksum}): "
            "it was changed or damaged. Run the job again."
        )


@contextmanager
def _opened(path: Path | str, file: ManifestFile) -> Iterator[Path]:
    """Give a local file with a part's bytes, which are those that the manifest tells of. Raises OutputError."""
    try:
        with open_part(path) as local:
            check_part(path, local, file)
            yield local
    except FileNotFoundError as error:
        raise OutputError(f"the part {path} was removed while the output was being read") from error


def _check_types(output: str | Path, manifest: Manifest) -> None:
    """Raise OutputError where the manifest names a type that columns of its format do not have."""
    from mapreduce.dataflow.outputs.read import check_types  # noqa: PLC0415 - as below

    for name, types in (("key", manifest.key_types), ("value", manifest.value_types)):
        try:
            check_types(manifest.format, types, key=name == "key")
        except ValueError as error:
            raise OutputError(
                f"{output}/{MANIFEST} is no manifest of a job: in columns.{name}, {error}: it was changed. "
                "Run the job again"
            ) from error


def read_output(output: str | Path) -> Iterator[tuple[Any, Any]]:
    """Yield all pairs of a finished output, parts in order; keys are None where the job's results are values alone.

    Each part's checksum is compared before its first record is given. Raises OutputError for a missing or damaged part,
    CorruptBlockError. Never unpickles.
    """
    from mapreduce.dataflow.outputs.read import read_part_records  # noqa: PLC0415 - imports Polars, for who needs it

    manifest, paths = settled(output)
    _check_types(output, manifest)
    for file, path in zip(manifest.files, paths, strict=True):
        with _opened(path, file) as local:
            yield from read_part_records(local, manifest.format, manifest.key_types, manifest.value_types)


def read_frame(output: str | Path) -> pl.DataFrame:
    """Give all records of a finished output as one frame with the columns "key" and "value".

    Columns of Parquet and Arrow come as they lie there. Of other formats a column whose values are all of one type that
    Polars has gets that type; any other holds Python objects. Raises as `read_output`.
    """
    import polars as pl  # noqa: PLC0415 - heavy, and most callers have no use for it

    from mapreduce.dataflow.columns.frames import exact_column  # noqa: PLC0415 - as above
    from mapreduce.dataflow.outputs.read import read_frame_of  # noqa: PLC0415 - as above

    manifest, paths = settled(output)
    if (
        not manifest.files
        or manifest.format not in COLUMNAR
        or len(manifest.value_types) > 1
        or len(manifest.key_types) > 1
    ):
        pairs = list(read_output(output))
        keys = exact_column("key", [key for key, _ in pairs])
        return pl.DataFrame([keys, exact_column("value", [value for _, value in pairs])])
    frames: list[pl.DataFrame] = []
    for file, path in zip(manifest.files, paths, strict=True):
        with _opened(path, file) as local:
            frames.append(read_frame_of(local, manifest.format))
    frame = pl.concat(frames)
    return frame if "key" in frame.columns else frame.select(pl.lit(None).alias("key"), "value")


def write_text_to(stream: BinaryIO, output: str | Path, limit: int | None = None) -> int:
    """Write a finished output to a binary stream as text: formats of lines as they are, any other as TSV.

    At most `limit` records, and of CSV a header before the first and wherever another follows; what is compressed is
    decompressed. Returns how many were left out.
    Raises as `read_output`, ValueTypeError where records cannot be said in TSV, and what the stream raises (a closed
    pipe).
    """
    from mapreduce.dataflow.outputs.read import header_of, part_lines, record_ends_of  # noqa: PLC0415 - as above

    manifest, paths = settled(output)
    left = manifest.records if limit is None else min(limit, manifest.records)
    left_out = manifest.records - left
    header = b""
    for number, (file, path) in enumerate(zip(manifest.files, paths, strict=True)):
        if number and not left:
            break
        with _opened(path, file) as local:
            for data, records, others in part_lines(
                local, manifest.format, keys=bool(manifest.key_types), header=header
            ):
                # `others` are lines of the data that are no records: the header
                if others:
                    header = header_of(manifest.format, data)
                if records > left:
                    ends = record_ends_of(manifest.format, data)
                    count = left + others
                    stream.write(data[: int(ends[count - 1])] if count else b"")
                    left = 0
                    break
                stream.write(data)
                left -= records
    return left_out
