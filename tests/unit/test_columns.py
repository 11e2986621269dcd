from __future__ import annotations

import enum
import math
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns import sorting
from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    common_lane,
    concat,
    encode_keys,
    encode_values,
    holds_pickles,
    key_series,
    keys_list,
    make_batch,
    records_of,
    regroup,
    sort_by_key,
    ungroup,
    value_series,
    values_list,
    with_lanes,
)
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.sorting import sort_frame
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.errors import KeyTypeError, ValueTypeError

NUL_TEXT = st.text(st.sampled_from("\0ab\ud800\uffff\U00010000"), max_size=4)
PLAIN_TEXT = st.text(st.sampled_from("\0abé\uffff\U00010000"), max_size=4)
INT64 = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324]))
BYTES = st.binary(max_size=3)
MIXED = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    FLOATS,
    NUL_TEXT,
    BYTES,
    st.tuples(st.integers(0, 2), NUL_TEXT),
    st.just(()),
)
KEY_LISTS = st.one_of(
    st.lists(PLAIN_TEXT),
    st.lists(NUL_TEXT),
    st.lists(BYTES),
    st.lists(INT64),
    st.lists(st.integers()),
    st.lists(FLOATS),
    st.lists(st.booleans()),
    st.lists(st.lists(NUL_TEXT, max_size=3).map(tuple)),
    st.lists(st.tuples(st.sampled_from(["a", "b", "é"]), st.sampled_from(["", "x"]))),
    st.lists(st.tuples(FLOATS, INT64)),
    st.lists(MIXED),
)
VALUE_LISTS = st.one_of(KEY_LISTS, st.lists(st.one_of(MIXED, st.lists(MIXED, max_size=2), st.just({"a": (1,)}))))


@st.composite
def pairs(draw):
    """Keys and values of one length, keys repeating often."""
    keys, values = draw(KEY_LISTS), draw(VALUE_LISTS)
    size = min(len(keys), len(values))
    return keys[:size], values[:size]


def exact(objects):
    """What tells objects apart exactly: their encodings."""
    return [encode_value(item) for item in objects]


def exact_keys(keys):
    return [encode_key(normalise_key(key)) for key in keys]


def exact_records(batch):
    return [(encode_key(key), encode_value(value)) for key, value in records_of(batch)]


@given(KEY_LISTS)
def test_keys_come_back(keys):
    """A column of keys gives back the normalised keys with their exact types, and their encodings."""
    series, lane = key_series(keys)
    assert series.dtype == lane.dtype
    assert exact(keys_list(series, lane)) == exact([normalise_key(key) for key in keys])
    assert encode_keys(series, lane).to_list() == exact_keys(keys)


@given(VALUE_LISTS)
def test_values_come_back(values):
    """A column of values gives back the same values bit for bit, and their encodings."""
    series, lane = value_series(values)
    assert series.dtype == lane.dtype
    assert exact(values_list(series, lane)) == exact(values)
    assert exact(values_list(series, lane, unpickle=False)) == exact(values)
    assert encode_values(series, lane).to_list() == exact(values)
    assert not holds_pickles(series, lane)


@given(pairs())
def test_sorting(pair):
    """Sorting in any lane is the stable sort by the encodings of the keys."""
    batch = make_batch(*pair)
    rows = list(zip(exact_keys(pair[0]), exact(pair[1]), strict=True))
    assert exact_records(sort_by_key(batch)) == sorted(rows, key=lambda row: row[0])


@given(pairs())
def test_grouping(pair):
    """Grouping keeps keys as first seen and values in order, in every lane, and twice is once."""
    batch = make_batch(*pair)
    expected = {}
    for key, value in zip(exact_keys(pair[0]), exact(pair[1]), strict=True):
        expected.setdefault(key, []).append(value)
    grouped = regroup(batch)
    keys = exact_keys(keys_list(grouped.frame["key"], grouped.key_lane))
    lists = [exact(values) for values in values_list(grouped.frame["value"], grouped.value_lane)]
    assert list(zip(keys, lists, strict=True)) == list(expected.items())
    assert grouped.rows() == len(expected)
    assert grouped.records() == batch.records() == len(pair[0])
    assert exact_records(ungroup(grouped)) == exact_records(grouped)
    assert exact_records(regroup(concat([grouped, grouped]))) == exact_records(regroup(concat([batch, batch])))


@given(pairs(), pairs())
def test_batches_meet(one, other):
    """Batches of any lanes are put together without a loss, grouped or not, and their sizes add up."""
    a, b = make_batch(*one), make_batch(*other)
    expected = exact_records(a) + exact_records(b)
    both = concat([a, b])
    assert exact_records(both) == expected
    grouped = concat([regroup(a), regroup(b)])
    assert exact_records(grouped) == exact_records(regroup(a)) + exact_records(regroup(b))
    in_lanes = [with_lanes(batch, both.key_lane, both.value_lane) for batch in (a, b) if batch.rows()]
    assert both.nbytes() == sum(batch.nbytes() for batch in in_lanes)


@given(pairs())
def test_encoded_lanes(pair):
    """Any batch, grouped or not, can go into the encoded lanes, and sorts and groups there as before."""
    batch = make_batch(*pair)
    encoded = with_lanes(batch, Lane.ENCODED, Lane.ENCODED)
    assert (encoded.key_lane, encoded.value_lane) == (Lane.ENCODED, Lane.ENCODED)
    assert exact_records(encoded) == exact_records(batch)
    assert exact_records(sort_by_key(encoded)) == exact_records(sort_by_key(batch))
    assert exact_records(regroup(encoded)) == exact_records(regroup(batch))
    assert exact_records(with_lanes(regroup(batch), Lane.ENCODED, Lane.ENCODED)) == exact_records(regroup(batch))


@pytest.mark.parametrize(
    ("keys", "lane"),
    [
        (["a", "é\0"], Lane.STR),
        (["a", "\ud800"], Lane.ENCODED),
        ([b"", b"\0"], Lane.BYTES),
        ([1, -(2**63)], Lane.INT),
        ([1, 2**63], Lane.ENCODED),
        ([1, 2**200], Lane.ENCODED),
        ([1.0, math.nan], Lane.FLOAT),
        ([True, False], Lane.BOOL),
        ([1, True], Lane.ENCODED),
        ([1.0, 2**60 + 1], Lane.ENCODED),
        (["a", None], Lane.ENCODED),
        ([None], Lane.ENCODED),
        (["a", b"a"], Lane.ENCODED),
        ([("a",)], Lane.ENCODED),
    ],
)
def test_lanes(keys, lane):
    """The lane follows from the exact types, for keys and values alike."""
    assert key_series(keys)[1] is lane
    assert value_series(keys)[1] is lane


def test_numpy_scalars_as_keys():
    """NumPy's scalars as keys go into the native lanes; as values they stay what they are."""
    assert key_series([np.int64(1), 2])[1] is Lane.INT
    assert key_series([np.str_("a"), "b"])[1] is Lane.STR
    assert key_series([np.float32(1), np.float64(2)])[1] is Lane.FLOAT
    series, lane = value_series([np.int64(1), np.int64(2)])
    assert [type(value) for value in values_list(series, lane)] == [np.int64, np.int64]


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("keys", [[Colour.RED], [1, Colour.RED], [("a", Colour.RED)], ["a", ["b"]]])
def test_refused_keys(keys):
    """A refused key is an error that names the type, alone in its column or among others."""
    with pytest.raises(KeyTypeError, match=r"Colour|list"):
        key_series(keys)


def test_one_nan_and_one_zero():
    """All NaNs are one key and so are both zeros, in the native lane with the same bits."""
    series, lane = key_series(
        [math.nan, -math.nan, float(np.uint64(0x7FF8_0000_0000_0001).view(np.float64)), -0.0, 0.0]
    )
    assert lane is Lane.FLOAT
    assert [item.hex() for item in encode_keys(series, lane).to_list()] == ["20fff8000000000000"] * 3 + [
        "208000000000000000"
    ] * 2
    assert len(set(series.to_numpy().view(np.uint64).tolist())) == 2
    assert regroup(make_batch([math.nan, -math.nan, -0.0, 0.0], [1, 2, 3, 4])).rows() == 2


def test_values_keep_their_bits():
    """A value's NaN and -0.0 are left alone."""
    values = [-0.0, float(np.uint64(0xFFF8_0000_0000_0001).view(np.float64))]
    series, lane = value_series(values)
    assert exact(values_list(series, lane)) == exact(values)


def test_pickled_values():
    """Pickled values are flagged, flat and grouped, and are not loaded where that is forbidden."""
    batch = make_batch(["a", "a"], [1, Colour.RED])
    assert holds_pickles(batch.frame["value"], batch.value_lane)
    assert holds_pickles(regroup(batch).frame["value"], batch.value_lane)
    assert list(records_of(batch)) == [("a", 1), ("a", Colour.RED)]
    with pytest.raises(ValueTypeError, match="pickle"):
        list(records_of(batch, unpickle=False))


def test_sizes():
    """A batch's size follows from its records alone, however its columns came about."""
    batch = make_batch(["word", "é", ""], [1, 2, 3])
    assert batch.nbytes() == (4 + 2 + 0) + 3 * 16 + 3 * 8
    doubled = concat([batch, batch])
    cut = Batch(doubled.frame.filter(pl.Series([True] * 3 + [False] * 3)), doubled.key_lane, doubled.value_lane)
    assert cut.nbytes() == batch.nbytes()
    assert regroup(doubled).nbytes() == (4 + 2 + 0) + 3 * 16 + 6 * 8 + 3 * 8
    assert make_batch([], []).nbytes() == 0


def test_empty_batches():
    """Empty batches can be sorted, grouped and put together, and have no say in the lanes."""
    empty = make_batch([], [])
    full = make_batch(["a"], [1])
    assert concat([empty, full]).key_lane is Lane.STR
    assert concat([empty, empty]).records() == 0
    for batch in (
        sort_by_key(empty),
        regroup(empty),
        ungroup(regroup(empty)),
        regroup(full.__class__(**as_empty(full))),
    ):
        assert batch.records() == 0
        assert list(records_of(batch)) == []
        assert with_lanes(batch, Lane.ENCODED, Lane.ENCODED).records() == 0


def as_empty(batch):
    return {"frame": batch.frame.clear(), "key_lane": batch.key_lane, "value_lane": batch.value_lane}


def test_mistakes_of_callers():
    """Lanes lead only into the encoded one, and only batches of one shape can be put together."""
    batch = make_batch(["a"], [1])
    with pytest.raises(ValueError, match="can only become encoded"):
        with_lanes(batch, Lane.INT, Lane.INT)
    with pytest.raises(ValueError, match="grouped"):
        concat([batch, regroup(batch)])
    with pytest.raises(ValueError, match="there must be a batch"):
        concat([])
    assert common_lane(Lane.STR, Lane.STR) is Lane.STR
    assert common_lane(Lane.STR, Lane.BYTES) is Lane.ENCODED


COMMON = st.sampled_from(["", "a", "http://www.example.com/", "\0" * 9, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])


@settings(max_examples=200)
@given(COMMON, st.lists(st.tuples(COMMON, PLAIN_TEXT, COMMON, PLAIN_TEXT).map("".join), min_size=1, max_size=60))
def test_quick_sort_of_strings(prefix, texts):
    """Sorting by words gives what Polars' stable sort gives, for shared prefixes, NULs and equal keys too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "SMALL_ROWS", 1)
        patch.setattr(sorting, "RUN_ROWS", 1)
        for keys in ([prefix + text for text in texts], [(prefix + text).encode() for text in texts]):
            frame = pl.DataFrame({"key": keys, "value": range(len(keys))})
            assert sort_frame(frame).equals(frame.sort("key", maintain_order=True))


@pytest.mark.parametrize("shape", ["words", "pages", "runs", "sorted", "backwards", "one"])
def test_sort_of_many_strings(shape):
    """A column long enough for the quick sort comes out as Polars sorts it, whatever its shape."""
    rng = random.Random(shape)
    size = sorting.SMALL_ROWS * 2
    keys = {
        "words": [f"{int(rng.paretovariate(0.7)):x}" for _ in range(size)],
        "pages": [f"https://{rng.choice('ab')}.org/{rng.randrange(99)}/{rng.randrange(10**6)}" for _ in range(size)],
        "runs": [f"{i % (size // 3):07}" for i in range(size)],
        "sorted": [f"{i // 2:07}" for i in range(size)],
        "backwards": [f"{size - i:07}" for i in range(size)],
        "one": ["the same and long enough"] * size,
    }[shape]
    frame = pl.DataFrame({"key": keys, "value": range(size)})
    assert sort_frame(frame).equals(frame.sort("key", maintain_order=True))


SCRIPT = """
import random, polars as pl
from mapreduce.dataflow.columns.batches import make_batch, regroup, sort_by_key, concat, records_of
rng = random.Random(7)
out = []
for make in (lambda: str(int(rng.paretovariate(0.5))), lambda: rng.choice([1.0, float("nan"), rng.random()]),
             lambda: rng.randrange(5000), lambda: (rng.randrange(99), "x"), lambda: rng.random() < 0.5):
    batch = make_batch([make() for _ in range(35_000)], list(range(35_000)))
    twice = concat([batch, batch])
    for result in (regroup(batch), sort_by_key(batch), sort_by_key(regroup(batch)), sort_by_key(twice)):
        out.append(hash(tuple(map(repr, records_of(result)))))
print(pl.thread_pool_size(), out)
"""


def test_threads_do_not_matter():
    """One thread and four give the same sorted and grouped batches."""
    results = []
    for threads in ("1", "4"):
        environment = {**os.environ, "POLARS_MAX_THREADS": threads, "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)], env=environment, capture_output=True, text=True, check=True
        )
        size, _, result = done.stdout.partition(" ")
        assert size == threads
        results.append(result)
    assert results[0] == results[1]
