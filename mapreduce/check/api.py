"""What programs call to check a job. Imports little: `import mapreduce` names it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mapreduce.api import Inputs, to_the_point
from mapreduce.errors import UsageError
from mapreduce.former_results import read_paths
from mapreduce.request import Request
from mapreduce.travel.side_files import Files, read_files

if TYPE_CHECKING:
    from mapreduce.check.report import CheckReport
    from mapreduce.job import Job

RECORDS = 1000  # of the sample: enough for keys to meet, and a second or two for an ordinary job
MOST_RECORDS = 1_000_000  # all trials keep what they give in memory


@to_the_point
def check_job(
    job: Job | ModuleType | str,
    inputs: Inputs,
    *,
    records: int = RECORDS,
    slots: int | None = None,
    params: Mapping[str, Any] | None = None,
    files: Files | None = None,
    **options: Any,
) -> CheckReport:
    """Check a job on a sample of its input, as `mapreduce check` does; `print` the report, or ask it for `is_good`.

    `job`, `inputs` and the other arguments are those of `run`; `options` are further ones of it that say how the input
    is read and the output written (reducers, split_size, encoding, output_format…). `records` is the size of the
    sample. The functions are called in this process and in others; no output is written.

    Raises UsageError where there is nothing to check: no such file, an unknown parameter. All that is wrong with the
    job itself is in the report.
    """
    from mapreduce.check.checks import check  # noqa: PLC0415 - imports Polars and all of the data plane

    given: dict[str, Any] = {"params": dict(params or {}), "files": read_files(files), "slots": slots, **options}
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise UsageError(f"check_job() has no option {unknown[0]!r}: it takes {', '.join(OPTIONS)}")
    return check(Request(job=job, inputs=read_paths(inputs), **given), checked_records(records))


# What `run` takes too, and what a check has a use for.
OPTIONS = (
    "encoding",
    "encoding_errors",
    "input_format",
    "max_bad",
    "output_format",
    "part_size",
    "reducers",
    "split_size",
)


def checked_records(records: object) -> int:
    """The size of a sample. Raises UsageError for what can be none."""
    if isinstance(records, bool) or not isinstance(records, int) or not 1 <= records <= MOST_RECORDS:
        raise UsageError(f"a sample has from 1 to {MOST_RECORDS:,} records, not {records!r}")
    return records


def folder_note(output: str | os.PathLike[str], *, overwrite: bool) -> str:
    """What is to be said of the folder that a run would write to: "" for one that it can have."""
    folder = Path(output)
    if overwrite or not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return ""
    return f"the output {output} exists, and a run refuses it: name another one, or give --overwrite"
