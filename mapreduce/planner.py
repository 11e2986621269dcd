"""From a job, its inputs and options to what is submitted: a `JobSpec` and its three blobs.

Owns the defaults that depend on the input alone, the job's id, and the reserving of the output folder. Runs none of
the user's functions and starts nothing.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from mapreduce.calls import convert_parameters
from mapreduce.dataflow import inputs as dataflow_inputs
from mapreduce.dataflow.manifest import prepare_output, remove_attempts
from mapreduce.dataflow.probe import make_probe
from mapreduce.dataflow.split_file import encode_splits
from mapreduce.errors import OutputError, UsageError
from mapreduce.job import Job, check_encoding_errors, check_reducers, parse_size
from mapreduce.package import build_package
from mapreduce.plan import JobSpec, Limits, Split, StepShape, TaskOptions
from mapreduce.protocol import plain
from mapreduce.request import Request
from mapreduce.targets import LoadedTarget, job_from_module, load_job

MAX_PRIORITY = 1_000_000  # fits a message, and leaves room between any two
MAX_NAME_CHARS = 40  # of a job's name inside its id: ids are typed and lie in file names


@dataclass(frozen=True, slots=True)
class Planned:
    """A job that is ready to be submitted; its output folder is reserved. `blobs` maps SHA-256 (hex) to bytes.

    `job`, `params` and `options` are what the code blob holds, for a runner in this process.
    """

    spec: JobSpec
    blobs: dict[str, bytes]
    job: Job
    params: dict[str, Any]
    options: TaskOptions

    def discard(self) -> None:
        """Remove what attempts left in the output folder, and the folder itself if it was made for this job."""
        remove_attempts(Path(self.spec.output), self.spec.job)


def new_job_id(name: str, when: datetime, chance: str) -> str:
    """A readable id: the job's name, the time, and some letters of chance."""
    plain_name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:MAX_NAME_CHARS] or "job"
    return f"{plain_name}-{when:%Y%m%d-%H%M%S}-{chance}"


def shapes_of(job: Job, splits: int, reducers: int) -> tuple[StepShape, ...]:
    """How many tasks each step has; a step after the first has a map task for each part of the step before."""
    shapes: list[StepShape] = []
    for step in job.resolved:
        maps = shapes[-1].parts if shapes else splits
        shapes.append(StepShape(maps, 0 if step.map_only else reducers, step.title))
    return tuple(shapes)


def load(job: Job | ModuleType | str) -> Job | LoadedTarget:
    """Find the job that was meant. Raises JobDefinitionError."""
    if isinstance(job, str):
        return load_job(job)
    if isinstance(job, Job):
        return job
    if isinstance(job, ModuleType):
        return job_from_module(job)
    raise UsageError(
        f"a job is a Job (such as Job(my_mapper)), a module or a target (such as 'jobs/word_count.py'), "
        f"not {type(job).__name__}"
    )


def plan(request: Request) -> Planned:
    """Load the job, find and cut the inputs, pack the code, reserve the output folder.

    Raises a UsageError that names what is wrong; then nothing is left behind.
    """
    loaded = load(request.job)
    job = loaded.job if isinstance(loaded, LoadedTarget) else loaded
    params = convert_parameters(job, request.params)
    encoding = request.encoding or job.encoding
    if type(request.priority) is not int or abs(request.priority) > MAX_PRIORITY:
        raise UsageError(f"a priority is a whole number up to {MAX_PRIORITY:,}, not {request.priority!r}")
    if not request.inputs:
        raise UsageError("no inputs: give files, folders or globs")
    files = dataflow_inputs.find_inputs(request.inputs)
    _refuse_own_output(files, request.output)
    total = sum(file.size for file in files)
    split_size = job.split_size if request.split_size is None else parse_size(request.split_size)
    # An empty input still has one (empty) task, so that the job runs its course and its output exists.
    splits = dataflow_inputs.plan_splits(files, split_size, encoding) or (Split(()),)
    reducers = request.reducers if request.reducers is not None else job.reducers
    reducers = dataflow_inputs.default_reducers(total) if reducers is None else check_reducers(reducers)
    job_id = new_job_id(job.name, datetime.now(UTC), secrets.token_hex(2))
    options = TaskOptions(
        job=job_id,
        output=str(Path(request.output).absolute()),
        output_format=request.output_format,
        overwrite=request.overwrite,
        encoding=encoding,
        encoding_errors=check_encoding_errors(request.encoding_errors or job.encoding_errors),
        seed=job.seed,
        steps=shapes_of(job, len(splits), reducers),
        limits=request.limits or Limits(),
    )
    code = build_package(loaded, params, options)
    notes = () if request.slots is None else dataflow_inputs.notes(splits, request.slots, split_size)
    if not files:
        notes = (*notes, "the inputs hold no file (in folders, names that begin with . or _ are skipped)")
    prepare_output(options.output, job_id, request.overwrite)
    try:
        probe = plain.pack(make_probe(files, Path(options.output), job_id))
        blobs = {hashlib.sha256(blob).hexdigest(): blob for blob in (code, encode_splits(splits), probe)}
        spec = _spec(request, options, tuple(blobs), name=job.name, total=total, notes=notes)
        return Planned(spec, blobs, job, params, options)
    except BaseException:
        remove_attempts(Path(options.output), job_id)
        raise


def _refuse_own_output(files: Sequence[dataflow_inputs.InputFile], output: str) -> None:
    """Refuse inputs inside the output folder: the results of a former run would be read, and counted, as input."""
    folder = Path(output).absolute()
    inside = (f"{folder}{os.sep}", f"{folder.resolve()}{os.sep}")
    for file in files:
        if file.path.startswith(inside):
            raise OutputError(
                f"the input {file.path} lies in the output folder {folder}: name an output folder outside of the inputs"
            )


def _spec(
    request: Request, options: TaskOptions, blobs: tuple[str, ...], *, name: str, total: int, notes: tuple[str, ...]
) -> JobSpec:
    code, splits, probe = blobs
    return JobSpec(
        job=options.job,
        name=name,
        steps=options.steps,
        code=code,
        plan=splits,
        probe=probe,
        output=options.output,
        input_bytes=total,
        priority=request.priority,
        user_attempts=request.user_attempts,
        submitted_ms=time.time_ns() // 1_000_000,
        submitter=_submitter(),
        notes=notes,
    )


def _submitter() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
