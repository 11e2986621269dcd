"""A job's life: submitted, prepared on the workers, moved on, ended.

Before the first task every connected worker must have loaded the job's code and seen its files; a worker that comes
later and cannot is left out.
"""

from __future__ import annotations

from dataclasses import replace

from mapreduce.config import CONTROL_FRAME_BYTES, JOBS_REMEMBERED, LOST_ATTEMPTS
from mapreduce.coordinator import entries as e
from mapreduce.coordinator import kept
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.durable import output_key
from mapreduce.coordinator.job_run import JobRun
from mapreduce.coordinator.job_run import Prepared as Readiness
from mapreduce.coordinator.records import DIGEST_BYTES, JobRecord
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.states import JobState
from mapreduce.coordinator.text import fitting
from mapreduce.plan import JOB_ID, RESUMED_JOBS, Failure, FailureKind, JobSpec, TaskKind
from mapreduce.protocol.messages import (
    Accepted,
    CancelAttempt,
    ForgetJob,
    NeedBlobs,
    Prepared,
    PrepareJob,
    Rejected,
)

MAX_STEPS = 50  # of a job: their shapes fit a status message many times over
MAX_TASKS = 1_000_000  # of a stage: five times the largest plan, and its tables fit in memory
MAX_REDUCES = CONTROL_FRAME_BYTES // 2 // DIGEST_BYTES  # of a step: a map's outcome holds a digest for each
MAX_TEXT_BYTES = 4096  # of a path (as PATH_MAX), a name or a title
SHA256_CHARS = 64
WARM_CHARS = 64  # of the token that names warm processes: ours have 32
SHOWN_CHARS = 100  # of an id that is none, in an answer


def submit(core: Core, spec: JobSpec, missing_blobs: tuple[str, ...]) -> Accepted | NeedBlobs | Rejected:
    """Take a job on, and give the answer. The same job again, from a client that has not heard, is taken on once."""
    known = core.durable.jobs.get(spec.job)
    if known is not None and known.spec != spec:
        return Rejected(f"another job has the id {spec.job}: run it again")
    if known is not None:
        return Accepted(spec.job)
    problem = _problem(spec) or kept.problem(core, spec)
    holder = core.durable.outputs.get(output_key(spec.output))
    if problem is None and holder is not None:
        problem = (
            f"job {holder} is writing to {spec.output}: wait for its end, cancel it, or choose another output folder"
        )
    if problem is not None:
        return Rejected(problem)
    if missing_blobs:
        return NeedBlobs(missing_blobs)
    core.record(e.JobSubmitted(spec))
    run = add_run(core, core.durable.jobs[spec.job])
    kept.touch(core, run)
    for worker in core.roster.ready():
        ask_to_prepare(core, run, worker)
    return Accepted(spec.job)


def _problem(spec: JobSpec) -> str | None:
    """Say what is wrong with a spec that no client of ours makes."""
    if not 1 <= len(spec.steps) <= MAX_STEPS:
        return f"a job has 1 to {MAX_STEPS} steps, not {len(spec.steps)}"
    sizes = [size for shape in spec.steps for size in (shape.maps, shape.reduces)]
    if not all(0 <= size <= MAX_TASKS for size in sizes):
        return f"a step has 0 to {MAX_TASKS} tasks of a kind, not {max(sizes, key=abs)}"
    reduces = max(shape.reduces for shape in spec.steps)
    if reduces > MAX_REDUCES:
        return f"a step has at most {MAX_REDUCES} reduce tasks, not {reduces}: give fewer with --reducers"
    if not 1 <= spec.user_attempts <= LOST_ATTEMPTS:
        return f"a task may fail 1 to {LOST_ATTEMPTS} times, not {spec.user_attempts}"
    for before, shape in zip(spec.steps, spec.steps[1:], strict=False):
        if shape.maps != before.parts:
            return f"a step after one with {before.parts} parts has as many maps, not {shape.maps}"
    if not JOB_ID.fullmatch(spec.job) or spec.job == "last":
        return (
            f"{spec.job[:SHOWN_CHARS]!r} cannot be a job's id: it has 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-', "
            f"begins with a letter or digit, and is not 'last'"
        )
    if len(spec.resumes) > RESUMED_JOBS:
        return f"a job goes on with at most {RESUMED_JOBS} failed ones, not {len(spec.resumes)}"
    strange = [job for job in spec.resumes if not JOB_ID.fullmatch(job)]
    if strange:
        return f"{strange[0][:SHOWN_CHARS]!r} cannot be the id of a job to resume"
    return _unfit_text(spec)


def _unfit_text(spec: JobSpec) -> str | None:
    texts = [spec.name, spec.output, spec.submitter, *(shape.title for shape in spec.steps)]
    if max(len(text.encode()) for text in texts) > MAX_TEXT_BYTES:
        return f"a job's name, output and titles have at most {MAX_TEXT_BYTES} bytes each"
    if any(len(sha256) != SHA256_CHARS for sha256 in spec.blobs):
        return "code, setup, plan, probe and files are SHA-256 sums in hex"
    if len(spec.warm) > WARM_CHARS:
        return f"the token of warm processes has at most {WARM_CHARS} characters"
    return None


def add_run(core: Core, record: JobRecord) -> JobRun:
    """Set up the volatile side of a live job, new or recovered."""
    read = [core.durable.jobs.get(job) for job in record.spec.reads]
    run = JobRun(record, core.epoch, core.durable.workers, core.now_s, read)
    core.runs[record.id] = run
    if record.state in {JobState.RUNNING, JobState.COMMITTING}:
        core.feed(run)
    return run


# ---- preparing


def ask_to_prepare(core: Core, run: JobRun, worker: Worker) -> None:
    """Have a worker make ready for a job, unless it is or has been asked."""
    if worker.id not in run.prepared:
        spec = run.record.spec
        run.set_prepared(worker, Readiness.ASKED)
        blobs = (spec.code, spec.setup, spec.plan, spec.probe, spec.files)
        core.tell(worker, PrepareJob(spec.job, spec.name, *blobs, warm=spec.warm))
        core.touch(spec.job)


def prepared(core: Core, worker: Worker, message: Prepared) -> None:
    """A worker is ready for a job, or says why it never will be."""
    job, problem = message.job, message.problem
    run = core.runs.get(job)
    if run is None:  # it ended while the worker was away, perhaps: its inventory does not name what is not ready
        tell_to_forget(core, worker, job)
        return
    core.touch(job)
    if problem is None:
        run.set_prepared(worker, Readiness.READY)
        run.note_saved(worker.id, message.saved)
        run.left_out.pop(worker.id, None)
        start_when_prepared(core, run)
        if run.record.state is not JobState.PREPARING:
            core.feed(run)
        return
    problem = replace(fitting(problem), worker=worker.label)
    if run.record.state is JobState.PREPARING:
        end(core, run, JobState.FAILED, problem)
        return
    run.set_prepared(worker, Readiness.LEFT_OUT)
    run.left_out[worker.id] = problem.message
    core.record(e.Warned(job, f"worker {worker.label} is left out: {problem.message}"))
    fail_if_hopeless(core, run)


def start_when_prepared(core: Core, run: JobRun) -> None:
    """Let the job run once every worker that was asked is ready, and there is one."""
    if run.record.state is not JobState.PREPARING or not run.prepared:
        return
    if run.ready == len(run.prepared):
        core.record(e.JobMoved(run.record.id, JobState.RUNNING))
        move_on(core, run)


def forget_worker(core: Core, worker: Worker) -> None:
    """A session has ended: its worker is no longer ready for anything, and nobody waits for it to be."""
    for run in tuple(core.runs.values()):
        if worker.id in run.prepared:
            run.set_prepared(worker, None)
            run.left_out.pop(worker.id, None)
            start_when_prepared(core, run)
            core.touch(run.record.id)


# ---- moving on


def move_on(core: Core, run: JobRun) -> None:
    """After commits and revocations: find the stage that gives out tasks, and the job's state with it."""
    run.advance()
    record = run.record
    at_end = run.frontier > record.final
    if at_end and record.state is JobState.RUNNING:
        core.record(e.JobMoved(record.id, JobState.KEPT if record.spec.keep else JobState.COMMITTING))
        if record.spec.keep:
            kept.now_whole(core, run)
    elif not at_end and record.state in {JobState.COMMITTING, JobState.KEPT}:
        core.record(e.JobMoved(record.id, JobState.RUNNING))
        _cancel_running(core, run, TaskKind.COMMIT)
    core.feed(run)
    core.touch(record.id)
    fail_without_kept(core, run)


def fail_without_kept(core: Core, run: JobRun) -> None:
    """End a job that is to read what is gone for good."""
    gone = kept.missing(run)
    if gone is not None:
        fail(core, run, gone)


def fail_if_too_bad(core: Core, run: JobRun) -> bool:
    """End a job that has put more records aside than it may; a share of them is judged once its first maps are done."""
    record = run.record
    limit = record.spec.max_bad
    if limit is None or not record.bad.kinds:
        return False
    failure = record.bad.problem(limit, record.records_in, maps_done=record.stages[0].is_whole)
    if failure is None:
        return False
    end(core, run, JobState.FAILED, failure)
    return True


def fail_if_hopeless(core: Core, run: JobRun) -> None:
    """End a job that is to keep its results, and that no worker is able to run any more."""
    reason = kept.hopeless(core, run)
    if reason is not None:
        fail(core, run, reason)


def _cancel_running(core: Core, run: JobRun, kind: TaskKind | None = None) -> None:
    """Stop the job's attempts (of one kind). Each keeps its slot until its agent says that it has stopped."""
    for place in [p for p in run.running if kind is None or run.record.stages[p[0]].kind is kind]:
        attempt = core.attempt_at(run, place)
        worker = core.roster.workers.get(run.stop(place).worker)
        if worker is not None:
            core.tell(worker, CancelAttempt(attempt))


# ---- ending


def end(core: Core, run: JobRun, state: JobState, failure: Failure | None = None) -> None:
    """End a job: nothing of it runs on, and the workers forget it.

    If it did not succeed, they also remove what its attempts have left in the output folder.
    """
    record = run.record
    _cancel_running(core, run)
    core.record(e.JobEnded(record.id, state, None if failure is None else fitting(failure)))
    del core.runs[record.id]
    run.openings.clear()
    kept.touch(core, run)
    core.sate(record)
    core.elapsed_s[record.id] = core.now_s - run.started_s
    for attempt in [a for a in core.attempt_logs if a.task.job == record.id]:
        del core.attempt_logs[attempt]
    for worker in core.roster.workers.values():
        for stage in range(-len(record.spec.reads), len(record.stages)):
            worker.cursors.pop((record.id, stage), None)
        if worker.ready:
            tell_to_forget(core, worker, record.id)
    core.touch(record.id)
    while len(core.durable.ended) > JOBS_REMEMBERED:
        oldest = next(iter(core.durable.ended))
        core.record(e.JobForgotten(oldest))
        core.log_sizes.pop(oldest, None)
        core.elapsed_s.pop(oldest, None)
        core.watchers.pop(oldest, None)
    for reader in [reader for reader in core.runs.values() if record.id in reader.record.spec.reads]:
        if reader.record.is_live:  # the end of one may have been that of another
            fail_without_kept(core, reader)


def end_idle(core: Core) -> None:
    """End the kept jobs that nobody has used for long."""
    for run in kept.idle(core):
        end(core, run, JobState.DONE)


def tell_to_forget(core: Core, worker: Worker, job: str) -> None:
    """Tell a worker that a job is over."""
    record = core.durable.jobs.get(job)
    unclean = record is not None and record.state in {JobState.FAILED, JobState.CANCELLED}
    told = ForgetJob(job, record.spec.output if record is not None and unclean else "")
    if record is not None and record.state is JobState.FAILED:
        told = replace(told, save=record.saved_maps > 0)
    elif record is not None and record.state is JobState.DONE:
        told = replace(told, drop=record.spec.resumes)
    core.tell(worker, told)


def fail(core: Core, run: JobRun, message: str, task: str | None = None) -> None:
    """End a job for a reason that the coordinator found itself."""
    end(core, run, JobState.FAILED, Failure(FailureKind.FATAL, message, task=task))
