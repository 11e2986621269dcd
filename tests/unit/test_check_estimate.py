"""What `mapreduce check` says of the whole run: figures in proportion, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from checked import baseline_of, bench_of, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce import Count, Job
from mapreduce.check.estimate import MOST_REDUCERS, estimates_of, skewed_keys, suggested_reducers
from mapreduce.check.forecast import Forecast, Point, StepForecast, _power
from mapreduce.check.report import Level, Sure
from mapreduce.check.spread import Spread
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.columns.values import decode_value

STEP = StepForecast(
    records_in=1e6,
    map_s=10.0,
    shuffled=1e6,
    shuffle_bytes=1e7,
    shuffle_memory=3e7,
    keys=1e5,
    reduce_s=2.0,
    records_out=1e5,
    is_folded=False,
    maps=10,
    reduces=1,
    spread=Spread(),
)


def words(line):
    for word in line.split():
        yield word, 1


def total(word, ones):
    yield word, sum(ones)


def points_of(bench, *sizes):
    """Trials of samples of these sizes, measured."""
    found = []
    for records in sizes:
        sample = bench.sample(records)
        outcome, watched = bench.here(replace(bench.plan(sample), measure=True))
        assert outcome.failure is None
        found.append(Point(sample, outcome, watched))
    return found


@settings(max_examples=100, deadline=None)
@given(st.floats(1, 1e4), st.floats(0.1, 1.0), st.integers(10, 10_000), st.integers(2, 50), st.integers(2, 1000))
def test_what_grows_as_a_power_is_foretold(factor, exponent, small, times, further):
    """Two sizes give the power, whatever it is, and so the third."""

    def found(size):
        return factor * size**exponent

    sizes = (small, small * times, small * times * further)
    assert math.isclose(_power(sizes, (found(sizes[0]), found(sizes[1]))), found(sizes[2]), rel_tol=1e-6)


def test_what_cannot_be_told_apart_grows_in_proportion():
    """Two samples of the same size, or nothing found in one."""
    assert _power((100, 100, 1000), (7, 7)) == 70
    assert _power((100, 1000, 10_000), (0, 7)) == 70
    assert _power((100, 1000, 10_000), (7, 0)) == 0
    assert _power((100, 1000, 10_000), (9, 3)) == 3


def test_figures_of_a_whole_sample_are_those_of_the_run(tmp_path):
    """Where the sample is all of the input, cut as in the run, what is no matter of time or chance is exact."""
    lines = ["the cat sat", "the dog", "the end"] * 20
    with bench_of(tmp_path, Job(words, reducer=total), write_lines(tmp_path, lines)) as bench:
        (point,) = points_of(bench, 1000)
        point = replace(point, as_run=True)
        forecast = Forecast(bench, point, point, slots=2)
    (step,) = forecast.steps
    assert (step.records_in, step.shuffled, step.keys, step.records_out) == (60, 140, 5, 5)
    assert (step.spread.largest, step.spread.largest_values) == ("'the'", 60)
    figures = {one.name: one for one in estimates_of(forecast, (10.0, "tsv"), 100 << 20, (64 << 20, 128 << 20))}
    assert {name for name, one in figures.items() if one.sure is not Sure.MEASURED} == {"time", "memory"}
    assert figures["keys"].text == "5"
    assert figures["output"].value == 50
    assert figures["keys"].value == 5
    assert figures["reducers"].value == 1
    assert 0.3 < figures["largest key"].value < 0.5
    assert figures["largest key"].text.endswith("of what is shuffled, 60 values")
    assert figures["memory"].value >= 100 << 20


def test_figures_grow_with_the_input(tmp_path):
    """A small sample of even lines foretells records and values of all of them, within a tenth."""
    lines = [f"word{number % 50} and {number}" for number in range(20_000)]
    with bench_of(tmp_path, Job(words, reducer=total), write_lines(tmp_path, lines)) as bench:
        small, large = points_of(bench, 200, 2000)
        forecast = Forecast(bench, small, large, slots=2)
    (step,) = forecast.steps
    assert step.records_in == pytest.approx(20_000, rel=0.1)
    assert step.shuffled == pytest.approx(60_000, rel=0.1)
    assert step.keys == pytest.approx(20_051, rel=0.25)
    assert step.map_s > 0
    figures = {one.name: one for one in estimates_of(forecast, (10.0, "tsv"), 0, (64 << 20, 128 << 20))}
    assert figures["shuffle"].sure in {Sure.GOOD, Sure.ROUGH}
    assert figures["keys"].sure in {Sure.ROUGH, Sure.GUESS}


def test_what_is_folded_is_foretold_by_tasks(tmp_path):
    """Of a fold over few keys each task leaves as many as there are, however much it reads."""
    lines = [f"word{number % 50}" for number in range(20_000)]
    with bench_of(tmp_path, Job(words, reducer=Count()), write_lines(tmp_path, lines), split_size=4096) as bench:
        maps = bench.planned.options.steps[0].maps
        small, large = points_of(bench, 400, 4000)
        forecast = Forecast(bench, small, large, slots=2)
    (step,) = forecast.steps
    assert step.is_folded
    assert step.shuffled == pytest.approx(50 * maps, rel=0.05)
    assert step.keys == pytest.approx(50, rel=0.05)


def test_sorted_values_spread_by_their_keys(tmp_path):
    """With sort_values the shuffle's keys are more than the user's: the largest one is the user's."""
    lines = ["a 3", "a 1", "b 2"] * 10
    job = Job(_pair, reducer=listed, sort_values=True)
    with bench_of(tmp_path, job, write_lines(tmp_path, lines)) as bench:
        (point,) = points_of(bench, 1000)
    spread = point.spread(0)
    assert (spread.keys, spread.values, spread.largest, spread.largest_values) == (2, 30, "'a'", 20)


def _pair(line):
    key, value = line.split()
    yield key, value


def listed(key, values):
    yield key, list(values)


@pytest.mark.parametrize(
    ("step", "slots", "wanted"),
    [
        (STEP, 8, 1),
        (replace(STEP, reduce_s=20.0), 8, 8),
        (replace(STEP, reduce_s=6000.0), 8, 100),
        (replace(STEP, shuffle_memory=10 << 30), 2, 40),
        (replace(STEP, shuffle_memory=10 << 30, keys=3), 2, 3),
        (replace(STEP, shuffle_memory=1 << 50), 2, MOST_REDUCERS),
    ],
)
def test_reducers_are_suggested_by_bytes_seconds_and_keys(step, slots, wanted):
    """So many that none has too much, and no more than there are keys."""
    assert suggested_reducers(step, slots) == wanted


def test_a_key_that_keeps_a_reducer_busy_is_told(tmp_path):
    """With most of what is shuffled it is a warning in a long job and a note in a short one; folded, it is nothing."""
    spread = Spread(values=1000, keys=10, size=10_000, largest="'all'", largest_values=700, largest_size=7000)
    with bench_of(tmp_path, Job(words, reducer=total), write_lines(tmp_path)) as bench:
        (note,) = skewed_keys(bench, [replace(STEP, spread=spread)])
        (warning,) = skewed_keys(bench, [replace(STEP, spread=spread, reduce_s=100.0)])
        assert skewed_keys(bench, [replace(STEP, spread=spread, is_folded=True)]) == []
        assert skewed_keys(bench, [replace(STEP, spread=replace(spread, largest_size=1000))]) == []
    assert (note.level, warning.level) == (Level.NOTE, Level.WARNING)
    assert "70% of what is shuffled: 'all'" in warning.title
    assert "1 min 10 s" in warning.details[0] or "70 s" in warning.details[0]
    assert "fold it on the way" in warning.details[1]
    assert len(note.details) == 1
    assert note.code == ()
    assert "def total(word, ones):" in warning.code[0]


def test_a_trial_keeps_what_a_run_would_write(tmp_path):
    """The records of a trial over all of the input are those of a run, in its order."""
    inputs = write_lines(tmp_path)
    with bench_of(tmp_path, Job(words, reducer=total), inputs) as bench:
        tried = baseline_of(bench, 10_000)
    found = [(decode_key(key), decode_value(value)) for key, value in tried.outcome.outputs[""].pairs]
    assert found == list(mapreduce.run(Job(words, reducer=total), inputs, runner="inline", reducers=3))
