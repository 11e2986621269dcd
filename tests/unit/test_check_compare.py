"""How `mapreduce check` tells results that are the same from those that only look so, and the other way round."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce.check.compare import Likeness, alike, compare, first_difference
from mapreduce.check.other import last_words
from mapreduce.check.trial import Outcome, OutputTrace, TaskTrace
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.plan import TaskId, TaskKind

NAMES = ("here", "there")


def outcome(*pairs, more=()):
    """What a trial gave: these pairs, and those of the output "more"."""

    def trace(records):
        encoded = tuple((encode_key(key), encode_value(value)) for key, value in records)
        return OutputTrace(encoded, len(encoded), str(encoded))

    return Outcome({"": trace(pairs), "more": trace(more)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1.0, 1.001),
        ((1.0, "a"), (1.0, "b")),
        ([1.0], [1.0, 1.0]),
        (np.array([1.0]), np.array([2.0])),
        (np.array([1]), np.array([1.0])),
        ("a", "b"),
        (math.nan, 1.0),
        (Decimal("1.5"), Decimal("1.6")),
    ],
)
def test_unlike_values_are_told_apart(one, other):
    """Another type, another order or another number is another value."""
    assert alike(one, other) is Likeness.DIFFERENT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.1 + 0.2, 0.3),
        (1e300, 1e300 * (1 + 1e-12)),
        ({"mean": 0.1 + 0.2}, {"mean": 0.3}),
        ([("a", 0.1 + 0.2)], [("a", 0.3)]),
        (np.array([0.1 + 0.2]), np.array([0.3])),
        (complex(0.1 + 0.2, 1), complex(0.3, 1)),
        (5.5e-17, 0.0),
    ],
)
def test_the_last_bits_of_floats_are_no_difference(one, other):
    """Wherever in a value the floats are."""
    assert alike(one, other) is Likeness.LAST_BITS


@pytest.mark.parametrize("value", [math.nan, {1, 2}, dt.date(2020, 1, 1), None, np.float64(1.5), object])
def test_a_value_is_like_itself(value):
    """NaN, sets, and what only pickle can write, too."""
    assert alike(value, value) is Likeness.SAME


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), max_size=50), st.randoms())
def test_sums_in_any_order_are_alike(values, chance):
    """However floats are added, no sum of them is another result."""
    shuffled = list(values)
    chance.shuffle(shuffled)
    assert alike(float(sum(values)), float(sum(shuffled))) < Likeness.DIFFERENT


def test_records_in_another_order_are_told():
    """The same records at other places are neither the same results nor different ones."""
    found = compare(outcome(("a", 1), ("b", 2)), outcome(("b", 2), ("a", 1)), NAMES)
    assert found.likeness is Likeness.ORDER
    assert found.examples == ("('a', 1) here, ('b', 2) there, at the same place",)


def test_examples_say_what_differs():
    """Values of a key, keys that only one has, values that only one has; the worst output is told."""
    one = outcome(("a", 1), ("a", 2), ("b", 0.3), ("c", 1))
    other = outcome(("a", 1), ("b", 0.1 + 0.2), ("d", 1))
    found = compare(one, other, NAMES)
    assert found.likeness is Likeness.DIFFERENT
    assert found.examples == (
        "the key 'a': 2 here, no more there",
        "the key 'c' is there here only",
        "the key 'd' is there there only",
    )
    found = compare(outcome(("b", 0.3), more=[("x", 1)]), outcome(("b", 0.1 + 0.2), more=[("x", 2)]), NAMES)
    assert found.examples == ("output more, the key 'x': 1 here, 2 there",)
    assert compare(outcome(("b", 0.3)), outcome(("b", 0.1 + 0.2)), NAMES).likeness is Likeness.LAST_BITS
    assert compare(one, one, NAMES).likeness is Likeness.SAME


def test_values_without_keys_are_results():
    """Of a job whose results are values alone no key None is shown."""
    found = compare(outcome((None, 1)), outcome((None, 2)), NAMES)
    assert found.examples == ("the results: 1 here, 2 there",)


def test_the_last_words_of_a_process_are_the_users(tmp_path):
    """Of a dump of its stack what happened and the user's lines; of anything else the end."""
    dump = (
        "noise\nFatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
        f'  File "{tmp_path}/job.py", line 3 in mapper\n  File "{mapreduce.__file__}", line 9 in run\n'
    )
    assert last_words(dump) == f'Fatal Python error: Segmentation fault\n  File "{tmp_path}/job.py", line 3 in mapper'
    assert last_words("x" * 5000 + "the end\n").endswith("xthe end")


def test_the_first_task_that_made_something_else_is_found():
    """Sums that may differ for equal results (of pickles) say nothing."""

    def traced(*sums):
        tasks = [
            TaskId("job", 0, TaskKind.MAP, 0),
            TaskId("job", 0, TaskKind.MAP, 1),
            TaskId("job", 0, TaskKind.REDUCE, 0),
        ]
        return Outcome(traces=tuple(TaskTrace(t, s, 0.0, 1, 1, 1) for t, s in zip(tasks, sums, strict=True)))

    assert first_difference(traced("1", "", "3"), traced("1", "2", "4")) == TaskId("job", 0, TaskKind.REDUCE, 0)
    assert first_difference(traced("1", "2", "3"), traced("1", "2", "3")) is None
