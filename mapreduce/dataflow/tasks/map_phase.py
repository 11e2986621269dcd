"""A map attempt, put together: its source, the loop that runs the mapper, and the sink that takes what it emits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mapreduce.aggregators import Aggregator
from mapreduce.dataflow.bad.care import Care
from mapreduce.dataflow.bad.checks import SparedCombiner, SparedFold, checks_of
from mapreduce.dataflow.bad.file import AsideInMemory
from mapreduce.dataflow.bad.map_loops import CarefulFramesLoop, CarefulMapLoop
from mapreduce.dataflow.bad.watch import WatchedCombiner, WatchedFold, watch_table
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.readers.records import batched
from mapreduce.dataflow.readers.unreadable import PutAside
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.tasks.broadcast import BROADCAST, BroadcastSink, Collected, Loaded, Table
from mapreduce.dataflow.tasks.combine import Combiner, FrameCombiner
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.dataflow.tasks.map_task import FramesLoop, MapLoop
from mapreduce.dataflow.tasks.placement import placement_of, value_order
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.dataflow.tasks.sinks import PartSink, ShuffleSink, Sink
from mapreduce.dataflow.tasks.source import Source
from mapreduce.joins import Join
from mapreduce.plan import AttemptId, Split

if TYPE_CHECKING:
    from mapreduce.step import InputPlan


def input_of(setup: TaskSetup, split: Split | None) -> InputPlan:
    """The input of the step that a task reads: a split names it, a later step has one."""
    return setup.plan.inputs[0 if split is None else split.input]


def make_source(setup: TaskSetup, split: Split | None, parts: Sequence[Slice], aside: PutAside | None = None) -> Source:
    """What the task reads: the records of a split, or parts of the step before or of a kept result."""
    if split is None or split.kept is not None:
        return Source(None, parts)
    return Source(setup.reader(split, aside), parts)


def make_sink(setup: TaskSetup, context: Context, source: InputPlan, *, careful: bool = False) -> Sink:
    """Where the task's pairs go. With `careful` a combiner or aggregator that fails may leave values as they are."""
    plan, options = setup.plan, setup.options
    if plan.map_only:
        part = PartSink(setup.attempt, setup.scratch, options, keys=source.mapper_kind != "records", site=setup.site)
        context.outputs = context.outputs if part.outputs is None else part.outputs
        return (
            BroadcastSink(plan.reducer, context, part, [source.name for source in plan.inputs])
            if isinstance(plan.reducer, Join)
            else part
        )
    fold: Fold | None = None
    combiner: Combiner | FrameCombiner | SparedCombiner | None = None
    if isinstance(plan.reducer, Aggregator):
        task = setup.attempt.task
        stream = f"{task.step}/{task.index}"
        if careful:
            kind = WatchedFold if options.max_bad is None else SparedFold
            fold = kind(plan.reducer, setup.site, stream=stream).watch(setup)
        else:
            fold = Fold(plan.reducer, setup.site, stream=stream)
    elif plan.combiner is not None:
        function = setup.bound(plan.combiner, context)[0]
        if careful:
            function = WatchedCombiner(plan.combiner, function, setup, context)
        if plan.frames:
            combiner = FrameCombiner(plan.combiner, function, setup.site)
        else:
            combiner = Combiner(plan.combiner, function, setup.site, options.limits)
        if careful and options.max_bad is not None:
            combiner = SparedCombiner(combiner, plan.combiner, setup, context)
    return ShuffleSink(
        setup.attempt,
        setup.scratch,
        options,
        placement=placement_of(setup, context),
        order=value_order(setup, context),
        fold=fold,
        combiner=combiner,
    )


def _broadcast_table(setup: TaskSetup, *, careful: bool) -> Table:
    """The broadcast input, loaded once in this process by its own mapper, as if by a map task behind the last one."""
    table: Table | None = setup.job.memo.get(BROADCAST)
    if table is None:
        assert setup.broadcast is not None, "a broadcast join without its split"
        task = replace(setup.attempt.task, index=setup.options.steps[0].maps)
        loading = TaskSetup(setup.job, AttemptId(task, 1), setup.scratch, setup.previous, site=setup.site)
        watch_table(setup, loading)
        context = loading.context()
        aside = AsideInMemory.of(loading, setup.broadcast) if careful else None
        care = Care(loading, context, aside) if careful else None
        source = make_source(loading, setup.broadcast, setup.broadcast_parts(), care.reading if care else None)
        collected = Collected()
        map_records(loading, context, input_of(loading, setup.broadcast), source, collected, care)
        for warning in source.warnings:
            context.warn(warning)
        loaded = Loaded(source.records, source.bytes, context.counters.checked(), context.warnings)
        if care is not None:
            loaded.records += care.refused
            loaded.aside = aside
        table = setup.job.memo[BROADCAST] = Table(collected.batches, loaded)
    return table


def must_tell_of_table(setup: TaskSetup) -> bool:
    """Whether another task, in this process, has put records of the broadcast input aside, which one is to tell of."""
    table: Table | None = setup.job.memo.get(BROADCAST)
    return table is not None and table.loaded.aside is not None and table.loaded.aside.records > 0


def map_records(  # noqa: PLR0917 - what a task consists of
    setup: TaskSetup, context: Context, plan: InputPlan, source: Source, sink: Sink, care: Care | None = None
) -> int:
    """Run the mapper over the source, with care or with the fast loops. Gives how many pairs it emitted."""
    if isinstance(sink, BroadcastSink):
        sink.join_to(_broadcast_table(setup, careful=care is not None), counted=setup.attempt.task.index == 0)
    call = plan.mapper
    if call is None:
        for batch in source.columns():
            sink.add(batch)
            setup.on_progress(source.records, source.bytes)
        return source.records
    function, finish = setup.bound(call, context)
    if plan.frames:
        frames = FramesLoop(call, function, sink, setup.site)
        if care is not None:
            frames = CarefulFramesLoop(call, function, sink, setup.site)
            frames.watch(care, checks_of(setup, context, sink))
        for frame in source.frames():
            frames.run(frame)
            setup.on_progress(source.records, source.bytes)
        frames.finish(finish)
        return frames.emitted
    loop = MapLoop(call, function, sink, setup.site, setup.options.limits)
    if care is not None:
        loop = CarefulMapLoop(call, function, sink, setup.site, setup.options.limits)
        loop.watch(care, checks_of(setup, context, sink))
    for run in _blocks(loop, source, plan.batch_size):
        run()
        setup.on_progress(source.records, source.bytes)
    loop.finish(finish)
    return loop.emitted


def _blocks(loop: MapLoop, source: Source, batch_size: int | None) -> Iterator[Callable[[], None]]:
    """Give what runs the loop over each block of records in turn, in the way that costs least.

    The same with care and without it, or the same records would make other runs.
    """
    if loop.splits_words and source.has_lines and batch_size is None:
        found = source.words() if loop.counts_words else source.blocks()
        return (partial(loop.run_words, words) for words in found)
    blocks = source.read() if batch_size is None else batched(source.read(), batch_size)
    return (partial(loop.run, records) for records in blocks)
