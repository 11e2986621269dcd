"""Kept results: who reads them, whether they are whole, and when nobody wants them any more.

A kept job lives on when all of its tasks are committed: its state is KEPT, its results stay on the workers, and what is
lost of them is made again at once. Jobs read them in their first step, by the ids in their spec.
"""

from __future__ import annotations

from mapreduce.config import KEPT_IDLE_S
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Prepared
from mapreduce.coordinator.states import JobState
from mapreduce.coordinator.text import clip
from mapreduce.plan import EVERY_PART, JobSpec

SHOWN_BYTES = 100  # of an id that is none, in an answer
MAX_READS = 100  # kept inputs of a job: each is named by a person, and their ids fit a control frame many times over


def problem(core: Core, spec: JobSpec) -> str | None:
    """Say why a job cannot keep its results, or read those that it wants to."""
    if spec.keep and spec.output:
        return "a job that keeps its results has no output folder"
    if len(spec.reads) > MAX_READS or len(spec.reads) != len(spec.reads_at):
        return f"a job reads up to {MAX_READS} kept results, each from one of its map tasks on"
    for job, start in zip(spec.reads, spec.reads_at, strict=True):
        record = core.durable.jobs.get(job)
        if record is None or not record.spec.keep:
            shown = clip(job, SHOWN_BYTES)
            return (
                f"no result of a job {shown} is kept here: it was made by another cluster, or long ago; make it again"
            )
        if record.state is JobState.DONE:
            return f"the kept result of {job} is gone: it was dropped, or not used for long; make it again"
        if not record.is_live:
            return f"the kept result of {job} is gone: that job {_end_of(record.state)}; make it again"
        if start != EVERY_PART and not 0 <= start <= spec.steps[0].maps - record.spec.steps[-1].parts:
            return f"the job has too few map tasks to read the parts of {job}"
    return None


def reader_of(core: Core, job: str) -> str | None:
    """Give a live job that reads the kept results of this one."""
    return next((run.record.id for run in core.runs.values() if job in run.record.spec.reads), None)


def are_there(run: JobRun) -> bool:
    """Whether the job's tasks find what they read of kept jobs. Those of later steps do not read it."""
    return run.frontier > 0 or all(record is not None and record.state is JobState.KEPT for record in run.kept)


def missing(run: JobRun) -> str | None:
    """Say which kept results a job needs that are gone for good, if there are any."""
    if run.frontier > 0:
        return None
    for job, record in zip(run.record.spec.reads, run.kept, strict=True):
        if record is None:
            return f"the kept result of {job}, which this job reads, is gone for long"
        if not record.is_live:
            why = f": {record.failure.message}" if record.failure is not None else ""
            return f"the kept result of {job}, which this job reads, is gone: that job {_end_of(record.state)}{why}"
    return None


def hopeless(core: Core, run: JobRun) -> str | None:
    """Say why nobody can make the results of a job that keeps them (again): those who read them would wait for ever."""
    workers = core.roster.workers
    if not run.record.spec.keep or run.record.state is not JobState.RUNNING or not workers:
        return None
    if any(run.prepared.get(worker) is not Prepared.LEFT_OUT for worker in workers):
        return None  # able, or about to say; or away, and it may be able when it comes back
    reason = next(iter(run.left_out.values()), "")
    return f"what it keeps cannot be made (again), since no worker that is left can run it: {reason}"


def _end_of(state: JobState) -> str:
    return "was cancelled" if state is JobState.CANCELLED else "is over" if state is JobState.DONE else "failed"


def now_whole(core: Core, run: JobRun) -> None:
    """A job has all of its kept results: those that read them go on."""
    run.touched_s = core.now_s
    run.find_kept_bytes()
    core.elapsed_s[run.record.id] = core.now_s - run.started_s
    for reader in core.runs.values():
        if run.record.id in reader.record.spec.reads and reader.frontier == 0:
            reader.find_locals()
            core.feed(reader)


def touch(core: Core, run: JobRun) -> None:
    """A job that reads kept results begins or ends: they are still of use."""
    for job in run.record.spec.reads:
        if job in core.runs:
            core.runs[job].touched_s = core.now_s


def idle(core: Core) -> list[JobRun]:
    """The kept jobs that nobody reads, or has read for so long that they end."""
    return [
        run
        for run in core.runs.values()
        if run.record.state is JobState.KEPT
        and core.now_s - run.touched_s >= KEPT_IDLE_S
        and reader_of(core, run.record.id) is None
    ]
