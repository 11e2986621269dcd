"""Taking commits back: lost workers, lost inputs, and results that changed when they were made again.

A result is kept until its job ends, since any later loss may need it; the final stage's lie in the shared output
folder and survive their worker. A lost result that nobody needs keeps its commit (and its counters), until the need
comes back; those of a kept job's final stage are always needed.
"""

from __future__ import annotations

from mapreduce.coordinator import entries as e
from mapreduce.coordinator import jobs
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Place
from mapreduce.coordinator.records import changed_partitions, fingerprint
from mapreduce.plan import Done, TaskId, TaskKind
from mapreduce.protocol.messages import CancelAttempt, Dropped
from mapreduce.quick_dataclass import dataclass


def revoke(core: Core, run: JobRun, place: Place, reason: str) -> None:
    """Take a commit back; its task runs again, and so do those lost ones that it reads. `jobs.move_on` must follow."""
    record, (stage, index) = run.record, place
    commit = record.stages[stage].commits[index]
    attempt = record.attempt(stage, index, commit.number)
    core.record(e.Revoked(attempt, reason))
    run.lost[stage].discard(index)
    holder = core.roster.workers.get(commit.worker)
    if holder is not None and holder.ready:
        core.tell(holder, Dropped(attempt))
    run.wait(place)
    core.feed(run)
    core.touch(record.id)
    need_inputs(core, run, place)


def need_inputs(core: Core, run: JobRun, place: Place) -> None:
    """A task is to run: those of its inputs that are lost must be made again."""
    stage, index = place
    if stage == 0 or not run.lost[stage - 1]:
        return
    lost = run.lost[stage - 1]
    wanted = sorted(lost) if run.record.reads_all(stage) else [index] if index in lost else []
    for source in wanted:
        revoke(core, run, (stage - 1, source), "its result was lost with its worker, and is needed again")


def lose_results(core: Core, worker: str, kept: set[tuple[str, int, int]], reason: str) -> None:
    """A worker no longer has its intermediate results, except `kept`: take back those that a task will read."""
    gone = core.durable.held.get(worker, set()) - kept
    touched: dict[str, JobRun] = {}
    # From the last stage to the first: what is taken back there makes its inputs needed.
    for job, stage, index in sorted(gone, key=lambda key: (-key[1], key[0], key[2])):
        run = core.runs[job]
        touched[job] = run
        if index not in run.record.stages[stage].commits:
            continue  # taken back meanwhile, as the input of a later one
        if _is_needed(run, stage, index):
            revoke(core, run, (stage, index), reason)
        else:
            run.lost[stage].add(index)
    for run in touched.values():
        if run.record.is_live:  # the end of one before may have been its end too
            jobs.move_on(core, run)


def _is_needed(run: JobRun, stage: int, index: int) -> bool:
    if stage == run.record.final:
        return True
    reader = run.record.stages[stage + 1]
    return not reader.is_whole if run.record.reads_all(stage + 1) else index not in reader.commits


def compare(core: Core, run: JobRun, place: Place, old: bytes, outcome: Done) -> bool:
    """A task that ran again has a commit: have those run again that used its earlier, other result.

    Once for a stage: a second time fails the job. False is returned where it is over.
    """
    record, (stage, index) = run.record, place
    new = fingerprint(outcome)
    if old == new or not record.is_held(stage):
        return True
    readers = _readers(core, run, place, old, new)
    task = record.task(stage, index)
    if not any(reader.fenced for reader in readers):
        if stage == record.final and not outcome.pickled:
            text = "made other records when it ran again: jobs that are over may have read the earlier ones"
            core.record(e.Warned(record.id, f"{task} {text}"))
        return True
    if outcome.pickled:
        text = f"{task} ran again and pickled other bytes; whether the values are equal cannot be told from them"
        core.record(e.Warned(record.id, text))
        return True
    if record.stages[stage].mismatches:
        what = "mapper" if task.kind is TaskKind.MAP else "reducer"
        message = (
            f"the {what} of step {task.step + 1} is not deterministic: {task} made other records when it ran again, "
            f"and not for the first time. Use ctx.random in place of other randomness, and no clock; sort before "
            f"iterating over what has no order"
        )
        jobs.fail(core, run, message, str(task))
        return False
    _record_restart(core, run, task, readers)
    for reader in readers:
        for used in reader.used:
            _restart(core, reader.run, (reader.stage, used))
        if reader.run.record.is_live:  # it is not, where it reads what the one before was
            jobs.move_on(core, reader.run)
    return record.is_live


@dataclass(frozen=True, slots=True)
class _Readers:
    """Tasks of one stage that read what has changed: those that did, and those whose attempts are to be fenced off."""

    run: JobRun
    stage: int
    used: list[int]
    fenced: list[int]


def _readers(core: Core, run: JobRun, place: Place, old: bytes, new: bytes) -> list[_Readers]:
    """Find who reads a changed result: the next stage, or the jobs that read a kept one."""
    record, (stage, index) = run.record, place
    if stage < record.final:
        return [_readers_in(core, run, stage + 1, _next_readers(run, place, old, new))]
    found: list[_Readers] = []
    for reader in core.runs.values():
        spec = reader.record.spec
        numbers = [number for number, job in enumerate(spec.reads) if job == record.id]
        if numbers:
            indexes = {i for number in numbers for i in reader.record.readers(number, index)}
            found.append(_readers_in(core, reader, 0, sorted(indexes)))
    return found


def _next_readers(run: JobRun, place: Place, old: bytes, new: bytes) -> list[int]:
    """Give the tasks of the next stage that read what has changed."""
    record, (stage, index) = run.record, place
    if not record.reads_all(stage + 1):
        return [index]
    changed = changed_partitions(old, new) if record.stages[stage].kind is TaskKind.MAP else None
    return list(range(record.stages[stage + 1].size)) if changed is None else changed


def _readers_in(core: Core, run: JobRun, stage: int, indexes: list[int]) -> _Readers:
    used = [index for index in indexes if index in run.record.stages[stage].commits or (stage, index) in run.running]
    # A worker that has not come back since the coordinator's start may be running any of them, on the earlier bytes.
    return _Readers(run, stage, used, indexes if core.roster.awaits_news else used)


def _record_restart(core: Core, run: JobRun, producer: TaskId, readers: list[_Readers]) -> None:
    """Journal that these are not to use what they have read, and warn the owners of the jobs."""
    own = [reader for reader in readers if reader.run is run]
    fenced = tuple(run.record.task(reader.stage, index) for reader in own for index in reader.fenced)
    core.record(e.Restarted(producer, fenced, run.last_number))
    count = sum(len(reader.used) for reader in readers)
    text = "made other records when it ran again; tasks that had read the earlier ones run again"
    core.record(e.Warned(run.record.id, f"{producer} {text}: {count}"))
    for reader in readers:
        record = reader.run.record
        if reader.run is not run and reader.fenced:
            tasks = tuple(record.task(reader.stage, index) for index in reader.fenced)
            core.record(e.Fenced(tasks, reader.run.last_number))
            core.record(e.Warned(record.id, f"{producer} of job {run.record.id} {text}: {len(reader.used)}"))


def _restart(core: Core, run: JobRun, place: Place) -> None:
    if place in run.running:
        attempt = core.attempt_at(run, place)
        worker = core.roster.workers.get(run.stop(place).worker)
        if worker is not None:
            core.tell(worker, CancelAttempt(attempt))
        run.wait(place)
    elif place[1] in run.record.stages[place[0]].commits:
        revoke(core, run, place, "what it had read was made again, with other records")
