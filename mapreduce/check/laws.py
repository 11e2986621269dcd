"""The laws that combiners and aggregators must keep, tried on values that the job's own mapper has emitted.

A combiner is called for any part of a key's values, any number of times, or not at all. An aggregator folds a key's
values in several tasks and merges the states, in the order of the values. Whatever the cuts, results must be the same.
Short lists of values are tried first, so that what is shown of a broken law is short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call, in_role
from mapreduce.check.budget import Budget
from mapreduce.check.laws_aggregator import is_ours, try_aggregator
from mapreduce.check.laws_combiner import Pair, try_combiner
from mapreduce.check.report import Finding, Level
from mapreduce.check.trial import Watched
from mapreduce.check.values import Group, groups_of
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.plan import AttemptId, TaskId, TaskKind
from mapreduce.step import StepPlan
from mapreduce.travel.loader import LoadedJob


def has_laws(loaded: LoadedJob) -> bool:
    """Whether there is a combiner or an aggregator of the user's, whose laws can be tried."""
    return any(map(_tried_of, loaded.job.resolved))


def try_laws(loaded: LoadedJob, watched: Watched, scratch: Path, budget: Budget) -> list[Finding]:
    """Try the laws of every step on the pairs that a trial has collected. Gives what holds and what is broken.

    Of slow functions fewer keys are tried, as the budget allows.
    """
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
            found = try_aggregator(plan.reducer, _in_time(groups, budget, who))
        else:
            attempt = AttemptId(TaskId(loaded.options.job, step, TaskKind.REDUCE, 0), 1)
            found = try_combiner(
                Pair(TaskSetup(loaded, attempt, scratch, tuple(watched.counters[:step])), plan),
                _in_time(groups, budget, who),
            )
        if not any(one.level is Level.PROBLEM for one in found):
            title = f"{who} gives the same however values are cut and put together"
            findings.append(Finding("laws", Level.PASSED, title))
        findings += found
    return findings


def _in_time(groups: Sequence[Group], budget: Budget, who: str) -> Iterator[Group]:
    """Give the first group, and others as long as there is time for as much again."""
    taken_s = 0.0
    for number, group in enumerate(groups):
        if number and not budget.affords(taken_s, f"the laws of {who} on more than {number} of {len(groups)} keys"):
            return
        started_s = time.perf_counter()
        yield group
        taken_s = time.perf_counter() - started_s
        budget.spend(taken_s)


def _tried_of(plan: StepPlan) -> str:
    """Whose laws can be tried by themselves: a user's aggregator or combiner; "" where there is none."""
    if isinstance(plan.reducer, Aggregator):
        return "" if is_ours(plan.reducer) else repr(plan.reducer)
    if plan.combiner is None or plan.frames or not isinstance(plan.reducer, Call) or plan.reducer.groups:
        return ""
    return in_role(plan.combiner.function, "combiner")
