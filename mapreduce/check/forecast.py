"""What the whole run will do, from what two trials of samples of different sizes did: records, bytes and seconds.

Times have a part that every task has and a part for each record; two trials with as many tasks tell them apart. What a
fold or combiner leaves, and how many keys there are, grows more slowly than the input: as a power of it (Heaps' law,
for words), which two trials give too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mapreduce.aggregators import Aggregator
from mapreduce.check.bench import Bench
from mapreduce.check.report import Sure
from mapreduce.check.sample import Sample
from mapreduce.check.spread import Spread
from mapreduce.check.trial import Outcome, TaskTrace, Watched
from mapreduce.plan import TaskKind
from mapreduce.quick_dataclass import dataclass
from mapreduce.step import StepPlan

START_S = 1.0  # of a run on one machine, before its first task and after its last
TASK_S = 0.02  # what a task costs beside its records: handing out, loading, files
TELLING_S = (
    0.05  # that a task takes at least, before it is held against others: a busy machine does as much to shorter ones
)
GOOD_SPREAD = 2.0  # between the quickest and the slowest place of the input: an average then says something
OFTEN = 10  # records of the sample for each key, from which on a number of keys that does not grow is good
FAR = 10.0  # times what was measured: what grows as a power is a guess so far out


@dataclass(frozen=True, slots=True)
class Point:
    """One trial, measured; `as_run` says that it had all of the input, cut as in the run, and as many reducers."""

    sample: Sample
    outcome: Outcome
    watched: Watched
    as_run: bool = False

    def tasks(self, step: int, kind: TaskKind) -> list[TaskTrace]:
        """The tasks of a phase."""
        return [trace for trace in self.outcome.traces if (trace.task.step, trace.task.kind) == (step, kind)]

    def total(self, step: int, kind: TaskKind, fact: Callable[[TaskTrace], float]) -> float:
        """The sum of a fact over the tasks of a phase."""
        return sum(map(fact, self.tasks(step, kind)))

    def seconds(self, step: int, kind: TaskKind) -> float:
        """What a phase took."""
        return self.total(step, kind, lambda trace: trace.seconds)

    def records(self, step: int, kind: TaskKind) -> float:
        """What a phase read."""
        return self.total(step, kind, lambda trace: trace.records_in)

    def shuffled_bytes(self, step: int) -> float:
        """What the maps of a step wrote for its reducers, in bytes on the disk."""
        return self.total(step, TaskKind.MAP, lambda trace: trace.shuffle_bytes)

    def spread(self, step: int) -> Spread:
        """How what a step shuffles spreads over keys."""
        return self.watched.spreads.get(step, Spread())


@dataclass(frozen=True, slots=True)
class StepForecast:
    """What one step will do: records and seconds of all map and of all reduce tasks; bytes on disk, and in memory.

    `by_key` says that its reducers give as many records for each key.
    """

    records_in: float
    map_s: float
    shuffled: float
    shuffle_bytes: float
    shuffle_memory: float
    keys: float
    reduce_s: float
    records_out: float
    is_folded: bool
    maps: int
    reduces: int
    spread: Spread
    by_key: bool = False

    @property
    def largest_values(self) -> float:
        """How many values the largest key will have."""
        return self.shuffled * _ratio(self.spread.largest_values, self.spread.values)


class Forecast:
    """The whole run, from a `small` and a `large` trial with as many tasks; both may be the same one."""

    def __init__(self, bench: Bench, small: Point, large: Point, slots: int) -> None:
        self._bench = bench
        self._small = small
        self._large = large
        self.slots = slots
        self.records = large.sample.records if large.sample.whole else large.sample.all_records
        self.is_whole = large.sample.whole
        self.is_exact = large.as_run
        self.steps: list[StepForecast] = []
        records = self.records
        for step, plan in enumerate(bench.job.resolved):
            forecast = self._step(step, plan, records)
            self.steps.append(forecast)
            records = forecast.records_out

    def _step(self, step: int, plan: StepPlan, records: float) -> StepForecast:
        small, large = self._small, self._large
        shape = self._bench.planned.options.steps[step]
        folded = not plan.map_only and (plan.combiner is not None or isinstance(plan.reducer, Aggregator))
        read = (small.records(step, TaskKind.MAP), large.records(step, TaskKind.MAP))
        map_s = self._seconds(step, TaskKind.MAP, records)
        if plan.map_only:
            out = large.total(step, TaskKind.MAP, lambda trace: trace.records_out) * _ratio(records, read[1])
            return StepForecast(records, map_s, 0, 0, 0, 0, 0, out, is_folded=False, maps=shape.maps, reduces=0,
                                spread=Spread())  # fmt: skip
        spreads = small.spread(step), large.spread(step)
        totals = (read[0], read[1], records)
        keys = self._keys(step, totals)
        tasks = max(len(large.tasks(step, TaskKind.MAP)), 1)
        if folded:  # what a task leaves grows with what it reads, until it has all keys; then there are more tasks
            each = (_each(read[0], tasks), _each(read[1], tasks), _each(records, shape.maps))
            grown = _power(each, (spreads[0].values / tasks, spreads[1].values / tasks))
            shuffled = shape.maps * min(grown, keys * _ratio(spreads[1].values, spreads[1].task_keys))
        else:
            shuffled = spreads[1].values * _ratio(records, read[1])
        made = (self._made(small, step), self._made(large, step))
        ratios = [_ratio(number, spread.keys) for number, spread in zip(made, spreads, strict=True)]
        per_key = ratios[1]
        by_key = isinstance(plan.reducer, Aggregator) or (small is not large and ratios[0] == per_key)
        written = (small.shuffled_bytes(step), large.shuffled_bytes(step))
        return StepForecast(
            records_in=records,
            map_s=map_s,
            shuffled=shuffled,
            shuffle_bytes=_in_proportion((spreads[0].values, spreads[1].values, shuffled), written),
            shuffle_memory=spreads[1].size * _ratio(shuffled, spreads[1].values),
            keys=keys,
            reduce_s=self._seconds(step, TaskKind.REDUCE, shuffled),
            records_out=keys * per_key if by_key else _power(totals, made),
            is_folded=folded,
            maps=shape.maps,
            reduces=shape.reduces,
            spread=spreads[1],
            by_key=by_key,
        )

    def _keys(self, step: int, totals: tuple[float, float, float]) -> float:
        """How many keys there will be: those that are known, where their number does not grow any more."""
        spreads = self._small.spread(step), self._large.spread(step)
        if spreads[1].is_complete:
            return spreads[1].keys
        return _power(totals, (spreads[0].keys, spreads[1].keys))

    @staticmethod
    def _made(point: Point, step: int) -> float:
        return point.total(step, TaskKind.REDUCE, lambda trace: trace.records_out)

    def _seconds(self, step: int, kind: TaskKind, records: float) -> float:
        """What a phase takes for so many records: the time of a record is what more of them took longer."""
        small, large = self._small, self._large
        read = (self._read(small, step, kind), self._read(large, step, kind))
        return _in_proportion((*read, records), (small.seconds(step, kind), large.seconds(step, kind)))

    @staticmethod
    def _read(point: Point, step: int, kind: TaskKind) -> float:
        return point.spread(step).values if kind is TaskKind.REDUCE else point.records(step, kind)

    @property
    def work_s(self) -> float:
        """What all tasks take, one after the other."""
        tasks = sum(step.maps + step.reduces for step in self.steps)
        return sum(step.map_s + step.reduce_s for step in self.steps) + tasks * TASK_S

    def elapsed_s(self, reducers: dict[int, int] | None = None) -> float:
        """What the run takes with the slots; `reducers` are other numbers of some steps."""
        total = START_S
        for number, step in enumerate(self.steps):
            largest = self._largest_split() if number == 0 else 1 / max(step.maps, 1)
            total += self._phase_s(step.map_s, step.maps, largest)
            reduces = (reducers or {}).get(number, step.reduces)
            if reduces:
                share = 0.0 if step.is_folded else step.spread.share
                total += self._phase_s(step.reduce_s, reduces, max(1 / reduces, share))
        return total

    def _phase_s(self, seconds: float, tasks: int, largest: float) -> float:
        """What a phase takes, whose largest task has this share of it."""
        rounds = math.ceil(tasks / self.slots)
        return max(seconds * largest, rounds * seconds / max(tasks, 1)) + rounds * TASK_S

    def _largest_split(self) -> float:
        sizes = [split.size for splits in self._bench.mapped for split in splits]
        return max(sizes, default=0) / max(sum(sizes), 1)

    def unevenness(self) -> float:
        """How many times slower, for its records, the slowest place of an input is than the quickest."""
        return max((max(rates) / min(rates) for rates in self._rates()), default=1.0)

    def _rates(self) -> list[list[float]]:
        """Seconds for a record at each place of an input, for those inputs where that is no matter of chance."""
        found: dict[int, list[float]] = {}
        for trace in self._large.tasks(0, TaskKind.MAP):
            if trace.records_in and trace.seconds >= TELLING_S:
                found.setdefault(trace.input, []).append(trace.seconds / trace.records_in)
        return [rates for rates in found.values() if len(rates) > 1]

    def sure(self, *, cut: bool = False, grows: bool = False) -> Sure:
        """How sure a figure is that is in proportion to the input; or that `grows` as a power of it.

        `cut` says that it depends on where the input is cut: then it is measured by a trial with the cuts of the run.
        """
        if self.is_whole:
            return Sure.GOOD if cut and not self.is_exact else Sure.MEASURED
        if grows:
            return Sure.GUESS if self._large.sample.records * FAR < self.records else Sure.ROUGH
        return self.sure_of_time()

    def sure_of_time(self) -> Sure:
        """How sure seconds and memory are, which no two runs have the same of."""
        places = len(self._large.tasks(0, TaskKind.MAP))
        is_even = places > 1 and self.unevenness() <= GOOD_SPREAD
        return Sure.GOOD if self.is_whole or is_even else Sure.ROUGH

    def sure_of_keys(self) -> Sure:
        """How sure the number of keys is: where it does not grow, that of a good sample."""
        if self.is_whole or not all(step.spread.is_complete for step in self.steps if step.reduces):
            return self.sure(grows=True)
        keys = max(step.spread.keys for step in self.steps if step.reduces)
        return Sure.GOOD if self._large.sample.records >= OFTEN * keys else Sure.ROUGH

    def sure_of_folded(self) -> Sure:
        """How sure what tasks leave after folding is: that grows with what one of them reads, be they ever so many."""
        if self.is_whole:
            return self.sure(cut=True)
        read = _each(self._large.records(0, TaskKind.MAP), len(self._large.tasks(0, TaskKind.MAP)))
        far = _ratio(_each(self.steps[0].records_in, self.steps[0].maps), read) > FAR
        return Sure.GUESS if far and not self.steps[0].spread.is_complete else Sure.ROUGH


def _in_proportion(sizes: tuple[float, float, float], found: tuple[float, float]) -> float:
    """What is found in the third size, beside what every task has: in proportion to what more of it has brought."""
    small, large, whole = sizes
    if large >= 2 * small and found[1] > found[0]:
        return whole * (found[1] - found[0]) / (large - small)
    return found[1] * _ratio(whole, large)


def _ratio(one: float, other: float) -> float:
    return one / other if other else 0.0


def _each(total: float, tasks: int) -> float:
    return total / max(tasks, 1)


def _power(sizes: tuple[float, float, float], found: tuple[float, float]) -> float:
    """What is found in the third size, if it grows as a power of the size, from what was found in the first two.

    In proportion, where the two are too close to each other to tell.
    """
    small, large, whole = sizes
    if not large or not found[1]:
        return 0.0
    exponent = 1.0
    if small and found[0] and large >= 2 * small:
        exponent = min(max(math.log(found[1] / found[0]) / math.log(large / small), 0.0), 1.0)
    return float(found[1] * (whole / large) ** exponent)
