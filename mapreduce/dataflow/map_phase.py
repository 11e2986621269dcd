"""A map attempt, put together: its source, the loop that runs the mapper, and the sink that takes what it emits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call
from mapreduce.dataflow.combine import Combiner
from mapreduce.dataflow.context import Context, shorten
from mapreduce.dataflow.fold import Fold
from mapreduce.dataflow.map_task import MapLoop, Source
from mapreduce.dataflow.setup import TaskSetup
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.sinks import PartSink, ShuffleSink, Sink
from mapreduce.dataflow.text import TextReader
from mapreduce.plan import Split

if TYPE_CHECKING:
    from mapreduce.dataflow.shuffle.partition import Partitioner
    from mapreduce.step import InputPlan


def input_of(setup: TaskSetup, split: Split | None) -> InputPlan:
    """The input of the step that a task reads: a split names it, a later step has one."""
    return setup.plan.inputs[0 if split is None else split.input]


def make_source(setup: TaskSetup, split: Split | None, parts: Sequence[Slice]) -> Source:
    """What the task reads: the records of a split, or parts of the step before."""
    if split is None:
        return Source(None, parts)
    options = setup.options
    return Source(TextReader(split, options.encoding, options.encoding_errors, options.limits), parts)


def make_sink(setup: TaskSetup, context: Context, source: InputPlan) -> Sink:
    """Where the task's pairs go."""
    plan, options = setup.plan, setup.options
    if plan.reducer is None:
        return PartSink(setup.attempt, setup.scratch, options, keys=source.mapper_kind != "records")
    partitioner: Partitioner | None = None
    if isinstance(plan.partitioner, Call):
        partitioner = _partitioner(setup, plan.partitioner, context)
    fold = combiner = None
    if isinstance(plan.reducer, Aggregator):
        fold = Fold(plan.reducer, setup.site)
    elif plan.combiner is not None:
        combiner = Combiner(plan.combiner, setup.bound(plan.combiner, context)[0], setup.site, options.limits)
    return ShuffleSink(setup.attempt, setup.scratch, options, partitioner=partitioner, fold=fold, combiner=combiner)


def _partitioner(setup: TaskSetup, call: Call, context: Context) -> Partitioner:
    function = setup.bound(call, context)[0]

    def partition(key: Any, partitions: int) -> int:
        try:
            number: int = function(key, partitions)
        except Exception:
            setup.site.blame(call.title, shorten(key))
            raise
        return number

    return partition


def map_records(setup: TaskSetup, context: Context, plan: InputPlan, source: Source, sink: Sink) -> int:
    """Run the mapper over the source. Gives how many pairs it emitted."""
    call = plan.mapper
    if call is None:
        for batch in source.columns():
            sink.add(batch)
            setup.on_progress(source.records, source.bytes)
        return source.records
    function, finish = setup.bound(call, context)
    loop = MapLoop(call, function, sink, setup.site, setup.options.limits)
    for records in source.read():
        loop.run(records)
        setup.on_progress(source.records, source.bytes)
    loop.finish(finish)
    return loop.emitted
