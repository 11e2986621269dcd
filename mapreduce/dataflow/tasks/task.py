"""One attempt, from its inputs to its outcome: what a task process, or the inline runner, calls.

Owns the order of things in each kind of task, and the garbage collector meanwhile. Pure but for the files named in its
arguments: no sockets, no coordinator.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from mapreduce.dataflow.bad.care import Care, with_care
from mapreduce.dataflow.bad.folder import GrantedBad, bad_facts
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.inputs.copies import copies_below
from mapreduce.dataflow.manifest.folder import Granted, commit_job
from mapreduce.dataflow.saved_use import note_result
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.tasks.broadcast import BroadcastSink
from mapreduce.dataflow.tasks.failures import failure_of
from mapreduce.dataflow.tasks.map_phase import input_of, make_sink, make_source, map_records, must_tell_of_table
from mapreduce.dataflow.tasks.named_outputs import NamedOutputs
from mapreduce.dataflow.tasks.reduce_phase import reduce_records
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.dataflow.tasks.sinks import PartSink, Sink, Written
from mapreduce.errors import MapReduceError
from mapreduce.plan import AttemptId, Done, Split

__all__ = ["TaskSetup", "begins_frozen", "failure_of", "run_commit", "run_map", "run_reduce"]

GC_THRESHOLDS = (
    200_000,
    50,
    100,
)  # fresh tuples by the million: collecting every 700, as Python does, doubles the time


GC_APART_S = 0.1  # of attempts that take less, some are looked over together


class CommitSource(Protocol):
    """A granted result, as the commit needs it (`protocol.messages.Source` is one)."""

    @property
    def attempt(self) -> AttemptId:
        """Who made it."""

    @property
    def done(self) -> Done:
        """What it made."""


def run_map(setup: TaskSetup, split: Split | None, parts: Sequence[Slice] = ()) -> Done:
    """Run a map attempt: of the first step on `split`, of a later step on `parts` of the step before."""
    if setup.attempt.task.index == 0 and must_tell_of_table(setup):
        setup.careful = True
    done = with_care(setup, lambda careful: _run_map(setup, split, parts, careful=careful))
    if not done.bad:  # the file of bad records goes with the job: what has one is made again
        note_result(setup, split, done)
    return done


def _run_map(setup: TaskSetup, split: Split | None, parts: Sequence[Slice], *, careful: bool) -> Done:
    context = setup.context()
    care = Care.of(setup, context, split) if careful else None
    plan = input_of(setup, split)
    source = make_source(setup, split, parts, care.reading if care else None)
    sink = make_sink(setup, context, plan, careful=careful)
    with _ending(care, sink, context), _calm_gc(), copies_below(setup.scratch):
        emitted = map_records(setup, context, plan, source, sink, care)
        if care is not None and isinstance(sink, BroadcastSink) and sink.aside is not None:
            care.tell_of_table(sink.aside)
        written = sink.finish()
    setup.on_progress(source.records, source.bytes)
    for warning in source.warnings:
        context.warn(warning)
    refused = care.refused if care is not None else 0
    return _done(written, context, (source.records + refused, emitted, source.bytes), care)


@contextmanager
def _ending(care: Care | None, sink: Sink, context: Context) -> Iterator[None]:
    """Remove what was written if the attempt fails. With care, named outputs can be taken back meanwhile."""
    aside = None
    if care is not None:
        care.outputs = context.outputs if isinstance(context.outputs, NamedOutputs) else None
        care.fits = sink.check if isinstance(sink, PartSink) else None
        aside = care.aside
    try:
        yield
        if aside is not None:
            aside.finish()
    except BaseException:
        sink.abort()
        if aside is not None:
            aside.abort()
        raise


def run_reduce(setup: TaskSetup, slices: Sequence[Slice]) -> Done:
    """Run a reduce attempt on its partition of all runs: `slices` in the order of (map task, spill)."""
    return with_care(setup, lambda careful: _run_reduce(setup, slices, careful=careful))


def _run_reduce(setup: TaskSetup, slices: Sequence[Slice], *, careful: bool) -> Done:
    context = setup.context()
    care = Care.of(setup, context) if careful else None
    sink = PartSink(setup.attempt, setup.scratch, setup.options, site=setup.site)
    context.outputs = context.outputs if sink.outputs is None else sink.outputs
    total = sum(part.byte_range[1] for part in slices)
    with _ending(care, sink, context), _calm_gc():
        emitted = reduce_records(setup, context, slices, sink, care)
        written = sink.finish()
    records = sum(part.records for part in slices)  # the loop has not seen the values that a reducer left alone
    setup.on_progress(records, total)
    return _done(written, context, (records, emitted, total), care)


def run_commit(setup: TaskSetup, sources: Sequence[CommitSource], bad: Sequence[CommitSource] = ()) -> Done:
    """Run the job's commit: move the granted parts of the last step into place; may die and be run again.

    `bad` are the granted results, of all steps, of attempts that have put records aside.
    """
    options = setup.options
    granted: list[Granted] = []
    for source in sources:
        if source.done.part is None:
            msg = f"{source.attempt} was granted without a part"
            raise MapReduceError(msg)
        granted.append(Granted(source.attempt, source.done.part, source.done.outputs))
    facts: dict[str, Any] = {"job": options.job, "committed": datetime.now(UTC).isoformat(timespec="seconds")}
    if options.origin:
        facts["origin"] = dict(options.origin)
    aside = [GrantedBad(one.attempt, sum(one.done.bad.values())) for one in bad]
    facts |= bad_facts(aside, options)
    with copies_below(setup.scratch):
        warnings = commit_job(options.output, options, granted, facts, bad=aside)
    return Done(records_out=sum(one.part.records for one in granted), warnings=tuple(warnings))


def _done(written: Written, context: Context, counts: tuple[int, int, int], care: Care | None) -> Done:
    """Put together what was made; `counts` are records in and out, and bytes in."""
    records_in, records_out, nbytes = counts
    aside = care.aside if care is not None else None
    return Done(
        records_in=records_in + written.records_in,
        records_out=records_out if written.records_out is None else written.records_out,
        bytes_in=nbytes + written.bytes_in,
        shuffle_bytes=written.shuffle_bytes,
        runs=written.runs,
        digests=written.digests,
        bounds=written.bounds,
        pickled=written.pickled,
        part=written.part,
        outputs=written.outputs,
        counters=context.counters.checked(),
        warnings=context.warnings,
        bad=dict(aside.counts) if aside else {},
        bad_places=dict(aside.places) if aside else {},
        bad_last=aside.last if aside else None,
    )


class _Collector:
    """What is known of this process's garbage collector: whether it began with frozen objects, and the last look."""

    def __init__(self) -> None:
        self.frozen: bool | None = None
        self.looked_s = float("-inf")

    def stays_frozen(self) -> bool:
        """Whether this process began with frozen objects, as forks do. Asked once: it counts them all."""
        if self.frozen is None:
            self.frozen = gc.get_freeze_count() > 0
        return self.frozen

    def is_due(self) -> bool:
        """Whether the last look was some time ago; if so, this is the last."""
        now_s = time.monotonic()
        if now_s < self.looked_s + GC_APART_S:
            return False
        self.looked_s = now_s
        return True


_collector = _Collector()


def begins_frozen() -> None:
    """Note that this process has frozen objects, and so will its forks: to ask takes milliseconds."""
    _collector.frozen = True


@contextmanager
def _calm_gc() -> Iterator[None]:
    """Let the collector look at what the loop makes only, and seldom; afterwards all is as before."""
    thresholds, frozen = gc.get_threshold(), _collector.stays_frozen()
    if not frozen:
        gc.freeze()
    elif _collector.is_due():
        if gc.isenabled():
            gc.collect()  # what attempts before have left in cycles would stay for ever
        gc.freeze()
    if thresholds[0]:  # a user who has switched it off wants it off
        gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()
