"""Whether results are the same every time: again, in other processes, with other hash seeds and orders of tasks.

Where they are not, further trials find out what they depend on: each differs from another in one thing alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from mapreduce.calls import Call, in_role
from mapreduce.check import suspects
from mapreduce.check.bench import Bench
from mapreduce.check.compare import Compared, Likeness, compare, first_difference
from mapreduce.check.other import Told, TookTooLong
from mapreduce.check.report import Finding, Level
from mapreduce.check.trial import Outcome, TrialPlan
from mapreduce.plan import Failure, TaskId, TaskKind
from mapreduce.quick_dataclass import dataclass

SEED, OTHER_SEED = 0, 1  # of hashes: that of task processes, and any other
PASSED = "the same when run again, in other processes, with another hash seed, and with the tasks in another order"
PASSED_ELSEWHERE = PASSED.replace("when run again, ", "")
MACHINE = "these lines look at what each machine of a cluster has for itself"
MACHINE_ADVICE = (
    "the environment, the current folder and files in it are those of the worker there: give a value as a parameter "
    "(-p), and send a file along (--file), which is then in ctx.files"
)

Finder = Callable[[Sequence[Any]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Two trials of a plan in other processes: one with another hash seed, one with the tasks in another order.

    `refused` says why the code could not be loaded there, or is "". `peak` is the most memory that one took, in bytes.
    """

    seeded: Outcome
    turned: Outcome
    peak: int
    refused: str = ""

    @property
    def seconds(self) -> float:
        """What the longer one took."""
        return max(self.seeded.seconds, self.turned.seconds)

    @property
    def failure(self) -> Failure | None:
        """What one of them failed at, if it did."""
        return self.seeded.failure or self.turned.failure


def run_elsewhere(bench: Bench, plan: TrialPlan, timeout_s: float) -> Elsewhere:
    """Run both trials, whose time is taken from the budget. Raises TookTooLong and Died."""
    try:
        (seeded, turned) = _run_all(bench, [(plan, OTHER_SEED), (replace(plan, backwards=True), SEED)], timeout_s)
    except TookTooLong:
        bench.budget.spend(timeout_s)
        raise
    peak = max(seeded.peak, turned.peak)
    elsewhere = Elsewhere(seeded.outcome, turned.outcome, peak, seeded.refused or turned.refused)
    bench.budget.spend(elsewhere.seconds)
    return elsewhere


def check_steadiness(
    bench: Bench, plan: TrialPlan, first: Outcome, elsewhere: Elsewhere, timeout_s: float
) -> list[Finding]:
    """Hold trials of the plan against each other: the `first` one here, another one if there is time, those elsewhere.

    Where they differ, two more are run elsewhere, to tell why. Raises TookTooLong and Died.
    """
    has_time = bench.budget.affords(first.seconds, "run again in the same process")
    again = bench.here(plan)[0] if has_time else first
    trials = _Trials(bench, first, again, elsewhere.seeded, elsewhere.turned)
    if trials.are_same():
        return [Finding("steady", Level.PASSED, PASSED if has_time else PASSED_ELSEWHERE), *trials.of_machine()]
    plain, twin = _run_all(bench, [(plan, SEED), (plan, SEED)], timeout_s)
    return trials.explain(plain.outcome, twin.outcome)


def _run_all(bench: Bench, trials: Sequence[tuple[TrialPlan, int]], timeout_s: float) -> list[Told]:
    """Run trials with these hash seeds in processes of their own, at the same time."""
    with ExitStack() as processes:
        started = [processes.enter_context(closing(bench.elsewhere(plan, seed))) for plan, seed in trials]
        return [process.wait(timeout_s) for process in started]


@dataclass(frozen=True, slots=True)
class _Cause:
    """What results may depend on: the words of the finding, and how to find the lines that it may come from."""

    kind: str
    title: str  # of which the last word is the function's name
    advice: str
    lines: Finder
    names: tuple[str, str]


_STATE = _Cause(
    "state",
    "the results depend on what has run before in the same process, through",
    "a task process runs many tasks, in any order: keep what a task must remember in a mapper class (one for each "
    "attempt), and pass on the rest in keys and values",
    suspects.lasting,
    ("at first", "when run again"),
)
_ORDER = replace(_STATE, names=("with the tasks in order", "with the tasks in another order"))
_HASHES = _Cause(
    "hash-order",
    "the results depend on the order of a set, or on hashes, through",
    "sort what comes out of a set: `for word in sorted(words)`; tasks all have the same hash seed, but another version "
    "of Python may order otherwise",
    suspects.unordered,
    ("with one hash seed", "with another"),
)
_RANDOM = _Cause(
    "random",
    "the results are other ones at each run, because of random numbers, through",
    "use ctx.random, which gives the same numbers at every run and every retry: `def mapper(line, *, ctx)`",
    suspects.randomness,
    ("at one run", "at another"),
)
_CLOCK = _Cause(
    "clock",
    "the results depend on the time, through",
    "a task may be run again at another time: give the time as a parameter, `*, now: str`, set with -p now=...",
    suspects.clocks,
    ("at one run", "at another"),
)
_UNSTEADY = _Cause(
    "unsteady",
    "the results are other ones at each run, through",
    "they depend on something outside of records and parameters: the time, a process's number, a service, threads",
    suspects.of_process,
    ("at one run", "at another"),
)
_ELSEWHERE = _Cause(
    "process",
    "the results are other ones in another process, through",
    "something of this process is used that a worker has not: the current folder, the environment, arguments, what the "
    "program has set before",
    suspects.of_process,
    ("here", "in another process"),
)


class _Trials:
    """The trials of a plan: `first` and `again` here, `seeded` and `turned` (tasks in another order) elsewhere."""

    def __init__(self, bench: Bench, first: Outcome, again: Outcome, seeded: Outcome, turned: Outcome) -> None:
        self._bench = bench
        self._first = first
        self._again = again
        self._seeded = seeded
        self._turned = turned

    def are_same(self) -> bool:
        """Whether all have given the same."""
        return not any(self._differ(self._first, one) for one in (self._again, self._seeded, self._turned))

    def of_machine(self) -> list[Finding]:
        """What results that are the same here may depend on elsewhere."""
        lines = suspects.of_process(self._functions())
        return [Finding("machine", Level.NOTE, MACHINE, (MACHINE_ADVICE,), lines)] if lines else []

    def explain(self, plain: Outcome, twin: Outcome) -> list[Finding]:
        """Say what results depend on, by two more trials elsewhere, which have nothing new but a fresh process."""
        if self._differ(plain, twin):
            return [self._finding(self._of_chance(), plain, twin)]
        findings = []
        if self._differ(plain, self._seeded):
            findings.append(self._finding(_HASHES, plain, self._seeded))
        if self._differ(plain, self._turned):
            findings.append(self._finding(_ORDER, plain, self._turned))
        elif self._differ(self._first, self._again):
            findings.append(self._finding(_STATE, self._first, self._again))
        if not findings:
            findings.append(self._finding(_ELSEWHERE, self._first, plain))
        return findings

    def _of_chance(self) -> _Cause:
        """What makes results differ from run to run, as far as the code tells."""
        functions = self._functions()
        return next((cause for cause in (_RANDOM, _CLOCK) if cause.lines(functions)), _UNSTEADY)

    def _functions(self) -> list[Any]:
        return [call.function for plan in self._bench.job.resolved for call in plan.calls]

    @staticmethod
    def _differ(one: Outcome, other: Outcome) -> bool:
        if other.failure is not None or one.failure is not None:
            return True
        return compare(one, other, ("", "")).likeness is not Likeness.SAME

    def _finding(self, cause: _Cause, one: Outcome, other: Outcome) -> Finding:
        call, who = self._at(one, other)
        lines = cause.lines([call.function] if call is not None else self._functions())
        if other.failure is not None or one.failure is not None:
            failed = one.failure or other.failure
            assert failed is not None
            compared = Compared(Likeness.DIFFERENT, (failed.describe(),))
        else:
            compared = compare(one, other, cause.names)
        # What the clock shows differs by little as well.
        in_bits = compared.likeness is Likeness.LAST_BITS and cause not in {_RANDOM, _CLOCK}
        level = Level.NOTE if in_bits else Level.PROBLEM
        code = lines or (suspects.place_of(call.function) if call is not None else ())
        return Finding(cause.kind, level, f"{cause.title} {who}", (*compared.examples, cause.advice), code)

    def _at(self, one: Outcome, other: Outcome) -> tuple[Call | None, str]:
        """The function whose results differ first, and its name for people."""
        task = first_difference(one, other)
        if task is None:
            return None, "a function of the job"
        return function_of(self._bench, task, one)


def function_of(bench: Bench, task: TaskId, outcome: Outcome) -> tuple[Call | None, str]:
    """The user's function that a task ran, and its name for people; no function for an aggregator or join of ours."""
    plan = bench.job.resolved[task.step]
    trace = next(trace for trace in outcome.traces if trace.task == task)
    call = plan.inputs[trace.input].mapper if task.kind is TaskKind.MAP else plan.reducer
    step = f" of step {task.step + 1}" if len(bench.job.resolved) > 1 else ""
    if isinstance(call, Call):
        return call, f"{in_role(call.function, call.role)}{step}"
    return None, f"{call!r}{step}" if call is not None else f"the records themselves{step}"
