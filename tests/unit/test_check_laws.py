"""The laws of combiners and aggregators, as `mapreduce check` tries them: broken ones are found, others are not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Aggregator, Count, Job, Mean, Sum
from mapreduce.check.budget import Budget
from mapreduce.check.laws import try_laws
from mapreduce.check.laws_aggregator import try_aggregator
from mapreduce.check.laws_combiner import Pair, try_combiner
from mapreduce.check.report import Level
from mapreduce.check.trial import Watched
from mapreduce.check.values import Group, groups_of
from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.plan import AttemptId, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob


def pairs(line):
    yield line, 1


def loaded(job):
    return LoadedJob(job, {}, TaskOptions("job", "out", steps=(StepShape(1, 1),)))


def findings_of(job, groups):
    """What is found of a job whose mapper has emitted these pairs."""
    keys = [key for key, values in groups for _ in values]
    batch = make_batch(keys, [value for _, values in groups for value in values])
    return try_laws(loaded(job), Watched(counters=[{}], emitted={0: [batch]}), Path(), Budget())


def problems(job, groups):
    return [one for one in findings_of(job, groups) if one.level is Level.PROBLEM]


def total(key, values):
    yield key, sum(values)


def mean(key, values):
    held = list(values)
    yield key, sum(held) / len(held)


def with_count(key, values):
    held = list(values)
    yield key, (sum(held), len(held))


def either(key, values):
    """Take what the mapper gives, and what the combiner gives."""
    yield key, sum(value[0] if isinstance(value, tuple) else value for value in values)


def either_with_count(key, values):
    yield key, (sum(value[0] if isinstance(value, tuple) else value for value in values), 0)


def how_many(key, values):
    yield key, len(list(values))


def largest(key, values):
    yield key, max(values)


def one_or_none(key, values):
    held = list(values)
    if held[0] != 7:
        yield key, sum(held)


def test_a_mean_of_means_is_no_mean():
    """A combiner that takes means is not associative; three values show it, with both results and both lines."""
    (found,) = problems(Job(pairs, combiner=mean, reducer=mean), [("a", [5, 5, 8, 1]), ("b", [2, 2])])
    assert found.kind == "combiner"
    assert "mean" in found.title
    assert "is not associative" in found.title
    assert "key 'a', values [5, 5, 8]:" in found.details
    assert "  6.0  combined at once" in found.details
    assert any("combined as [5] and [5, 8], and then once more" in line for line in found.details)
    assert "it changes the type of values, from int to float" in found.details
    assert "def mean(key, values):" in found.code[0]


def test_a_combiner_whose_type_the_reducer_cannot_take_is_found():
    """Where the reducer needs what the combiner makes, it fails without it; the type that changes is named."""
    (found,) = problems(Job(pairs, combiner=with_count, reducer=lambda k, v: [(k, [a + b for a, b in v])]),
                        [("a", [1, 2, 3])])  # fmt: skip
    assert any("TypeError" in line and line.endswith("without the combiner") for line in found.details)
    assert "it changes the type of values, from int to tuple" in found.details


def test_a_change_of_type_that_all_can_take_is_a_warning():
    """Results are right, and yet both functions have to know both types."""
    found = findings_of(Job(pairs, combiner=either_with_count, reducer=either), [("a", [1, 2, 3])])
    assert [one.level for one in found] == [Level.PASSED, Level.WARNING]
    assert "from int to tuple" in found[1].title


def test_a_reducer_that_counts_values_cannot_have_a_combiner():
    """The combiner is right by itself, and the reducer sees how often it was called."""
    (found,) = problems(Job(pairs, combiner=total, reducer=how_many), [("a", [1, 1])])
    assert "how_many" in found.title
    assert "of what" in found.title
    assert "  2  without the combiner" in found.details
    assert "  1  with it" in found.details


def test_a_combiner_that_drops_a_key_is_found():
    """That it emits nothing for some values makes a difference."""
    assert problems(Job(pairs, combiner=one_or_none, reducer=total), [("a", [7, 1])])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(), min_size=2, max_size=12), st.sampled_from([total, largest]))
def test_right_combiners_pass_whatever_the_values(values, function):
    """No alarm for sums and maxima of any ints."""
    assert problems(Job(pairs, combiner=function, reducer=function), [("a", values)]) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20))
def test_sums_of_floats_are_no_problem(values):
    """What differs in the last bits is told as such, if at all."""
    found = findings_of(Job(pairs, combiner=total, reducer=total), [("a", values)])
    assert {one.level for one in found} <= {Level.PASSED, Level.NOTE}
    assert {one.kind for one in found} <= {"laws", "float"}


def test_the_last_bits_of_floats_are_told():
    """Ten tenths come to another sum in other parts."""
    found = findings_of(Job(pairs, combiner=total, reducer=total), [("a", [0.1, 0.7, 0.3] * 4)])
    assert [one.kind for one in found] in (["laws"], ["laws", "float"])
    folded = try_aggregator(_Adding(), [Group("a", tuple(map(encode_value, [0.1, 0.7, 0.3, 1e9] * 4)))])
    assert [one.kind for one in folded] == ["float"]


def test_functions_get_their_context_and_parameters():
    """A combiner with a parameter and counters, and a reducer that writes to an output, can be tried."""

    def scaled(key, values, *, ctx, by: int = 2):
        ctx.counters["combined"] += 1
        yield key, sum(values) * by // by

    def writing(key, values, *, ctx):
        ctx.outputs["more"].write(key, 1)
        yield key, sum(values)

    job = Job(pairs, combiner=scaled, reducer=writing, outputs={"more": "tsv"})
    assert problems(job, [("a", [1, 2, 3])]) == []


class _Adding(Aggregator):
    def create(self, value):
        return value

    def merge(self, state, other):
        return state + other

    def finish(self, state):
        return state


class _Halving(_Adding):
    def merge(self, state, other):
        return (state + other) / 2


class _Joined(_Adding):
    commutative = True

    def finish(self, state):
        return state


class _Spoiled(_Adding):
    def create(self, value):
        return [value]

    def merge(self, state, other):
        state.extend(other)
        return state

    def finish(self, state):
        if len(state) > 2:
            raise ValueError("too many")
        return len(state)


class _Other(_Adding):
    """Adds otherwise than it merges."""

    def add(self, state, value):
        return state + value + 1


def test_an_aggregator_that_is_not_associative_is_found():
    """The shortest list that shows it is shown, with what each way gives and the line of `merge`."""
    (found,) = problems(Job(pairs, reducer=_Halving()), [("a", [8, 13, 44])])
    assert found.title == "_Halving() is not associative: folds of parts, merged, differ from a fold of all"
    assert "key 'a', values [8, 13, 44]:" in found.details
    assert "  27.25  folded in one" in found.details
    assert "def merge(self, state, other):" in found.code[0]


@pytest.mark.parametrize("aggregator", [_Other(), _Spoiled()], ids=["add", "finish"])
def test_add_and_finish_are_tried_too(aggregator):
    """One whose add is another than its merge, and one that fails for many values."""
    assert problems(Job(pairs, reducer=aggregator), [("a", [1, 2, 3])])


def test_an_aggregator_is_held_to_what_it_says_of_order():
    """Texts put together are not commutative; numbers are; and who says nothing may have an order."""
    texts = [Group("a", tuple(map(encode_value, ["x", "y"])))]
    numbers = [Group("a", tuple(map(encode_value, [1, 2])))]
    assert "says that it is commutative" in try_aggregator(_Joined(), texts)[0].title
    assert try_aggregator(_Joined(), numbers) == []
    assert try_aggregator(_Adding(), texts) == []


def test_the_engines_own_aggregators_are_not_tried_again():
    """They have tests of their own; one of the user's among them is tried."""
    assert findings_of(Job(pairs, reducer={"n": Count(), "mean": Mean()}), [("a", [1, 2])]) == []
    assert problems(Job(pairs, reducer={"n": Count(), "half": _Halving()}), [("a", [8, 13, 44])])
    assert findings_of(Job(pairs, reducer=Sum()), [("a", [1, 2])]) == []


def test_laws_without_values_are_not_passed_in_silence():
    """Where no key has two values, that is told."""
    (found,) = findings_of(Job(pairs, combiner=total, reducer=total), [("a", [1]), ("b", [2])])
    assert (found.kind, found.level) == ("laws", Level.NOTE)
    assert "no key of the sample has two values" in found.title


def test_keys_with_the_most_values_are_tried_first():
    """Of many keys some, each with some of its values."""
    groups = groups_of([make_batch(["a"] * 3 + ["b"] * 50 + ["c"], list(range(54)))])
    assert [group.key for group in groups] == ["b", "a"]
    assert groups[0].decoded() == list(range(3, 35))


def test_a_reducer_that_wants_many_values_is_not_blamed_for_few():
    """A reducer that fails for two values is right if keys have more."""

    def spread(key, values):
        held = list(values)
        yield key, math.fsum(held) / (len(held) > 2)

    setup = TaskSetup(loaded(Job(pairs)), AttemptId(TaskId("job", 0, TaskKind.REDUCE, 0), 1), Path())
    job = Job(pairs, combiner=lambda key, values: [(key, value) for value in values], reducer=spread)
    group = Group("a", tuple(map(encode_value, [1.0, 2.0, 3.0, 4.0])))
    assert try_combiner(Pair(setup, job.resolved[0]), [group]) == []
