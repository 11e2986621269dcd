"""Aggregators that keep values: the right ones, in the right order, however the work is cut."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from folding import merged_by_tree, parts_and_tree, state_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.aggregators import Max, Min, Variance, values_wanted_by
from mapreduce.errors import JobDefinitionError, ValueTypeError
from mapreduce.keeping import Collect, First, Sample, TopK

ANY = st.one_of(st.integers(), st.text(), st.none(), st.lists(st.integers(), max_size=2))
ALIKE = st.sampled_from([0, 1, 1.0, True, False, 2, 0.0, -0.0, 0.5])


def exactly(values):
    return [(type(value), repr(value)) for value in values]


@given(parts_and_tree(ANY))
@settings(max_examples=50, deadline=None)
def test_collect_and_first_keep_the_order(cut):
    """However values are cut and merged, Collect gives all of them in order, and First the first."""
    parts, tree = cut
    whole = [value for part in parts for value in part]
    assert exactly(merged_by_tree(Collect(), parts, tree)) == exactly(whole)
    assert exactly([merged_by_tree(First(), parts, tree)]) == exactly(whole[:1])


@given(parts_and_tree(ALIKE | st.integers(-3, 3)), st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_topk_is_the_head_of_a_stable_sort(cut, n):
    """The n largest, largest first, and of equal ones (1, 1.0 and True) the earlier first with its type."""
    parts, tree = cut
    whole = [value for part in parts for value in part]
    wanted = sorted(whole, key=lambda value: -value)[:n]
    assert exactly(merged_by_tree(TopK(n), parts, tree)) == exactly(wanted)


@given(parts_and_tree(st.sampled_from([1.0, 2.0, math.nan, math.inf])), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_topk_takes_a_nan_for_the_largest(cut, n):
    """NaNs come first, as Max gives NaN, and everything behind them is in order."""
    parts, tree = cut
    whole = [value for part in parts for value in part]
    nans = [value for value in whole if math.isnan(value)]
    wanted = nans + sorted((value for value in whole if not math.isnan(value)), reverse=True)
    assert exactly(merged_by_tree(TopK(n), parts, tree)) == exactly(wanted[:n])


def test_topk_refuses_what_has_no_order():
    """Values that cannot be compared are an error that names the aggregator."""
    with pytest.raises(
        ValueTypeError, match=r"TopK\(2\) cannot compare the values of a key.*'str' and 'int'|'int' and"
    ):
        state_of(TopK(2), [1, "a"])
    with pytest.raises(ValueTypeError, match=r"TopK\(1\) cannot compare int 1 with NoneType None"):
        state_of(TopK(1), [1, None])


@given(parts_and_tree(ANY), st.integers(1, 50), st.integers())
@settings(max_examples=50, deadline=None)
def test_a_sample_does_not_depend_on_the_merging(cut, n, seed):
    """Values of one stream give one sample, however they are cut and merged: distinct records, n of them or all."""
    parts, tree = cut
    whole = [value for part in parts for value in part]
    numbers = iter(range(len(whole)))
    numbered = [[next(numbers) for _ in part] for part in parts]
    taken = merged_by_tree(Sample(n, seed).on_stream("s"), numbered, tree)
    assert taken == merged_by_tree(Sample(n, seed).on_stream("s"), [list(range(len(whole)))], [])
    assert len(set(taken)) == len(taken) == min(n, len(whole))
    assert merged_by_tree(Sample(n, seed).on_stream("s"), parts, tree) == [whole[at] for at in taken]


def test_samples_of_several_tasks_are_uniform():
    """Over 4000 seeds each of 40 records, cut unevenly over tasks, comes as often as each other, and so does each pair.

    The pairs show that tasks draw independently: with equal draws, the same positions of all tasks would come together.
    """
    sizes, n, trials = [1, 1, 1, 7, 15, 15], 5, 4000
    ends = np.cumsum(sizes)
    parts = [list(range(end - size, end)) for size, end in zip(sizes, ends.tolist(), strict=True)]
    total = sum(sizes)
    pairs = np.zeros((total, total))
    firsts = np.zeros(total)
    for seed in range(trials):
        states = [state_of(Sample(n, seed).on_stream(f"0/{at}"), part) for at, part in enumerate(parts)]
        merge = Sample(n).merge
        taken = merge(merge(states[0], merge(states[1], states[2])), merge(states[3], merge(states[4], states[5])))[1]
        firsts[taken[0]] += 1
        for one, two in combinations(sorted(taken), 2):
            pairs[one, two] += 1
        for one in taken:
            pairs[one, one] += 1

    def scores(counts, chance):
        return (counts - trials * chance) / math.sqrt(trials * chance * (1 - chance))

    single = scores(pairs.diagonal(), n / total)
    double = scores(pairs[np.triu_indices(total, 1)], n * (n - 1) / (total * (total - 1)))
    assert np.abs(single).max() < 4
    assert 0.5 < np.mean(single**2) < 1.5
    assert np.abs(double).max() < 5
    assert 0.85 < np.mean(double**2) < 1.15
    assert np.abs(scores(firsts, 1 / total)).max() < 4  # the order is random, too


def order(pair):
    """A pair's place among others: NaN last."""
    return tuple((math.isnan(number), 0.0 if math.isnan(number) else number) for number in pair)


@settings(max_examples=60, deadline=None)
@given(parts_and_tree(st.tuples(*[st.sampled_from([math.nan, 0, 1, 1.5])] * 2)), st.integers(1, 4))
def test_tuples_with_nan_have_one_order(parts_and_tree_, n):
    """A NaN inside a tuple is larger than all else, however the values are cut."""
    parts, tree = parts_and_tree_
    values = [value for part in parts for value in part]
    assert repr(merged_by_tree(TopK(n), parts, tree)) == repr(sorted(values, key=order, reverse=True)[:n])
    assert repr(merged_by_tree(Min(), parts, tree)) == repr(min(values, key=order))
    assert repr(merged_by_tree(Max(), parts, tree)) == repr(max(values, key=order))


@pytest.mark.parametrize("make", [TopK, Sample])
@pytest.mark.parametrize("n", [0, -1, True, 2.0, "3", 1_000_001])
def test_strange_numbers_of_values_are_refused(make, n):
    """How many values to keep is a whole number from 1 to a million."""
    with pytest.raises(JobDefinitionError, match="a whole number from 1 to 1,000,000"):
        make(n)


def test_a_seed_is_a_whole_number():
    """A seed that is none is refused when the job is written."""
    with pytest.raises(JobDefinitionError, match="the seed of Sample"):
        Sample(3, seed="today")


def test_they_show_and_compare_as_written():
    """repr is what a user writes, and equal settings are equal aggregators."""
    assert [repr(one) for one in (TopK(3), Sample(4), Sample(4, seed=2), First(), Collect(), Variance())] == [
        "TopK(3)",
        "Sample(4)",
        "Sample(4, seed=2)",
        "First()",
        "Collect()",
        "Variance()",
    ]
    assert TopK(3) == TopK(3) != TopK(4)
    assert Sample(4) == Sample(4).on_stream("s") != Sample(4, seed=1)
    assert len({TopK(3), TopK(3), First(), First(), Sample(1), Sample(1)}) == 3


@pytest.mark.parametrize("aggregator", [TopK(3), Sample(4), First(), Collect(), Variance()], ids=repr)
def test_they_can_do_nothing_without_values(aggregator):
    """Keys that come alone leave these aggregators without work, which is refused where a step is made."""
    assert values_wanted_by(aggregator) is aggregator
