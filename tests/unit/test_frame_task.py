"""Reducers and combiners that take frames: whole keys, the same cuts always, and errors that name keys."""

from __future__ import annotations

import tempfile
import warnings
from collections import defaultdict
from itertools import chain, pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sides import TINY, side_by_side

from mapreduce.dataflow.columns.batches import Lane, key_series, make_batch, records_of, regroup
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.cogroup import shared_key_lane
from mapreduce.dataflow.tasks.combine import ALWAYS_COMBINED, FrameCombiner
from mapreduce.dataflow.tasks.frame_task import FrameLoop
from mapreduce.errors import RecordError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call

KEYS = st.one_of(st.integers(0, 5), st.sampled_from(["a", "b", None, ("a",), 1.5, float("nan")]))
VALUES = st.one_of(st.integers(), st.none(), st.text(st.sampled_from("ab"), max_size=2))
PAIRS = st.one_of(
    st.lists(st.tuples(KEYS, VALUES), max_size=60),
    st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9)), max_size=80),
)


def reduce(folder, function, sides, limits=TINY, frame_bytes=300):
    """What a frames reducer gives for sides, and the frames that it got."""
    out, frames = [], []
    site = Site()
    inputs = ("left", "right")[: len(sides)]

    def kept(*given_):
        frames.append(given_)
        return function(*given_)

    call = read_call(function, "reducer", inputs=inputs, frames=True)
    key_lane = key_series([key for side in sides for key, _ in side])[1]
    lanes = key_lane, [Lane.ENCODED for _ in sides]
    loop = FrameLoop(call, kept, out.append, site, lanes=lanes, frame_bytes=frame_bytes)
    try:
        slices = side_by_side(Path(folder), sides, loop.run, limits)
        assert key_lane is shared_key_lane(slices)
        loop.finish()
        assert loop.emitted == sum(batch.rows() for batch in out)
        assert loop.records == sum(map(len, sides))
    except BaseException as error:
        error.site = site
        raise
    return list(chain.from_iterable(map(records_of, out))), frames


def encoded(pairs):
    """Records as encodings."""
    return [(encode_key(normalise_key(key)), encode_value(value)) for key, value in pairs]


def sorted_records(pairs):
    """Records by key, those of a key in their order."""
    return sorted(encoded(pairs), key=lambda pair: pair[0])


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.sampled_from([1, 300, 1 << 20]))
def test_frames_hold_whole_keys_and_are_cut_alike_whatever_the_limits(pairs, frame_bytes):
    """All records come, by key; no key is in two frames; and how the merge was cut does not show."""
    cuts = []
    for limits in (TINY, Limits()):
        with tempfile.TemporaryDirectory() as folder:
            found, frames = reduce(folder, lambda frame: frame, [pairs], limits, frame_bytes)
        assert encoded(found) == sorted_records(pairs)
        keys = [list(map(encode_key, frame["key"].to_list())) for (frame,) in frames]
        assert all(before[-1] < after[0] for before, after in pairwise(keys))
        cuts.append([(len(part), part[0]) for part in keys])
    assert cuts[0] == cuts[1]


@settings(max_examples=30, deadline=None)
@given(PAIRS, PAIRS)
def test_frames_of_two_inputs_have_the_same_keys(left, right):
    """Each key is in one call only, and both columns of keys have one type, so that the frames can be joined."""
    seen = defaultdict(set)
    calls = 0

    def reducer(left, right):
        nonlocal calls
        calls += 1
        assert left["key"].dtype == right["key"].dtype
        for frame in (left, right):
            for key in frame["key"].to_list():
                seen[encode_key(key)].add(calls)
        return [left, right]

    with tempfile.TemporaryDirectory() as folder:
        found, _ = reduce(folder, reducer, [left, right])
    assert sorted(encoded(found)) == sorted(encoded(left + right))
    assert all(len(numbers) == 1 for numbers in seen.values())


def test_large_keys_come_whole(tmp_path):
    """A key larger than a frame is one frame; and what Polars gives in any order comes out sorted by key."""
    pairs = [(k, n) for k in (1, 2, 3) for n in range(400 if k == 2 else 3)]
    found, frames = reduce(tmp_path, lambda frame: frame.group_by("key").agg(pl.col("value").sum()), [pairs])
    assert found == [(1, 3), (2, 79800), (3, 3)]
    assert [frame.height for (frame,) in frames] == [403, 3]


def test_native_columns_stay_native(tmp_path):
    """Keys and values of one type come as columns of that type, and a side without values as an empty column."""
    _, frames = reduce(tmp_path, lambda left, right: None, [[("a", 1.5)], []])
    left, right = frames[0]
    assert left.schema == {"key": pl.String, "value": pl.Float64}
    assert right.schema == {"key": pl.String, "value": pl.Null}


def test_errors_name_the_keys(tmp_path):
    """What a reducer raises, or gives that is no frame, is its own failure, with the keys of its frame."""

    def reducer(frame):
        raise ValueError

    with pytest.raises(ValueError, match=r"^$") as caught:
        reduce(tmp_path, reducer, [[("a", 1), ("b", 2)]])
    assert caught.value.site.users
    assert caught.value.site.key == "'a' to 'b' (a frame of 2 rows)"
    with pytest.raises(RecordError, match=r"test_errors_name_the_keys.*lambda.*gave a frame with the columns 'key'"):
        reduce(tmp_path, lambda frame: frame.select("key"), [[("a", 1)]])


def combiner(function, **attributes):
    """A combiner of frames, and where it notes what fails."""
    site = Site()
    return FrameCombiner(read_call(function, "combiner", frames=True), function, site), site


def total(frame):
    """Sum the values of each key."""
    return frame.group_by("key", maintain_order=True).agg(pl.col("value").sum())


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("keys", [["a", "b", "a"], [1, True, 1], [1.5, float("nan"), 1.5], [None, ("a",), None]])
def test_a_combiner_makes_many_rows_few(keys, grouped):
    """It gets the rows of a batch, equal keys together, and what it gives takes their place, whatever the keys are."""
    if any(isinstance(key, tuple) for key in keys):
        combine, _ = combiner(lambda frame: frame.unique("value", maintain_order=True).head(2))
        assert combine(make_batch(keys, [1, 2, 3])).rows() == 2
        return
    batch = make_batch(keys, [1, 2, 3])
    if batch.key_lane is Lane.ENCODED:
        combine, _ = combiner(lambda frame: frame.head(2))
        assert encoded(records_of(combine(batch))) == encoded([(1, 1), (1, 3)])
        return
    combine, _ = combiner(total)
    assert encoded(records_of(combine(regroup(batch) if grouped else batch))) == encoded([(keys[0], 4), (keys[1], 2)])


def test_the_order_in_which_a_combiner_gives_keys_does_not_matter():
    """What it gives is put in the order of the keys: Polars' group_by has another order at each run."""
    orders = iter([[3, 1, 2], [2, 3, 1]])

    def shuffled(frame):
        keys = next(orders)
        return pl.DataFrame({"key": keys, "value": keys})

    combine, _ = combiner(shuffled)
    batch = make_batch([1, 2, 3, 1], [0] * 4)
    assert [list(records_of(combine(batch))) for _ in range(2)] == [[(1, 1), (2, 2), (3, 3)]] * 2


def test_a_combiner_gives_no_warnings():
    """Its keys are checked without a word on stderr, where Polars' warnings would go at every call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        combiner(total)[0](make_batch(["a", "a"], [1, 2]))
    assert not caught


def test_a_combiner_is_left_out_where_keys_hardly_repeat():
    """A large batch of distinct keys stays as it is, and a combiner may give nothing at all."""
    rows = ALWAYS_COMBINED + 1
    batch = make_batch(list(range(rows)), [1] * rows)
    combine, _ = combiner(lambda frame: None)
    assert combine(batch) is batch
    assert combine(make_batch([1, 1], [1, 2])).rows() == 0


@pytest.mark.parametrize("key", ["other", 1, float("nan")])
def test_a_combiner_may_give_its_own_keys_only(key):
    """A key that its frame has not, of the same type or another, is an error that names it."""
    combine, site = combiner(lambda frame: pl.DataFrame({"key": [key], "value": [1]}))
    with pytest.raises(RecordError, match=f"has the key '?{key}'?, and gave a row with it"):
        combine(make_batch(["a", "a"], [1, 2]))
    assert site.key == "'a' and others (a frame of 2 rows)"
