"""The laws that combiners and aggregators must keep, tried on values that the job's own mapper has emitted.

A combiner is called for any part of a key's values, any number of times, or not at all. An aggregator folds a key's
values in several tasks and merges the states, in the order of the values. Whatever the cuts, results must be the same.
Short lists of values are tried first, so that what is shown of a broken law is short.
"""

from __future__ import annotations

from pathlib import Path

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call, in_role
from mapreduce.check.laws_aggregator import is_ours, try_aggregator
from mapreduce.check.laws_combiner import Pair, try_combiner
from mapreduce.check.report import Finding, Level
from mapreduce.check.trial import Watched
from mapreduce.check.values import groups_of
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.plan import AttemptId, TaskId, TaskKind
from mapreduce.step import StepPlan
from mapreduce.travel.loader import LoadedJob


def try_laws(loaded: LoadedJob, watched: Watched, scratch: Path) -> list[Finding]:
    """Try the laws of every step on the pairs that a trial has collected. Gives what holds and what is broken."""
    findings: list[Finding] = []
    for step, plan in enumerate(loaded.job.resolved):
        who = _tried_of(plan)
        if not who:
            continue
        groups = groups_of(watched.emitted.get(step, []))
        if not groups:
            title = f"no key of the sample has two values, so the laws of {who} were not tried"
            findings.append(Finding("laws", Level.NOTE, title, ("a larger sample may have some: --records 10000",)))
            continue
        if isinstance(plan.reducer, Aggregator):
            found = try_aggregator(plan.reducer, groups)
        else:
            attempt = AttemptId(TaskId(loaded.options.job, step, TaskKind.REDUCE, 0), 1)
            found = try_combiner(
                Pair(TaskSetup(loaded, attempt, scratch, tuple(watched.counters[:step])), plan), groups
            )
        if not any(one.level is Level.PROBLEM for one in found):
            title = f"{who} gives the same however values are cut and put together"
            findings.append(Finding("laws", Level.PASSED, title))
        findings += found
    return findings


def _tried_of(plan: StepPlan) -> str:
    """Whose laws can be tried by themselves: a user's aggregator or combiner; "" where there is none."""
    if isinstance(plan.reducer, Aggregator):
        return "" if is_ours(plan.reducer) else repr(plan.reducer)
    if plan.combiner is None or plan.frames or not isinstance(plan.reducer, Call) or plan.reducer.groups:
        return ""
    return in_role(plan.combiner.function, "combiner")
