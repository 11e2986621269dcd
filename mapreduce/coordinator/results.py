"""Telling workers where committed results lie.

Where tasks read all results of a stage, their workers are told deltas of these, each once in a session. A task that
reads one result has its worker told that one, whenever it is given.
"""

from __future__ import annotations

from dataclasses import replace

from mapreduce.config import CONTROL_FRAME_BYTES, RESULTS_PER_MESSAGE
from mapreduce.coordinator.core import EFFORT, Core
from mapreduce.coordinator.job_run import JobRun, Place
from mapreduce.coordinator.roster import Worker
from mapreduce.plan import TaskKind
from mapreduce.protocol.messages import Results, Source

SOURCE_BYTES = 200  # of a source's fixed fields on the wire, generously
PART_BYTES = 64  # of a named output's part beside its name and types
FILE_BYTES = 40  # of one of several files of a part
PAGES = 300  # kept of one job, for the next worker: 60,000 sources, which take some 50 MB
SOURCES_LIKE_MESSAGE = 2  # that take as long as a message when a page is made
FRAME_SHARE = CONTROL_FRAME_BYTES // 2  # of a Results message: the estimate may be off, the frame's limit is hard


def announce(core: Core, run: JobRun, stage: int, worker: Worker) -> None:
    """After a worker's commit: tell it what has piled up, now and then, so that its reduces need not wait for it."""
    whole = len(run.results[stage]) // RESULTS_PER_MESSAGE * RESULTS_PER_MESSAGE
    if worker.cursors.get((run.record.id, stage), 0) >= whole or stage + 1 == len(run.record.stages):
        return
    reader = run.record.stages[stage + 1]
    # Of more workers than tasks some will not read them. A job's commit runs on one alone.
    if reader.kind is TaskKind.REDUCE and reader.size >= run.ready:
        _tell(core, worker, (run.record.id, stage), (run, stage, whole), _form(run, stage))


def deliver(core: Core, run: JobRun, stage: int, worker: Worker) -> bool:
    """Tell a worker those results of a stage that it does not know yet; False if more are left for the next event."""
    return _tell(core, worker, (run.record.id, stage), (run, stage, len(run.results[stage])), _form(run, stage))


def deliver_one(core: Core, run: JobRun, place: Place, worker: Worker) -> None:
    """Tell a worker where the one result lies that an attempt reads."""
    stage, index = place
    core.tell(worker, replace(_form(run, stage), sources=(_source(core, run, stage, index),)))


def deliver_kept(core: Core, run: JobRun, worker: Worker) -> bool:
    """Tell a worker those kept results that a job reads and that it does not know yet: as parts of steps before all.

    False if more are left for the next event.
    """
    for number, job in enumerate(run.record.spec.reads):
        step, kept = -1 - number, core.runs[job]
        stage = kept.record.final
        told = (kept, stage, len(kept.results[stage]))
        if not _tell(core, worker, (run.record.id, step), told, Results(run.record.id, step, False, ())):
            return False
    return True


def _form(run: JobRun, stage: int) -> Results:
    """A message with none of a stage's results."""
    found = run.record.stages[stage]
    of_maps = found.kind is TaskKind.MAP and run.record.spec.steps[found.step].reduces > 0
    return Results(run.record.id, found.step, of_maps, ())


def _tell(core: Core, worker: Worker, key: tuple[str, int], told: tuple[JobRun, int, int], form: Results) -> bool:
    """Tell what is new of a stage since the worker's cursor `key`, up to a place, in messages such as `form`.

    False if that is too much for one event: the next goes on.

    Each begins at a multiple of RESULTS_PER_MESSAGE in the list of results, where the worker is not elsewhere already:
    so workers are told the same pages, which are made once for all of them.
    """
    run, stage, end = told
    start = worker.cursors.get(key, 0)
    while start < end:
        if core.effort >= EFFORT:
            return False
        stop = min(end, (start // RESULTS_PER_MESSAGE + 1) * RESULTS_PER_MESSAGE)
        for message in _page(core, (run, stage), (start, stop), form):
            core.tell(worker, message)
        worker.cursors[key] = start = stop
    return True


def _page(core: Core, stage_of: tuple[JobRun, int], stretch: tuple[int, int], form: Results) -> tuple[Results, ...]:
    """The messages with a stretch of a stage's results."""
    run, stage = stage_of
    key = (form.job, form.step, form.of_maps, *stretch)
    found = run.pages.get(key)
    if found is None:
        core.effort += (stretch[1] - stretch[0]) // SOURCES_LIKE_MESSAGE
        while len(run.pages) >= PAGES:
            del run.pages[next(iter(run.pages))]
        found = run.pages[key] = _made(core, run, stage, stretch, form)
    return found


def _made(core: Core, run: JobRun, stage: int, stretch: tuple[int, int], form: Results) -> tuple[Results, ...]:
    log, latest, found = run.results[stage], run.latest[stage], run.record.stages[stage]
    messages: list[Results] = []
    page: list[Source] = []
    size = 0
    for place in range(*stretch):
        index = log[place]
        if latest[index] != place or index not in found.commits:
            continue  # told later, when it is committed again
        source = _source(core, run, stage, index)
        length = _length(source)
        if page and size + length > FRAME_SHARE:
            messages.append(replace(form, sources=tuple(page)))
            page, size = [], 0
        page.append(source)
        size += length
    if page:
        messages.append(replace(form, sources=tuple(page)))
    return tuple(messages)


def _source(core: Core, run: JobRun, stage: int, index: int) -> Source:
    commit = run.record.stages[stage].commits[index]
    facts = core.durable.workers.get(commit.worker)
    done = replace(commit.done, digests=b"", counters={}, warnings=())
    attempt = run.record.attempt(stage, index, commit.number)
    # A part in the shared output folder may outlive its worker: then there is no address, and none is needed.
    return Source(attempt, commit.worker, facts.address if facts else "", facts.folder if facts else "", done)


def _length(source: Source) -> int:
    outputs = source.done.outputs
    parts = [*outputs.values(), *([source.done.part] if source.done.part else [])]
    types = sum(len(name) for part in parts for name in (*part.key_types, *part.value_types))
    texts = len(source.attempt.task.job) + len(source.worker) + len(source.address) + len(source.folder)
    named = PART_BYTES * len(outputs) + sum(map(len, outputs))
    files = FILE_BYTES * sum(len(part.files) for part in parts)
    bad = sum(map(len, source.done.bad))
    return SOURCE_BYTES + named + files + 4 * (texts + types + bad) + len(source.done.bounds)
