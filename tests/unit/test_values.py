from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import struct
import zoneinfo
from pathlib import PurePosixPath
from typing import NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.values import VALUE_DEPTH, decode_value, encode_value, holds_pickle
from mapreduce.errors import ValueTypeError

ZONES = st.one_of(
    st.none(),
    st.sampled_from(
        [dt.UTC, dt.timezone(dt.timedelta(0), "Zulu"), dt.timezone(-dt.timedelta(hours=3, microseconds=5))]
    ),
    st.sampled_from(["Europe/Berlin", "America/New_York"]).map(zoneinfo.ZoneInfo),
)
HASHABLE_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**3000]),
    st.floats(),
    st.text(st.characters(), max_size=6),
    st.text(st.sampled_from("\0a\ud800\udfff\U0010ffff"), max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()),  # which cannot be hashed
    st.dates(),
    st.timedeltas(),
    st.builds(dt.time, st.integers(0, 23), st.integers(0, 59), tzinfo=ZONES, fold=st.integers(0, 1)),
    st.builds(dt.datetime, st.integers(1, 9999), st.just(2), st.just(3), tzinfo=ZONES, fold=st.integers(0, 1)),
)
HASHABLE = st.recursive(
    HASHABLE_SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
VALUES = st.recursive(
    st.one_of(HASHABLE, st.binary(max_size=4).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=8,
)


NIGHT = dt.datetime.fromisoformat("2020-10-25T02:00:00")  # without a time zone, and twice in Berlin


def same(a, b):
    """Whether two values have the same types, order and bits throughout; written without the codec."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset):
        rest = list(b)
        for item in a:
            match = next((i for i, other in enumerate(rest) if same(item, other)), None)
            if match is None:
                return False
            del rest[match]
        return not rest
    if isinstance(a, dt.datetime | dt.time):
        return repr(a) == repr(b)  # shows fold and time zone
    if isinstance(a, decimal.Decimal):
        return a.as_tuple() == b.as_tuple()
    return a == b


@given(VALUES)
def test_round_trip(value):
    """Every canonical value comes back exactly, and without a pickle."""
    data = encode_value(value)
    assert not holds_pickle(data)
    assert same(decode_value(data, unpickle=False), value)


@given(VALUES)
def test_equal_bytes_for_copies(value):
    """A value that has travelled is written as the same bytes again."""
    data = encode_value(value)
    assert encode_value(decode_value(data)) == data


@given(VALUES, VALUES)
def test_different_bytes_for_different_values(a, b):
    """Two values have the same bytes exactly when they are the same."""
    assert (encode_value(a) == encode_value(b)) == same(a, b)


@given(st.lists(HASHABLE, max_size=6), st.randoms())
def test_sets_are_written_in_one_order(items, random):
    """The order in which a set was filled does not show in its bytes."""
    shuffled = list({encode_value(item): item for item in items}.values())
    first = set(shuffled)
    if len(first) < len(shuffled):
        shuffled = list(first)  # 1, 1.0 and True are one element: keep the one that the set kept
    random.shuffle(shuffled)
    assert encode_value(set(shuffled)) == encode_value(first)
    assert encode_value(("in a tuple", frozenset(shuffled))) == encode_value(("in a tuple", frozenset(first)))


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True, decimal.Decimal(1), 1 + 0j, np.int64(1), np.bool_(1), np.float64(1), dt.timedelta(1)),
        (
            [],
            (),
            {},
            set(),
            frozenset(),
            "",
            b"",
            bytearray(),
            None,
            False,
            0,
            np.array([]),
            np.str_(""),
            np.bytes_(b""),
        ),
        (
            [1],
            (1,),
            [True],
            (True,),
            [1.0],
            {1},
            frozenset({1}),
            [[1]],
            [(1,)],
            {1: None},
            np.array([1]),
            np.array([1.0]),
        ),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, [("a", 1), ("b", 2)], {"a": 1, "b": 2.0}, {b"a": 1, "b": 2}),
        (b"ab", bytearray(b"ab"), "ab", np.bytes_(b"ab"), np.str_("ab"), memoryview),
        (0.0, -0.0, 0, decimal.Decimal(0), decimal.Decimal("-0"), decimal.Decimal("0.0")),
        (NIGHT, NIGHT.replace(fold=1), NIGHT.date()),
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))),
        (np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(6), np.zeros(6, ">f8"), np.zeros(6, "f4"), np.zeros((0, 6))),
    ],
)
def test_equal_looking_values_stay_apart(values):
    """Values of different types or contents never share bytes, even where Python calls them equal."""
    assert len({encode_value(value) for value in values}) == len(values)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(10)[::3],
        np.array(5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array(["a", "bcd", ""]),
        np.array([b"x\0y"]),
        np.array(["2020-01-01"], "M8[ns]"),
        np.array([3], "m8[s]"),
        np.array([1 + 2j], "c8"),
        np.arange(3, dtype=">i4"),
        np.array([], "f4"),
        np.array(["", ""]),
        np.array([np.nan, -0.0], "f2"),
    ],
)
def test_numpy_arrays(array):
    """An array comes back with its dtype, shape and content, and can be written to."""
    data = encode_value([array, "beside"])
    back = decode_value(data, unpickle=False)[0]
    assert (type(back), back.dtype, back.shape) == (np.ndarray, array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable
    assert encode_value([back, "beside"]) == data


@pytest.mark.parametrize(
    "scalar",
    [
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.float32(0.1),
        np.float16("nan"),
        np.bool_(0),
        np.complex64(1 - 2j),
        np.datetime64("2020-01-01T00:00:01", "us"),
        np.timedelta64(5, "D"),
        np.str_("ab\0"),
        np.bytes_(b"ab\0"),
        np.str_(""),
    ],
)
def test_numpy_scalars(scalar):
    """NumPy's scalars stay NumPy's, with their dtypes."""
    back = decode_value(encode_value((scalar, 1)), unpickle=False)[0]
    assert type(back) is type(scalar)
    assert repr(back) == repr(scalar)


class Shade(enum.IntEnum):
    DARK = 1


class Name(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    "value",
    [
        Shade.DARK,
        Name("x"),
        Point(1, 2),
        collections.Counter("ab"),
        collections.OrderedDict(a=1),
        PurePosixPath("/x"),
        [1, (2, {"k": Shade.DARK})],
        range(3),
        msgpack.ExtType(5, b"x"),
        [msgpack.Timestamp(1, 2)],
        frozenset({Point(1, 2)}),
        np.ma.masked_array([1, 2], [True, False]),
        np.array([1, "a"], object),
        np.array([(1, 2.0)], "i4,f8"),
        len,
    ],
)
def test_other_values_are_pickled(value):
    """What has no canonical form comes back through a pickle, with its own type, and its bytes say so."""
    data = encode_value(value)
    assert holds_pickle(data)
    back = decode_value(data)
    assert type(back) is type(value)
    assert repr(back) == repr(value)
    with pytest.raises(ValueTypeError, match="pickle"):
        decode_value(data, unpickle=False)


def test_closures_are_pickled_by_value():
    """What plain pickle cannot do, cloudpickle does."""
    factor = 3
    assert decode_value(encode_value(lambda x: x * factor))(14) == 42


def test_what_cannot_be_pickled():
    """A value that nothing can pickle is refused with its type and the reason."""
    with pytest.raises(ValueTypeError, match=r"generator.*emit plain values") as caught:
        encode_value(x for x in ())
    assert caught.value.__cause__ is None  # the message has the reason: cloudpickle's own lines say no more
    assert caught.value.__suppress_context__
    with pytest.raises(ValueTypeError, match=r"Stubborn .*RuntimeError: mine") as caught:
        encode_value(Stubborn())
    assert isinstance(caught.value.__cause__, RuntimeError)  # with the user's lines
    with pytest.raises(ValueTypeError, match=r"memoryview.*bytes\(value\)"):
        encode_value([memoryview(b"x")])


class Stubborn:
    def __reduce__(self):
        raise RuntimeError("mine")


class Unloadable:
    def __reduce__(self):
        return int, ("not a number",)


def test_what_cannot_be_unpickled():
    """A pickle that fails to load is an error that carries the reason."""
    with pytest.raises(ValueTypeError, match="not a number"):
        decode_value(encode_value(Unloadable()))


def test_deep_and_cyclic_values():
    """Nesting beyond the bound, and a list that holds itself, are pickled whole."""
    shallow = deep = ()
    for depth in range(VALUE_DEPTH + 5):
        deep = [deep]
        shallow = deep if depth == VALUE_DEPTH - 2 else shallow
    assert decode_value(encode_value(shallow), unpickle=False) == shallow
    assert holds_pickle(encode_value(deep))
    assert decode_value(encode_value(deep)) == deep
    cycle = [1]
    cycle.append(cycle)
    back = decode_value(encode_value(cycle))
    assert back[1] is back


def test_signalling_nan():
    """A Decimal that cannot be compared or hashed comes back too."""
    assert (
        decode_value(encode_value([decimal.Decimal("-sNaN12")]))[0].as_tuple() == decimal.Decimal("-sNaN12").as_tuple()
    )


def test_a_str_that_looks_like_a_pickle():
    """Only pickles are flagged, whatever bytes a value holds."""
    for value in ("\xc1P", b"\xc1P", bytearray(b"\xc1P"), "P", ["P"], ("\xc1P", (1, (2,)))):
        assert not holds_pickle(encode_value(value))


def test_encodings_never_change():
    """Digests compare what different processes wrote: these bytes are settled."""
    value = ("a", 2**64, {"k": [1.5, None]}, {3, 1, 2}, [True, b"x"])
    expected = "c17495c402a161c40bc169010000000000000000"
    assert encode_value(value).hex().startswith(expected)
    assert encode_value(("word", 3)).hex() == "92a4776f726403"


def test_numpy_text_keeps_its_nuls():
    """A NumPy str or bytes comes back with the NULs at its end."""
    assert str.__str__(decode_value(encode_value(np.str_("a\x00")))) == "a\x00"
    assert bytes(decode_value(encode_value(np.bytes_(b"a\x00")))) == b"a\x00"
