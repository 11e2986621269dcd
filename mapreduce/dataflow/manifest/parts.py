"""The parts of an output as its commit knows them: from the granted attempts' facts to files, names and the manifest.

The same for a folder on disk and in a store; nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapreduce.dataflow.manifest.file import Manifest, ManifestFile, object_name, part_name, temporary_folder
from mapreduce.errors import MapReduceError
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, PartFile, PartInfo, TaskOptions
from mapreduce.quick_dataclass import dataclass
from mapreduce.urls import is_url

if TYPE_CHECKING:
    from mapreduce.dataflow.outputs.common import Rewrite


@dataclass(frozen=True, slots=True)
class Granted:
    """An attempt whose files are granted: its part of the job's output, and of each named output."""

    attempt: AttemptId
    part: PartInfo
    outputs: Mapping[str, PartInfo] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A part's file on its way: from `source` to `target`; `mended` says that it is written again on the way."""

    attempt: AttemptId
    source: Path
    target: Path
    file: PartFile
    mended: bool

    def entry(self) -> ManifestFile:
        """What the manifest says of it; the size and checksum of a mended one are those of what it was."""
        return ManifestFile(self.target.name, self.file.records, self.file.size, self.file.checksum)


@dataclass(frozen=True, slots=True)
class Output:
    """One output of the job on its way; `name` is "" for the job's own. `rewrite` is what mends its files."""

    name: str
    folder: Path
    parts: list[Part]
    manifest: Manifest
    rewrite: Rewrite | None

    def is_written(self, found: Manifest | None) -> bool:
        """Whether a manifest is this output's: mended parts are known by name and records."""
        if found is None or len(found.files) != len(self.parts):
            return False
        pairs = zip(found.files, self.parts, strict=True)
        files = [
            replace(file, bytes=part.file.size, checksum=part.file.checksum) if part.mended else file
            for file, part in pairs
        ]
        return replace(found, files=tuple(files)) == self.manifest


def outputs_of(folder: Path, options: TaskOptions, granted: Sequence[Granted]) -> tuple[list[Output], Output]:
    """The named outputs, and the job's own, whose manifest lists them; in a store `folder` is empty."""
    named: list[Output] = []
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
) -> Output:
    from mapreduce.dataflow.outputs.common import common_of  # noqa: PLC0415 - as in `warnings_of`
    from mapreduce.dataflow.outputs.files import Writing  # noqa: PLC0415 - as in `warnings_of`

    name, output_format = output
    common = common_of(output_format, [info for _, info in infos], Writing.of(options))
    place, temporary = folder / name, temporary_folder(folder, options.job)
    parts: list[Part] = []
    for attempt, info in infos:
        mended = common.mends(info)
        for number, file in info.each():
            if is_url(options.output):  # the attempt has uploaded it to where it stays
                source = place / object_name(attempt, output_format, number)
                target = place / object_name(attempt, output_format, number, mended=mended)
            else:
                source = temporary / attempt_output_name(attempt, name, number)
                target = place / part_name(attempt.task.index, options, output_format, number)
            parts.append(Part(attempt, source, target, file, mended))
    files = tuple(part.entry() for part in parts)
    manifest = Manifest(output_format, files, common.keys, common.values, outputs or {})
    return Output(name, place, parts, manifest, common.rewrite)


def manifest_bytes(output: Output, sums: Mapping[Path, tuple[int, str]]) -> bytes:
    """The manifest, with the `sums` (size, checksum) of parts that were mended, by their paths."""
    found = [sums.get(part.target, (part.file.size, part.file.checksum)) for part in output.parts]
    entries = zip(output.manifest.files, found, strict=True)
    files = [replace(file, bytes=size, checksum=checksum) for file, (size, checksum) in entries]
    return replace(output.manifest, files=tuple(files)).to_bytes()


def warnings_of(output: Output) -> list[str]:
    """What to tell the user of an output."""
    from mapreduce.dataflow.outputs.read import read_back  # noqa: PLC0415 - imports Polars, which a client can do without

    manifest = output.manifest
    whose = f"the output {output.name!r}" if output.name else "the output"
    columns = (("keys", manifest.key_types), ("values", manifest.value_types))
    alone = not manifest.key_types
    told = [(column, read_back(manifest.format, types, key=column == "keys", alone=alone)) for column, types in columns]
    return [f"the {column} of {whose} {what}" for column, what in told if what]
