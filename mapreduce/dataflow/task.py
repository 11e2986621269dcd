"""One attempt, from its inputs to its outcome: what a task process, or the inline runner, calls.

Owns the order of things in each kind of task, and the garbage collector meanwhile. Pure but for the files named in its
arguments: no sockets, no coordinator.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from mapreduce.dataflow.context import Context
from mapreduce.dataflow.failures import failure_of
from mapreduce.dataflow.manifest import Granted, commit_job
from mapreduce.dataflow.map_phase import input_of, make_sink, make_source, map_records
from mapreduce.dataflow.reduce_phase import reduce_records
from mapreduce.dataflow.setup import TaskSetup
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.sinks import PartSink, Written
from mapreduce.errors import MapReduceError
from mapreduce.plan import AttemptId, Done, Split

__all__ = ["TaskSetup", "failure_of", "run_commit", "run_map", "run_reduce"]

GC_THRESHOLDS = (
    200_000,
    50,
    100,
)  # fresh tuples by the million: collecting every 700, as Python does, doubles the time


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
    context = setup.context()
    plan = input_of(setup, split)
    source = make_source(setup, split, parts)
    sink = make_sink(setup, context, plan)
    try:
        with _calm_gc():
            emitted = map_records(setup, context, plan, source, sink)
            written = sink.finish()
    except BaseException:
        sink.abort()
        raise
    setup.on_progress(source.records, source.bytes)
    for warning in source.warnings:
        context.warn(warning)
    return _done(written, context, (source.records, emitted, source.bytes))


def run_reduce(setup: TaskSetup, slices: Sequence[Slice]) -> Done:
    """Run a reduce attempt on its partition of all runs: `slices` in the order of (map task, spill)."""
    context = setup.context()
    sink = PartSink(setup.attempt, setup.scratch, setup.options, site=setup.site)
    context.outputs = context.outputs if sink.outputs is None else sink.outputs
    total = sum(part.byte_range[1] for part in slices)
    try:
        with _calm_gc():
            emitted = reduce_records(setup, context, slices, sink)
            written = sink.finish()
    except BaseException:
        sink.abort()
        raise
    records = sum(part.records for part in slices)  # the loop has not seen the values that a reducer left alone
    setup.on_progress(records, total)
    return _done(written, context, (records, emitted, total))


def run_commit(setup: TaskSetup, sources: Sequence[CommitSource]) -> Done:
    """Run the job's commit: move the granted parts of the last step into place; may die and be run again."""
    options = setup.options
    granted: list[Granted] = []
    for source in sources:
        if source.done.part is None:
            msg = f"{source.attempt} was granted without a part"
            raise MapReduceError(msg)
        granted.append(Granted(source.attempt, source.done.part, source.done.outputs))
    facts = {
        "job": options.job,
        "committed": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempts": {str(one.attempt.task): one.attempt.number for one in granted},
    }
    if options.origin:
        facts["origin"] = dict(options.origin)
    warnings = commit_job(options.output, options, granted, facts)
    return Done(records_out=sum(one.part.records for one in granted), warnings=tuple(warnings))


def _done(written: Written, context: Context, counts: tuple[int, int, int]) -> Done:
    """Put together what was made; `counts` are records in and out, and bytes in."""
    records_in, records_out, nbytes = counts
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
    )


@functools.cache
def _stays_frozen() -> bool:
    """Whether this process began with frozen objects, as those that were forked do. Asked once: it counts them all."""
    return gc.get_freeze_count() > 0


@contextmanager
def _calm_gc() -> Iterator[None]:
    """Let the collector look at what the loop makes only, and seldom; afterwards all is as before."""
    thresholds, frozen = gc.get_threshold(), _stays_frozen()
    if frozen and gc.isenabled():
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
