"""Which task goes to which worker: jobs by priority, then in the order they came; tasks in order of index.

A task goes to the least loaded worker that is ready for its job, a later step's map to where its input lies, a map
whose result a failed job has left to where that lies, and a retry to a worker where the task has not failed yet, if
there is one. The work of a call grows with the number of free
workers and of tasks given out, never with the size of a job.
"""

from __future__ import annotations

from mapreduce.coordinator import kept, results
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Place, Prepared, Running
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.states import JobState
from mapreduce.plan import FailureKind, TaskKind
from mapreduce.protocol.messages import RunAttempt


def assign(core: Core) -> None:
    """Give waiting tasks to free slots, as far as either reaches."""
    if not core.roster.free or not core.hungry or not core.roster.is_settled(core.now_s):
        return
    for _, _, job in tuple(core.hungry):
        run = core.runs[job]
        if run.record.state in {JobState.PREPARING, JobState.KEPT} or not kept.are_there(run):
            core.sate(run.record)
            continue
        _serve(core, run)
        if run.next_task() is None:
            core.sate(run.record)
        if not core.roster.free:
            return


def _serve(core: Core, run: JobRun) -> None:
    """Give a job's waiting tasks to the free workers that are ready for it."""
    free = [worker for worker in core.roster.free.values() if run.prepared.get(worker.id) is Prepared.READY]
    while free:
        worker = min(free, key=lambda w: (w.load, w.id))
        place = run.next_task(worker.id)
        if place is None:  # for this one: what is left may wait for another, which has its result
            free.remove(worker)
            continue
        worker = _elsewhere(run, place, worker, free)
        _start(core, run, place, worker)
        if worker.free_slots == 0:
            free.remove(worker)


def _elsewhere(run: JobRun, place: Place, worker: Worker, free: list[Worker]) -> Worker:
    """A task that has failed on this worker goes to another, if there is one with a free slot."""
    avoid = run.avoid.get(place)
    if not avoid or worker.id not in avoid:
        return worker
    others = [other for other in free if other.id not in avoid]
    return min(others, key=lambda w: (w.load, w.id)) if others else worker


def _start(core: Core, run: JobRun, place: Place, worker: Worker) -> None:
    """Start an attempt: first tell the worker where the inputs lie."""
    record, stage = run.record, place[0]
    number = run.new_number()
    attempt = record.attempt(*place, number)
    if record.stages[stage].kind is TaskKind.COMMIT and record.spec.max_bad is not None:
        for earlier in range(stage - 1):
            results.deliver(core, run, earlier, worker)
    if stage > 0:
        results.deliver(core, run, stage - 1, worker)
    else:
        results.deliver_kept(core, run, worker)
    run.start(place, Running(number, worker.id))
    core.roster.occupy(worker, attempt)
    # Copies: the totals go on changing, and this message is encoded later.
    previous = tuple(dict(counted.values) for counted in record.counted[: record.stages[stage].step])
    has_died = FailureKind.DIED.value in record.stages[stage].failures.get(place[1], ())
    core.tell(worker, RunAttempt(attempt, previous, careful=has_died, puts_aside=record.spec.max_bad is not None))
    core.touch(record.id)
