"""What a merge reads as one run: a slice, block by block, or a bundle of neighbours that have few rows each.

Many reducers make slices of a few hundred bytes, of which each would cost a merge more than its rows do. Those of a
bundle are read at once, put together in their order and sorted, stably: so a bundle is to the merge what one block is.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from mapreduce.dataflow.columns.batches import Batch, concat, sort_by_key
from mapreduce.dataflow.shuffle.block_index import Slice
from mapreduce.dataflow.shuffle.block_reader import read_blocks, read_together
from mapreduce.dataflow.shuffle.run_reader import Lanes

BUNDLED_SHARE = 8  # of a block: larger slices are worth a reader of their own, and bundles stay nearly full

Run = tuple[Slice, ...]


def bundled(slices: Sequence[Slice], lanes: Lanes, most: int) -> list[Run]:
    """Put neighbours with few rows into bundles of at most `most` bytes in these lanes; each other slice stays alone.

    Every slice has blocks. Their order stays.
    """
    runs: list[Run] = []
    open_bundle: list[Slice] = []
    room = 0
    for part in slices:
        size = sum(lanes.sizes(part))
        if size > most // BUNDLED_SHARE:
            if open_bundle:
                runs.append(tuple(open_bundle))
                open_bundle, room = [], 0
            runs.append((part,))
            continue
        if size > room:
            if open_bundle:
                runs.append(tuple(open_bundle))
            open_bundle, room = [], most
        open_bundle.append(part)
        room -= size
    return [*runs, tuple(open_bundle)] if open_bundle else runs


def loads_of(run: Run, lanes: Lanes) -> list[int]:
    """How many bytes each batch takes, of those in which a run is read: the blocks of a slice, or a bundle whole."""
    sizes = [size for part in run for size in lanes.sizes(part)]
    return sizes if len(run) == 1 else [sum(sizes)]


def read_run(run: Run, lanes: Lanes) -> Generator[Batch]:
    """The rows of a run by key, in these lanes, batch by batch. Raises as `read_blocks` does."""
    if len(run) > 1:
        yield sort_by_key(concat([lanes.fit(batch) for batch in read_together(run)]))
        return
    for batch in read_blocks(run[0]):
        yield lanes.fit(batch)
