"""Counted pairs: that what is counted is what came, that nothing is taken for what it only equals, and when it ends."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.tally import (
    ENTRY_BYTES,
    PAIRS_PER_VALUE,
    PLAIN_VALUES,
    TRIED_PAIRS,
    TRIED_VALUES,
    Tally,
)
from mapreduce.errors import KeyTypeError

TEXTS = st.sampled_from(["a", "b", "ab", "", "ä", b"a", b"", ("a", "b"), ("a", b"b"), ()])
OTHERS = st.sampled_from([1, True, 1.0, None, (1, "a"), (True, "a"), ((),), float("nan")])
VALUES = st.sampled_from([1, True, 1.0, "v", b"v", None])


def as_told(tallied):
    """The pairs, each with its types: 1 is not True here."""
    return Counter(
        {
            (type(key), key, type(one.value), one.value): times
            for one in tallied
            for key, times in zip(one.keys, one.times, strict=True)
        }
    )


@given(st.lists(st.tuples(VALUES, st.lists(TEXTS | OTHERS, min_size=1)), max_size=12), st.integers(1, 2000))
def test_what_is_counted_is_what_was_taken(chunks, most_bytes):
    """Of the chunks that are taken every pair is told once, in the order of their values; of a refused one none is."""
    told, taken = [], []
    tally = Tally(told.append, PLAIN_VALUES, most_bytes)
    for value, keys in chunks:
        if not tally.add([(key, value) for key in keys], value):
            assert not tally.is_open
            break
        taken += [(type(key), key, type(value), value) for key in keys]
    tally.end()
    assert tally.pairs == len(taken)
    counts = Counter()
    for one in told:
        assert len(set(one.keys)) == len(one.keys)
        for key, times in zip(one.keys, one.times, strict=True):
            counts[type(key), key, type(one.value), one.value] += times
    assert counts == Counter(taken)
    values = [(type(one.value), one.value) for one in told]
    assert list(dict.fromkeys(values)) == list(dict.fromkeys(pair[2:] for pair in taken))


@pytest.mark.parametrize("key", [1, True, 1.0, None, (1, "a"), ((),)])
def test_keys_that_may_equal_others_are_refused(key):
    """With all of their chunk, of which nothing stays counted, though some keys of it were known before."""
    told = []
    tally = Tally(told.append, PLAIN_VALUES, 1 << 20)
    assert tally.add([("a", 1), ("b", 1)], 1)
    assert not tally.add([("a", 1), (key, 1), ("a", 1), ("c", 1)], 1)
    assert not tally.is_open
    tally.end()
    assert as_told(told) == {(str, "a", int, 1): 1, (str, "b", int, 1): 1}


def test_a_key_without_a_hash_is_an_error():
    """It cannot be counted, and is no key."""
    with pytest.raises(KeyTypeError):
        Tally(lambda _: None, PLAIN_VALUES, 1 << 20).add([(["a"], 1)], 1)


def test_a_value_of_another_type_is_another_value():
    """1, True and 1.0 are told apart, and so are two floats, which may be 0.0 and -0.0."""
    told = []
    tally = Tally(told.append, PLAIN_VALUES, 1 << 20)
    for value in (1, True, 1.0, 0.0, -0.0):
        assert tally.add([("a", value)], value)
    tally.end()
    assert [repr(one.value) for one in told] == ["1", "True", "1.0", "0.0", "-0.0"]


def test_values_that_can_change_are_refused():
    """A list may be another one later; and a sink takes what it says only."""
    assert not Tally(lambda _: None, PLAIN_VALUES, 1 << 20).add([("a", [])], [])
    assert not Tally(lambda _: None, frozenset({int}), 1 << 20).add([("a", "b")], "b")


def test_it_is_given_away_when_it_is_large():
    """What it holds is bounded by the size of keys, and of what the dict keeps for each."""
    told = []
    tally = Tally(told.append, PLAIN_VALUES, 10 * (ENTRY_BYTES + 4))
    for start in range(0, 100, 2):
        keys = [f"{number:04}" for number in range(start, start + 2)]
        assert tally.add([(key, 1) for key in keys * 3], 1)
    tally.end()
    assert [len(one.keys) for one in told] == [10] * 10


def test_it_is_closed_where_keys_hardly_repeat():
    """Then columns are cheaper; where they repeat it stays open."""
    for distinct, is_open in ((TRIED_PAIRS, False), (TRIED_PAIRS // 4, True)):
        tally = Tally(lambda _: None, PLAIN_VALUES, 1 << 30)
        for start in range(0, TRIED_PAIRS, 512):
            tally.add([(str(number % distinct), 1) for number in range(start, start + 512)], 1)
        assert tally.is_open is is_open


def test_it_is_closed_where_values_are_hardly_shared():
    """Each value costs something: with few pairs for each it is closed, after some; with many it is not."""
    for pairs, is_open in ((2, False), (2 * PAIRS_PER_VALUE, True)):
        tally = Tally(lambda _: None, PLAIN_VALUES, 1 << 30)
        for value in range(2 * TRIED_VALUES):
            tally.add([("a", value)] * pairs, value)
        assert tally.is_open is is_open
