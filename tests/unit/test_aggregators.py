"""Aggregators fold as Python's own functions would, exactly, and refuse what they cannot take."""

from __future__ import annotations

import functools
import math
import statistics
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.aggregators import Aggregator, Count, Max, Mean, Min, Sum
from mapreduce.errors import ValueTypeError


def fold(aggregator: Aggregator[Any, Any, Any], parts: list[list[Any]]) -> Any:
    """Fold each part as a map task does, merge the states in order as the shuffle does, and finish."""
    states = [functools.reduce(aggregator.add, part[1:], aggregator.create(part[0])) for part in parts]
    return aggregator.finish(functools.reduce(aggregator.merge, states))


PARTS = st.lists(st.lists(st.integers(), min_size=1), min_size=1)


@given(PARTS)
def test_ints_are_folded_exactly(parts: list[list[int]]) -> None:
    """Whatever their size and however they are cut, ints give what len, sum, min, max and mean give."""
    values = [value for part in parts for value in part]
    assert fold(Count(), parts) == len(values)
    assert fold(Sum(), parts) == sum(values)
    assert fold(Min(), parts) == min(values)
    assert fold(Max(), parts) == max(values)
    assert fold(Mean(), parts) == sum(values) / len(values)


def test_sums_pass_the_edges_of_64_bits() -> None:
    """Nothing wraps around, with numpy's integers neither."""
    assert fold(Sum(), [[2**62] * 4]) == 2**64
    assert fold(Sum(), [[np.int64(2**62), np.int64(2**62)]]) == 2**63
    assert fold(Mean(), [[2**63, 2**63]]) == float(2**63)


def test_sums_count_as_pythons_sum_does() -> None:
    """True is 1, -0.0 alone is 0.0, Decimals and arrays add up."""
    assert fold(Sum(), [[True]]) == 1
    assert type(fold(Sum(), [[True]])) is int
    assert math.copysign(1.0, fold(Sum(), [[-0.0]])) == 1.0
    assert fold(Sum(), [[Decimal("0.1")], [Decimal("0.2")]]) == Decimal("0.3")
    assert fold(Sum(), [[np.array([1, 2])], [np.array([3, 4])]]).tolist() == [4, 6]
    assert fold(Mean(), [[1.5, 2.5], [3.5]]) == statistics.mean([1.5, 2.5, 3.5])


@pytest.mark.parametrize("parts", [[[1.0, math.nan, 3.0]], [[math.nan], [1.0]], [[1.0], [math.nan, 2.0]]])
def test_nan_propagates_through_min_and_max(parts: list[list[float]]) -> None:
    """A NaN anywhere makes the result NaN, so that it never depends on where it stood."""
    assert math.isnan(fold(Min(), parts))
    assert math.isnan(fold(Max(), parts))


def test_equal_values_keep_the_first() -> None:
    """1, 1.0 and True compare equal: the first one met is the result, with its type."""
    assert [type(fold(kind(), [[1.0, 1], [True]])) for kind in (Min, Max)] == [float, float]
    assert fold(Min(), [["b", "a"]]) == "a"
    assert fold(Max(), [[(1, "b")], [(1, "c")]]) == (1, "c")


@pytest.mark.parametrize(
    ("aggregator", "values", "words"),
    [
        (Sum(), ["a"], r"Sum\(\) needs numbers, and got str 'a'"),
        (Sum(), [1, None], r"Sum\(\) needs numbers, and got NoneType"),
        (Mean(), [[1]], r"Mean\(\) needs numbers, and got list"),
        (Min(), [1, "a"], r"Min\(\) cannot compare str 'a' with int 1"),
        (Max(), [None, None], r"Max\(\) cannot compare"),
    ],
)
def test_values_that_do_not_fit_are_refused(aggregator: Any, values: list[Any], words: str) -> None:
    """The error names the aggregator, the type and the value."""
    with pytest.raises(ValueTypeError, match=words):
        fold(aggregator, [values])


def test_a_users_own_needs_create_merge_and_finish() -> None:
    """`add` follows from the others."""

    class Longest(Aggregator[str, str, int]):
        def create(self, value: str) -> str:
            return value

        def merge(self, state: str, other: str) -> str:
            return max(state, other, key=len)

        def finish(self, state: str) -> int:
            return len(state)

    assert fold(Longest(), [["a", "abc"], ["ab"]]) == 3
    assert repr(Longest()) == "Longest()"


@pytest.mark.parametrize("aggregator", [Min(), Max()], ids=repr)
@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan"), np.float64("nan"), Decimal("nan")], ids=repr)
def test_every_nan_propagates(aggregator, nan):
    """A NaN of NumPy or Decimal makes the result NaN too, wherever it stands."""
    one = type(nan)(1)
    for values in ([nan, one, one], [one, nan, one], [one, one, nan]):
        state = aggregator.create(values[0])
        for value in values[1:]:
            state = aggregator.add(state, value)
        assert state is nan
