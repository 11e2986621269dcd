"""Several aggregators at once: how they are written, refused and shown, and that each gives what it gives alone."""

from __future__ import annotations

import math
import pickle
import statistics
from functools import reduce

import pytest
from folding import merged_by_tree, parts_and_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Count, Job, JobDefinitionError, Max, Mean, Min, Step, Sum, TopK, Variance
from mapreduce.aggregators import Aggregator, values_wanted_by
from mapreduce.errors import ValueTypeError
from mapreduce.keeping import Collect, First, Sample
from mapreduce.several import Fields, Together, on_stream


def identity(value):
    yield value, value


@given(parts_and_tree(st.integers(-(2**65), 2**65)))
@settings(max_examples=50, deadline=None)
def test_each_member_gives_what_it_gives_alone(cut):
    """However values are cut and merged, the results by name are those of each aggregator, in the order given."""
    parts, tree = cut
    members = {"n": Count(), "var": Variance(), "top": TopK(2), "sum": Sum(), "first": First()}
    together = merged_by_tree(Together(members), parts, tree)
    assert list(together) == list(members)
    assert together == {name: merged_by_tree(member, parts, tree) for name, member in members.items()}
    pairs = [[(value, [value]) for value in part] for part in parts]
    assert merged_by_tree(Fields((Max(), Collect())), pairs, tree) == (
        together["top"][0],
        [[value] for part in parts for value in part],
    )


@given(parts_and_tree(st.integers(-(2**70), 2**70)))
@settings(max_examples=50, deadline=None)
def test_the_variance_of_ints_is_exact(cut):
    """Of ints of any size, cut and merged in any way, the variance is the nearest float to the true one."""
    parts, tree = cut
    whole = [value for part in parts for value in part]
    mean = sum(whole)
    wanted = sum((len(whole) * value - mean) ** 2 for value in whole) / len(whole) ** 3
    assert merged_by_tree(Variance(), parts, tree) == wanted


@given(parts_and_tree(st.floats(-1e3, 1e3) | st.integers(-1000, 1000)), st.sampled_from([0.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_the_variance_of_floats_is_near(cut, shift):
    """Of floats (and ints among them) it is right to rounding, far from zero too, where naive sums lose all digits."""
    parts, tree = cut
    parts = [[value + shift if isinstance(value, float) else value + int(shift) for value in part] for part in parts]
    whole = [float(value) for part in parts for value in part]
    wanted = statistics.pvariance(whole)
    assert math.isclose(merged_by_tree(Variance(), parts, tree), wanted, rel_tol=1e-9, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("reducer", "words"),
    [
        ({}, r"names at least one: reducer=\{\"n\": Count\(\)"),
        ((), r"one for each field of the values: reducer=\(Sum\(\), Max\(\)\)"),
        ({"n": Count}, r"'n': write Count\(\), an object, not the class Count"),
        ((Sum(), len), "number 2 must be one such as Count.*not <built-in function len>"),
        ({"n": {"deep": 3}}, r"'deep' must be one such as Count\(\), or a dict or tuple of them, not 3 \(int\)"),
        ({"n": ()}, "one for each field"),
        ({1: Count()}, r"the names in a dict of aggregators are texts.*not 1"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_job_is_written(reducer, words):
    """An empty dict, a class, a function inside: the message says what to write."""
    with pytest.raises(JobDefinitionError, match=words):
        Job(identity, reducer=reducer)


def test_they_are_shown_as_written():
    """repr of a step is what was written, nested both ways."""
    written = {"n": Count(), "xy": (Sum(), {"low": Min(), "some": Sample(3, seed=1)})}
    assert "reducer={'n': Count(), 'xy': (Sum(), {'low': Min(), 'some': Sample(3, seed=1)})}" in repr(
        Step(identity, reducer=written)
    )
    assert repr(Fields((Sum(),))) == "(Sum(),)"
    assert Together(written) == Together(written) != Together({"n": Count()})
    assert Fields((Sum(), Max())) == Fields((Sum(), Max())) != Fields((Max(), Sum()))
    assert len({Together(written), Together(written), Fields((Sum(),)), Fields((Sum(),))}) == 2


def test_they_travel():
    """Aggregators with their settings come back equal from a pickle."""
    written = Together({"n": Count(), "xy": (Sum(), TopK(3)), "some": Sample(3, seed=1)})
    assert pickle.loads(pickle.dumps(written)) == written


def test_keys_without_values_can_only_be_counted():
    """What wants values is found inside a dict or a tuple, and named; counts in a dict are fine."""
    assert values_wanted_by(Together({"n": Count(), "more": {"mean": Mean()}})) == Mean()
    assert values_wanted_by(Together({"n": Count()})) is None
    with pytest.raises(JobDefinitionError, match=r"so Mean\(\) has none to work on"):
        Job(keys=str.split, reducer={"n": Count(), "mean": Mean()})
    Job(keys=str.split, reducer={"n": Count()})


@pytest.mark.parametrize("value", [5, "ab", [1, 2], (1, 2, 3), ()])
def test_fields_take_tuples_of_their_length(value):
    """A value of another form is refused, saying what was got and what to write instead."""
    with pytest.raises(ValueTypeError, match=r"\(Sum\(\), Max\(\)\) folds tuples of 2.*several aggregators over one"):
        Fields((Sum(), Max())).create(value)


def test_samples_take_the_same_records():
    """Two samples of one seed, over two fields or one inside another, take the same records of a stream."""
    fields = on_stream(Fields((Sample(3), {"more": Sample(5), "other": Sample(5, seed=1)})), "0/0")
    states = [fields.create((at, -at)) for at in range(50)]
    few, rest = fields.finish(reduce(fields.merge, states))
    assert few == [-value for value in rest["more"][:3]]
    assert rest["more"] != rest["other"]
    again = on_stream(fields, "0/0")
    assert again.create((0, 0)) == states[0]


def test_a_user_s_own_may_be_inside():
    """A user's aggregator is a member like ours."""

    class Spread(Aggregator):
        def create(self, value):
            return value, value

        def merge(self, state, other):
            return min(state[0], other[0]), max(state[1], other[1])

        def finish(self, state):
            return state[1] - state[0]

    assert merged_by_tree(Together({"n": Count(), "spread": Spread()}), [[1, 5], [9]], [0]) == {"n": 3, "spread": 8}
