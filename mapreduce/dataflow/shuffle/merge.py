"""The reduce side of the shuffle: merges sorted runs as a stream, one block of each run in memory.

Of equal keys, values come in the order of the slices, and within a slice as they lie there: neither the cuts of blocks,
nor the fan-in, nor the limits change a group or the order of its values. In each round the rows with keys strictly
below the smallest of the blocks' last keys are put together and sorted, stably; the group equal to that bound is
drained run by run, since sorting what happens to be loaded of it would let block cuts decide the order of its values.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
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
from mapreduce.dataflow.shuffle.partition import shown
from mapreduce.dataflow.shuffle.run_reader import Bound, Lanes, RunReader
from mapreduce.dataflow.shuffle.sizes import Sizes, cut, ends_of, group_starts, row_sizes, slice_of, value_counts
from mapreduce.errors import SecondPassError
from mapreduce.plan import Limits

CHUNK_BLOCKS = 8  # a chunk handed out is at most so many blocks: 8 MiB, in which calls of Polars cost nothing
SORTED_SHARE = 8  # of `limits.merge` is sorted at a time: 16 MiB, so that the copies that sorting makes stay small
MOST_PIVOTS = 64  # tiny limits must not make a round of every key
OBJECT_BYTES = 64  # what a value takes as a Python object beside its content: bounds what a chunk becomes in user code


@dataclass(frozen=True, slots=True)
class WholeGroups:
    """Some complete groups, keys ascending: `values[ends[i - 1]:ends[i]]` are the values of `keys[i]`.

    Both columns are flat, in the lanes given; `ends` counts values, and ends[-1] == len(values).
    """

    keys: pl.Series
    key_lane: Lane
    ends: Sizes
    values: pl.Series
    value_lane: Lane

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
                    yield ungroup(piece)
            del item, batch  # large, and not to be held while the next round is made


def merged_chunks(slices: Sequence[Slice], limits: Limits, scratch: str | Path) -> Generator[WholeGroups | OneGroup]:
    """All groups of the slices, keys ascending, each key in one chunk only.

    Small groups come many at a time, a large one on its own as a stream. Raises as `read_blocks` does, and
    DiskFullError.
    """
    with closing(_merged(slices, limits, Path(scratch))) as rounds:
        for item in rounds:
            if isinstance(item, Batch):
                yield from chunked(item, limits.block * CHUNK_BLOCKS)
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
        self._head = [next(batches)]
        self._rest = batches
        self._ended = False
        first = self._head[0]
        self.key = keys_list(first.frame["key"].head(1), first.key_lane)[0]
        self.value_lane = first.value_lane

    def __next__(self) -> pl.Series:
        if self._ended:
            msg = (
                f"the values of the key {shown(self.key)} were read after their reducer had returned: "
                "go through them inside the reducer, or keep list(values)"
            )
            raise SecondPassError(msg)
        return _flat_values(self._head.pop() if self._head else next(self._rest))

    def end(self) -> None:
        """Give up what has not been read."""
        self._head.clear()
        self._ended = True


def read_part(slices: Sequence[Slice]) -> Iterator[Batch]:
    """The records of intermediate parts, unsorted: slice by slice, ungrouped. Raises as `read_blocks` does."""
    for part in slices:
        for batch in read_blocks(part):
            yield ungroup(batch)


def fan_in(slices: Sequence[Slice], limits: Limits) -> int:
    """How many of these slices can be merged at once.

    A round holds a block of each and, for a moment, their sorted copy.
    """
    filled = [part for part in slices if part.blocks]
    lanes = Lanes.of(filled)
    largest = max((lanes.size(ref) for part in filled for ref in part.blocks), default=1)
    return max(2, limits.merge // (2 * largest))


Rounds = Generator[Batch | Generator[Batch]]


def _merged(slices: Sequence[Slice], limits: Limits, scratch: Path) -> Rounds:
    """Merge any number of slices: in passes, until so few are left that they can be merged at once.

    Yields what `_rounds` does.
    """
    slices = [part for part in slices if part.blocks]
    if len(slices) <= fan_in(slices, limits):
        yield from _rounds(slices, limits)
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="merge-", dir=scratch))
    except OSError as error:
        fail_write(scratch, error)
    try:
        names = (folder / str(number) for number in itertools.count())
        while len(slices) > (most := fan_in(slices, limits)):
            # Slices of ranges may turn out to have no rows in theirs.
            slices = [part for part in _pass(slices, most, limits, names) if part.blocks]
        yield from _rounds(slices, limits)
    finally:
        shutil.rmtree(folder)


def _pass(slices: Sequence[Slice], most: int, limits: Limits, names: Iterator[Path]) -> list[Slice]:
    """Merge contiguous ranges of the slices, no more of them than it takes to be left with `most`."""
    result: list[Slice] = []
    start, too_many = 0, len(slices) - most
    while start < len(slices):
        stop = min(start + min(most, too_many + 1), len(slices))
        if stop - start < 2:
            result.append(slices[start])
        else:
            path = next(names)
            result.append(_merge_to_file(slices[start:stop], limits, path))
            for part in slices[start:stop]:
                if Path(part.path).parent == path.parent:
                    Path(part.path).unlink()  # made by an earlier pass: its space is free at once
            too_many -= stop - start - 1
        start = stop
    return result


def _merge_to_file(slices: Sequence[Slice], limits: Limits, path: Path) -> Slice:
    lanes = Lanes.of(slices)
    writer = BlockFileWriter(
        path, key_lane=lanes.key, value_lane=lanes.value, grouped=lanes.grouped, block=limits.block
    )
    try:
        with closing(_rounds(slices, limits)) as rounds:
            for item in rounds:
                for batch in [item] if isinstance(item, Batch) else item:
                    writer.write(0, batch)
        writer.close()
    finally:
        writer.abort()  # does nothing after a close
    return open_slice(path, 0)


def _rounds(slices: Sequence[Slice], limits: Limits) -> Rounds:
    """Merge at once. Yields sorted batches of complete groups, and as streams of batches the groups beyond a block.

    A stream that is not read to its end is drained before the next round.
    """
    lanes = Lanes.of(slices)
    readers: list[RunReader] = []
    try:
        readers.extend(RunReader(part, lanes) for part in slices)
        readers = _unfinished(readers)
        while readers:
            unfinished = [reader.bound() for reader in readers if reader.has_more]
            bound = min(unfinished, key=lambda candidate: candidate.order, default=None)
            for pivot in _pivots(readers, bound, limits.merge // SORTED_SHARE):
                yield from _handed_over([_sorted([reader.take_below(pivot) for reader in readers])])
            if bound is None:
                yield from _handed_over([_sorted([reader.take_all() for reader in readers])])
                return
            complete = [_sorted([reader.take_below(bound) for reader in readers])]
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
    """The readers that have rows left; the others are closed."""
    for reader in readers:
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


def _sorted(pieces: list[Batch]) -> Batch:
    filled = [piece for piece in pieces if piece.rows()]
    if len(filled) < 2:
        return filled[0] if filled else pieces[0]
    return sort_by_key(concat(filled))


def _flat_values(batch: Batch) -> pl.Series:
    values = batch.frame["value"]
    return values.explode() if batch.grouped else values


def chunked(batch: Batch, most: int) -> Iterator[WholeGroups | OneGroup]:
    """Cut complete groups into chunks that take at most `most` bytes as Python objects; a larger one is a stream."""
    starts = group_starts(batch.frame["key"])
    ends = np.append(starts[1:], batch.rows())  # the row after each group
    costs = ends_of(row_sizes(batch) + OBJECT_BYTES * value_counts(batch))
    group = 0
    while group < len(starts):
        first = int(starts[group])
        stop = int(np.searchsorted(costs[ends], costs[first] + most, side="right"))
        if stop > group:
            yield _whole_groups(slice_of(batch, first, int(ends[stop - 1])), starts[group:stop] - first)
        else:
            stop = group + 1
            key = keys_list(batch.frame["key"].slice(first, 1), batch.key_lane)[0]
            yield OneGroup(key, batch.value_lane, _values_of_rows(batch, costs, first, int(ends[group]), most))
        group = stop


def _whole_groups(batch: Batch, starts: Sizes) -> WholeGroups:
    """Lay out rows whose groups begin at the rows `starts`."""
    values_before = ends_of(value_counts(batch))
    return WholeGroups(
        batch.frame["key"].gather(starts),
        batch.key_lane,
        values_before[np.append(starts[1:], batch.rows())],
        _flat_values(batch),
        batch.value_lane,
    )


def _values_of_rows(batch: Batch, costs: Sizes, start: int, end: int, most: int) -> Iterator[pl.Series]:
    while start < end:
        stop = int(np.searchsorted(costs, costs[start] + most, side="right")) - 1
        stop = min(max(stop, start + 1), end)
        yield _flat_values(slice_of(batch, start, stop))
        start = stop
