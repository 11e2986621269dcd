"""Taking commits back: lost workers, lost inputs, and results that changed when they were made again.

A result is kept until its job ends, since any later loss may need it; the final stage's lie in the shared output
folder and survive their worker. A lost result that nobody needs keeps its commit (and its counters), until the need
comes back.
"""

from __future__ import annotations

from mapreduce.coordinator import entries as e
from mapreduce.coordinator import jobs
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Place
from mapreduce.coordinator.records import changed_partitions, fingerprint
from mapreduce.plan import Done, TaskKind
from mapreduce.protocol.messages import CancelAttempt, Dropped


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
        jobs.move_on(core, run)


def _is_needed(run: JobRun, stage: int, index: int) -> bool:
    reader = run.record.stages[stage + 1]
    return not reader.is_whole if run.record.reads_all(stage + 1) else index not in reader.commits


def compare(core: Core, run: JobRun, place: Place, old: bytes, outcome: Done) -> bool:
    """A task that ran again has a commit: have those run again that used its earlier, other result.

    Once for a stage: a second time fails the job, and False is returned.
    """
    record, (stage, index) = run.record, place
    new = fingerprint(outcome)
    if old == new or stage == record.final:
        return True
    readers = _readers(run, place, old, new)
    used = [
        reader for reader in readers if reader in record.stages[stage + 1].commits or (stage + 1, reader) in run.running
    ]
    # A worker that has not come back since the coordinator's start may be running any of them, on the earlier bytes.
    fenced = readers if core.roster.awaits_news else used
    if not fenced:
        return True
    task = record.task(stage, index)
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
    core.record(e.Restarted(task, tuple(record.task(stage + 1, reader) for reader in fenced), run.last_number))
    text = f"{task} made other records when it ran again; tasks that had read the earlier ones run again: {len(used)}"
    core.record(e.Warned(record.id, text))
    for reader in used:
        _restart(core, run, (stage + 1, reader))
    jobs.move_on(core, run)
    return True


def _readers(run: JobRun, place: Place, old: bytes, new: bytes) -> list[int]:
    """Give the tasks of the next stage that read what has changed."""
    record, (stage, index) = run.record, place
    if not record.reads_all(stage + 1):
        return [index]
    changed = changed_partitions(old, new) if record.stages[stage].kind is TaskKind.MAP else None
    return list(range(record.stages[stage + 1].size)) if changed is None else changed


def _restart(core: Core, run: JobRun, place: Place) -> None:
    if place in run.running:
        attempt = core.attempt_at(run, place)
        worker = core.roster.workers.get(run.stop(place).worker)
        if worker is not None:
            core.tell(worker, CancelAttempt(attempt))
        run.wait(place)
    else:
        revoke(core, run, place, "what it had read was made again, with other records")
