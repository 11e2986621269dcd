"""The outcomes of attempts: what is committed, what is run again, and what fails the job.

Only a task's current attempt, from the session that runs it, changes anything; whatever else arrives late is dropped.
"""

from __future__ import annotations

from dataclasses import replace

from mapreduce.config import COUNTERS, LOG_BYTES_PER_ATTEMPT, LOG_BYTES_PER_JOB
from mapreduce.coordinator import entries as e
from mapreduce.coordinator import jobs, results, revocation
from mapreduce.coordinator.core import Core, LogSize
from mapreduce.coordinator.job_run import JobRun, Place
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.states import JobState, attempts_allowed
from mapreduce.coordinator.text import clip, fitting
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, TaskKind
from mapreduce.protocol.messages import Dropped, Granted, LogEntry, LogLines, Progress

COUNTER_BYTES = 100_000  # of all steps' counters: they travel in RunAttempt and JobStatus, within a control frame
COUNTER_VALUE_BYTES = 12  # of a counter on the wire beside its name
COUNTER_LIMIT = 1 << 63  # what a message and the journal can hold: larger totals have no bytes
LOG_ENTRY_BYTES = 48 << 10  # so that a page of Logs always has room for one
CUT_MARK = "\n[more output is not kept]\n"


def done(core: Core, worker: Worker, attempt: AttemptId, outcome: Done) -> None:
    """An attempt asks to be its task's commit: grant it if it is the current one."""
    core.roster.release(worker, attempt, core.now_s)
    run = core.runs.get(attempt.task.job)
    if run is None:
        return  # the agent was told to forget the job
    place = run.place(attempt.task)
    if place is None:
        core.tell(worker, Dropped(attempt))
        return
    commit = run.record.stages[place[0]].commits.get(place[1])
    if commit is not None and commit.number == attempt.number:
        core.tell(worker, Granted(attempt))  # it asks again: the first grant was lost
        return
    if not _is_current(run, place, worker, attempt):
        core.tell(worker, Dropped(attempt))
        return
    if outcome.bad_last is not None:
        outcome = replace(outcome, bad_last=replace(outcome.bad_last, worker=worker.label))
    _commit(core, run, place, worker, outcome)


def _is_current(run: JobRun, place: Place, worker: Worker, attempt: AttemptId) -> bool:
    running = run.running.get(place)
    return running is not None and running.number == attempt.number and running.worker == worker.id


def _commit(core: Core, run: JobRun, place: Place, worker: Worker, outcome: Done) -> None:
    record, (stage, index) = run.record, place
    problem = _unfit_counters(run, stage, outcome.counters)
    if problem is not None:
        jobs.fail(core, run, problem, str(record.task(stage, index)))
        return
    attempt = core.attempt_at(run, place)
    run.note_pace(run.stop(place), core.now_s)
    old = record.stages[stage].revoked.get(index, b"")
    core.record(e.Committed(attempt, worker.id, outcome))
    run.committed(place)
    core.tell(worker, Granted(attempt))
    core.touch(record.id)
    if record.stages[stage].kind is TaskKind.COMMIT:
        jobs.end(core, run, JobState.DONE)
        return
    if old and not revocation.compare(core, run, place, old, outcome):
        return  # the job has failed
    if jobs.fail_if_too_bad(core, run):
        return
    results.announce(core, run, stage, worker)
    if record.stages[stage].is_whole:
        jobs.move_on(core, run)


def _unfit_counters(run: JobRun, stage: int, new: dict[str, int]) -> str | None:
    """Say so if with these the job's counters would no longer fit the messages and the journal that hold them."""
    if not new:
        return None
    counted = run.record.counted
    step = counted[run.record.stages[stage].step]
    if len(step.values.keys() | new.keys()) > COUNTERS:
        return f"the job counts under more than {COUNTERS} names: counters are for totals; yield such facts as records"
    for name, value in new.items():
        if abs(value) + sum(step.sizes.get(name, 0) for step in counted) >= COUNTER_LIMIT:
            return f"the job's counter {clip(name, 200)!r} grows beyond 64 bits: count in a larger unit"
    fresh = [name for name in new if name not in step.values]
    size = sum(
        len(name.encode()) + COUNTER_VALUE_BYTES for names in (*(s.values for s in counted), fresh) for name in names
    )
    if size > COUNTER_BYTES:
        return (
            f"the names of the job's counters take {size} bytes; {COUNTER_BYTES} are allowed: use fewer or shorter ones"
        )
    return None


def failed(core: Core, worker: Worker, attempt: AttemptId, failure: Failure) -> None:
    """An attempt has failed, or has stopped as it was told to."""
    core.roster.release(worker, attempt, core.now_s)
    run = core.runs.get(attempt.task.job)
    place = run.place(attempt.task) if run is not None else None
    if run is None or place is None or not _is_current(run, place, worker, attempt):
        return
    count_failure(core, run, place, replace(failure, worker=worker.label))


def count_failure(core: Core, run: JobRun, place: Place, failure: Failure) -> None:
    """A task's current attempt is over without a result: run the task again, or fail the job.

    The next attempt goes to another worker if there is one, except where the worker was not at fault.
    """
    attempt = core.attempt_at(run, place)
    stage = run.record.stages[place[0]]
    worker = run.stop(place).worker
    core.record(e.AttemptEnded(attempt, failure.kind, worker))
    core.touch(run.record.id)
    count = stage.failures[place[1]][failure.kind.value]
    if count >= attempts_allowed(run.record.spec, failure.kind):
        jobs.end(core, run, JobState.FAILED, _last(failure, attempt, count))
        return
    if failure.kind not in {FailureKind.LOST, FailureKind.INPUT_LOST}:
        run.avoid.setdefault(place, set()).add(worker)
    run.wait(place)
    core.feed(run)
    if failure.kind is FailureKind.INPUT_LOST and failure.producer is not None:
        _lost_input(core, run, place, failure)


def _last(failure: Failure, attempt: AttemptId, count: int) -> Failure:
    """Name the task, and say so if it was not the first failure."""
    return replace(fitting(failure), task=failure.task or str(attempt.task), tries=count if count > 1 else 0)


def _lost_input(core: Core, run: JobRun, place: Place, failure: Failure) -> None:
    """Run the producer again, if what could not be had is still its task's result."""
    assert failure.producer is not None
    producer = failure.producer
    maker = run if producer.task.job == run.record.id else core.runs.get(producer.task.job)
    source = maker.place(producer.task) if maker is not None else None
    if maker is None or source is None or not _is_input(run, place, maker, source):
        core.complaints.append(f"a task names {producer} as its input, which it is not")
        return
    commit = maker.record.stages[source[0]].commits.get(source[1])
    if commit is not None and commit.number == producer.number:
        revocation.revoke(core, maker, source, clip(failure.message, LOG_ENTRY_BYTES))
        jobs.move_on(core, maker)


def _is_input(run: JobRun, place: Place, maker: JobRun, source: Place) -> bool:
    """Whether a task of `run` may have read a result of `maker`: of an earlier stage, or of a kept job."""
    if maker is run:
        return source[0] < place[0]
    return place[0] == 0 and maker.record.id in run.record.spec.reads and source[0] == maker.record.final


# ---- what attempts say meanwhile


def progress(core: Core, worker: Worker, message: Progress) -> None:
    """Note how far attempts are."""
    for attempt, records, size in message.attempts:
        run = core.runs.get(attempt.task.job)
        place = run.place(attempt.task) if run is not None else None
        if run is not None and place is not None and _is_current(run, place, worker, attempt):
            run.note_progress(place, max(0, records), max(0, size))
            core.touch(run.record.id)


def log_lines(core: Core, message: LogLines) -> None:
    """Keep what an attempt printed, within its bounds and its job's."""
    job = message.attempt.task.job
    run = core.runs.get(job)
    if run is None or not message.text or run.place(message.attempt.task) is None:
        return
    total = core.log_sizes.setdefault(job, LogSize())
    used = core.attempt_logs.get(message.attempt, 0)
    room = min(LOG_BYTES_PER_ATTEMPT - used, LOG_BYTES_PER_JOB - total.size)
    if room <= 0:
        return
    data = message.text.encode()
    kept = data[:room]
    pieces = [kept[cut : cut + LOG_ENTRY_BYTES] for cut in range(0, len(kept), LOG_ENTRY_BYTES)]
    texts = [piece.decode("utf-8", "replace") for piece in pieces]
    if len(data) >= room:
        texts[-1] += CUT_MARK
    core.logs.extend(LogEntry(message.attempt, text) for text in texts)
    core.attempt_logs[message.attempt] = used + len(kept)
    total.entries += len(texts)
    total.size += len(kept)
    core.touch(job)
