"""A reduce attempt, put together: the merge of its partition's runs, and the loop that reduces its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.fold import Fold
from mapreduce.dataflow.reduce_task import FoldLoop, ReduceLoop
from mapreduce.dataflow.setup import TaskSetup
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.merge import merged_batches, merged_chunks
from mapreduce.dataflow.sinks import Sink
from mapreduce.plan import merge_folder_name


def reduce_records(setup: TaskSetup, context: Context, slices: Sequence[Slice], sink: Sink) -> int:
    """Reduce the groups of all slices into the sink. Gives how many pairs were emitted."""
    reducer = setup.plan.reducer
    if isinstance(reducer, Call):
        return _reduce(setup, context, reducer, slices, sink)
    assert isinstance(reducer, Aggregator), "a map-only step has no reduce tasks"
    return _fold(setup, reducer, slices, sink)


def _reduce(setup: TaskSetup, context: Context, call: Call, slices: Sequence[Slice], sink: Sink) -> int:
    loop = ReduceLoop(call, setup.bound(call, context)[0], sink.add, setup.site, setup.options.limits)
    with merge_folder(setup) as folder, closing(merged_chunks(slices, setup.options.limits, folder)) as chunks:
        for chunk in chunks:
            loop.run(chunk)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _fold(setup: TaskSetup, aggregator: Aggregator[Any, Any, Any], slices: Sequence[Slice], sink: Sink) -> int:
    loop = FoldLoop(Fold(aggregator, setup.site), sink.add)
    with merge_folder(setup) as folder, closing(merged_batches(slices, setup.options.limits, folder)) as batches:
        for batch in batches:
            loop.run(batch)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


@contextmanager
def merge_folder(setup: TaskSetup) -> Iterator[Path]:
    """Give a folder for the merge's files; named by the attempt, so that those of one that was killed can be found."""
    folder = setup.scratch / merge_folder_name(setup.attempt)
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()
