"""Folds over columns: exact, and the same by columns as by the aggregators' own methods."""

from __future__ import annotations

import math
import threading
from decimal import Decimal
from functools import reduce

import numpy as np
import pytest
from folding import batches_of, exact, folded, plainly
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.aggregators import Count, Max, Mean, Min, Sum, Variance
from mapreduce.dataflow.columns.batches import Batch, Lane, concat, make_batch, records_of, sort_by_key
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.fold import BY_METHODS, Fold, Partials
from mapreduce.errors import ValueTypeError
from mapreduce.plan import Limits
from mapreduce.step import as_aggregator

INTS = st.integers(-(2**70), 2**70) | st.sampled_from([2**63 - 1, -(2**63), 2**62, 0, 1])
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, 1e308, 1e-320, 0.1])
NUMBERS = {
    "ints": INTS,
    "small": st.integers(-5, 5),
    "edges": st.integers(2**61, 2**63 - 1) | st.integers(-(2**63), -(2**61)),
    "floats": FLOATS,
    "bools": st.booleans(),
    "mixed": st.one_of(INTS, st.booleans(), st.integers(-5, 5)),
}
KEYS = st.sampled_from(["a", "b", "ab", ""]) | st.sampled_from([1, 2])


@pytest.mark.parametrize("aggregator", [Count(), Sum(), Min(), Max(), Mean()], ids=repr)
@pytest.mark.parametrize("kind", NUMBERS)
@given(data=st.data(), size=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_fast_path_is_the_generic_path(aggregator, kind, data, size):
    """Columns, the aggregator's methods over columns, and the methods over a dict give the same values and types."""
    keys = st.sampled_from(["a", "b"]) if data.draw(st.booleans()) else KEYS
    if isinstance(aggregator, Mean) and kind == "ints":
        kind = "small"  # a mean of huge ints may be beyond floats, which is an error of Python's own
    pairs = data.draw(st.lists(st.tuples(keys, NUMBERS[kind]), min_size=1, max_size=40))
    cut = batches_of(pairs, size)
    batches = [make_batch([k for k, _ in part], [v for _, v in part]) for part in cut]
    wanted = exact(plainly(aggregator, cut))
    assert exact(folded(aggregator, batches)) == wanted
    assert exact(folded(aggregator, batches, BY_METHODS)) == wanted


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([2**62] * 4, 2**64),
        ([-(2**63)] * 3, -3 * 2**63),
        ([2**63 - 1, 1], 2**63),
        ([2**63 - 1, -(2**63), 5], 4),
        ([2**100, 1], 2**100 + 1),
        ([True, True, False], 2),
        ([True], 1),
        ([1, 0.5, True], 2.5),
        ([Decimal("0.1")] * 3, Decimal("0.3")),
        ([-0.0], 0.0),
        ([np.int64(2**62)] * 4, 2**64),
    ],
    ids=str,
)
def test_sums_are_exact(values, total):
    """Sums beyond 64 bits, and of mixed types, are what Python's sum gives, type and all."""
    result = folded(Sum(), [make_batch(["k"] * len(values), values)])["k"]
    assert (type(result), repr(result)) == (type(total), repr(total))


def test_float_sums_go_from_left_to_right():
    """A float sum adds in the order of emission, and not pairwise."""
    values = [0.1 * i for i in range(1000)] + [1e16, 1.0, -1e16]
    wanted = reduce(lambda a, b: a + b, values, 0.0)
    assert wanted != math.fsum(values)
    assert folded(Sum(), [make_batch(["k"] * len(values), values)]) == {"k": wanted}


def test_types_of_keys_do_not_mix():
    """1, 1.0 and True are three keys, also where batches of different lanes meet."""
    fold = Fold(Count(), Site())
    states = concat([fold.create(make_batch([key], [0])) for key in (1, 1.0, True, 1)])
    counted = list(records_of(sort_by_key(fold.merge(states))))
    assert [(type(key), count) for key, count in counted] == [(bool, 1), (int, 2), (float, 1)]


def test_text_has_a_minimum():
    """Min and Max work on what Python can compare, by the methods where there is no fast path."""
    batch = make_batch(["k"] * 3, ["b", "a", "c"])
    assert folded(Min(), [batch]) == {"k": "a"}
    assert folded(Max(), [batch]) == {"k": "c"}


def test_values_that_cannot_be_added_name_the_key():
    """A sum of text is refused, and the site holds the aggregator and the key."""
    site = Site()
    with pytest.raises(ValueTypeError, match="needs numbers"):
        Fold(Sum(), site).create(make_batch(["fine", "bad"], [Decimal(1), "text"]))
    assert (site.function, site.key, site.users) == ("Sum()", "'bad'", True)


@pytest.mark.parametrize(
    ("aggregator", "values"),
    [
        (Sum(), [Decimal(1), 0.5]),
        ({"a": Min(), "b": Variance()}, [10**400, 0.5]),
        (Min(), [Decimal("sNaN"), Decimal(1)]),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(aggregator, values):
    """What Python raises inside an aggregator of ours becomes a sentence with the aggregator, and the site the key."""
    site = Site()
    with pytest.raises(ValueTypeError, match=r"\(\) cannot fold the values of this key: .*numbers of one kind"):
        Fold(as_aggregator(aggregator), site).create(make_batch(["k", "k"], values))
    assert (site.key, site.users) == ("'k'", True)


def test_what_a_users_own_method_raises_stays_as_it_is():
    """A TypeError of a user's values or methods is not made another error: it has the user's lines."""

    class Odd:
        def __radd__(self, other):
            raise TypeError("mine")

    site = Site()
    with pytest.raises(TypeError, match=r"^mine$"):
        Fold(Sum(), site).create(make_batch(["k"], [Odd()]))
    assert site.users


def test_a_state_that_cannot_be_kept_names_aggregator_and_key():
    """A state that nothing can write is the user's error, in `create` as inside a dict and in `finish`."""

    class Locked(Sum):
        def create(self, value):
            return threading.Lock() if value else 0

        def finish(self, state):
            return threading.Lock()

        def __repr__(self):
            return "Locked()"

    for aggregator in (Locked(), {"n": Count(), "l": Locked()}):
        site = Site()
        with pytest.raises(ValueTypeError, match=r"^Locked\(\) made what cannot be kept, of the key 'bad'"):
            Fold(as_aggregator(aggregator), site).create(make_batch(["good", "bad"], [0, 1]))
        assert (site.function, site.key, site.users) == ("Locked()", "'bad'", True)
    with pytest.raises(ValueTypeError, match=r"^Locked\(\) made what cannot be kept"):
        Fold(Locked(), Site()).finish(make_batch(["good"], [0]))


def test_subclass_goes_by_its_own_methods():
    """A fast path belongs to an exact class: a subclass that changes a method is obeyed."""

    class Doubled(Sum):
        def finish(self, state):
            return 2 * state

    assert folded(Doubled(), [make_batch(["k", "k"], [1, 2])]) == {"k": 6}


def test_keys_alone_are_counted():
    """Counting keys without values is Count over them."""
    batch = make_batch(["a", "b", "a"], [None] * 3)
    fold = Fold(Count(), Site())
    counted = fold.count_keys(batch.frame["key"], batch.key_lane)
    assert (dict(records_of(counted)), counted.value_lane) == ({"a": 2, "b": 1}, Lane.INT)
    assert fold.counts_only
    assert not Fold(Sum(), Site()).counts_only


@given(
    pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(-3, 3)), min_size=1, max_size=200),
    flush=st.integers(1, 9),
    size=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_partials_lose_nothing(pairs, flush, size):
    """However rows are collected and collapsed, the sums that reach the sink add up to the same."""
    fold = Fold(Sum(), Site())
    out: list[Batch] = []
    partials = Partials(fold.create, fold.merge, out.append, Limits(flush_records=flush))
    for part in batches_of(pairs, size):
        partials.add(make_batch([k for k, _ in part], [v for _, v in part]))
    partials.finish()
    wanted: dict[int, int] = {}
    for key, value in pairs:
        wanted[key] = wanted.get(key, 0) + value
    assert dict(records_of(fold.merge(concat(out)))) == wanted
