"""What the whole run will do, from what two trials of samples of different sizes did: records, bytes and seconds.

Times have a part that every task has and a part for each record; two trials with as many tasks tell them apart. What a
fold or combiner leaves, and how many keys there are, grows more slowly than the input: as a power of it (Heaps' law,
for words), which two trials give too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mapreduce.aggregators import Aggregator
from mapreduce.check.bench import Bench
from mapreduce.check.report import Sure
from mapreduce.check.sample import Sample
from mapreduce.check.spread import Spread
from mapreduce.check.trial import Outcome, TaskTrace, Watched
from mapreduce.plan import TaskKind
from mapreduce.step import StepPlan

START_S = 1.0  # of a run on one machine, before its first task and after its last
TASK_S = 0.02  # what a task costs beside its records: handing out, loading, files
GOOD_SPREAD = 2.0  # between the quickest and the slowest place of the input: an average then says something
FAR = 10.0  # times what was measured: what grows as a power is a guess so far out


@dataclass(frozen=True, slots=True)
class Point:
    """One trial, measured."""

    sample: Sample
    outcome: Outcome
    watched: Watched

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
    """What one step will do: records and seconds of all map and of all reduce tasks; bytes on disk, and in memory."""

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
        self.share = max(large.sample.size, 1) / max(bench.planned.spec.input_bytes, 1)
        self.is_whole = large.sample.whole
        self.steps: list[StepForecast] = []
        records = self._records()
        for step, plan in enumerate(bench.job.resolved):
            forecast = self._step(step, plan, records)
            self.steps.append(forecast)
            records = forecast.records_out

    @property
    def records(self) -> float:
        """How many records the input has."""
        return self.steps[0].records_in

    def _records(self) -> float:
        """Records of all inputs: those of each in proportion to its bytes."""
        if self.is_whole:
            return self._large.sample.records
        total = 0.0
        for number, splits in enumerate(self._bench.mapped):
            tasks = [task for task in self._large.sample.tasks if task.input == number]
            size = sum(task.size for task in tasks)
            total += sum(task.records for task in tasks) * sum(split.size for split in splits) / max(size, 1)
        return total

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
        tasks = max(len(large.tasks(step, TaskKind.MAP)), 1)
        if folded:  # what a task leaves grows with what it reads; then there are more tasks
            each = (_each(read[0], tasks), _each(read[1], tasks), _each(records, shape.maps))
            grown = _power(each, (spreads[0].values / tasks, spreads[1].values / tasks))
            shuffled = grown * shape.maps
        else:
            shuffled = spreads[1].values * _ratio(records, read[1])
        more = _ratio(shuffled, spreads[1].values)
        totals = (read[0], read[1], records)
        written = (small.shuffled_bytes(step), large.shuffled_bytes(step))
        made = [point.total(step, TaskKind.REDUCE, lambda trace: trace.records_out) for point in (small, large)]
        return StepForecast(
            records_in=records,
            map_s=map_s,
            shuffled=shuffled,
            shuffle_bytes=_in_proportion((spreads[0].values, spreads[1].values, shuffled), written),
            shuffle_memory=spreads[1].size * more,
            keys=_power(totals, (spreads[0].keys, spreads[1].keys)),
            reduce_s=self._seconds(step, TaskKind.REDUCE, shuffled),
            records_out=_power(totals, (made[0], made[1])),
            is_folded=folded,
            maps=shape.maps,
            reduces=shape.reduces,
            spread=spreads[1],
        )

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
        """How many times slower, for its bytes, the slowest place of the input is than the quickest."""
        traces = self._large.tasks(0, TaskKind.MAP)
        pairs = zip(traces, self._large.sample.tasks, strict=True)
        rates = [trace.seconds / task.size for trace, task in pairs if task.size and trace.seconds]
        return max(rates, default=1.0) / min(rates, default=1.0)

    def sure(self, *, grows: bool = False) -> Sure:
        """How sure what is in proportion to the input is; or what `grows` as a power of it."""
        if self.is_whole:
            return Sure.MEASURED
        if grows:
            return Sure.GUESS if self.share * FAR < 1 else Sure.ROUGH
        return Sure.GOOD if self.unevenness() <= GOOD_SPREAD else Sure.ROUGH

    def sure_of_folded(self) -> Sure:
        """How sure what tasks leave after folding is: that grows with what one of them reads, be they ever so many."""
        read = _each(self._large.records(0, TaskKind.MAP), len(self._large.tasks(0, TaskKind.MAP)))
        far = _ratio(_each(self.steps[0].records_in, self.steps[0].maps), read) > FAR
        return Sure.MEASURED if self.is_whole else Sure.GUESS if far else Sure.ROUGH


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
