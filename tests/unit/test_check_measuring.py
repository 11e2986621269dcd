"""What `mapreduce check` measures for its figures: a small input as the run will have it, keys that grow no more."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from checked import bench_of, write_lines

import mapreduce
from mapreduce import Collect, Count, Job, RangePartitioner, Step
from mapreduce.check.estimate import estimates_of
from mapreduce.check.forecast import Forecast, Point
from mapreduce.check.found import Found
from mapreduce.check.measuring import measure, tell_of_bad
from mapreduce.check.report import Level, Sure


def words(line):
    for word in line.split():
        yield word, 1


def counted(word, ones):
    yield word, sum(ones)


def turned(word, number):
    yield number, word


def modulo(line):
    yield int(line) % 7, 1


def whole_numbers(line):
    yield int(line), 1


def nothing_found():
    return Found(lambda _: None, "job", "mapreduce run job.py input", time.monotonic(), [], [])


def first_point(bench, records=1000):
    sample = bench.sample(records)
    outcome, watched = bench.here(replace(bench.plan(sample), measure=True))
    assert outcome.failure is None
    return Point(sample, outcome, watched)


def figures_of(bench, points):
    told = estimates_of(Forecast(bench, *points, slots=2), (10.0, "tsv"), 100 << 20, (64 << 20, 128 << 20))
    return {one.name: one for one in told}


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (Job(words, reducer=counted), {}),
        (Job(words, reducer=Count()), {"reducers": 2}),
        (Job(words, reducer=counted, combiner=counted), {"split_size": 2000}),
        (Job(words, reducer=counted, partitioner=RangePartitioner()), {"reducers": 3}),
        (Job(steps=[Step(words, reducer=Count()), Step(turned, reducer=Collect())]), {}),
    ],
    ids=["reducer", "fold", "combiner", "ranges", "steps"],
)
def test_what_is_called_measured_is_what_the_run_does(tmp_path, job, options):
    """Of a small input the shuffle's bytes, the keys and the records are those of the run, to the last one."""
    inputs = write_lines(tmp_path)
    with bench_of(tmp_path, job, inputs, **options) as bench:
        figures = figures_of(bench, measure(nothing_found(), bench, first_point(bench)))
    result = mapreduce.run(job, inputs, tmp_path / "real", runner="inline", **options)
    assert figures["shuffle"].value == result.status.shuffle_bytes
    assert figures["output"].value == 10 * result.status.records_out
    assert {figures[name].sure for name in ("shuffle", "keys", "output")} == {Sure.MEASURED}
    assert not figures["shuffle"].text.startswith("about")
    assert figures["time"].sure is Sure.GOOD  # no two runs take the same time


def test_without_time_for_it_nothing_is_called_measured_that_depends_on_cuts(tmp_path):
    """A slow input that was looked at whole, but not cut as in the run: its keys are exact, its shuffle is not."""
    with bench_of(tmp_path, Job(words, reducer=Count()), write_lines(tmp_path)) as bench:
        first = first_point(bench)
        bench.budget.left_s = 0
        figures = figures_of(bench, measure(nothing_found(), bench, first))
    assert (figures["shuffle"].sure, figures["keys"].sure) == (Sure.GOOD, Sure.MEASURED)
    assert figures["shuffle"].text.startswith("about")
    assert "after folding" in figures["largest key"].text


@pytest.mark.parametrize("left_s", [8.0, 0.0])
def test_keys_that_every_place_has_are_all_keys(tmp_path, left_s):
    """Of numbers modulo 7 there are seven keys, be there time for a larger sample or not, and as many results."""
    lines = [str(number) for number in range(30_000)]
    with bench_of(tmp_path, Job(modulo, reducer=Count()), write_lines(tmp_path, lines), split_size=20_000) as bench:
        first = first_point(bench, records=100)
        bench.budget.left_s = min(left_s, 20 * first.outcome.seconds)  # a sample that is not all of the input
        points = measure(nothing_found(), bench, first)
        figures = figures_of(bench, points)
        maps = bench.options.steps[0].maps
    assert (figures["keys"].value, figures["output"].value) == (7, 70)
    assert figures["keys"].sure in {Sure.GOOD, Sure.MEASURED}
    forecast = Forecast(bench, *points, slots=2)
    assert forecast.steps[0].shuffled == 7 * maps


def test_a_slow_sample_is_held_against_its_half(tmp_path):
    """Without time for a larger one a half of it is measured, which tells whether keys grow."""
    lines = [f"{number} same" for number in range(3000)]
    with bench_of(tmp_path, Job(words, reducer=Count()), write_lines(tmp_path, lines)) as bench:
        first = first_point(bench, records=200)
        bench.budget.left_s = 1.5 * first.outcome.seconds
        small, large = measure(nothing_found(), bench, first)
        assert (small.sample.records, large) == (100, first)
        assert figures_of(bench, (small, large))["keys"].value == pytest.approx(3001, rel=0.05)


@pytest.mark.parametrize(
    ("max_bad", "level", "told"),
    [
        (3, Level.NOTE, "3 bad records would be put aside: 3 ValueError in mapper"),
        (2, Level.WARNING, "--max-bad 2 allows fewer: the job fails"),
        ("1%", Level.NOTE, "3 bad records would be put aside"),
        ("0.5%", Level.WARNING, "--max-bad 0.5% allows fewer: the job fails"),
    ],
)
def test_bad_records_are_held_against_the_bound(tmp_path, max_bad, level, told):
    """A sample has no bound of its own: what it puts aside is told, and a warning if it is more than is allowed."""
    lines = ["bad" if number in {7, 40, 299} else str(number) for number in range(300)]
    found = nothing_found()
    job = Job(whole_numbers, reducer=Count())
    with bench_of(tmp_path, job, write_lines(tmp_path, lines), max_bad=max_bad) as bench:
        points = measure(found, bench, first_point(bench))
        tell_of_bad(found, bench, points[1], points[1].sample.records)
    (finding,) = found.findings
    assert finding.level is level
    assert any(told in line for line in finding.lines())


def test_bad_records_are_reckoned_for_all_of_the_input(tmp_path):
    """Of a part of the input it is said how many there may be in all."""
    lines = [str(number) if number % 10 else "bad" for number in range(3000)]
    found = nothing_found()
    job = Job(whole_numbers, reducer=Count())
    with bench_of(tmp_path, job, write_lines(tmp_path, lines), max_bad=100) as bench:
        first = first_point(bench, records=300)
        tell_of_bad(found, bench, first, first.sample.all_records)
    (finding,) = found.findings
    assert finding.level is Level.WARNING
    assert "of the 300 records looked at, and about 30" in finding.title
    assert "the job will probably fail" in finding.details[0]
