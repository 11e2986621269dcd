"""A reduce attempt, put together: the merge of its partition's runs, and the loop that reduces its groups."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call
from mapreduce.dataflow.bad.care import Care
from mapreduce.dataflow.bad.reduce_loops import CarefulFoldLoop, CarefulFrameLoop, CarefulReduceLoop
from mapreduce.dataflow.columns.batches import Lane
from mapreduce.dataflow.columns.said import said_value
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups, merged_batches, merged_chunks
from mapreduce.dataflow.shuffle.run_reader import Lanes
from mapreduce.dataflow.tasks.cogroup import Groups, LargeGroup, cogrouped, shared_key_lane, side_limits, sides_of
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.dataflow.tasks.frame_stream import FrameStream
from mapreduce.dataflow.tasks.frame_task import FrameLoop
from mapreduce.dataflow.tasks.join_task import JoinLoop, warn_of_strangers
from mapreduce.dataflow.tasks.ordering import ordered_chunks
from mapreduce.dataflow.tasks.reduce_task import FoldLoop, ReduceLoop
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.dataflow.tasks.sinks import Sink, keeping
from mapreduce.file_names import merge_folder_name
from mapreduce.joins import Join
from mapreduce.plan import Limits

Sides = Sequence[Sequence[Slice]]


def reduce_records(
    setup: TaskSetup, context: Context, slices: Sequence[Slice], sink: Sink, care: Care | None = None
) -> int:
    """Reduce the groups of all slices into the sink, with care or fast. Gives how many pairs were emitted."""
    reducer = setup.plan.reducer
    if isinstance(reducer, Aggregator):
        return _fold(setup, reducer, slices, sink, care)
    if isinstance(reducer, Join):
        return _join(setup, context, reducer, slices, sink)
    assert reducer is not None, "a map-only step has no reduce tasks"
    if setup.plan.frames:
        return _frames(setup, context, reducer, slices, sink, care)
    function = setup.bound(reducer, context)[0]
    keep, limits = keeping(sink), setup.options.limits
    loop = ReduceLoop(reducer, function, sink.add, setup.site, limits, keep=keep)
    if care is not None:
        loop = careful = CarefulReduceLoop(reducer, function, sink.add, setup.site, limits, keep=keep)
        careful.watch(care)
    return _cogroup(setup, reducer, slices, loop) if reducer.groups else _reduce(setup, slices, loop)


def _reduce(setup: TaskSetup, slices: Sequence[Slice], loop: ReduceLoop) -> int:
    with (
        merge_folder(setup) as folder,
        closing(
            _chunks(setup, slices, setup.options.limits, folder, compact=not isinstance(loop, CarefulReduceLoop))
        ) as chunks,
    ):
        for chunk in chunks:
            loop.run(chunk)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _cogroup(setup: TaskSetup, call: Call, slices: Sequence[Slice], loop: ReduceLoop) -> int:
    with merge_folder(setup) as folder, _side_by_side(setup, _named_sides(setup, call, slices), folder) as rounds:
        for groups in rounds:
            loop.run_sides(groups)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _frames(  # noqa: PLR0917 - what a task consists of
    setup: TaskSetup, context: Context, call: Call, slices: Sequence[Slice], sink: Sink, care: Care | None
) -> int:
    sides = _named_sides(setup, call, slices) if call.groups else [slices]
    lanes = shared_key_lane(sides), [Lanes.of([part for part in side if part.blocks]).value for side in sides]
    function = setup.bound(call, context)[0]
    if care is None and not call.groups and not setup.plan.sort_values and lanes[0] is not Lane.ENCODED:
        return _frame_stream(setup, FrameStream(call, function, sink.add, setup.site, lanes=lanes), slices)
    loop = FrameLoop(call, function, sink.add, setup.site, lanes=lanes)
    if care is not None:
        loop = careful = CarefulFrameLoop(call, function, sink.add, setup.site, lanes=lanes)
        careful.watch(care)
    with merge_folder(setup) as folder, _side_by_side(setup, sides, folder) as rounds:
        for groups in rounds:
            loop.run(groups)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _frame_stream(setup: TaskSetup, loop: FrameStream, slices: Sequence[Slice]) -> int:
    with merge_folder(setup) as folder, closing(merged_batches(slices, setup.options.limits, folder)) as batches:
        for batch in batches:
            loop.run_rows(batch)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _join(setup: TaskSetup, context: Context, join: Join, slices: Sequence[Slice], sink: Sink) -> int:
    sides = sides_of(slices, setup.options.inputs)
    lanes = [{part.key_lane for part in side if part.blocks} for side in sides]
    warn_of_strangers(context, [source.name for source in setup.plan.inputs], lanes)
    with merge_folder(setup) as folder:
        folder.mkdir()
        says = keeping(sink) is said_value
        loop = JoinLoop(join, sink.add, setup.options.limits, folder, says=says)
        with _side_by_side(setup, sides, folder) as rounds:
            for groups in rounds:
                loop.run(groups)
                setup.on_progress(loop.records, 0)
    return loop.emitted


def _fold(
    setup: TaskSetup, aggregator: Aggregator[Any, Any, Any], slices: Sequence[Slice], sink: Sink, care: Care | None
) -> int:
    loop = FoldLoop(Fold(aggregator, setup.site), sink.add)
    if care is not None:
        loop = careful = CarefulFoldLoop(Fold(aggregator, setup.site), sink.add)
        careful.watch(care, aggregator)
    with merge_folder(setup) as folder, closing(merged_batches(slices, setup.options.limits, folder)) as batches:
        for batch in batches:
            loop.run(batch)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop.emitted


def _chunks(
    setup: TaskSetup, slices: Sequence[Slice], limits: Limits, folder: Path, *, compact: bool = False
) -> Generator[WholeGroups | OneGroup]:
    """The groups of the slices, with their values as they came or, with `sort_values`, in order.

    With `compact` chunks may have `times`.
    """
    if setup.plan.sort_values:
        return ordered_chunks(slices, limits, folder)
    return merged_chunks(slices, limits, folder, compact=compact)


def _named_sides(setup: TaskSetup, call: Call, slices: Sequence[Slice]) -> Sides:
    """The slices of each input, in the order in which the reducer takes them."""
    sides = sides_of(slices, setup.options.inputs)
    names = [source.name for source in setup.plan.inputs]
    return [sides[names.index(name)] for name in call.groups]


@contextmanager
def _side_by_side(setup: TaskSetup, sides: Sides, folder: Path) -> Iterator[Iterator[Groups | LargeGroup]]:
    """Merge each side on its own, all at once, and give their groups by key."""
    limits = side_limits(setup.options.limits, len(sides))
    # Composite keys, of which sorted values come, are taken apart as encodings.
    key_lane = Lane.ENCODED if setup.plan.sort_values else shared_key_lane(sides)
    with ExitStack() as merges:
        chunks = [merges.enter_context(closing(_chunks(setup, side, limits, folder))) for side in sides]
        yield merges.enter_context(closing(cogrouped(chunks, key_lane)))


@contextmanager
def merge_folder(setup: TaskSetup) -> Iterator[Path]:
    """Give a folder for the merge's files; named by the attempt, so that those of one that was killed can be found.

    Whoever has files makes it: most merges have none, and a folder takes the disk a millisecond.
    """
    folder = setup.scratch / merge_folder_name(setup.attempt)
    try:
        yield folder
    finally:
        with suppress(FileNotFoundError):
            folder.rmdir()
