"""What stands in an output folder while a job has it, and what was there before."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mapreduce.dataflow.manifest.file import MANIFEST, TEMPORARY
from mapreduce.quick_dataclass import dataclass

RESERVED_FILE = "_reserved"
REPLACED_FILE = "_replaced"


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a job found and made when it reserved its output: the folders it made, and its named outputs."""

    made: list[str]
    overwrite: bool
    outputs: list[str]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a commit replaces: the named outputs of the old manifest, their manifests, and the old `_job.json`."""

    outputs: list[str]
    manifests: dict[str, str]
    job_file: str | None


def occupied(folder: Path | str, ours: Sequence[str], strange: Sequence[str]) -> str:
    """Say what is in the way, and what to do. Never to remove a folder with files that no job wrote."""
    if strange:
        return f"the output folder {folder} is not empty (it holds {strange[0]}): name another folder"
    reserved = [name for name in ours if name.startswith(TEMPORARY)]
    if reserved and MANIFEST not in ours:
        job = reserved[0].removeprefix(TEMPORARY).rstrip("/")
        how = f"this one (rm -r {shlex.quote(str(folder))})" if isinstance(folder, Path) else "what is in this one"
        return (
            f"the output folder {folder} is that of the job {job}, which is running or has died before its end: name "
            f"another folder, or, if nothing runs there, remove {how}"
        )
    return (
        f"the output folder {folder} holds another job's output: name another, remove this one, or say --overwrite "
        "(from Python: overwrite=True)"
    )
