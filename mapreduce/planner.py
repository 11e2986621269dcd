"""From a job, its inputs and options to what is submitted: a `JobSpec` and its blobs.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

from mapreduce.calls import convert_parameters
from mapreduce.dataflow.inputs import find as dataflow_inputs
from mapreduce.dataflow.inputs.probe import make_probe
from mapreduce.dataflow.manifest.disk import Disk, QuickDisk
from mapreduce.dataflow.manifest.folder import prepare_output, remove_after_failure
from mapreduce.errors import UsageError
from mapreduce.job import Job, StepPlan, check_encoding_errors, check_reducers, parse_size
from mapreduce.max_bad import read_max_bad
from mapreduce.notebook import origin_of, replaced_job
from mapreduce.output_formats import RECORDS, check_output_format
from mapreduce.partitioners import KeyPartitioner, RangePartitioner
from mapreduce.plan import JobSpec, Limits, MaxBad, StepShape, TaskOptions
from mapreduce.planner_inputs import CutInputs, cut_inputs
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass
from mapreduce.request import Request
from mapreduce.secret_urls import without_secrets
from mapreduce.targets import LoadedTarget, job_as_named, job_from_module, load_job, misspelt
from mapreduce.travel.package import Package, build_package, build_setup
from mapreduce.travel.side_files import pack_files
from mapreduce.urls import is_url, whole_place

MAX_PRIORITY = 1_000_000  # fits a message, and leaves room between any two
MAX_NAME_CHARS = 39  # of a job's name inside its id: ids are typed and lie in file names, and have 64 at most
ID_CHANCE_BYTES = 4  # so that jobs of one name that begin in the same second have ids of their own


@dataclass(frozen=True, slots=True)
class Planned:
    """A job that is ready to be submitted; its output folder is reserved. `blobs` maps SHA-256 (hex) to bytes.

    `job`, `params` and `options` are what the blobs of code and setup hold, for a runner in this process. `made` are
    the folders that were made to reserve the output.
    """

    spec: JobSpec
    blobs: dict[str, bytes]
    job: Job
    params: dict[str, Any]
    options: TaskOptions
    made: tuple[str, ...] = ()

    def discard(self) -> None:
        """Remove what attempts left in the output folder, and the folder itself if it was made for this job."""
        if self.spec.output:
            remove_after_failure(self.spec.output, self.spec.job, self.made)


def new_job_id(name: str, when: datetime, chance: str) -> str:
    """A readable id: the job's name, the time, and some letters of chance."""
    plain_name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:MAX_NAME_CHARS] or "job"
    return f"{plain_name}-{when:%Y%m%d-%H%M%S}-{chance}"


def shapes_of(
    job: Job, splits: int, reducers: int | None, default: Callable[[StepPlan], int] = lambda _step: 1
) -> tuple[StepShape, ...]:
    """How many tasks each step has; a step after the first has a map task for each part of the step before.

    `reducers` is the number that was asked for, None for what the partitioner needs, or else the step's `default`.
    Raises UsageError where a partitioner needs another number than was asked for, and no other step takes that.
    """
    takes_any = any(not step.map_only and _parts_of(step) is None for step in job.resolved)
    shapes: list[StepShape] = []
    for step in job.resolved:
        maps = shapes[-1].parts if shapes else splits
        reduces = 0 if step.map_only else _reduces_of(step, reducers, default(step), is_free=takes_any)
        shapes.append(StepShape(maps, reduces, step.title))
    return tuple(shapes)


def _reducers_for(size: int, step: StepPlan) -> int:
    return dataflow_inputs.default_reducers(size, collapsed=step.collapses)


def _parts_of(step: StepPlan) -> int | None:
    """How many parts a step's partitioner makes, None where it makes as many as there are reducers."""
    return step.partitioner.parts if isinstance(step.partitioner, KeyPartitioner) else None


def _reduces_of(step: StepPlan, reducers: int | None, default: int, *, is_free: bool) -> int:
    """The number of a step's reduce tasks; `is_free` says that `reducers` may be meant for another step."""
    partitioner, parts = step.partitioner, _parts_of(step)
    if parts is None:
        return default if reducers is None else reducers
    if reducers is None or reducers == parts or (is_free and reducers < parts):
        return parts
    if is_free and isinstance(partitioner, RangePartitioner):
        return parts
    if isinstance(partitioner, RangePartitioner):
        raise UsageError(
            f"{partitioner!r} makes {parts} parts, so the step has {parts} reducers and not {reducers}: leave the "
            "number of reducers out, or give other boundaries"
        )
    if reducers < parts:
        raise UsageError(
            f"{partitioner!r} names {parts} parts, and {reducers} reducers make fewer: leave their number out, or "
            "choose a larger one"
        )
    return reducers


def load(job: Job | ModuleType | str) -> Job | LoadedTarget:
    """Find the job that was meant. Raises JobDefinitionError."""
    if isinstance(job, str):
        return load_job(job)
    if isinstance(job, Job):
        return job_as_named(job)
    if isinstance(job, ModuleType):
        return job_from_module(job)
    raise UsageError(
        f"a job is a Job (such as Job(my_mapper)), a module or a target (such as 'jobs/word_count.py'), "
        f"not {type(job).__name__}"
    )


def plan(
    request: Request,
    loaded: Job | LoadedTarget | None = None,
    will_write: Callable[[str, str], None] = lambda _job, _output: None,
) -> Planned:
    """Load the job (unless it is `loaded`), find and cut the inputs, pack the code, reserve the output folder.

    `will_write` is told the job's id and its output folder before that is touched. Raises a UsageError that names what
    is wrong; then nothing is left behind.
    """
    loaded = load(request.job) if loaded is None else loaded
    job = loaded.job if isinstance(loaded, LoadedTarget) else loaded
    request, replaced = _run_again(request, job.name)
    params = convert_parameters(job, request.params)
    if type(request.priority) is not int or abs(request.priority) > MAX_PRIORITY:
        raise UsageError(f"a priority is a whole number up to {MAX_PRIORITY:,}, not {request.priority!r}")
    inputs = cut_inputs(job, request)
    job_id = new_job_id(job.name, datetime.now(UTC), secrets.token_hex(ID_CHANCE_BYTES))
    options = _options(job, request, inputs, job_id)
    code = build_package(loaded)
    travelling = pack_files(request.files)
    options = _identified(options, job, params, code, travelling)
    setup = build_setup(params, options, code)
    module = loaded.module if isinstance(loaded, LoadedTarget) else request.job
    near = misspelt(module) if isinstance(module, ModuleType) else ()
    notes = (*replaced, *near, *inputs.notes(request.slots))
    splits = inputs.encoded()
    if not options.keep:
        will_write(job_id, options.output)
    with _output(options) as made:
        probe = plain.pack(make_probe(inputs.files, options.output, job_id))
        blobs = (code, setup, splits, probe, travelling)
        sums = tuple(hashlib.sha256(blob).hexdigest() if blob else "" for blob in blobs)
        spec = _spec(request, options, sums, name=job.name, inputs=inputs, notes=notes)
        found = {sha256: blob for sha256, blob in zip(sums, blobs, strict=True) if blob}
        return Planned(spec, found, job, params, options, made)


def _identified(options: TaskOptions, job: Job, params: dict[str, Any], code: bytes, files: bytes) -> TaskOptions:
    """The options with the identities of the steps, where map results could be saved under them."""
    if options.keep or (len(options.steps) == 1 and job.resolved[0].map_only):
        return options
    from mapreduce.identity.steps import identities_of  # noqa: PLC0415 - not for jobs that leave no map results

    files_sum = hashlib.sha256(files).hexdigest() if files else ""
    identities = identities_of(job, options, params, plain.unpack(Package, code), files_sum)
    return replace(options, identities=identities)


def _changed(request: Request, options: TaskOptions) -> tuple[str, ...]:
    """What of code and options is not as it was in the failed job that is resumed."""
    if not request.resumes:
        return ()
    from mapreduce.identity.steps import changed_since  # noqa: PLC0415 - for such jobs alone

    return changed_since(request.former, options.identities)


@contextmanager
def _output(options: TaskOptions) -> Iterator[tuple[str, ...]]:
    """Reserve the output folder, and give the folders made for it; `keep` needs none. An error lets go of it."""
    made: tuple[str, ...] = ()
    if not options.keep:
        disk = Disk() if options.durable else QuickDisk()
        outputs = [name for name, _ in options.outputs]
        made = prepare_output(options.output, options.job, options.overwrite, outputs, disk)
    try:
        yield made
    except BaseException:
        if not options.keep:
            remove_after_failure(options.output, options.job, made)
        raise


def _run_again(request: Request, name: str) -> tuple[Request, tuple[str, ...]]:
    """Let a cell or line that runs again replace its own former output; and a warning if that was of another job."""
    given = request.overwrite or request.keep
    former = None if given else replaced_job(whole_place(request.output), name)
    if former is None:
        return request, ()
    job_id, former_name = former
    note = f"this replaces the output of {job_id}, another job that was run here: did you mean another folder?"
    return replace(request, overwrite=True), (() if former_name == name else (note,))


def _output_format(job: Job, request: Request) -> str:
    """The format of the results. Raises JobDefinitionError for what is none."""
    given = request.output_format
    if given is None or given == RECORDS:
        return given or job.output
    return check_output_format("output_format=", given)


def _named_outputs(job: Job, request: Request) -> tuple[tuple[str, str], ...]:
    """The named outputs with their formats: typed records where the results are kept as such. Raises UsageError."""
    if request.keep and job.outputs:
        raise UsageError(
            f"the job {job.name} writes the named outputs {', '.join(job.outputs)}, which need an output folder: run "
            "it without keep=True"
        )
    return tuple((name, RECORDS if request.output_format == RECORDS else given) for name, given in job.outputs.items())


def _part_size(job: Job, request: Request) -> int | None:
    """Bytes of a part's files, where parts are for a folder. Raises JobDefinitionError for what is no size."""
    if request.keep or request.output_format == RECORDS:
        return None
    return job.part_size if request.part_size is None else parse_size(request.part_size, "part_size=")


def _max_bad(request: Request) -> MaxBad | None:
    """How many bad records the job puts aside. Raises UsageError where there is no folder for them."""
    found = read_max_bad(request.max_bad)
    if found is not None and request.keep:
        raise UsageError("max_bad= puts bad records aside in an output folder: run the job without keep=True")
    return found


def _options(job: Job, request: Request, inputs: CutInputs, job_id: str) -> TaskOptions:
    """What every task needs to know."""
    reducers = request.reducers if request.reducers is not None else job.reducers
    reducers = None if reducers is None else check_reducers(reducers)
    output = "" if request.keep else whole_place(request.output)
    return TaskOptions(
        job=job_id,
        output=output,
        output_format=_output_format(job, request),
        overwrite=request.overwrite,
        durable=request.durable and not is_url(output),
        encoding=request.encoding or job.encoding,
        encoding_errors=check_encoding_errors(request.encoding_errors or job.encoding_errors),
        seed=job.seed,
        steps=shapes_of(job, len(inputs.cut.splits), reducers, partial(_reducers_for, inputs.size)),
        inputs=inputs.cut.maps,
        formats=inputs.formats,
        outputs=_named_outputs(job, request),
        origin={} if request.keep else origin_of(output, job.name),
        keep=request.keep,
        resumes=request.resumes,
        limits=request.limits or Limits(),
        part_size=_part_size(job, request),
        max_bad=_max_bad(request),
    )


def _spec(
    request: Request,
    options: TaskOptions,
    blobs: tuple[str, ...],
    *,
    name: str,
    inputs: CutInputs,
    notes: tuple[str, ...],
) -> JobSpec:
    code, setup, splits, probe, files = blobs
    return JobSpec(
        job=options.job,
        name=name,
        steps=options.steps,
        code=code,
        setup=setup,
        plan=splits,
        probe=probe,
        files=files,
        warm=request.warm,
        output=options.output,
        input_bytes=inputs.size,
        priority=request.priority,
        user_attempts=request.user_attempts,
        submitted_ms=time.time_ns() // 1_000_000,
        submitter=_submitter(),
        notes=tuple(map(without_secrets, notes)),
        keep=request.keep,
        reads=inputs.reads,
        reads_at=inputs.reads_at,
        resumes=request.resumes,
        former_maps=request.former_maps,
        changed=_changed(request, options),
        saves=all(one.is_known for one in options.identities[:1]),
        max_bad=options.max_bad,
    )


def _submitter() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
