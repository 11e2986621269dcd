"""What clients are told: a job's status, pages of jobs and of workers, and what a job waits for.

Every answer fits a control frame: long texts are cut, lists are paged.
"""

from __future__ import annotations

from dataclasses import replace

from mapreduce.coordinator import kept
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Prepared
from mapreduce.coordinator.records import JobRecord
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.states import JobState
from mapreduce.coordinator.text import clip
from mapreduce.max_bad import shown_kinds
from mapreduce.plan import Failure, StepShape, TaskKind
from mapreduce.protocol.messages import Jobs, JobStatus, StepStatus, Workers, WorkerStatus

TITLE_BYTES = 200  # of a step's title: MAX_STEPS of them are 10 KB
CHANGED_BYTES = 100  # of the name of something that has changed since the job that is resumed
CHANGED_NAMES = 20  # of such names: people read the first few
PAGE_JOBS = 30  # with 50 steps and a short failure each: below 150 KB
PAGE_FAILURE_BYTES = 500  # of a failure's message in a page
PAGE_WORKERS = 40  # with PAGE_RUNNING attempts each: below 150 KB
PAGE_RUNNING = 24  # running tasks shown of a worker
NAMED = 3  # how many workers or jobs are named in a sentence; the rest is counted


def job_status(core: Core, record: JobRecord) -> JobStatus:
    """Give all there is to know of a job."""
    run = core.runs.get(record.id)
    log = core.log_sizes.get(record.id)
    counters: dict[str, int] = {}
    for counted in record.counted:
        for name, value in counted.values.items():
            counters[name] = counters.get(name, 0) + value
    spec = record.spec
    return JobStatus(
        job=record.id,
        name=spec.name,
        state=record.state.value,
        steps=_steps(record, run),
        output=spec.output,
        records_in=record.records_in + (run.progress_records if run else 0),
        records_out=record.records_out,
        bytes_in=record.bytes_in + (run.progress_bytes if run else 0),
        input_bytes=spec.input_bytes,
        shuffle_bytes=record.shuffle_bytes,
        counters=dict(sorted(counters.items())),
        warnings=record.warnings,
        failure=record.failure,
        waiting_for=waiting_for(core, run) if run else "",
        elapsed_s=core.elapsed_s.get(record.id, 0.0) if record.is_settled or not run else core.now_s - run.started_s,
        attempts_failed=record.attempts_failed,
        submitted_ms=spec.submitted_ms,
        submitter=spec.submitter,
        priority=spec.priority,
        log_entries=log.entries if log else 0,
        kept_bytes=run.kept_bytes if run and record.state is JobState.KEPT else 0,
        bad=shown_kinds(record.bad.kinds),
        saved_maps=record.saved_maps,
        saved_bytes=record.saved_bytes,
        resumes=spec.resumes[0] if spec.resumes else "",
        former_maps=spec.former_maps,
        reused_maps=record.reused_maps,
        changed=tuple(clip(name, CHANGED_BYTES) for name in spec.changed[:CHANGED_NAMES]),
    )


def _steps(record: JobRecord, run: JobRun | None) -> tuple[StepStatus, ...]:
    done: dict[tuple[int, TaskKind], int] = {}
    running: dict[tuple[int, TaskKind], int] = {}
    for number, stage in enumerate(record.stages):
        done[stage.step, stage.kind] = stage.finished
        running[stage.step, stage.kind] = run.running_in[number] if run else 0
    steps = []
    for step, shape in enumerate(record.spec.steps):
        maps, reduces = (step, TaskKind.MAP), (step, TaskKind.REDUCE)
        short = replace(shape, title=clip(shape.title, TITLE_BYTES))
        steps.append(StepStatus(short, done[maps], running[maps], done.get(reduces, 0), running.get(reduces, 0)))
    return tuple(steps)


# ---- what a job waits for


def waiting_for(core: Core, run: JobRun) -> str:
    """Say what a job waits for; "" while something of it moves."""
    if run.running or run.record.state is JobState.KEPT:
        return ""
    workers = list(core.roster.ready())
    if not workers:
        away = [worker for worker in core.roster.workers.values() if not worker.ready]
        return f"{_name(away)} to come back" if away else "a worker: no workers are connected"
    asked = [worker for worker in workers if run.prepared.get(worker.id) is Prepared.ASKED]
    if run.record.state is JobState.PREPARING:
        return f"{_name(asked)} to prepare the job"
    able = [worker for worker in workers if run.prepared.get(worker.id) is Prepared.READY]
    if not able:
        if asked:
            return f"{_name(asked)} to prepare the job"
        reason = next(iter(run.left_out.values()), "")
        return f"a worker that can run the job: {_name(workers)} cannot ({clip(reason, PAGE_FAILURE_BYTES)})"
    if not kept.are_there(run):
        made_again = [record.id for record in run.kept if record is not None and record.state is not JobState.KEPT]
        return f"what was lost of the kept results of {_list('job', made_again)} to be made again"
    return _busy(core, run, able)


def _busy(core: Core, run: JobRun, able: list[Worker]) -> str:
    slots = sum(worker.slots for worker in able)
    others = sorted({attempt.task.job for worker in able for attempt in worker.busy} - {run.record.id})
    if not others:
        return "its cancelled attempts to stop" if any(worker.busy for worker in able) else ""
    names = [
        f"{clip(core.durable.jobs[job].spec.name, 100)} ({job})" if job in core.durable.jobs else job for job in others
    ]
    which = "the only slot is" if slots == 1 else f"all {slots} slots are"
    return f"a free slot: {which} busy with {_list('job', names)}"


def _name(workers: list[Worker]) -> str:
    return _list("worker", sorted(clip(worker.label, 100) for worker in workers)) if workers else "a worker"


def _list(noun: str, names: list[str]) -> str:
    if len(names) == 1:
        return f"{noun} {names[0]}"
    if len(names) <= NAMED:
        return f"{noun}s {', '.join(names)}"
    return f"{len(names)} {noun}s ({', '.join(names[:NAMED])}, ...)"


# ---- pages


def job_page(core: Core, start: int) -> Jobs:
    """Give a page of all jobs, oldest first, without counters and warnings."""
    records = list(core.durable.jobs.values())[start : start + PAGE_JOBS]
    page = []
    for record in records:
        full = job_status(core, record)
        failure = record.failure
        if failure is not None:
            failure = Failure(failure.kind, clip(failure.message, PAGE_FAILURE_BYTES), task=failure.task)
        steps = tuple(replace(s, shape=StepShape(s.shape.maps, s.shape.reduces)) for s in full.steps)
        page.append(
            replace(
                full,
                name=clip(full.name, PAGE_FAILURE_BYTES),
                output=clip(full.output, PAGE_FAILURE_BYTES),
                waiting_for=clip(full.waiting_for, PAGE_FAILURE_BYTES),
                submitter=clip(full.submitter, PAGE_FAILURE_BYTES),
                steps=steps,
                counters={},
                changed=(),
                bad={},
                warnings=(),
                failure=failure,
            )
        )
    return Jobs(tuple(page), start + PAGE_JOBS < len(core.durable.jobs))


def worker_page(core: Core, start: int) -> Workers:
    """Give a page of the workers with a session, in the order of their names."""
    workers = sorted(core.roster.sessions.values(), key=lambda worker: (worker.name, worker.id))
    page = tuple(
        WorkerStatus(
            worker=worker.id,
            name=worker.name,
            slots=worker.slots,
            running=tuple(attempt.task for attempt in sorted(worker.busy)[:PAGE_RUNNING]),
            silent_s=max(0.0, core.now_s - worker.heard_s),
            shuffle_address=worker.address,
            versions={name: clip(worker.versions.get(name, ""), 50) for name in core.versions},
            note=_note(worker),
        )
        for worker in workers[start : start + PAGE_WORKERS]
    )
    return Workers(page, start + PAGE_WORKERS < len(workers))


def _note(worker: Worker) -> str:
    if not worker.ready:
        return "registering"
    hidden = len(worker.busy) - PAGE_RUNNING
    return f"and {hidden} more running" if hidden > 0 else ""
