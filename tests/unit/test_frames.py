"""Frames for users' functions: no record changes on its way there and back, and what is none is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import zoneinfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Lane, make_batch, records_of
from mapreduce.dataflow.columns.frames import batch_of, batches_of, exact_dtype, frame_of
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.errors import KeyTypeError, RecordError, ValueTypeError

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
TEXT = st.text(st.sampled_from("ab\0é\ud800\U00010000"), max_size=3)
PLAIN = st.text(st.sampled_from("abé"), max_size=3)
SCALARS = [
    st.integers(-(2**64), 2**64),
    st.integers(-5, 5),
    st.floats(),
    st.booleans(),
    PLAIN,
    TEXT,
    st.binary(max_size=3),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.just(BERLIN), allow_imaginary=True),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.tuples(st.integers(0, 3)),
    st.sets(st.integers(0, 3), max_size=2),
    st.complex_numbers(),
]


def rows(depth):
    """Lists of values: mostly of one type, None among them, or dicts or lists of such."""
    columns = [st.lists(st.one_of(st.none(), scalar), max_size=4) for scalar in SCALARS]
    columns.append(st.lists(st.one_of(*SCALARS), max_size=4))
    if depth:
        inner = rows(depth - 1)
        columns += [
            st.lists(inner, max_size=3),
            st.tuples(inner, inner).map(lambda two: [{"a": a, "b": b} for a, b in zip(*two, strict=False)] + [None]),
            st.tuples(inner, inner).map(lambda two: [{"a": two[0]}, {"b": two[1]}, {}]),
        ]
    return st.one_of(columns)


KEYS = st.one_of(
    *[st.lists(kind, max_size=4) for kind in (PLAIN, TEXT, st.integers(), st.floats(), st.booleans(), st.binary())],
    st.lists(st.one_of(st.none(), PLAIN), max_size=4),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.tuples(TEXT)), max_size=4),
)


def encoded(pairs):
    """Pairs as bytes that differ wherever a type or a bit differs."""
    return [(encode_key(normalise_key(key)), encode_value(value)) for key, value in pairs]


@settings(max_examples=150, deadline=None)
@given(KEYS, rows(2))
def test_records_come_back_as_they_were(keys, values):
    """Whatever the types, a batch that became a frame and a batch again holds the same records to the bit."""
    pairs = list(zip(keys, values, strict=False))
    batch = make_batch([key for key, _ in pairs], [value for _, value in pairs])
    back = batch_of(frame_of(batch), "the reducer f")
    assert encoded(records_of(back)) == encoded(pairs) == encoded(records_of(batch))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None, 3], pl.Int64),
        ([None, None], pl.Null),
        ([{"a": 1, "b": [1.5]}, {"a": None, "b": []}, None], pl.Struct({"a": pl.Int64, "b": pl.List(pl.Float64)})),
        ([["x"], [], [None]], pl.List(pl.String)),
        ([dt.date(2024, 2, 29), None], pl.Date),
        ([dt.datetime(2024, 7, 1, tzinfo=BERLIN)], pl.Datetime("us", "Europe/Berlin")),
        ([dt.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN)], None),  # skipped in spring
        ([1, True], None),
        ([1, 2.0], None),
        ([1, 2**63], None),
        ([{"a": 1}, {"b": 1}], None),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], None),
        ([{}], None),
        ([{"a": 1}, {"a": "x"}], None),
        ([(1, 2)], None),
        ([decimal.Decimal(1)], None),
        (["\ud800"], None),
        ([dt.timedelta.max], None),
    ],
)
def test_types_are_taken_where_they_are_exact(values, dtype):
    """One type and None make a Polars column, dicts of the same keys a Struct; all else stays Python objects."""
    assert exact_dtype(values) == dtype


def test_a_frame_has_native_columns_as_they_are():
    """Keys and values of one type are columns of that type; a column of several is one of objects."""
    frame = frame_of(make_batch(["a", "b"], [1, 2]))
    assert frame.schema == {"key": pl.String, "value": pl.Int64}
    assert frame_of(make_batch([("a", 1)], [[1]])).schema == {"key": pl.Object, "value": pl.List(pl.Int64)}


@pytest.mark.parametrize(
    ("keys", "lane", "wanted"),
    [
        (pl.Series([1, 2], dtype=pl.UInt8), Lane.INT, [1, 2]),
        (pl.Series([1, 2], dtype=pl.UInt64), Lane.INT, [1, 2]),
        (pl.Series([1, 2**64 - 1], dtype=pl.UInt64), Lane.ENCODED, [1, 2**64 - 1]),
        (pl.Series([-(2**100)], dtype=pl.Int128), Lane.ENCODED, [-(2**100)]),
        (pl.Series([], dtype=pl.UInt64), Lane.INT, []),
        (pl.Series([0.5, -0.0], dtype=pl.Float32), Lane.FLOAT, [0.5, 0.0]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), Lane.STR, ["a", "b"]),
        (pl.Series(["a", None], dtype=pl.Enum(["a"])), Lane.ENCODED, ["a", None]),
        (pl.Series([None, None]), Lane.ENCODED, [None, None]),
        (pl.Series([("a", 1), "b"], dtype=pl.Object), Lane.ENCODED, [("a", 1), "b"]),
        (pl.Series([True, False]), Lane.BOOL, [True, False]),
        (pl.Series([b"a"]), Lane.BYTES, [b"a"]),
    ],
    ids=lambda case: str(case.dtype) if isinstance(case, pl.Series) else "",
)
def test_types_of_keys(keys, lane, wanted):
    """Numbers become ints and floats, categories text, nulls the key None, and -0.0 is 0.0."""
    batch = batch_of(pl.DataFrame({"value": pl.Series([1] * len(keys), dtype=pl.Int64), "key": keys}), "f")
    assert batch.key_lane is lane
    found = [key for key, _ in records_of(batch)]
    assert encoded((key, 0) for key in found) == encoded((key, 0) for key in wanted)


def test_one_nan():
    """All NaN keys of a frame are one key."""
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)
    batch = batch_of(pl.DataFrame({"key": odd, "value": [1, 2]}), "f")
    assert {encode_key(key) for key, _ in records_of(batch)} == {encode_key(math.nan)}


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([dt.date(2024, 1, 1)]),
        pl.Series([decimal.Decimal("1.50")]),
        pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)),
        pl.Series([{"a": [1, None]}]),
        pl.Series([None], dtype=pl.Int64),
        pl.Series([2**64 - 1], dtype=pl.UInt64),
        pl.Series([{1, 2}], dtype=pl.Object),
        pl.Series(["a"], dtype=pl.Categorical),
        pl.Series([0.1], dtype=pl.Float32),
    ],
    ids=lambda series: str(series.dtype),
)
def test_values_are_what_to_list_gives(values):
    """A value of any type of Polars is the Python object that the column's to_list gives."""
    batch = batch_of(pl.DataFrame({"key": ["k"], "value": values}), "f")
    assert encoded(records_of(batch)) == encoded([("k", values.to_list()[0])])


FRAME = pl.DataFrame({"key": ["a"], "value": [1]})


@pytest.mark.parametrize(
    ("given_", "error", "message"),
    [
        (FRAME.lazy(), RecordError, r"LazyFrame; .*write frame\.collect\(\)"),
        (FRAME["key"], RecordError, r"f gave a Series; with frames=True it gives Polars frames"),
        ((FRAME, FRAME), RecordError, r"f gave a tuple; with frames=True it gives Polars frames"),
        (("a", 1), RecordError, r"f gave \('a', 1\), a tuple"),
        (7, RecordError, "f gave 7, an int"),
        ([("a", 1)], RecordError, r"f gave \('a', 1\), a tuple"),
        (FRAME.rename({"value": "n"}), RecordError, r"columns 'key', 'n'; it must have 'key' and 'value'"),
        (FRAME.with_columns(n=1), RecordError, r"columns 'key', 'value', 'n'; .* and no other"),
        (FRAME.with_columns(key=[1]), KeyTypeError, r"column 'key' has the type List\(Int64\).*list\.join"),
        (FRAME.with_columns(key=dt.date(2024, 1, 1)), KeyTypeError, r"the type Date.*dt\.to_string"),
        (FRAME.with_columns(key=pl.struct("key")), KeyTypeError, r"pl\.format"),
        (FRAME.with_columns(key=pl.Series([{1}], dtype=pl.Object)), KeyTypeError, r"the key \{1\}: set cannot be"),
        (FRAME.with_columns(value=pl.Series([open], dtype=pl.Object)), None, ""),
        (
            FRAME.with_columns(value=pl.Series([(n for n in "")], dtype=pl.Object)),
            ValueTypeError,
            "f gave a frame with",
        ),
    ],
)
def test_what_is_no_frame_of_records_is_refused(given_, error, message):
    """Other objects, columns, and types of keys are errors that name the function and the way out."""
    if error is None:
        assert len(list(batches_of(given_, "f"))) == 1
        return
    with pytest.raises(error, match=message):
        list(batches_of(given_, "f"))


def test_frames_may_come_one_by_one():
    """A function may return a frame, yield several, or give None."""
    assert [list(records_of(b)) for b in batches_of((FRAME for _ in range(2)), "f")] == [[("a", 1)]] * 2
    assert list(batches_of(None, "f")) == []
    assert list(batches_of(FRAME.clear(), "f")) == []
