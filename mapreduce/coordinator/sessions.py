"""Sessions of agents: registered, numbered, inventoried, ended.

A lost or reordered message is never more than a new session: the agent then says what it holds, and both sides go on
from there.
"""

from __future__ import annotations

from mapreduce.config import HEARTBEAT_S, LEASE_S
from mapreduce.coordinator import attempts, jobs, revocation
from mapreduce.coordinator import entries as e
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Place, Prepared, Running
from mapreduce.coordinator.roster import Holdings, Worker
from mapreduce.coordinator.text import clip
from mapreduce.plan import AttemptId, Failure, FailureKind, TaskKind
from mapreduce.protocol.messages import (
    CancelAttempt,
    Dropped,
    Heartbeat,
    Inventory,
    Refused,
    Register,
    SessionEnded,
    Welcome,
)

MAX_TEXT_BYTES = 1024  # of a worker's id, name, address or folder: they travel with each of its results
MAX_SLOTS = 4096  # of a worker: more than any machine has processors


def register(core: Core, identity: bytes, message: Register) -> None:
    """An agent asks for a session; asking again before its first message gives the same one."""
    repeated = core.roster.is_repeated(identity, message)
    if repeated is not None:
        repeated.heard_s = core.now_s
        _welcome(core, repeated)
        return
    problem = _problem(core, message)
    if problem is not None:
        core.complaints.append(f"worker {clip(message.name or message.worker, 100)} is refused: {problem}")
        core.answer(identity, Refused(problem))
        return
    worker = core.roster.workers.get(message.worker)
    if worker is not None and worker.session:
        end(core, worker, "the worker has registered anew", tell=worker.identity != identity)
    for other in [w for w in core.roster.sessions.values() if w.identity == identity]:
        end(core, other, f"its peer has registered as worker {message.worker}", tell=False)
    worker = core.roster.open(identity, message, core.now_s)
    _record_worker(core, message)
    _welcome(core, worker)


def _record_worker(core: Core, message: Register) -> None:
    known = core.durable.workers.get(message.worker)
    entry = e.WorkerKnown(message.worker, message.name, message.shuffle_address, message.shared_folder)
    if known is not None and (known.name, known.address, known.folder) == (entry.name, entry.address, entry.folder):
        return
    core.record(entry)
    if known is not None:  # its results are to be had elsewhere now: tell those who will read them
        for job, stage, index in sorted(core.durable.held.get(message.worker, ())):
            core.runs[job].committed((stage, index))


def _problem(core: Core, message: Register) -> str | None:
    texts = (message.worker, message.name, message.shuffle_address, message.shared_folder)
    if not message.worker or max(len(text.encode()) for text in texts) > MAX_TEXT_BYTES:
        return f"a worker has an id, and its id, name, address and folder take at most {MAX_TEXT_BYTES} bytes each"
    if not 1 <= message.slots <= MAX_SLOTS:
        return f"a worker has 1 to {MAX_SLOTS} slots, not {message.slots}"
    differences = [
        f"{name} {message.versions.get(name, '(not given)')} there, {version} here"
        for name, version in core.versions.items()
        if message.versions.get(name) != version
    ]
    if differences:
        return (
            f"worker and coordinator must have the same versions, or results could differ: {'; '.join(differences)}. "
            f"Install the coordinator's versions on the worker"
        )
    return None


def _welcome(core: Core, worker: Worker) -> None:
    core.answer(worker.identity, Welcome(core.epoch, LEASE_S, HEARTBEAT_S, worker.id), session=worker.session)


def accept(core: Core, identity: bytes, session: str, number: int) -> Worker | None:
    """Check a numbered message of an agent: give its worker if it is the next of a living session.

    Doubles are ignored. A gap ends the session; one that is not alive is said to be over.
    """
    worker = core.roster.find(identity, session)
    if worker is None:
        core.answer(identity, SessionEnded("the coordinator does not know this session (any more)"), session=session)
        return None
    worker.heard_s = core.now_s
    if number == worker.received + 1:
        worker.received = number
        return worker
    if number == 0 or number > worker.received:
        end(core, worker, f"message {worker.received + 1} was lost: {number} came")
    return None


def heartbeat(core: Core, identity: bytes, session: str, beat: Heartbeat) -> None:
    """The agent lives; if it has sent more than came, something was lost."""
    worker = core.roster.find(identity, session)
    if worker is None:
        core.answer(identity, SessionEnded("the coordinator does not know this session (any more)"), session=session)
        return
    worker.heard_s = core.now_s
    if beat.sent > worker.received:
        end(core, worker, f"messages {worker.received + 1} to {beat.sent} were lost")


def end(core: Core, worker: Worker, reason: str, *, tell: bool = True) -> None:
    """End a session. The worker has a lease to come back with what it holds."""
    if tell:
        core.answer(worker.identity, SessionEnded(reason), session=worker.session)
    core.roster.close(worker, core.now_s)
    jobs.forget_worker(core, worker)


def lose(core: Core, worker: Worker, reason: str) -> None:
    """Give a worker up: what it ran runs elsewhere, what it held and is needed is made again."""
    core.complaints.append(f"worker {worker.label} is given up: {reason}")
    if worker.session:
        end(core, worker, reason)
    core.roster.remove(worker)
    core.record(e.WorkerGone(worker.id, reason))
    for run in core.runs.values():
        if run.lose_saved(worker.id):
            core.feed(run)
    _lose_attempts(core, worker, set(), f"worker {worker.label} was lost: {reason}")
    revocation.lose_results(core, worker.id, set(), f"worker {worker.label} was lost: {reason}")
    for run in tuple(core.runs.values()):
        if run.record.is_live:  # the end of one before may have been its end too
            jobs.fail_if_hopeless(core, run)


def _lose_attempts(core: Core, worker: Worker, alive: set[AttemptId], message: str) -> None:
    """The worker's current attempts, except those alive, are no more."""
    for run in tuple(core.runs.values()):
        for place in tuple(run.running_on.get(worker.id, ())):
            if not run.record.is_live:
                break  # the loss before was one too many
            if core.attempt_at(run, place) not in alive:
                attempts.count_failure(core, run, place, Failure(FailureKind.LOST, message, worker=worker.label))


# ---- inventory


def inventory(core: Core, worker: Worker, message: Inventory) -> None:
    """Take what an agent holds; with its last part, agree on it and let the worker have work."""
    holdings = worker.holdings
    holdings.running.update(message.running)
    holdings.finished.update(message.finished)
    holdings.kept.update(message.kept)
    holdings.prepared.update(message.prepared)
    if not message.last or worker.ready:
        return
    core.roster.make_ready(worker)
    _agree_on_jobs(core, worker, holdings)
    for attempt in sorted(holdings.running):
        _agree_on_attempt(core, worker, attempt, runs=True)
    for attempt in sorted(holdings.finished):
        _agree_on_attempt(core, worker, attempt, runs=False)
    alive = holdings.running | holdings.finished
    _lose_attempts(core, worker, alive, f"worker {worker.label} has never heard of it, or has lost it")
    _agree_on_results(core, worker, holdings)
    for run in tuple(core.runs.values()):
        if not run.record.is_live:
            continue  # the end of one before was its end too
        jobs.ask_to_prepare(core, run, worker)
        if run.prepared[worker.id] is Prepared.READY:
            jobs.start_when_prepared(core, run)
            core.feed(run)
    core.roster.settle(worker)


def _agree_on_jobs(core: Core, worker: Worker, holdings: Holdings) -> None:
    named = {attempt.task.job for attempt in (*holdings.running, *holdings.finished, *holdings.kept)}
    for job in sorted(named | holdings.prepared):
        run = core.runs.get(job)
        if run is None:
            jobs.tell_to_forget(core, worker, job)
        elif job in holdings.prepared:
            run.set_prepared(worker, Prepared.READY)


def _agree_on_attempt(core: Core, worker: Worker, attempt: AttemptId, *, runs: bool) -> None:
    """Adopt an attempt under way if its task needs one; else have it stopped.

    One that is finished takes no slot; its outcome follows, and is answered then.
    """
    if runs:
        worker.busy[attempt] = None  # until it ends, or says that it has stopped
    run = core.runs.get(attempt.task.job)
    place = run.place(attempt.task) if run is not None else None
    if run is None:
        return  # it was told to forget the job
    current = run.running.get(place) if place is not None else None
    if current is not None and (current.number, current.worker) == (attempt.number, worker.id):
        return
    if place is not None and current is None and _may_adopt(run, place, attempt.number):
        run.start(place, Running(attempt.number, worker.id))
        core.touch(run.record.id)
    elif runs:
        core.tell(worker, CancelAttempt(attempt))


def _may_adopt(run: JobRun, place: Place, number: int) -> bool:
    """Whether the task needs an attempt, and this one has read nothing that is no longer true."""
    number_of_stage, index = place
    stage = run.record.stages[number_of_stage]
    if stage.kind is TaskKind.COMMIT and run.frontier != number_of_stage:
        return False  # the parts that it moves are not the job's any more
    return index not in stage.commits and number > stage.fences.get(index, 0)


def _agree_on_results(core: Core, worker: Worker, holdings: Holdings) -> None:
    """Have those results deleted that are no commits, and take those commits back that are lost and needed."""
    kept: set[tuple[str, int, int]] = set()
    for attempt in sorted(holdings.kept | holdings.finished):
        run = core.runs.get(attempt.task.job)
        if run is None:
            continue
        place = run.place(attempt.task)
        commit = run.record.stages[place[0]].commits.get(place[1]) if place is not None else None
        if place is not None and commit is not None and (commit.number, commit.worker) == (attempt.number, worker.id):
            kept.add((run.record.id, *place))
            run.lost[place[0]].discard(place[1])
        elif attempt not in holdings.finished:
            core.tell(worker, Dropped(attempt))
    reason = f"worker {worker.label} came back without it"
    revocation.lose_results(core, worker.id, kept, reason)
