"""How cost grows: a curve is some jobs of one kind, each with more of something; every result is checked.

As with rows, timed runs are whole processes in turns and have no sampling, and one more run samples the memory.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth_inputs
from benchmarks.contest import FAULTS, empty, run_once
from benchmarks.measure import Measured
from benchmarks.version import moment

MB = 1_000_000
TOLD = "told.json"  # what `run_job.py` has written of a job, beside its output


@dataclasses.dataclass(frozen=True)
class Point:
    """A job on a curve. `made` gives the input's folder below the work folder; `command` is made of an `Asked`.

    `at` is the place along the axis, None for a point that is in the table alone; `turns`, where it is given, bounds
    how often it is timed.
    """

    label: str
    at: float | None
    made: Callable[[Path], Path]
    command: Callable
    turns: int | None = None


@dataclasses.dataclass
class Found:
    """What is known of a point. `told` has for each timed run what the engine said; `size` is in bytes of input."""

    label: str
    at: float | None
    size: int = 0
    timed: list[Measured] = dataclasses.field(default_factory=list)
    told: list[dict] = dataclasses.field(default_factory=list)
    sampled: Measured | None = None
    looked: dict = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def seconds(self):
        """Of whole processes, the median."""
        return statistics.median(run.seconds for run in self.timed)

    def said(self, name):
        """What the engine said of the runs under a name, the median."""
        return statistics.median(told[name] for told in self.told)


@dataclasses.dataclass
class Outcome:
    """A curve that was run, with so many slots."""

    curve: str
    slots: int
    points: list[Found]
    when: str = ""  # the day, and the commit

    def known(self):
        """The points that have been timed, in order."""
        return [point for point in self.points if point.timed]

    def get(self, label):
        """The point of this label, None if it has not been timed."""
        return next((point for point in self.known() if point.label == label), None)

    def store(self, folder):
        """Keep it for a later report."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"growth-{self.curve}.json").write_text(json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def stored(cls, folder, curve):
        """What was kept of a curve, or None."""
        path = folder / f"growth-{curve}.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_text())
        for place, point in enumerate(kept["points"]):
            point["timed"] = [Measured(**run) for run in point["timed"]]
            point["sampled"] = point["sampled"] and Measured(**point["sampled"])
            kept["points"][place] = Found(**point)
        return cls(**kept)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A column of a curve's table: `value` is of a point and the outcome, None where there is none.

    A list is shown as its median with its spread. With `drawn` the column is a chart too; `line` is where its bound is
    in the chart, of the outcome.
    """

    title: str
    value: Callable
    digits: int = 0
    drawn: bool = False
    line: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Limit:
    """A bound of a curve: `value` is of the outcome, None where it cannot be told. One of both is given."""

    title: str
    value: Callable
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""
    digits: int = 0

    def is_met(self, value):
        """Whether a value keeps to it."""
        return value <= self.at_most if self.at_most is not None else value >= self.at_least


@dataclasses.dataclass(frozen=True)
class Curve:
    """A kind of job. `points` are made for a full or a quick run; `axis` is what they have more and more of.

    `check` gives what is wrong with an output, or "", from the input's folder and the output; `look` gives more facts
    about an input's folder. Without an `axis` the points are shapes, each beside the first.
    """

    name: str
    title: str
    text: str
    axis: str
    points: Callable[[bool], list[Point]]
    measures: list[Measure]
    limits: list[Limit] = dataclasses.field(default_factory=list)
    check: Callable = growth_inputs.check
    look: Callable | None = None


def size_of(folder):
    """The bytes of an input."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name[0] != "_")


class Growth:
    """A curve under way."""

    def __init__(self, curve, options, say=print):
        self._curve = curve
        self._options = options
        self._say = say
        self._points = curve.points(options.quick)
        self._folders = [point.made(options.work) for point in self._points]
        points = [Found(point.label, point.at) for point in self._points]
        self.outcome = Outcome(curve.name, options.slots, points, moment())

    def _run(self, number, *, sample=False):
        """Run a point and judge its result; what was measured and told, or None if it is worth nothing."""
        point, folder, found = self._points[number], self._folders[number], self.outcome.points[number]
        measured, output, fault = run_once(point, folder, self._options, sample=sample)
        fault = fault or self._curve.check(folder, output)
        if fault:
            found.faults.append(fault)
        peak = f", {measured.peak_bytes / MB:.0f} MB" if sample else ""
        self._say(f"  {point.label}: {measured.seconds:.2f} s{peak} {fault}")
        told = output.with_name(TOLD)
        return None if fault else (measured, json.loads(told.read_text()))

    def run(self):
        """Run all turns; give the outcome."""
        for found, folder in zip(self.outcome.points, self._folders, strict=True):
            found.size = size_of(folder)
            found.looked = self._curve.look(folder) if self._curve.look else {}
        turns = self._options.turns
        for turn in range(turns):
            self._say(f"{self._curve.name}, turn {turn + 1} of {turns}")
            for number, point in enumerate(self._points):
                found = self.outcome.points[number]
                if turn >= (point.turns or turns) or len(found.faults) >= FAULTS:
                    continue
                if done := self._run(number):
                    found.timed.append(done[0])
                    found.told.append(done[1])
        if self._options.memory:
            self._say(f"{self._curve.name}, memory")
            for number, found in enumerate(self.outcome.points):
                if found.timed and (done := self._run(number, sample=True)):
                    found.sampled = done[0]
        empty(self._options.work / "run" / "output")
        return self.outcome
