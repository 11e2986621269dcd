from __future__ import annotations

import enum
import math
import struct
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.keys import KEY_DEPTH, NAN, decode_key, encode_key, key_hash, normalise_key
from mapreduce.errors import KeyTypeError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 66), 1 << 66),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 0, 2**70, 2**2000, -(2**2000)]),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.text(st.sampled_from("\0\x01a\ud800\udfff\uffff\U00010000\U0010ffff"), max_size=6),
    st.binary(max_size=8),
    st.binary(max_size=6).map(lambda data: bytes(b"\x00\xff\x01"[byte % 3] for byte in data)),
)
KEYS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)

RANK = {type(None): 0, bool: 1, int: 2, float: 3, str: 4, bytes: 5, tuple: 6}


class Ordered:
    """A key with the order that the guarantees describe, written down as plainly as can be."""

    def __init__(self, key):
        self.key = key

    def __lt__(self, other):
        return compare(self.key, other.key) < 0


def compare(a, b):
    if type(a) is not type(b):
        return -1 if RANK[type(a)] < RANK[type(b)] else 1
    if type(a) is tuple:
        for x, y in zip(a, b, strict=False):
            if result := compare(x, y):
                return result
        return (len(a) > len(b)) - (len(a) < len(b))
    if a is None:
        return 0
    if type(a) is float and (math.isnan(a) or math.isnan(b)):
        return math.isnan(a) - math.isnan(b)
    return (a > b) - (a < b)


def same(a, b):
    """Whether two keys have the same types, and the same bits of floats, throughout."""
    if type(a) is not type(b):
        return False
    if type(a) is tuple:
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is float:
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


@given(KEYS)
def test_round_trip(raw):
    """Every key comes back from its encoding with its exact types."""
    key = normalise_key(raw)
    assert same(decode_key(encode_key(key)), key)


@given(KEYS, KEYS)
def test_order(raw_a, raw_b):
    """Comparing encodings is comparing keys, and equal encodings are equal keys."""
    a, b = normalise_key(raw_a), normalise_key(raw_b)
    x, y = encode_key(a), encode_key(b)
    assert (x > y) - (x < y) == compare(a, b)


@given(st.lists(KEYS, max_size=3), SCALARS, SCALARS, st.lists(KEYS, max_size=2))
def test_order_inside_tuples(front, a, b, back):
    """An element's encoding never runs into what follows it in its tuple."""
    x, y = normalise_key((*front, a, *back)), normalise_key((*front, b, *back))
    nested_x, nested_y = (x[:-1], x[-1], "end"), (y[:-1], y[-1], "end")
    assert (encode_key(x) < encode_key(y)) == (compare(x, y) < 0)
    assert (encode_key(nested_x) < encode_key(nested_y)) == (compare(nested_x, nested_y) < 0)
    assert same(decode_key(encode_key(nested_x)), nested_x)


@given(KEYS)
def test_normalising_twice(raw):
    """A normalised key is normal."""
    key = normalise_key(raw)
    assert same(normalise_key(key), key)


def test_the_order_of_types():
    """Types do not interleave: None, bool, int, float, str, bytes, tuple."""
    keys = [
        None,
        False,
        True,
        -(2**5000),
        -(2**64),
        -(2**63) - 1,
        -(2**63),
        -1,
        0,
        1,
        2**63 - 1,
        2**63,
        2**64,
        2**5000,
        -math.inf,
        -1e300,
        -5e-324,
        0.0,
        5e-324,
        1.0,
        math.inf,
        NAN,
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "aa",
        "\x7f",
        "\x80",
        "\ud7ff",
        "\ud800",
        "\udfff",
        "\ue000",
        "\uffff",
        "\U00010000",
        b"",
        b"\0",
        b"\0\xff",
        b"\x01",
        b"\xff",
        b"\xff\xff",
        (),
        (None,),
        (None, None),
        ((),),
        ((), 1),
        (((),),),
        ((1,), 0),
        ((1, 2),),
    ]
    keys[-8:] = sorted(keys[-8:], key=Ordered)
    assert [encode_key(key) for key in keys] == sorted(encode_key(key) for key in keys)
    assert len({encode_key(key) for key in keys}) == len(keys)


def test_equal_in_python_but_different_keys():
    """1, 1.0 and True are three keys, in tuples too."""
    assert len({encode_key(key) for key in (1, 1.0, True)}) == 3
    assert len({encode_key(key) for key in ((1, "a"), (1.0, "a"), (True, "a"))}) == 3


@pytest.mark.parametrize("nan", [float("nan"), -float("nan"), struct.unpack(">d", b"\x7f\xf0\0\0\0\0\0\1")[0]])
def test_one_nan(nan):
    """Every NaN is the one NaN, and -0.0 is 0.0, inside tuples too."""
    expected = encode_key((NAN, (NAN, 0.0)))
    assert encode_key(normalise_key((nan, (nan, -0.0)))) == expected
    assert math.copysign(1, decode_key(encode_key(normalise_key(-0.0)))) == 1


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.int64(3), 3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.int8(-1), -1),
        (np.float64(1.5), 1.5),
        (np.bool_(1), True),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.str_("é"), "é"),
        (np.bytes_(b"x"), b"x"),
        (np.float16(-0.0), 0.0),
        ((np.int64(3), (np.float64("nan"),)), (3, (NAN,))),
    ],
)
def test_numpy_scalars(scalar, plain):
    """NumPy's scalars become Python's."""
    assert same(normalise_key(scalar), plain)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Real(np.float64):
    pass


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (Colour.RED, "Colour"),
        (Text("a"), "Text"),
        (Point(1, 2), "Point"),
        (Real(1), "Real"),
        ([1], "list"),
        ({1}, "set"),
        ({}, "dict"),
        (bytearray(b"x"), "bytearray"),
        (1j, "complex"),
        (object(), "object"),
        (np.array([1]), "numpy.ndarray"),
        (np.datetime64("2020-01-01"), "numpy.datetime64"),
        (np.complex64(1), "complex64"),
        (np.longdouble(1), "longdouble"),
        (int, "type"),
        ((1, ("a", Colour.RED)), "Colour"),
        ((1, [2]), "list"),
    ],
)
def test_refused(key, named):
    """What is no key is refused with the name of its type, in tuples too."""
    with pytest.raises(KeyTypeError, match=named):
        normalise_key(key)


def test_subclasses_are_told_the_way_out():
    """A refused subclass is told what to write instead."""
    with pytest.raises(KeyTypeError, match=r"write int\(key\)"):
        normalise_key(Colour.RED)
    with pytest.raises(KeyTypeError, match=r"write tuple\(key\)"):
        normalise_key(Point(1, 2))
    with pytest.raises(KeyTypeError, match=r"write tuple\(key\)"):
        normalise_key(["a"])


def test_too_deep():
    """Tuples nested beyond the bound are refused, and those at it come back."""
    key = ()
    for _ in range(KEY_DEPTH - 1):
        key = (key,)
    assert decode_key(encode_key(normalise_key(key))) == key
    with pytest.raises(KeyTypeError, match="deep"):
        normalise_key((key,))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x99",
        b"\x11\x00",
        b"\x12\0\0\0\x09\x01",
        b"\x01\x01",
        b"\x50\x30ab",
        b"\x50\x01\x00\x01",
        b"\x50\x50\x01",
    ],
)
def test_damaged_encoding(data):
    """Bytes that encode no key are an error, never a wrong key."""
    with pytest.raises(ValueError, match=r"key|tag"):
        decode_key(data)


def test_encodings_never_change():
    """The encoding decides the partition for ever: these bytes are what older versions wrote."""
    key = (None, True, -1, 2**64, 1.5, "é\0", b"\0", ("x", ()))
    assert encode_key(key).hex() == (
        "500103117fffffffffffffff120000000901000000000000000020bff800000000000030c3a900ff004000ff0050307800500000"
    )
    assert encode_key("é").hex() == "30c3a9"
    assert key_hash(encode_key("word")) == 293170994202452580


@pytest.mark.parametrize(
    "key",
    [np.datetime64("2020-01-01", "ns"), np.datetime64("NaT", "s"), np.timedelta64(5, "ns"), np.void(b"ab")],
    ids=repr,
)
def test_numpy_scalars_that_are_no_keys(key):
    """NumPy's times and raw bytes are refused, not made the number that counts their units."""
    with pytest.raises(KeyTypeError, match=type(key).__name__):
        normalise_key(key)


def test_numpy_text_keeps_its_nuls():
    """NumPy's str and bytes become Python's with the NULs at their ends, which NumPy's own conversions drop."""
    assert normalise_key((np.str_("a\x00"), np.bytes_(b"a\x00"))) == ("a\x00", b"a\x00")
