"""Former outputs among the inputs of a job that reads lines of text only because nobody has said another format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapreduce.dataflow.inputs.find import InputFile
from mapreduce.dataflow.manifest.file import PART, manifest_of
from mapreduce.errors import InputError
from mapreduce.output_formats import ARROW, CSV, JSONL, MSGPACK, PARQUET, split_format
from mapreduce.urls import WEB, is_url, place, scheme_of

if TYPE_CHECKING:
    from mapreduce.job import Job

FOLDERS = 16  # whose manifests are looked at: in a store each is a request
NO_TEXT = (PARQUET, ARROW, MSGPACK)
RECORDS_IN_LINES = (JSONL, CSV)  # which are text too: lines may be meant


def has_no_format(job: Job, number: int) -> bool:
    """Whether the job itself says nothing of the format of its input that is `number`: it is Text() then."""
    parts = job.steps[0].parts
    if parts["inputs"] is None:
        return parts["input"] is None
    return list(parts["inputs"].values())[number].parts["format"] is None


def note_on(files: Sequence[InputFile], name: str) -> str:
    """Say that some of these files are a former output whose records are no lines of text; "" where none is.

    `name` is that of the input, "" if it has none. Raises InputError where they are no text at all.
    """
    for folder in _folders_of_parts(files):
        former = manifest_of(place(folder))
        base = split_format(former.format)[0] if former is not None else ""
        say = f"--input-format {name}={base}" if name else f"--input-format {base}"
        if former is not None and base in NO_TEXT:
            raise InputError(f"{folder} is the output of a job in {former.format}, and not text: say {say}")
        if former is not None and base in RECORDS_IN_LINES:
            return (
                f"{folder} is the output of a job in {former.format}, and was read as lines of text: say {say} to have "
                f"its records, or {say.removesuffix(base)}text if lines are meant"
            )
    return ""


def _folders_of_parts(files: Sequence[InputFile]) -> list[str]:
    """The folders of the files that are called as parts of outputs are, the first of them."""
    found: dict[str, None] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if PART.fullmatch(name) and not (is_url(file.path) and scheme_of(file.path) in WEB):
            found[folder] = None
            if len(found) == FOLDERS:
                break
    return list(found)
