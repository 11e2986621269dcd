"""Range and list partitioners: what is refused, how many parts there are, and where keys of every type go."""

from __future__ import annotations

import pickle
from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.aggregators import Count
from mapreduce.dataflow.columns.batches import Lane, key_series, make_batch, with_lanes
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.shuffle.partition import Listed, Ranges, partition_of
from mapreduce.describe import describe_job
from mapreduce.errors import JobDefinitionError, RecordError, UsageError
from mapreduce.job import Job, Step
from mapreduce.partitioners import ListPartitioner, RangePartitioner
from mapreduce.planner import shapes_of

NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RangePartitioner([3, 1]), "must ascend, each above the one before: 3 is followed by 1"),
        (lambda: RangePartitioner(["a", "a"]), "'a' is followed by 'a'"),
        (lambda: RangePartitioner(["a", 1]), "'a' is followed by 1 (keys of several types sort by type"),
        (lambda: RangePartitioner([[1]]), "the boundary [1]: list cannot be a key"),
        (lambda: RangePartitioner("abc"), "is a list of keys, such as [10, 20], not 'abc'"),
        (lambda: RangePartitioner(7), "is a list of keys, such as [10, 20], not 7"),
        (lambda: RangePartitioner([]), "1 to 9,999 keys, not 0"),
        (lambda: ListPartitioner({}), "needs a mapping from keys to parts, such as {'de': 0, 'fr': 1}, not {}"),
        (lambda: ListPartitioner(["de"]), "not ['de']"),
        (lambda: ListPartitioner({frozenset(): 1}), "the key frozenset(): frozenset cannot be a key"),
        (lambda: ListPartitioner({"a": -1}), "the part of 'a' must be a whole number from 0 to 9,999, not -1"),
        (lambda: ListPartitioner({"a": 20_000}), "the part of 'a' must be a whole number from 0 to 9,999, not 20000"),
        (lambda: ListPartitioner({"a": 1}, other=True), "ListPartitioner: other= must be a whole number"),
        (lambda: ListPartitioner({"k" * 5000: -1}), "the part of '" + "k" * 99 + " must be a whole number"),
        (lambda: Job(keys=str.split, reducer=Count(), partitioner=RangePartitioner), "write partitioner=RangePartit"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(make, message):
    """Boundaries and lists that no job can use are errors of the definition, with what to write."""
    with pytest.raises(JobDefinitionError) as caught:
        make()
    assert message in str(caught.value)


def test_partitioners_are_plain_values():
    """They compare by what they say, can be pickled, and name their size."""
    one, other = ListPartitioner({"a": 0, "b": 3}), ListPartitioner({"b": 3, "a": 0})
    assert (one == other, hash(one) == hash(other), one.parts) == (True, True, 4)
    assert (
        one
        != ListPartitioner({"a": 0, "b": 3}, other=5)
        == pickle.loads(pickle.dumps(ListPartitioner({"a": 0, "b": 3}, 5)))
    )
    assert RangePartitioner(range(3)) == RangePartitioner([0, 1, 2]) != RangePartitioner()
    assert [RangePartitioner().parts, RangePartitioner([1]).parts, ListPartitioner({1: 0}, 6).parts] == [None, 2, 7]


KEYS = st.one_of(
    st.sampled_from([None, False, True, 0, 1, 1.0, 0.0, -0.0, NAN, "", "a", "a\x00", b"", b"a", (), (1,), ("a", 1)]),
    st.integers(-5, 5),
    st.sampled_from([2**63, -(2**70)]),
    st.text(max_size=2),
    st.floats(),
)
COLUMNS = st.one_of(
    st.lists(KEYS, max_size=12),
    st.lists(st.integers(-9, 9), max_size=12),
    st.lists(st.text(max_size=2), max_size=12),
    st.lists(st.floats(), max_size=12),
    st.lists(st.binary(max_size=2), max_size=12),
)


def encoded(key):
    return encode_key(normalise_key(key))


@settings(max_examples=100, deadline=None)
@given(COLUMNS, st.lists(KEYS, min_size=1, max_size=5, unique_by=encoded), st.booleans())
def test_ranges_and_lists_go_by_the_keys_order_and_type(keys, named, is_encoded):
    """Part i has the keys from the boundary before it up to its own; a list tells 1, 1.0 and True apart."""
    keys = sorted(keys, key=encoded)
    boundaries = sorted(map(encoded, named))
    batch = make_batch(keys, keys)
    if is_encoded:
        batch = with_lanes(batch, Lane.ENCODED, batch.value_lane)
    column, lane = batch.frame["key"], batch.key_lane
    ranges = partition_of(column, lane, len(boundaries) + 1, Ranges(boundaries))
    assert ranges.tolist() == [bisect_right(boundaries, encoded(key)) for key in keys]
    listed = {encoding: number for number, encoding in enumerate(boundaries)}
    found = partition_of(column, lane, 9, Listed(listed, 8))
    assert found.tolist() == [listed.get(encoded(key), 8) for key in keys]


def test_a_key_that_is_not_listed_is_an_error():
    """Without `other` the error names the key, its type and the two ways out."""
    with pytest.raises(
        RecordError, match=r"the key 1\.0 \(float\) is not in the mapping .*: add it, or say with other="
    ):
        partition_of(*key_series([1, 1.0]), 2, Listed({encode_key(1): 0}, None))


def shapes(reducers, *partitioners, default=5):
    job = Job(steps=[Step(reducer=Count(), partitioner=given) for given in partitioners])
    return [shape.reduces for shape in shapes_of(job, 3, reducers, lambda _step: default)]


RANGES, LIST = RangePartitioner([1, 2]), ListPartitioner({"a": 1}, other=3)


def test_the_partitioner_sets_the_number_of_reducers():
    """Boundaries make exactly their parts, a list at least its own; measured ranges make as many as are wanted."""
    assert shapes(None, RANGES) == shapes(3, RANGES) == [3]
    assert [shapes(None, LIST), shapes(4, LIST), shapes(9, LIST)] == [[4], [4], [9]]
    assert [shapes(None, RangePartitioner()), shapes(7, RangePartitioner())] == [[5], [7]]
    assert shapes(2, None, RANGES, LIST) == [2, 3, 4]
    assert shapes(6, RangePartitioner(), RANGES, LIST) == [6, 3, 6]


@pytest.mark.parametrize(
    ("reducers", "partitioner", "message"),
    [(2, RANGES, "makes 3 parts, so the step has 3 reducers and not 2"), (3, LIST, "names 4 parts, and 3 reducers")],
)
def test_another_number_of_reducers_is_an_error(reducers, partitioner, message):
    """A number that contradicts the only partitioner is refused, with what to do."""
    with pytest.raises(UsageError, match=message):
        shapes(reducers, partitioner)


def test_describe_says_how_keys_are_placed_and_values_ordered():
    """One line each in `mapreduce describe`."""

    def reducer(key, values):
        yield key, list(values)

    def mapper(line):
        yield line, 1

    def last(value):
        return -value

    plain = Job(mapper, reducer=reducer, partitioner=RangePartitioner(), sort_values=True)
    text = describe_job(plain).render()
    assert "  partitioner RangePartitioner(): keys in order, boundaries are found for about equal parts\n" in text
    assert "  sort_values True: the values of a key come sorted\n" in text
    text = describe_job(Job(mapper, reducer=reducer, partitioner=LIST, sort_values=last)).render()
    assert "  partitioner ListPartitioner(<1 key>, other=3): keys as listed, 4 parts or more\n" in text
    assert "takes (value)\n" in text.partition("sort_values ")[2]
    assert (
        "(<2 boundaries>): keys in order, at given"
        in describe_job(Job(mapper, reducer=Count(), partitioner=RANGES)).render()
    )
