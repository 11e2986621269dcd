"""Other ways to run the same job on the same sample, all of which must come to the same results.

The input cut elsewhere, more and smaller buffers, no combiner, other numbers of reducers: a run may have any of these,
by its options or by the size of its input. Whether the order of the input matters is told too, which it may.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from mapreduce.aggregators import Aggregator, Several
from mapreduce.calls import Call, in_role
from mapreduce.check import suspects
from mapreduce.check.bench import REDUCERS, Bench
from mapreduce.check.compare import Compared, Likeness, compare
from mapreduce.check.report import Finding, Level
from mapreduce.check.sample import Sample
from mapreduce.check.trial import Outcome, TrialPlan, encoded_pairs
from mapreduce.dataflow.columns.batches import Batch
from mapreduce.keeping import Sample as SampleAggregator
from mapreduce.quick_dataclass import dataclass
from mapreduce.step import StepPlan

CHUNKS = 23  # in which a trial with small buffers cuts what mappers emit: enough for all of folding, merging, spilling
LEAST_CHUNK = 3  # pairs of one of them
OTHER_REDUCERS = (1, 2 * REDUCERS + 1)  # that are tried beside REDUCERS
UNSTEADY = frozenset({"state", "random", "clock", "unsteady", "process"})  # kinds of findings after which no two agree
FOLDED, COMBINED = "small-buffers", "combiner"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The sample, its trial, and what that gave: what all others are held against."""

    bench: Bench
    sample: Sample
    plan: TrialPlan
    outcome: Outcome


def check_variants(baseline: Baseline, broken: Iterable[str]) -> list[Finding]:
    """Run all variants that make sense for the job. `broken` are the kinds of problems that are known already."""
    known = set(broken)
    if known & UNSTEADY:
        title = "no trials with other cuts, combiners and reducers: they need results that are the same every time"
        return [Finding("variants", Level.NOTE, title)]
    return _without_repeats(_variants(baseline, known))


def _without_repeats(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, of those with the same title the first."""
    return list({one.title: one for one in reversed(list(findings))}.values())[::-1]


def _variants(baseline: Baseline, known: set[str]) -> list[Finding]:
    findings: list[Finding] = []
    job = baseline.bench.job
    combined = any(plan.combiner is not None for plan in job.resolved)
    folded = any(isinstance(plan.reducer, Aggregator) for plan in job.resolved)

    shows_nothing = baseline.sample.records == 1 and not baseline.sample.whole  # for want of time

    def has_time(what: str, trials: int = 1) -> bool:
        seconds = math.inf if shows_nothing else trials * baseline.outcome.seconds
        return baseline.bench.budget.affords(seconds, what)

    if combined and COMBINED not in known and has_time("without the combiner"):
        findings += _without_combiner(baseline)
    known |= {one.kind for one in findings if one.level is Level.PROBLEM}
    sampled = any(_samples(plan.reducer) for plan in job.resolved)
    in_chunks = (combined or folded) and not sampled and not known & {COMBINED, "aggregator"}
    if in_chunks and has_time("values folded in many small parts"):
        findings += _in_chunks(baseline)
    known |= {one.kind for one in findings if one.level is Level.PROBLEM}
    if not _is_at_random(baseline):
        if has_time("the input cut elsewhere"):
            findings += _cut_elsewhere(baseline, known)
        if has_time("the input in another order"):
            findings += _turned(baseline)
    else:
        title = "random numbers are drawn task by task: another split size gives others, the same ones at every run"
        findings.append(Finding("random", Level.NOTE, title))
    if any(not plan.map_only for plan in job.resolved) and has_time("other numbers of reducers", len(OTHER_REDUCERS)):
        findings += _other_reducers(baseline)
    return findings


def _is_at_random(baseline: Baseline) -> bool:
    """Whether results depend on the number of tasks for a good reason: each draws its own random numbers."""
    return baseline.outcome.has_drawn or any(_samples(plan.reducer) for plan in baseline.bench.job.resolved)


def _samples(reducer: Any) -> bool:
    if isinstance(reducer, Several):
        return any(map(_samples, reducer.members))
    return isinstance(reducer, SampleAggregator)


def _without_combiner(baseline: Baseline) -> list[Finding]:
    other, _ = baseline.bench.here(replace(baseline.plan, combine=False))
    compared = _compared(baseline.outcome, other, ("with the combiner", "without it"))
    if compared.likeness < Likeness.ORDER:
        return [Finding(COMBINED, Level.PASSED, "the same with the combiner and without it"), *_bits(compared)]
    combiners = [plan.combiner.function for plan in baseline.bench.job.resolved if plan.combiner is not None]
    who = " and ".join(in_role(function, "combiner") for function in combiners)
    details = (*compared.examples, "a combiner may be called for any part of a key's values, or not at all")
    return [Finding(COMBINED, Level.PROBLEM, f"the results depend on {who}", details, _places(combiners))]


def _in_chunks(baseline: Baseline) -> list[Finding]:
    """Fold and combine a few pairs at a time, and what came of that again, as in a run over far more input."""
    pairs = max((trace.records_out for trace in baseline.outcome.traces), default=0)
    limits = replace(baseline.plan.options.limits, flush_records=max(LEAST_CHUNK, pairs // CHUNKS))
    plan = replace(baseline.plan, options=replace(baseline.plan.options, limits=limits))
    other, _ = baseline.bench.here(plan)
    compared = _compared(baseline.outcome, other, ("folded at once", "folded in many parts"))
    if compared.likeness < Likeness.ORDER:
        return [Finding(FOLDED, Level.PASSED, "the same when values are folded in many small parts"), *_bits(compared)]
    steps = baseline.bench.job.resolved
    who = " and ".join(_folds(plan) for plan in steps if plan.combiner or isinstance(plan.reducer, Aggregator))
    functions = [plan.combiner.function for plan in steps if plan.combiner is not None]
    functions += [type(plan.reducer).merge for plan in steps if isinstance(plan.reducer, Aggregator)]
    title = f"the results depend on how many values are folded at a time, through {who}"
    return [Finding(FOLDED, Level.PROBLEM, title, compared.examples, _places(functions))]


def _folds(plan: StepPlan) -> str:
    if plan.combiner is not None:
        return in_role(plan.combiner.function, "combiner")
    return repr(plan.reducer)


def _cut_elsewhere(baseline: Baseline, known: set[str]) -> list[Finding]:
    sample = baseline.sample.finer()
    if len(sample.tasks) == len(baseline.sample.tasks):
        uncut = all(portion.piece.whole for task in sample.tasks for portion in task.portions)
        title = "each file is read by one task" if uncut else "each task of the sample has one record"
        return [Finding("split-borders", Level.PASSED, f"{title}: there are no cuts to depend on")]
    plan = baseline.bench.plan(sample)
    other, _ = baseline.bench.here(plan)
    compared = _compared(baseline.outcome, other, ("where the input was cut first", "where it was cut elsewhere"))
    if compared.likeness < Likeness.ORDER:
        return [Finding("split-borders", Level.PASSED, "the same where the input is cut elsewhere"), *_bits(compared)]
    mappers = _mappers_at_borders(baseline, plan)
    if not mappers and known & {COMBINED, FOLDED, "aggregator"}:
        return []  # the parts that are combined are other ones too
    calls = mappers or [call for call in (baseline.bench.job.resolved[0].reducer,) if isinstance(call, Call)]
    who = " and ".join(in_role(call.function, call.role) for call in calls) or "a function of the job"
    advice = (
        "where a task's input begins and ends depends on --split-size and on the size of the input: a record must not "
        "need the one before it, and what a mapper class has at its end is put together by the reducer"
    )
    lines = suspects.lasting([call.function for call in calls])
    code = lines or _places([call.function for call in calls])
    title = f"the results depend on where the input is cut, through {who}"
    return [Finding("split-borders", Level.PROBLEM, title, (*compared.examples, advice), code)]


def _mappers_at_borders(baseline: Baseline, other: TrialPlan) -> list[Call]:
    """The mappers of the first step that emit other pairs where the input is cut elsewhere."""
    emitted = [
        baseline.bench.here(replace(plan, collect=True))[1].emitted.get(0, []) for plan in (baseline.plan, other)
    ]
    if _pairs(emitted[0]) == _pairs(emitted[1]):
        return []
    mappers = [source.mapper for source in baseline.bench.job.resolved[0].inputs]
    return [call for call in mappers if call is not None]


def _pairs(batches: Sequence[Batch]) -> Counter[tuple[bytes, bytes]]:
    return Counter(pair for batch in batches for pair in encoded_pairs(batch))


def _turned(baseline: Baseline) -> list[Finding]:
    """Say whether the order of the input matters: it may, since it is the same at every run."""
    plan = baseline.bench.plan(baseline.sample.turned())
    other, _ = baseline.bench.here(plan)
    compared = _compared(baseline.outcome, other, ("with the input in order", "in another order"))
    if compared.likeness < Likeness.DIFFERENT:
        return [Finding("input-order", Level.PASSED, "the same with the input in another order"), *_bits(compared)]
    title = "the results depend on the order of the input (of files, and of the records in them), which a run keeps"
    return [Finding("input-order", Level.NOTE, title, compared.examples[:1])]


def _other_reducers(baseline: Baseline) -> list[Finding]:
    for number in OTHER_REDUCERS:
        plan = baseline.bench.plan(baseline.sample, reducers=number)
        other, _ = baseline.bench.here(plan)
        names = (f"with {REDUCERS} reducers", f"with {number}")
        compared = _compared(baseline.outcome, other, names)
        if compared.likeness is Likeness.DIFFERENT:
            return [_depends_on_reducers(baseline, compared)]
    few, many = OTHER_REDUCERS
    return [Finding("reducers", Level.PASSED, f"the same with {few}, {REDUCERS} and {many} reducers")]


def _depends_on_reducers(baseline: Baseline, compared: Compared) -> Finding:
    """Say which reducers it may be. The tasks that differ tell nothing: with other partitions all do."""
    steps = baseline.bench.job.resolved
    calls = [plan.reducer for plan in steps if isinstance(plan.reducer, Call)]
    who = [in_role(call.function, "reducer") for call in calls]
    # In the first step the values of a key come in the order of the input, however many reducers there are.
    later = enumerate(steps[1:], 2)
    who += [f"{plan.reducer!r} of step {number}" for number, plan in later if isinstance(plan.reducer, Aggregator)]
    advice = ["each reduce task has some of the keys: a reducer must not need the key before, nor the others"]
    if len(steps) > 1:
        advice.append("a later step reads part by part, so the order of a key's values depends on their number, too")
    title = f"the results depend on the number of reducers, through {' or '.join(who) or 'a function of the job'}"
    code = _places([call.function for call in calls])
    return Finding("reducers", Level.WARNING, title, (*compared.examples, *advice), code)


def _compared(one: Outcome, other: Outcome, names: tuple[str, str]) -> Compared:
    if other.failure is not None:
        return Compared(Likeness.DIFFERENT, (f"it works {names[0]}, and fails {names[1]}:", other.failure.describe()))
    return compare(one, other, names)


def _bits(compared: Compared) -> list[Finding]:
    """What is told of floats that differ in their last bits: no mistake, and good to know."""
    if compared.likeness is not Likeness.LAST_BITS:
        return []
    title = "floats depend in the last bits on how values are cut: math.fsum in a reducer does not, if that matters"
    return [Finding("float", Level.NOTE, title, compared.examples[:1])]


def _places(functions: Iterable[Any]) -> tuple[str, ...]:
    return tuple(line for function in functions for line in suspects.place_of(function))
