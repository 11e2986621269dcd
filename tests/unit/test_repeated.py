"""Repeated batches: rows that stand for several pairs are the pairs themselves, to whoever reads them."""

from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    concat,
    make_batch,
    records_of,
    regroup,
    repeated,
    sort_by_key,
    ungroup,
    values_list,
    with_lanes,
)
from mapreduce.dataflow.columns.segments import CHUNK_VALUES, Segments, repeated_chunks
from mapreduce.dataflow.shuffle import sizes
from mapreduce.dataflow.shuffle.block_file import open_slice, read_blocks
from mapreduce.dataflow.shuffle.merge import OneGroup, merged_batches, merged_chunks
from mapreduce.dataflow.shuffle.sizes import cut, expanded, row_sizes
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.plan import Limits

KEYS = st.sampled_from(["a", "b", "cc", "d" * 60, "é"])
PAIRS = st.tuples(KEYS, st.integers(-3, 3) | st.sampled_from(["v", 1.5, None]))
ROWS = st.lists(st.tuples(PAIRS, st.integers(1, 9)), min_size=1, max_size=20)
LIMITS = Limits(flush_records=40, sort_buffer=700, block=150, merge=2000)


def made(rows):
    """A repeated batch of ((key, value), times)."""
    batch = make_batch([key for (key, _), _ in rows], [value for (_, value), _ in rows])
    times = pl.Series("times", [times for _, times in rows], dtype=pl.Int64)
    return Batch(batch.frame.with_columns(times), batch.key_lane, batch.value_lane)


def pairs_of(rows):
    return [pair for pair, times in rows for _ in range(times)]


@given(ROWS, ROWS)
def test_it_is_the_pairs_that_it_stands_for(rows, others):
    """Ungrouped, grouped, sorted, in other lanes, and put together with rows or with another, on either side."""
    batch, pairs = made(rows), pairs_of(rows)
    assert batch.repeated
    assert batch.records() == len(pairs)
    assert list(records_of(batch)) == pairs
    assert list(records_of(regroup(batch))) == list(records_of(regroup(make_batch(*zip(*pairs, strict=True)))))
    assert list(records_of(sort_by_key(batch))) == sorted(pairs, key=lambda pair: pair[0])
    assert list(records_of(with_lanes(batch, Lane.ENCODED, Lane.ENCODED))) == pairs
    plain = make_batch([key for (key, _), _ in others], [value for (_, value), _ in others])
    for parts in ([batch, plain], [plain, batch], [batch, made(others)]):
        whole = concat(parts)
        assert whole.repeated
        assert list(records_of(whole)) == list(chain.from_iterable(map(records_of, parts)))
    assert list(records_of(repeated(regroup(plain)))) == list(records_of(regroup(plain)))


@given(ROWS, st.integers(1, 400))
def test_its_size_is_that_of_its_rows(rows, block):
    """However it is cut, pieces have the sizes of their rows, and together all rows."""
    batch = made(rows)
    assert batch.nbytes() == row_sizes(batch).sum()
    pieces = list(cut(batch, block))
    assert [raw for _, raw in pieces] == [piece.nbytes() for piece, _ in pieces]
    assert list(chain.from_iterable(records_of(piece) for piece, _ in pieces)) == pairs_of(rows)


@given(ROWS, st.integers(1, 7))
def test_it_is_expanded_in_pieces(rows, most):
    """Of bounded size, one row over several where it stands for many pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "EXPANDED_ROWS", most)
        pieces = list(expanded(made(rows)))
    assert all(0 < piece.rows() <= most and not piece.repeated for piece in pieces)
    assert list(chain.from_iterable(map(records_of, pieces))) == pairs_of(rows)


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1), min_size=1, max_size=6))
def test_values_are_repeated_as_objects(groups):
    """Each key has its values as often as they come; a key with more values than a chunk has them too."""
    flat = [value for group in groups for value in group]
    lengths = np.array([len(group) for group in groups])
    values = pl.Series("value", [value for value, _ in flat], dtype=pl.Int64)
    keys = pl.Series("key", range(len(groups)), dtype=pl.Int64)
    part = Segments(keys, Lane.INT, values, Lane.INT, np.cumsum(lengths) - lengths, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mapreduce.dataflow.columns.segments.CHUNK_VALUES", 4)
        chunks = list(repeated_chunks(part, np.array([times for _, times in flat])))
    found = {key: list(values) for keys, lists in chunks for key, values in zip(keys, lists, strict=True)}
    assert found == {i: [value for value, times in group for _ in range(times)] for i, group in enumerate(groups)}
    assert CHUNK_VALUES > 4


def runs(tmp_path, batches_of_runs):
    """Slices of the runs that a task each writes."""
    slices = []
    for number, batches in enumerate(batches_of_runs):
        buffer = SortBuffer(tmp_path, lambda spill, number=number: f"{number}-{spill}", partitions=1, limits=LIMITS)
        for batch in batches:
            buffer.add(batch)
        slices += [open_slice(tmp_path / f"{number}-{spill}", 0) for spill in range(buffer.finish().count)]
    return slices


@given(st.lists(st.lists(st.tuples(st.booleans(), ROWS), max_size=4), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_shuffle_carries_it(tmp_path_factory, tasks):
    """Runs of repeated rows, of rows and of groups are merged to the same groups as the pairs themselves, in order."""
    folder = tmp_path_factory.mktemp("runs")
    batches, wanted = [], {}
    for task in tasks:
        batches.append([])
        for is_repeated, rows in task:
            pairs = pairs_of(rows)
            batches[-1].append(made(rows) if is_repeated else make_batch(*zip(*pairs, strict=True)))
            for key, value in pairs:
                wanted.setdefault(key, []).append(value)
    slices = runs(folder, batches)
    assert sum(part.records for part in slices) == sum(map(len, wanted.values()))
    for part in slices:
        assert sum(batch.records() for batch in read_blocks(part)) == part.records
    for compact in (False, True):
        found = {}
        for chunk in merged_chunks(slices, LIMITS, folder, compact=compact):
            if isinstance(chunk, OneGroup):
                values = [value for column in chunk.values for value in values_list(column, chunk.value_lane)]
                assert chunk.key not in found
                found[chunk.key] = values
                continue
            assert compact or chunk.times is None
            lengths = np.diff(chunk.ends, prepend=0)
            part = Segments(chunk.keys, chunk.key_lane, chunk.values, chunk.value_lane, chunk.ends - lengths, lengths)
            times = np.ones(chunk.values.len(), dtype=np.int64) if chunk.times is None else chunk.times
            for keys, groups in repeated_chunks(part, times):
                assert not found.keys() & set(keys)
                found |= {key: list(values) for key, values in zip(keys, groups, strict=True)}
        assert list(map(repr, found.items())) == list(map(repr, sorted(wanted.items())))
    merged = list(chain.from_iterable(records_of(batch) for batch in merged_batches(slices, LIMITS, folder)))
    assert list(map(repr, merged)) == [repr((key, value)) for key in sorted(wanted) for value in wanted[key]]


def test_a_row_may_stand_for_more_pairs_than_fit_in_memory(tmp_path):
    """A thousand million pairs are written, and their values gone through some way, in no time and space."""
    buffer = SortBuffer(tmp_path, str, partitions=1)
    buffer.add(made([(("a", 1), 10**9), (("b", 2), 3)]))
    assert buffer.finish().records == 10**9 + 3
    chunks = merged_chunks([open_slice(tmp_path / "0", 0)], Limits(), tmp_path)
    first = next(chunks)
    assert isinstance(first, OneGroup)
    assert next(first.values).to_list() == [1] * sizes.EXPANDED_ROWS
    chunks.close()
    (chunk,) = merged_chunks([open_slice(tmp_path / "0", 0)], Limits(), tmp_path, compact=True)
    assert chunk.times.tolist() == [10**9, 3]


def test_ungrouped_rows_stay_what_they_are():
    """A batch of rows is no repeated one, nor becomes one by itself."""
    batch = make_batch(["a"], [1])
    assert not batch.repeated
    assert ungroup(batch) is batch
    assert not concat([batch, batch]).repeated
