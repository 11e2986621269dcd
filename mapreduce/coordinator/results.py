"""Telling workers where committed results lie: deltas of one stage's results, each told once to a session."""

from __future__ import annotations

from dataclasses import replace

from mapreduce.config import CONTROL_FRAME_BYTES, RESULTS_PER_MESSAGE
from mapreduce.coordinator.core import Core
from mapreduce.coordinator.job_run import JobRun, Prepared
from mapreduce.coordinator.roster import Worker
from mapreduce.plan import TaskKind
from mapreduce.protocol.messages import Results, Source

SOURCE_BYTES = 200  # of a source's fixed fields on the wire, generously
PART_BYTES = 64  # of a named output's part beside its name and types
FILE_BYTES = 40  # of one of several files of a part
FRAME_SHARE = CONTROL_FRAME_BYTES // 2  # of a Results message: the estimate may be off, the frame's limit is hard


def announce(core: Core, run: JobRun, stage: int) -> None:
    """After a commit: tell what has piled up, now and then, so that the next stage's start need not wait for it."""
    if len(run.results[stage]) % RESULTS_PER_MESSAGE == 0 and stage < len(run.record.stages) - 1:
        for worker in core.roster.ready():
            if run.prepared.get(worker.id) is Prepared.READY:
                deliver(core, run, stage, worker)


def deliver(core: Core, run: JobRun, stage: int, worker: Worker) -> None:
    """Tell a worker those results of a stage that it does not know yet."""
    found = run.record.stages[stage]
    of_maps = found.kind is TaskKind.MAP and run.record.spec.steps[found.step].reduces > 0
    _tell(core, worker, (run.record.id, stage), (run, stage), Results(run.record.id, found.step, of_maps, ()))


def deliver_kept(core: Core, run: JobRun, worker: Worker) -> None:
    """Tell a worker those kept results that a job reads and that it does not know yet: as parts of steps before all."""
    for number, job in enumerate(run.record.spec.reads):
        step, kept = -1 - number, core.runs[job]
        _tell(core, worker, (run.record.id, step), (kept, kept.record.final), Results(run.record.id, step, False, ()))


def _tell(core: Core, worker: Worker, key: tuple[str, int], stage_of: tuple[JobRun, int], form: Results) -> None:
    """Tell what is new of a stage since the worker's cursor `key`, in messages such as `form`."""
    run, stage = stage_of
    log, latest, found = run.results[stage], run.latest[stage], run.record.stages[stage]
    start = worker.cursors.get(key, 0)
    if start == len(log):
        return
    worker.cursors[key] = len(log)
    page: list[Source] = []
    size = 0
    for place in range(start, len(log)):
        index = log[place]
        if latest[index] != place or index not in found.commits:
            continue  # told later, when it is committed again
        source = run.sources[stage].get(index) or _source(core, run, stage, index)
        length = _length(source)
        if page and (len(page) == RESULTS_PER_MESSAGE or size + length > FRAME_SHARE):
            core.tell(worker, replace(form, sources=tuple(page)))
            page, size = [], 0
        page.append(source)
        size += length
    if page:
        core.tell(worker, replace(form, sources=tuple(page)))


def _source(core: Core, run: JobRun, stage: int, index: int) -> Source:
    commit = run.record.stages[stage].commits[index]
    facts = core.durable.workers.get(commit.worker)
    done = replace(commit.done, digests=b"", counters={}, warnings=())
    attempt = run.record.attempt(stage, index, commit.number)
    # A part in the shared output folder may outlive its worker: then there is no address, and none is needed.
    source = Source(attempt, commit.worker, facts.address if facts else "", facts.folder if facts else "", done)
    run.sources[stage][index] = source
    return source


def _length(source: Source) -> int:
    outputs = source.done.outputs
    parts = [*outputs.values(), *([source.done.part] if source.done.part else [])]
    types = sum(len(name) for part in parts for name in (*part.key_types, *part.value_types))
    texts = len(source.attempt.task.job) + len(source.worker) + len(source.address) + len(source.folder)
    named = PART_BYTES * len(outputs) + sum(map(len, outputs))
    files = FILE_BYTES * sum(len(part.files) for part in parts)
    bad = sum(map(len, source.done.bad))
    return SOURCE_BYTES + named + files + 4 * (texts + types + bad) + len(source.done.bounds)
