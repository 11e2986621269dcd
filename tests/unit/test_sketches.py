"""Approximate aggregators: near enough, small, and functions of the data alone."""

from __future__ import annotations

import math
import sys
from decimal import Decimal

import numpy as np
import pytest
from folding import batch_of, folded, merged_by_tree, parts_and_tree, plainly, state_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Distinct, Job, JobDefinitionError, Quantiles
from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.columns.fingerprints import normalised
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.errors import ValueTypeError
from mapreduce.travel.package import package_of

POINTS = [0, 0.01, 0.25, 0.5, 0.9, 0.99, 1]


class Opaque:
    """Something that only pickle can write."""


@pytest.mark.parametrize(
    ("number", "error"),
    [(1, 0), (100, 0), (1000, 0), (20_000, 4 * 0.0081), (200_000, 4 * 0.0081)],
)
def test_distinct_values_are_counted_nearly(number, error):
    """A few are counted exactly, many within four standard errors, in a state of a few KiB."""
    fold = Fold(Distinct(), Site())
    states = fold.create(make_batch(["k"] * 2 * number, [f"{at % number}" for at in range(2 * number)]))
    ((_, state),) = records_of(states)
    assert len(state) < 10_000
    ((_, count),) = records_of(fold.finish(states))
    assert type(count) is int
    assert abs(count - number) <= error * number


@given(parts_and_tree(st.integers(0, 400)), st.integers(7, 12))
@settings(max_examples=50, deadline=None)
def test_the_count_does_not_depend_on_the_cut(cut, precision):
    """However values are cut, merged and ordered, the estimate is one function of their set."""
    parts, tree = cut
    parts = [[value * at for value in part for at in range(20)] for part in parts]
    whole = {value for part in parts for value in part}
    aggregator = Distinct(precision)
    wanted = merged_by_tree(aggregator, [sorted(whole)], [])
    assert merged_by_tree(aggregator, parts, tree) == wanted
    pairs = [("k", value) for part in parts for value in part]
    assert folded(aggregator, [batch_of(pairs)])["k"] == wanted


def test_values_are_told_apart_as_keys_are():
    """1, 1.0 and True are three; a NaN is one whatever its bits, -0.0 is 0.0; lists and dicts go by content."""
    nan = np.frombuffer(b"\x01\0\0\0\0\0\xf8\xff")[0].item()
    values = [1, 1.0, True, "1", b"1", (1,), [1], None, {"a": 1}, np.int64(1), math.nan, nan, (nan,), (math.nan,), 0.0]
    values += [-0.0, 2**70, Decimal(1), [1]]
    assert merged_by_tree(Distinct(), [values], []) == 14
    assert folded(Distinct(), [batch_of([("k", value) for value in values])])["k"] == 14
    floats = [math.nan, nan, 0.0, -0.0, 1.5]
    assert folded(Distinct(), [batch_of([("k", value) for value in floats])])["k"] == 3
    assert [normalised(value) for value in ([-0.0], (0, 1), "a")] == [[-0.0], (0, 1), "a"]


def test_what_only_pickle_can_write_is_refused():
    """Pickles of equal objects may differ, so such values cannot be told apart; the key is named."""
    site = Site()
    with pytest.raises(ValueTypeError, match="only pickle can write, and got Opaque"):
        Fold(Distinct(), site).create(make_batch(["fine", "bad"], [1, Opaque()]))
    assert site.key == "'bad'"


@pytest.mark.parametrize("precision", [6, 22, True, 12.0, "12"])
def test_a_strange_precision_is_refused(precision):
    """The precision is a number of bits within the library's range."""
    with pytest.raises(JobDefinitionError, match="a whole number from 7"):
        Distinct(precision)


@pytest.mark.parametrize(
    "numbers",
    [
        np.random.default_rng(1).normal(size=100_000),
        np.random.default_rng(2).pareto(1, size=100_000),
        np.arange(100_000, dtype=np.float64),
        np.arange(100_000, dtype=np.float64)[::-1],
        np.random.default_rng(3).integers(0, 50, size=100_000).astype(np.float64),
    ],
    ids=["normal", "pareto", "ascending", "descending", "few"],
)
def test_ranks_of_quantiles_are_near(numbers):
    """Merged from 40 uneven parts, each quantile's rank is within 0.6%, and the ends are exact."""
    cuts = np.sort(np.random.default_rng(4).integers(0, len(numbers), 39))
    parts = [("k", part) for part in np.split(numbers, cuts)]
    batches = [make_batch([key] * len(part), part.tolist()) for key, part in parts if len(part)]
    found = folded(Quantiles(POINTS), batches)["k"]
    ordered = np.sort(numbers)
    for point, quantile in zip(POINTS, found, strict=True):
        low, high = (np.searchsorted(ordered, quantile, side=side) / len(ordered) for side in ("left", "right"))
        assert low - 0.006 <= point <= high + 0.006
    assert (found[0], found[-1]) == (ordered[0], ordered[-1])


@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-100, 100), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_quantiles_of_few_are_among_them(numbers):
    """Of few numbers, of any types, each quantile is one of them, at the rank that was asked for."""
    points = [0, 0.3, 0.5, 1]
    found = folded(Quantiles(points), [batch_of([("k", number)]) for number in numbers])["k"]
    ordered = sorted(map(float, numbers))
    at = [0, int(0.3 * len(ordered)), int(0.5 * len(ordered)), len(ordered) - 1]
    for quantile, wanted in zip(found, at, strict=True):
        assert quantile in ordered[max(wanted - 1, 0) : wanted + 2]
    assert plainly(Quantiles(points), [[("k", number)] for number in numbers])["k"] == found


def test_quantiles_of_strange_numbers():
    """Infinities have their rank, a NaN makes all NaN, and Decimals, bools and huge ints are numbers."""
    inf = math.inf
    assert merged_by_tree(Quantiles([0, 0.5, 1]), [[-inf], [1.0, 2.0], [inf]], [0, 0]) == [-inf, 2.0, inf]
    assert merged_by_tree(Quantiles([0, 0.5, 1]), [[-inf, -inf], [3]], [0]) == [-inf, -inf, 3.0]
    assert merged_by_tree(Quantiles([0, 1]), [[inf]], []) == [inf, inf]
    assert merged_by_tree(Quantiles([0, 1]), [[-inf]], []) == [-inf, -inf]
    assert merged_by_tree(Quantiles([0, 1]), [[-inf, inf]], []) == [-inf, inf]
    assert merged_by_tree(Quantiles([0.5, 0.6]), [[1.0, 2.0, inf, inf]], []) == [inf, inf]  # the upper of two
    assert all(math.isnan(one) for one in merged_by_tree(Quantiles([0, 1]), [[1.0], [math.nan]], [0]))
    pairs = [("k", value) for value in (Decimal("1.5"), True, 2**70, np.float32(2))]
    assert folded(Quantiles([0, 1]), [batch_of(pairs)])["k"] == [1.0, 2.0**70]


@pytest.mark.parametrize("value", ["a", None, 1j, [1], 10**400])
def test_what_is_no_number_names_the_key(value):
    """A value that float() does not take is refused, with its key."""
    site = Site()
    with pytest.raises(ValueTypeError, match="Quantiles"):
        Fold(Quantiles([0.5]), site).create(make_batch(["fine", "bad"], [1, value]))
    assert site.key == "'bad'"


@pytest.mark.parametrize("points", [0.5, "0.5", [], [2], [-0.1], [True], ["0.5"], [math.nan], [0.5] * 1001])
def test_strange_points_are_refused(points):
    """Points are numbers from 0 to 1, in a list."""
    with pytest.raises(JobDefinitionError, match="Quantiles"):
        Quantiles(points)


@pytest.mark.parametrize("make", [Distinct, lambda: Quantiles([0.5])])
def test_a_missing_library_is_named_when_the_job_is_written(make, monkeypatch):
    """Without the package the error says what to install, and no job starts."""
    monkeypatch.setitem(sys.modules, "datasketches", None)  # what makes Python's own import fail
    with pytest.raises(JobDefinitionError, match=r"pip install 'mapreduce-engine\[sketches\]'"):
        make()


def test_workers_must_have_the_library():
    """A job with a sketch inside says so in its requirements, which workers check before the first task."""
    job = Job(lambda line: [(line, 1)], reducer={"all": (Distinct(), Quantiles([0.5]))})
    assert "datasketches" in package_of(job).requirements
    assert "datasketches" not in package_of(Job(lambda line: [(line, 1)])).requirements


def test_states_are_the_same_bytes_each_time():
    """The same values in the same order make the same states: nothing in them is random."""
    for aggregator in (Distinct(8), Quantiles([0.5])):
        values = [float(at * 7919 % 10_007) for at in range(5000)]
        assert state_of(aggregator, values[:300]) == state_of(aggregator, values[:300])
        fold = Fold(aggregator, Site())
        one, two = (list(records_of(fold.create(make_batch(["k"] * 5000, values)))) for _ in range(2))
        assert one == two


def test_they_show_and_compare_as_written():
    """repr is what a user writes, and equal settings are equal."""
    assert [repr(Distinct()), repr(Distinct(12)), repr(Quantiles((0.5, 1)))] == [
        "Distinct()",
        "Distinct(precision=12)",
        "Quantiles([0.5, 1])",
    ]
    assert Distinct(12) == Distinct(12) != Distinct(13)
    assert Quantiles([0.5]) == Quantiles((0.5,)) != Quantiles([0.4])
