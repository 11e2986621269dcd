"""Clients' requests: submit, watch, look, cancel. Each is answered under its own number; a repeat changes nothing."""

from __future__ import annotations

from mapreduce.config import STATUS_EVERY_S, WATCH_LEASE_S
from mapreduce.coordinator import jobs, kept, status
from mapreduce.coordinator.core import Core, Watcher
from mapreduce.coordinator.records import JobRecord
from mapreduce.coordinator.states import JobState
from mapreduce.protocol.messages import (
    Accepted,
    Cancel,
    GetStatus,
    JobStatus,
    ListJobs,
    ListWorkers,
    Message,
    Rejected,
    Submit,
    Watch,
)

MAX_WATCHERS = 1000  # of one job: each costs a status now and then
NAMED_JOBS = 5  # how many candidates an ambiguous beginning of an id is answered with


def handle(core: Core, identity: bytes, number: int, message: Message, missing_blobs: tuple[str, ...]) -> bool:
    """Answer a client's request; False if the message is none."""
    answer: Message
    match message:
        case Submit(spec):
            answer = jobs.submit(core, spec, missing_blobs)
        case Watch(job):
            answer = _watch(core, identity, number, job)
        case GetStatus(job):
            record = resolve(core, job)
            answer = record if isinstance(record, Rejected) else status.job_status(core, record)
        case Cancel(job):
            answer = _cancel(core, job)
        case ListJobs(start):
            answer = status.job_page(core, max(0, start))
        case ListWorkers(start):
            answer = status.worker_page(core, max(0, start))
        case _:
            return False
    core.answer(identity, answer, number=number)
    return True


def resolve(core: Core, text: str) -> JobRecord | Rejected:
    """Find the job that an id, the unique beginning of one, or `last` means."""
    known = core.durable.jobs
    if text == "last":
        return known[next(reversed(known))] if known else Rejected("there is no last job: none was submitted yet")
    if text in known:
        return known[text]
    found = [job for job in known if text and job.startswith(text)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        more = ", ..." if len(found) > NAMED_JOBS else ""
        return Rejected(
            f"{len(found)} jobs begin with {text!r}: {', '.join(found[:NAMED_JOBS])}{more}; give more of the id"
        )
    return Rejected(f"no job is called {text[: jobs.SHOWN_CHARS]!r}; `mapreduce jobs` lists them")


def _cancel(core: Core, job: str) -> Accepted | Rejected:
    record = resolve(core, job)
    if isinstance(record, Rejected):
        return record
    if record.state is JobState.COMMITTING:
        return Rejected(f"job {record.id} is moving its output into place: it is too late to cancel it")
    reader = kept.reader_of(core, record.id)
    if reader is not None:
        return Rejected(f"job {reader} reads the kept result of {record.id}: wait for its end, or cancel it first")
    if record.is_live:
        is_kept = record.state is JobState.KEPT
        jobs.end(core, core.runs[record.id], JobState.DONE if is_kept else JobState.CANCELLED)
    return Accepted(record.id)


def _watch(core: Core, identity: bytes, number: int, job: str) -> JobStatus | Rejected:
    record = resolve(core, job)
    if isinstance(record, Rejected):
        return record
    watchers = core.watchers.setdefault(record.id, {})
    shown = status.job_status(core, record)
    if record.is_live and (identity in watchers or len(watchers) < MAX_WATCHERS):
        watchers[identity] = Watcher(number, core.now_s + WATCH_LEASE_S, core.now_s, shown.waiting_for)
    if not record.is_live:
        watchers.pop(identity, None)
    if not watchers:
        del core.watchers[record.id]
    return shown


def push(core: Core) -> None:
    """Show changed jobs to those who watch them: what they wait for at once, all else every STATUS_EVERY_S at most."""
    for job in sorted(core.changed):
        record, watchers = core.durable.jobs.get(job), core.watchers.get(job)
        if record is None or watchers is None:
            core.changed.discard(job)
            continue
        due = [
            identity
            for identity, watcher in watchers.items()
            if record.is_settled or core.now_s - watcher.sent_s >= STATUS_EVERY_S
        ]
        if due:
            shown = status.job_status(core, record)
            for identity in due:
                watcher = watchers[identity]
                watcher.sent_s, watcher.waiting_for = core.now_s, shown.waiting_for
                core.answer(identity, shown, number=watcher.number)
        if len(due) == len(watchers):
            core.changed.discard(job)
        if not record.is_live:
            del core.watchers[job]


def tick(core: Core) -> None:
    """Let watchers go that have not renewed, and notice what jobs wait for."""
    for job in tuple(core.watchers):
        watchers = core.watchers[job]
        for identity in [identity for identity, watcher in watchers.items() if core.now_s >= watcher.expires_s]:
            del watchers[identity]
        if not watchers:
            del core.watchers[job]
            continue
        run = core.runs.get(job)
        if run is not None:
            text = status.waiting_for(core, run)
            if any(watcher.waiting_for != text for watcher in watchers.values()):
                core.changed.add(job)
