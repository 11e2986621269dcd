"""The trials that figures of the whole run are told from: of two samples, or of all of the input, cut as in the run."""

from __future__ import annotations

import math
from dataclasses import replace

from mapreduce.check.bench import Bench
from mapreduce.check.forecast import Point
from mapreduce.check.found import Found
from mapreduce.check.report import Finding, Level
from mapreduce.check.sample import Sample
from mapreduce.check.trial import TrialPlan
from mapreduce.errors import MapReduceError
from mapreduce.max_bad import is_too_many, shown_kinds
from mapreduce.progress import count
from mapreduce.progress import records as so_many_records

TIMING_S = 2.0  # that the larger trial may take, from which times are told: long enough beside what every task costs
TIMES_LARGER = 40  # that this one is at most: 40,000 records, and each place of the input is read on for megabytes
HALF = 0.5  # of a sample, to be held against it where there is no time for a larger one
MOST_TASKS = 100  # of a run that is tried as it will be: of a small input more would take seconds for tasks alone


def measure(found: Found, bench: Bench, first: Point) -> tuple[Point, Point] | None:
    """Two points to tell the run from, the larger one last; one twice where it is all that there is time for.

    `first` is the sample, measured. None, with a finding, where a trial fails.
    """
    if first.sample.whole:
        return _as_run(found, bench, first)
    seconds_s = max(first.outcome.seconds, 1e-9)
    times = math.floor(min(TIMES_LARGER, TIMING_S / seconds_s, bench.budget.left_s / seconds_s))
    if times < 2:
        return _with_half(found, bench, first)
    try:
        sample = bench.sample(times * first.sample.records)
    except MapReduceError as error:
        found.unreadable(error)
        return None
    large = _measured(found, bench, sample, bench.plan(sample))
    if large is None:
        return None
    return _as_run(found, bench, large) if sample.whole else (first, large)


def _as_run(found: Found, bench: Bench, whole: Point) -> tuple[Point, Point] | None:
    """All of the input, cut as in the run and with as many reducers, so that what is found is what the run will do."""
    tasks = sum(shape.maps + shape.reduces for shape in bench.options.steps)
    if tasks > MOST_TASKS or not bench.budget.affords(whole.outcome.seconds):
        return whole, whole
    sample = bench.whole_sample()
    point = _measured(found, bench, sample, bench.plan_as_run(sample))
    return None if point is None else (replace(point, as_run=True),) * 2


def _with_half(found: Found, bench: Bench, first: Point) -> tuple[Point, Point] | None:
    """A slow sample, and a half of it, so that it can be told what grows."""
    half = first.sample.smaller(HALF)
    if 2 * half.records > first.sample.records or not bench.budget.affords(HALF * first.outcome.seconds):
        return first, first
    small = _measured(found, bench, half, bench.plan(half))
    return None if small is None else (small, first)


def _measured(found: Found, bench: Bench, sample: Sample, plan: TrialPlan) -> Point | None:
    outcome, watched = bench.here(replace(plan, measure=True))
    if outcome.failure is not None:
        found.failed(f"the job fails on another sample, of {so_many_records(sample.records)}", outcome.failure)
        return None
    return Point(sample, outcome, watched)


def tell_of_bad(found: Found, bench: Bench, point: Point, all_records: float) -> None:
    """Tell what a run would put aside, and whether that may be more than is allowed."""
    bad, allowed = point.outcome.bad, bench.planned.options.max_bad
    number = sum(bad.values())
    if not number or allowed is None:
        return
    kinds = ", ".join(f"{count(some)} {kind}" for kind, some in shown_kinds(bad).items())
    looked = max(point.sample.records, number)
    expected, where = number, ""
    if not point.sample.whole:
        expected = round(number * max(all_records / looked, 1))
        where = f" of the {so_many_records(looked)} looked at, and about {count(expected)} in all"
    title = f"{count(number)} bad record{'' if number == 1 else 's'}{where} would be put aside: {kinds}"
    records = max(round(all_records), expected)
    if not is_too_many(allowed, {"": expected}, records, maps_done=True):
        found.findings.append(Finding("bad", Level.NOTE, title))
        return
    bound = f"{allowed.records:,}" if allowed.percent is None else f"{allowed.percent:g}%"
    will = "fails" if point.sample.whole else "will probably fail"
    details = (f"--max-bad {bound} allows fewer: the job {will}",)
    found.findings.append(Finding("bad", Level.WARNING, title, details))
