"""Kernels of the newer aggregators: over columns they give what the methods give, value by value."""

from __future__ import annotations

import math
from collections import namedtuple
from decimal import Decimal

import pytest
from folding import batch_of, batches_of, exact, folded, plainly
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.aggregators import Count, Max, Mean, Min, Sum, Variance
from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.fold import BY_METHODS, Fold
from mapreduce.dataflow.tasks.kernels import KERNELS
from mapreduce.errors import JobDefinitionError, ValueTypeError
from mapreduce.keeping import Collect, First, Sample, TopK, draw
from mapreduce.several import Fields, Together
from mapreduce.sketches import Distinct

INTS = st.integers(-(2**70), 2**70) | st.sampled_from([2**31, -(2**31), 2**31 - 1, 2**63 - 1, 0])
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, math.nan, math.inf, 0.1])
NUMBERS = st.integers(-5, 5) | st.floats(-10, 10) | st.booleans()
VALUES = {
    "ints": INTS,
    "small": st.integers(-5, 5),
    "floats": FLOATS,
    "texts": st.text(max_size=3),
    "bools": st.booleans(),
    "mixed": NUMBERS,
    "anything": st.one_of(
        NUMBERS, st.none(), st.tuples(st.integers(0, 2), st.text(max_size=1)), st.lists(st.integers())
    ),
}
Point = namedtuple("Point", "x y")  # noqa: PYI024 - made as users make them
KEPT = [First(), Collect(), Sample(1), Sample(3, seed=7), TopK(1), TopK(3), Distinct(7)]
SEVERAL = Together({"n": Count(), "sum": Sum(), "low": Min(), "high": Max(), "top": TopK(2), "mean": Mean()})
FIELDS = Fields((SEVERAL, {"all": Collect(), "both": Together({"first": First(), "some": Sample(2)})}))


@pytest.mark.parametrize("aggregator", KEPT, ids=repr)
@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data(), size=st.integers(1, 12))
@settings(max_examples=8, deadline=None)
def test_what_keeps_values_is_the_same_by_columns(aggregator, kind, data, size):
    """Columns, the methods over columns, and the methods over a dict give the same values and types."""
    kind = "mixed" if isinstance(aggregator, TopK) and kind == "anything" else kind  # those cannot be compared
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(["a", "b", 1]), VALUES[kind]), min_size=1, max_size=40))
    cut = batches_of(pairs, size)
    batches = [batch_of(part) for part in cut]
    wanted = exact(plainly(aggregator, cut))
    assert exact(folded(aggregator, batches)) == wanted
    assert exact(folded(aggregator, batches, BY_METHODS)) == wanted


@pytest.mark.parametrize("kind", ["small", "mixed", "bools"])
@given(data=st.data(), size=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_several_at_once_are_the_same_by_columns(kind, data, size):
    """Several aggregators share the columns, and tuples are split into theirs, with the results of the methods."""
    pairs = data.draw(st.lists(st.tuples(st.sampled_from("ab"), VALUES[kind]), min_size=1, max_size=40))
    cut = batches_of(pairs, size)
    wanted = exact(plainly(SEVERAL, cut))
    assert exact(folded(SEVERAL, [batch_of(part) for part in cut])) == wanted
    assert exact(folded(SEVERAL, [batch_of(part) for part in cut], BY_METHODS)) == wanted
    tuples = [[(key, (value, [value])) for key, value in part] for part in cut]
    wanted = exact(plainly(FIELDS, tuples))
    assert exact(folded(FIELDS, [batch_of(part) for part in tuples])) == wanted


@given(pairs=st.lists(st.tuples(st.sampled_from("ab"), INTS | st.booleans()), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_variances_of_ints_are_the_same_by_columns(pairs):
    """Squares that pass 64 bits are left to the methods, and everything stays exact."""
    assert exact(folded(Variance(), [batch_of(pairs)])) == exact(plainly(Variance(), [pairs]))


@given(
    pairs=st.lists(st.tuples(st.sampled_from("ab"), st.floats(-1e6, 1e6)), min_size=1, max_size=40),
    shift=st.sampled_from([0.0, 1e6, 1e9]),
    size=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_variances_of_floats_agree_in_all_but_the_last_digits(pairs, shift, size):
    """Two passes over a column and Welford's way differ by rounding alone, far from zero too."""
    cut = batches_of([(key, value + shift) for key, value in pairs], size)
    wanted = plainly(Variance(), cut)
    for key, variance in folded(Variance(), [batch_of(part) for part in cut]).items():
        assert math.isclose(variance, wanted[key], rel_tol=1e-6, abs_tol=1e-15 * (shift + 1e6) ** 2)


@pytest.mark.parametrize("strange", [math.nan, math.inf, 1e200])
def test_variances_of_what_is_not_finite_are_python_s(strange):
    """A NaN, an infinity and an overflow come out as by the methods, without a warning."""
    pairs = [("a", 1.0), ("a", strange), ("b", 2.0), ("b", 4.0)]
    assert exact(folded(Variance(), [batch_of(pairs)])) == exact(plainly(Variance(), [pairs]))
    assert folded(Variance(), [batch_of(pairs)])["b"] == 1.0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_fields_of_named_tuples_go_by_the_methods(size):
    """A subclass of tuple has fields as well, beside plain ones, and all of a task draw from one stream."""
    pairs = [("k", (1, 2)), ("k", Point(3, 4)), ("k", (5, 6))]
    fields = Fields((Sum(), Sample(2)))
    cut = batches_of(pairs, size)
    wanted = plainly(fields, cut)
    assert wanted["k"][0] == 9
    assert folded(fields, [batch_of(part) for part in cut]) == wanted


def test_a_tuple_of_another_length_names_the_key():
    """What is no tuple of the right length is refused, with the key at which it stood."""
    site = Site()
    with pytest.raises(ValueTypeError, match=r"folds tuples of 2.*got tuple \(1,\) of length 1"):
        Fold(Fields((Sum(), Sum())), site).create(make_batch(["fine", "bad"], [(1, 2), (1,)]))
    assert (site.function, site.key) == ("(Sum(), Sum())", "'bad'")


def test_a_member_that_fails_names_the_key():
    """The aggregator that refused a value is named, and the key."""
    site = Site()
    with pytest.raises(ValueTypeError, match="needs numbers"):
        Fold(Together({"n": Count(), "sum": Sum()}), site).create(make_batch(["fine", "bad"], [Decimal(1), "text"]))
    assert (site.function, site.key) == ("Sum()", "'bad'")


def test_subclass_of_several_goes_by_its_own_methods():
    """The columns belong to an exact class: a subclass that changes a method is obeyed."""

    class Doubled(Together):
        def create(self, value):
            return super().create(2 * value)

    assert folded(Doubled({"sum": Sum()}), [make_batch(["k"], [3])]) == {"k": {"sum": 6}}


@given(name=st.text(max_size=5), seed=st.integers(), skip=st.integers(0, 2**40))
@settings(max_examples=50)
def test_draws_of_a_column_are_those_of_single_values(name, seed, skip):
    """A column takes the numbers of the stream that its values would take one by one."""
    sample = Sample(50, seed).on_stream(name)
    base, _ = sample.take(skip)
    batch = make_batch(["k"] * 50, list(range(50)))
    fold = Fold(sample, Site())
    ((draws, values),) = [value for _, value in records_of(fold.create(batch))]
    assert draws == sorted(draw(base, skip + value) for value in values)
    assert len(set(draws)) == 50


def test_samples_need_a_stream():
    """Without a task there is nothing to draw from, which says what to do."""
    with pytest.raises(JobDefinitionError, match=r"on_stream\('test'\)"):
        Fold(Sample(2), Site()).create(make_batch(["k"], [1]))


def test_every_aggregator_of_ours_has_a_kernel():
    """Each exported aggregator is folded over columns."""
    assert {type(one) for one in KEPT} | {Count, Sum, Min, Max, Mean, Variance} <= set(KERNELS)
