"""How much of a slow job `mapreduce check` tries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checked import bench_of, write_job, write_lines

from mapreduce.check.budget import Budget
from mapreduce.check.laws import try_laws
from mapreduce.check.report import Level
from mapreduce.check.sizing import size_up, warm_seconds
from mapreduce.check.steady import PASSED_ELSEWHERE, check_steadiness, run_elsewhere
from mapreduce.check.trial import Outcome, TaskTrace
from mapreduce.check.variants import Baseline, check_variants
from mapreduce.plan import TaskId, TaskKind

SLEEPING = """
    import time
    from mapreduce import Job, Sum

    def mapper(line):
        time.sleep({seconds})
        yield line[0], 1

    job = Job(mapper, reducer=Sum())
"""


def nobody(_text):
    """Tell nobody."""


def trace(kind, index, seconds):
    return TaskTrace(TaskId("job", 0, kind, index), "", seconds, 1, 1, 0)


def test_a_budget_tells_what_there_was_no_time_for():
    """What costs more than is left is left out, and named once."""
    budget = Budget(3.0)
    budget.spend(2.0)
    assert budget.affords(1.0, "cheap")
    assert not budget.affords(1.1, "dear")
    assert not budget.affords(9.0, "dear")
    assert budget.left_out == ["dear"]


def test_the_first_task_of_a_phase_is_not_what_others_take():
    """What a new process loads with its first task is not counted for each record."""
    traces = [trace(TaskKind.MAP, n, seconds) for n, seconds in enumerate([5.0, 0.2, 0.1])]
    assert warm_seconds(Outcome(traces=(*traces, trace(TaskKind.REDUCE, 0, 3.0)))) == pytest.approx(0.2 + 0.3 + 3.0)


def test_a_quick_sample_is_as_large_as_wanted(tmp_path):
    """Nothing is said of it."""
    path = write_job(tmp_path, SLEEPING.format(seconds=0), name="quick")
    with bench_of(tmp_path, path, write_lines(tmp_path)) as bench:
        sample = bench.sample(200)
        sized = size_up(bench, sample, nobody)
    assert (sized.sample, sized.why) == (sample, "")


def test_of_a_slow_job_fewer_records_are_tried(tmp_path):
    """As many as there is time for, with the reason; of the trial elsewhere too."""
    path = write_job(tmp_path, SLEEPING.format(seconds=0.05), name="slow")
    with bench_of(tmp_path, path, write_lines(tmp_path)) as bench:
        sized = size_up(bench, bench.sample(200), nobody)
        assert bench.budget.left_s < 6
    assert 4 <= sized.sample.records <= 16
    assert "since each takes about " in sized.why
    assert sum(trace.records_in for trace in sized.elsewhere.seeded.traces[:4]) == sized.sample.records
    assert not sized.sample.whole


def test_of_a_very_slow_job_one_record_is_tried(tmp_path):
    """Where some records take too long there is one."""
    path = write_job(tmp_path, SLEEPING.format(seconds=1.3), name="very_slow")
    with bench_of(tmp_path, path, write_lines(tmp_path)) as bench:
        sized = size_up(bench, bench.sample(200), nobody)
    assert sized.sample.records == 1
    assert sized.why == f"since each takes about {sized.why[-5:]}"
    assert sized.why.endswith(" s")


@pytest.mark.parametrize("why", ["one record", "no time"])
def test_what_is_not_tried_is_named(tmp_path, why):
    """Neither without time nor of a single record is it said that results are the same with other cuts."""
    path = write_job(tmp_path, SLEEPING.format(seconds=0), name="any")
    with bench_of(tmp_path, path, write_lines(tmp_path)) as bench:
        sample = bench.sample(200)
        sample = sample.least() if why == "one record" else sample
        outcome, _ = bench.here(bench.plan(sample))
        elsewhere = run_elsewhere(bench, bench.plan(sample), 60.0)
        if why == "no time":
            bench.budget.left_s = 0.0
            (steady,) = check_steadiness(bench, bench.plan(sample), outcome, elsewhere, 60.0)
            assert steady.title == PASSED_ELSEWHERE
            bench.budget.left_out.clear()
        assert check_variants(Baseline(bench, sample, bench.plan(sample), outcome), ()) == []
        assert bench.budget.left_out == [
            "values folded in many small parts",
            "the input cut elsewhere",
            "the input in another order",
            "other numbers of reducers",
        ]


def test_a_slow_combiner_is_tried_on_fewer_keys(tmp_path):
    """The laws are tried on one key at least, and the report says on how many of them."""
    source = """
        def mapper(line):
            yield len(line), 1

        def reducer(length, ones):
            yield length, sum(ones)

        combiner = reducer
    """
    lines = ["x" * (number % 5) for number in range(100)]
    with bench_of(tmp_path, write_job(tmp_path, source, name="sums"), write_lines(tmp_path, lines)) as bench:
        short, everything = Budget(0.0), Budget()
        _, watched = bench.here(replace(bench.plan(bench.sample(100)), collect=True))
        (passed,) = try_laws(bench.loaded, watched, bench.new_folder(), short)
        try_laws(bench.loaded, watched, bench.new_folder(), everything)
    assert passed.level is Level.PASSED
    assert (everything.left_out, short.left_out) == (
        [],
        ["the laws of the combiner reducer (sums.py:5) on more than 1 of 5 keys"],
    )
