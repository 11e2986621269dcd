"""The reduce side of the shuffle: merges sorted runs as a stream, some blocks of each run in memory.

Slices of few rows are first put together (`bundles`): then a run is a bundle of neighbours, as large as a block.

Of equal keys, values come in the order of the slices, and within a slice as they lie there: neither the cuts of blocks,
nor the fan-in, nor the limits change a group or the order of its values. In each round the rows with keys strictly
below the smallest of the last keys loaded are put together and sorted, stably; the group equal to that bound is
drained run by run, since sorting what happens to be loaded of it would let block cuts decide the order of its values.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    concat,
    keys_list,
    sort_by_key,
    ungroup,
)
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, Slice, fail_write, open_slice, read_blocks
from mapreduce.dataflow.shuffle.bundles import Run, bundled, loads_of, read_run
from mapreduce.dataflow.shuffle.partition import shown
from mapreduce.dataflow.shuffle.run_reader import Bound, Lanes, RunReader
from mapreduce.dataflow.shuffle.sizes import (
    Sizes,
    cut,
    ends_of,
    expanded,
    group_starts,
    row_sizes,
    slice_of,
    value_counts,
)
from mapreduce.errors import SecondPassError
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

CHUNK_BLOCKS = 8  # a chunk handed out is at most so many blocks: 8 MiB, in which calls of Polars cost nothing
SORTED_SHARE = 8  # of `limits.merge` is sorted at a time: 16 MiB, so that the copies that sorting makes stay small
MOST_PIVOTS = 64  # tiny limits must not make a round of every key
OBJECT_BYTES = 64  # what a value takes as a Python object beside its content: bounds what a chunk becomes in user code


@dataclass(frozen=True, slots=True)
class WholeGroups:
    """Some complete groups, keys ascending: `values[ends[i - 1]:ends[i]]` are the values of `keys[i]`.

    Both columns are flat, in the lanes given; `ends` counts values, and ends[-1] == len(values). With `times` the i-th
    value stands for times[i] values.
    """

    keys: pl.Series
    key_lane: Lane
    ends: Sizes
    values: pl.Series
    value_lane: Lane
    times: Sizes | None = None

    def batch(self) -> Batch:
        """The same records as ungrouped rows, in order."""
        counts = np.diff(self.ends, prepend=0)
        rows = np.repeat(np.arange(len(self.keys)), counts)
        keys = self.keys.gather(rows)
        return Batch(pl.DataFrame([keys.alias("key"), self.values.alias("value")]), self.key_lane, self.value_lane)


@dataclass(frozen=True, slots=True)
class OneGroup:
    """One large group: its key as a Python object, and its values as a stream of flat columns.

    To be read before the next chunk is asked for; what is left of it then is skipped.
    """

    key: Any
    value_lane: Lane
    values: Iterator[pl.Series]


def merged_batches(slices: Sequence[Slice], limits: Limits, scratch: str | Path) -> Generator[Batch]:
    """All records of the slices as ungrouped rows in key order, stable in the order of the slices.

    A key's rows may continue in the next batch. Raises as `read_blocks` does, and DiskFullError.
    """
    with closing(_merged(slices, limits, Path(scratch))) as rounds:
        for item in rounds:
            for batch in [item] if isinstance(item, Batch) else item:
                for piece, _ in cut(batch, limits.block * CHUNK_BLOCKS):
                    yield from expanded(piece)
            del item, batch  # large, and not to be held while the next round is made


def merged_chunks(
    slices: Sequence[Slice], limits: Limits, scratch: str | Path, *, compact: bool = False
) -> Generator[WholeGroups | OneGroup]:
    """All groups of the slices, keys ascending, each key in one chunk only.

    Small groups come many at a time, a large one on its own as a stream. With `compact` chunks may have `times`. Raises
    as `read_blocks` does, and DiskFullError.
    """
    with closing(_merged(slices, limits, Path(scratch))) as rounds:
        for item in rounds:
            if isinstance(item, Batch):
                yield from chunked(item, limits.block * CHUNK_BLOCKS, compact=compact)
            else:
                stream = ValueStream(item)
                yield OneGroup(stream.key, stream.value_lane, stream)
                stream.end()
            del item  # large, and not to be held while the next round is made


class ValueStream(Iterator[pl.Series]):
    """The values of one large group, as they are read from the runs.

    Raises SecondPassError once the merge has gone on: the values have been skipped then, which must not look like none.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        first = next(batches)
        self.key = keys_list(first.frame["key"].head(1), first.key_lane)[0]
        self.value_lane = first.value_lane
        self._columns = _flat_columns([first], batches)
        self._ended = False

    def __next__(self) -> pl.Series:
        if self._ended:
            msg = (
                f"the values of the key {shown(self.key)} were read after their reducer had returned: "
                "go through them inside the reducer, or keep list(values)"
            )
            raise SecondPassError(msg)
        return next(self._columns)

    def end(self) -> None:
        """Give up what has not been read."""
        self._columns.close()
        self._ended = True


def read_part(slices: Sequence[Slice]) -> Iterator[Batch]:
    """The records of intermediate parts, unsorted: slice by slice, ungrouped. Raises as `read_blocks` does."""
    for part in slices:
        for batch in read_blocks(part):
            yield ungroup(batch)


def fan_in(runs: Sequence[Run], limits: Limits) -> int:
    """How many of these runs can be merged at once.

    Of each there are two blocks, lest every round end with one; a part of them has, for a moment, a sorted copy.
    """
    lanes = _lanes_of(runs)
    largest = max((size for run in runs for size in loads_of(run, lanes)), default=1)
    return max(2, limits.merge // (2 * largest))


def _lanes_of(runs: Sequence[Run]) -> Lanes:
    return Lanes.of([part for run in runs for part in run])


Rounds = Generator[Batch | Generator[Batch]]


def _merged(slices: Sequence[Slice], limits: Limits, scratch: Path) -> Rounds:
    """Merge any number of slices: in passes, until so few are left that they can be merged at once.

    Yields what `_rounds` does.
    """
    filled = [part for part in slices if part.blocks]
    runs = bundled(filled, Lanes.of(filled), limits.block)
    if len(runs) <= fan_in(runs, limits):
        yield from _rounds(runs, limits)
        return
    try:
        scratch.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="merge-", dir=scratch))
    except OSError as error:
        fail_write(scratch, error)
    try:
        names = (folder / str(number) for number in itertools.count())
        while len(runs) > (most := fan_in(runs, limits)):
            # Slices of ranges may turn out to have no rows in theirs.
            runs = [run for run in _pass(runs, most, limits, names) if any(part.blocks for part in run)]
        yield from _rounds(runs, limits)
    finally:
        shutil.rmtree(folder)


def _pass(runs: Sequence[Run], most: int, limits: Limits, names: Iterator[Path]) -> list[Run]:
    """Merge contiguous ranges of the runs, no more of them than it takes to be left with `most`."""
    result: list[Run] = []
    start, too_many = 0, len(runs) - most
    while start < len(runs):
        stop = min(start + min(most, too_many + 1), len(runs))
        if stop - start < 2:
            result.append(runs[start])
        else:
            path = next(names)
            result.append((_merge_to_file(runs[start:stop], limits, path),))
            for part in itertools.chain(*runs[start:stop]):
                if Path(part.path).parent == path.parent:
                    Path(part.path).unlink()  # made by an earlier pass: its space is free at once
            too_many -= stop - start - 1
        start = stop
    return result


def _merge_to_file(runs: Sequence[Run], limits: Limits, path: Path) -> Slice:
    lanes = _lanes_of(runs)
    writer = BlockFileWriter(path, key_lane=lanes.key, value_lane=lanes.value, layout=lanes.layout, block=limits.block)
    try:
        with closing(_rounds(runs, limits)) as rounds:
            for item in rounds:
                for batch in [item] if isinstance(item, Batch) else item:
                    writer.write(0, batch)
        writer.close()
    finally:
        writer.abort()  # does nothing after a close
    return open_slice(path, 0)


def _rounds(runs: Sequence[Run], limits: Limits) -> Rounds:
    """Merge at once. Yields sorted batches of complete groups, and as streams of batches the groups beyond a block.

    A stream that is not read to its end is drained before the next round.
    """
    lanes = _lanes_of(runs)
    readers: list[RunReader] = []
    try:
        room = limits.merge // max(len(runs), 1)  # two blocks each, as in `fan_in`: with one, each round ends some run
        readers.extend(RunReader(read_run(run, lanes), loads_of(run, lanes), room) for run in runs)
        readers = _unfinished(readers)
        while readers:
            unfinished = [reader.bound() for reader in readers if reader.has_more]
            bound = min(unfinished, key=lambda candidate: candidate.order, default=None)
            for pivot in _pivots(readers, bound, limits.merge // SORTED_SHARE):
                yield from _handed_over(_sorted(reader.take_below(pivot) for reader in readers))
            if bound is None:
                yield from _handed_over(_sorted(reader.take_all() for reader in readers))
                return
            complete = _sorted(reader.take_below(bound) for reader in readers)
            with closing(_drained(readers, bound)) as group:
                head, is_whole = _head(group, limits.block)
                if is_whole:
                    complete = [concat([*complete, *head])]
                    head.clear()
                yield from _handed_over(complete)
                if not is_whole:
                    stream = _chained(head, group)
                    yield stream
                    for _ in stream:
                        pass
            readers = _unfinished(readers)
    finally:
        for reader in readers:
            reader.close()


def _unfinished(readers: Sequence[RunReader]) -> list[RunReader]:
    """The readers that have rows left, which load more; the others are closed."""
    for reader in readers:
        reader.fill()
        if reader.is_done:
            reader.close()
    return [reader for reader in readers if not reader.is_done]


def _pivots(readers: Sequence[RunReader], bound: Bound | None, most: int) -> list[Bound]:
    """Keys at which what can be sorted now is cut into parts of about `most` bytes: sorting takes twice its input."""
    sizes = [reader.loaded_below(bound) for reader in readers]
    parts = sum(sizes) // max(most, 1) + 1
    if parts == 1:
        return []
    widest = readers[sizes.index(max(sizes))]
    return widest.quantiles(bound, min(parts, MOST_PIVOTS))


def _drained(readers: Sequence[RunReader], bound: Bound) -> Generator[Batch]:
    """The group of the bound, run by run."""
    for reader in readers:
        yield from reader.take_equal(bound)


def _head(group: Iterator[Batch], most: int) -> tuple[list[Batch], bool]:
    """The beginning of a group, up to `most` raw bytes or a little more, and whether that is all of it."""
    head: list[Batch] = []
    size = 0
    for piece in group:
        head.append(piece)
        size += piece.nbytes()
        if size > most:
            return head, False
    return head, True


def _handed_over(batches: list[Batch]) -> Generator[Batch]:
    """Yield the batches that have rows, and hold none while it is used: it may be as large as all blocks together."""
    batches.reverse()
    while batches:
        if batches[-1].rows():
            yield batches.pop()
        else:
            batches.pop()


def _chained(head: list[Batch], rest: Iterator[Batch]) -> Generator[Batch]:
    yield from _handed_over(head)
    yield from rest


def _sorted(taken: Iterable[list[Batch]]) -> list[Batch]:
    """The rows taken from each run, sorted into one batch; none of no rows."""
    pieces = list(taken)
    found = list(itertools.chain.from_iterable(pieces))
    if not found:
        return []
    batch = concat(found)
    return [sort_by_key(batch) if sum(map(bool, pieces)) > 1 else batch]


def _flat_columns(head: list[Batch], rest: Iterator[Batch]) -> Generator[pl.Series]:
    """The values of batches, in order. Those of the head are not held once they are given."""
    while head:
        batch = head.pop()
        if batch.repeated:
            yield from (piece.frame["value"] for piece in expanded(batch))
        else:
            yield batch.frame["value"].explode() if batch.grouped else batch.frame["value"]
        del batch
        head.extend(itertools.islice(rest, 1))


def chunked(batch: Batch, most: int, *, compact: bool = False) -> Iterator[WholeGroups | OneGroup]:
    """Cut complete groups into chunks that take at most `most` bytes as Python objects; a larger one is a stream.

    With `compact` what repeats counts once, and chunks of a repeated batch have `times`.
    """
    starts = group_starts(batch.frame["key"])
    ends = np.append(starts[1:], batch.rows())  # the row after each group
    objects = np.ones(batch.rows(), dtype=np.int64) if compact and batch.repeated else value_counts(batch)
    costs = ends_of(row_sizes(batch) + OBJECT_BYTES * objects)
    group = 0
    while group < len(starts):
        first = int(starts[group])
        stop = int(np.searchsorted(costs[ends], costs[first] + most, side="right"))
        if stop > group:
            yield _whole_groups(
                slice_of(batch, first, int(ends[stop - 1])), starts[group:stop] - first, compact=compact
            )
        else:
            stop = group + 1
            key = keys_list(batch.frame["key"].slice(first, 1), batch.key_lane)[0]
            yield OneGroup(key, batch.value_lane, _values_of_rows(batch, costs, first, int(ends[group]), most))
        group = stop


def _whole_groups(batch: Batch, starts: Sizes, *, compact: bool) -> WholeGroups:
    """Lay out rows whose groups begin at the rows `starts`."""
    keys, ends = batch.frame["key"].gather(starts), np.append(starts[1:], batch.rows())
    if compact and batch.repeated:
        times = batch.frame["times"].to_numpy()
        return WholeGroups(keys, batch.key_lane, ends, batch.frame["value"], batch.value_lane, times)
    values = batch.frame["value"].explode() if batch.grouped else ungroup(batch).frame["value"]
    return WholeGroups(keys, batch.key_lane, ends_of(value_counts(batch))[ends], values, batch.value_lane)


def _values_of_rows(batch: Batch, costs: Sizes, start: int, end: int, most: int) -> Iterator[pl.Series]:
    while start < end:
        stop = int(np.searchsorted(costs, costs[start] + most, side="right")) - 1
        stop = min(max(stop, start + 1), end)
        yield from _flat_columns([slice_of(batch, start, stop)], iter(()))
        start = stop
