"""Runs of several inputs for tests: pairs of each side, written as a map task would, read as slices."""

from contextlib import ExitStack, closing
from dataclasses import replace

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.shuffle.merge import merged_chunks
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.dataflow.tasks.cogroup import cogrouped, shared_key_lane, side_limits
from mapreduce.plan import Limits

TINY = Limits(flush_records=5, sort_buffer=1 << 10, block=128, merge=1 << 10)


def write_side(folder, index, pairs, limits=TINY):
    """Write pairs as the runs of one map task, of one partition; give their slices."""
    buffer = SortBuffer(folder, lambda n: f"run-{index}-{n}", partitions=1, limits=limits)
    for start in range(0, len(pairs), 40):
        part = pairs[start : start + 40]
        buffer.add(make_batch([key for key, _ in part], [value for _, value in part]))
    count = buffer.finish().count
    return [replace(open_slice(folder / f"run-{index}-{n}", 0), map_index=index) for n in range(count)]


def side_by_side(folder, sides, use, limits=TINY):
    """Call `use` with each round of groups of the sides (lists of pairs), as a reduce task would."""
    slices = [write_side(folder, index, pairs, limits) for index, pairs in enumerate(sides)]
    of_each = side_limits(limits, len(slices))
    with ExitStack() as merges:
        chunks = [merges.enter_context(closing(merged_chunks(side, of_each, folder))) for side in slices]
        for groups in merges.enter_context(closing(cogrouped(chunks, shared_key_lane(slices)))):
            use(groups)
    return slices
