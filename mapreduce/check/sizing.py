"""How large the sample of a slow job can be, so that all trials end in time: told by the first trials, elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from mapreduce.check.bench import Bench
from mapreduce.check.other import TookTooLong
from mapreduce.check.sample import Sample
from mapreduce.check.steady import Elsewhere, run_elsewhere
from mapreduce.check.trial import Outcome
from mapreduce.plan import TaskKind
from mapreduce.progress import duration
from mapreduce.progress import records as so_many_records
from mapreduce.quick_dataclass import dataclass

TRIALS = 10  # of a sample, about: here, again, with other cuts, combiners and reducers, to measure
LEAST_TRIALS = 2  # for which a record of each place is worth more than all trials of one: elsewhere, and here
FIRST_S = 2.0  # that a trial elsewhere may take: of what is slower, less is tried in any case
LAST_S = 30.0  # that one of a record of each input may take: a model may be loaded at the first one
FEW = 16  # records, some for each task: they tell how long one takes
MUCH_MORE = 2  # times what has run already, before yet another trial elsewhere is worth its start


@dataclass(frozen=True, slots=True)
class Sized:
    """The sample that there is time for, its trials elsewhere, and `why` it is no larger ("" if it is as wanted)."""

    sample: Sample
    elsewhere: Elsewhere
    why: str = ""


def size_up(bench: Bench, wanted: Sample, say: Callable[[str], None]) -> Sized:
    """Run the sample in other processes; of a slow job as much of it as there is time for.

    `say` is told of a smaller one. Raises TookTooLong, where a record of each input takes more than LAST_S, and Died.
    """
    sample, elsewhere = _first_that_ends(bench, wanted, say)
    each_s = warm_seconds(elsewhere.seeded) / sample.records
    if elsewhere.failure is None and not elsewhere.refused:
        affordable = bench.budget.left_s / max(each_s, 1e-9)
        other = wanted.smaller(affordable / TRIALS / wanted.records)  # one of each place at least
        is_more = MUCH_MORE * sample.records <= other.records <= affordable / LEAST_TRIALS
        if other.records < sample.records or is_more:
            say(f"running a sample of {so_many_records(other.records)}")
            sample, elsewhere = _other(bench, other) or (sample, elsewhere)
    if sample.records == wanted.records:
        return Sized(sample, elsewhere)
    return Sized(sample, elsewhere, f"since each takes about {_short(each_s)}")


def warm_seconds(outcome: Outcome) -> float:
    """What a trial in a new process takes, but for what the first task of each phase loads for the others."""
    phases: dict[tuple[int, TaskKind], list[float]] = {}
    for trace in outcome.traces:
        phases.setdefault((trace.task.step, trace.task.kind), []).append(trace.seconds)
    return sum(min(first, max(others, default=first)) + sum(others) for first, *others in phases.values())


def _first_that_ends(bench: Bench, wanted: Sample, say: Callable[[str], None]) -> tuple[Sample, Elsewhere]:
    """The sample, or some of its records, or one of each input: the first of these that is quick enough."""
    some, least = wanted.smaller(FEW / wanted.records), wanted.least()
    for sample in (wanted, some):
        if sample.records > least.records and (sample is wanted or sample.records < wanted.records):
            try:
                return sample, run_elsewhere(bench, bench.plan(sample), FIRST_S)
            except TookTooLong:
                say("the sample takes long: running a smaller one")
    if least.records == wanted.records:
        least = wanted  # which may be all of the input
    return least, run_elsewhere(bench, bench.plan(least), LAST_S)


def _other(bench: Bench, sample: Sample) -> tuple[Sample, Elsewhere] | None:
    """A trial of a sample whose time was reckoned; None where that was wrong."""
    try:
        return sample, run_elsewhere(bench, bench.plan(sample), max(FIRST_S, bench.budget.left_s))
    except TookTooLong:
        return None


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)
