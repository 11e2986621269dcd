"""Which task goes to which worker: jobs by priority, then in the order they came; tasks in order of index.

A task goes to the least loaded worker that is ready for its job, a later step's map to where its input lies, a map
whose result a failed job has left to where that lies, and a retry to a worker where the task has not failed yet, if
there is one. Where a job's attempts are short, workers are given some more than they have slots for, which begin there
without a word with the coordinator. The work of a call grows with the number of tasks given out, never with the size of
a job or the number of workers; what is too much for one event is left to the next.
"""

from __future__ import annotations

from mapreduce.config import TAKE_BACK_S
from mapreduce.coordinator import kept, results
from mapreduce.coordinator.core import EFFORT, Core
from mapreduce.coordinator.job_run import JobRun, Place, Running
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.states import JobState
from mapreduce.plan import FailureKind, TaskKind
from mapreduce.protocol.messages import CancelAttempt, RunAttempt


def assign(core: Core) -> None:
    """Give waiting tasks to free slots, as far as either reaches."""
    if not core.hungry or not core.roster.is_settled(core.now_s):
        return
    for _, _, job in tuple(core.hungry) if core.roster.free else core.hungry[:1]:
        run = core.runs[job]
        if run.record.state in {JobState.PREPARING, JobState.KEPT} or not kept.are_there(run):
            core.sate(run.record)
            continue
        _serve(core, run)
        if core.unfinished:
            return
        if run.next_task() is None:
            core.sate(run.record)
        if not core.roster.free:
            return


def _serve(core: Core, run: JobRun) -> None:
    """Give a job's waiting tasks to the workers that are ready for it and have room."""
    while (worker := run.openings.best()) is not None:
        if worker.free_slots == 0 and len(worker.busy) >= worker.slots * (1 + run.most_ahead):
            return
        place = run.next_task(worker.id)
        if place is None:  # for this one: what is left may wait for another, which has its result
            if run.next_task() is None:
                return
            run.openings.park(worker)
            continue
        worker = _elsewhere(run, place, worker)
        if core.effort >= EFFORT or not _tell_inputs(core, run, place, worker):
            core.unfinished = True
            return
        _start(core, run, place, worker)


def _elsewhere(run: JobRun, place: Place, worker: Worker) -> Worker:
    """A task that has failed on this worker goes to another, if there is one with a free slot."""
    avoid = run.avoid.get(place)
    if not avoid or worker.id not in avoid:
        return worker
    other = run.openings.best(avoid)
    return worker if other is None or other.free_slots == 0 else other


def _tell_inputs(core: Core, run: JobRun, place: Place, worker: Worker) -> bool:
    """Tell a worker where the inputs of a task lie that it is to run; False if that is too much for one event."""
    record, stage = run.record, place[0]
    if stage == 0:
        return results.deliver_kept(core, run, worker)
    if not record.reads_all(stage):
        results.deliver_one(core, run, (stage - 1, place[1]), worker)
        return True
    has_bad = record.stages[stage].kind is TaskKind.COMMIT and record.spec.max_bad is not None
    return all(results.deliver(core, run, one, worker) for one in range(0 if has_bad else stage - 1, stage))


def _start(core: Core, run: JobRun, place: Place, worker: Worker) -> None:
    """Start an attempt on a worker that knows where the inputs lie."""
    record, stage = run.record, place[0]
    number = run.new_number()
    attempt = record.attempt(*place, number)
    core.roster.occupy(worker, attempt, core.now_s)
    run.start(place, Running(number, worker.id, core.now_s, max(1.0, worker.load)))
    # Copies: the totals go on changing, and this message is encoded later.
    previous = tuple(dict(counted.values) for counted in record.counted[: record.stages[stage].step])
    has_died = FailureKind.DIED.value in record.stages[stage].failures.get(place[1], ())
    core.tell(worker, RunAttempt(attempt, previous, careful=has_died, puts_aside=record.spec.max_bad is not None))
    core.touch(record.id)


def take_back(core: Core) -> None:
    """Have others run what has waited for long on a worker, behind attempts that take longer than they seemed to."""
    for worker in [one for one in core.roster.ahead.values() if core.now_s - one.moved_s >= TAKE_BACK_S]:
        worker.moved_s = core.now_s  # it says of each that it has stopped, which takes it a moment
        for attempt in list(worker.busy)[worker.slots :]:
            run = core.runs.get(attempt.task.job)
            place = run.place(attempt.task) if run is not None else None
            current = run.running.get(place) if run is not None and place is not None else None
            if run is None or place is None or current is None:
                continue
            if (current.number, current.worker) != (attempt.number, worker.id):
                continue  # cancelled before
            run.stop(place)
            core.tell(worker, CancelAttempt(attempt))
            run.pace_s = None  # to be found anew
            run.wait(place)
            core.feed(run)
