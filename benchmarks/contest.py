"""Runs a row: every contestant in each turn, its result checked against the first one's, then once more for memory."""

import dataclasses
import json
import os
import shutil
import statistics
from pathlib import Path

from benchmarks import inputs
from benchmarks.measure import Measured, measured
from benchmarks.rows import Asked
from benchmarks.version import moment

LIMIT_S = 1800  # of one run: the slowest of them takes some ten minutes
FAULTS = 2  # of a contestant, then it is given up
ERROR_LINES = 5  # of a failed contestant's stderr, in the report


@dataclasses.dataclass
class Runs:
    """What is known of a contestant: timed runs in turn, one run with its memory sampled, what was wrong."""

    timed: list[Measured] = dataclasses.field(default_factory=list)
    sampled: Measured | None = None
    not_run: str = ""
    faults: list[str] = dataclasses.field(default_factory=list)

    def seconds(self):
        """The seconds of the timed runs."""
        return [run.seconds for run in self.timed]


@dataclasses.dataclass
class Outcome:
    """A row that was run: contestants by name, and what the row was run with."""

    row: str
    size: dict
    runs: dict[str, Runs]
    source: str = ""  # of the text, where it is the user's own
    when: str = ""  # the day, and the commit

    def ratio(self, name, peer):
        """Their seconds as a ratio: of the medians, the least and the most of a turn; None if one has none."""
        ours, theirs = (self.runs[key].seconds() if key in self.runs else [] for key in (name, peer))
        if not ours or not theirs:
            return None
        turns = [one / other for one, other in zip(ours, theirs, strict=False)]  # some have fewer turns
        return statistics.median(ours) / statistics.median(theirs), min(turns), max(turns)

    def store(self, folder):
        """Keep it for a later report."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.row}.json").write_text(json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def stored(cls, folder, row):
        """What was kept of a row, or None."""
        path = folder / f"{row}.json"
        if not path.exists():
            return None
        kept = json.loads(path.read_text())
        for name, runs in kept["runs"].items():
            timed = [Measured(**run) for run in runs["timed"]]
            sampled = runs["sampled"] and Measured(**runs["sampled"])
            kept["runs"][name] = Runs(timed, sampled, runs["not_run"], runs["faults"])
        return cls(**kept)


@dataclasses.dataclass(frozen=True)
class Options:
    """How a row is run. `only` names contestants, all if it is empty; `sources` is the user's own text."""

    work: Path
    slots: int
    turns: int
    quick: bool = False
    memory: bool = True
    only: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()


def make_input(row, options):
    """The folder of a row's input, and its size."""
    size = row.quick if options.quick else row.full
    name = f"{row.name}-quick" if options.quick else row.name
    if row.own_texts and options.sources:
        return inputs.make(options.work, f"{name}-own", inputs.own_texts, **size, sources=options.sources), size
    return inputs.make(options.work, name, row.made, **size), size


def empty(path):
    """Remove a former output."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run_once(contestant, folder, options, *, sample=False):
    """Run a contestant; give what was measured, its output's path, and what went wrong, or ""."""
    place = options.work / "run"
    place.mkdir(parents=True, exist_ok=True)
    output = place / "output"
    empty(output)
    os.sync()  # so that nobody pays for what another has written
    command = contestant.command(Asked(folder, output, options.slots))
    logs = {"stdout": place / "stdout", "stderr": place / "stderr"}
    found = measured(command, limit_s=LIMIT_S, sample=sample, cwd=place, **logs)
    if found.code is None:
        return found, output, f"it was stopped after {LIMIT_S} s"
    if found.code:
        told = (place / "stderr").read_text("utf-8", "replace").strip().splitlines()[-ERROR_LINES:]
        return found, output, f"exit code {found.code}: {' / '.join(told)}"
    if not output.exists():
        return found, output, "it has written no output"
    return found, output, f"processes that stayed: {'; '.join(found.left)}" if found.left else ""


class Contest:
    """A row under way. The first output that is without fault is what all others must equal."""

    def __init__(self, row, options, say=print):
        self._row = row
        self._options = options
        self._say = say
        self._wanted = None
        self._folder, size = make_input(row, options)
        own = row.own_texts and options.sources
        source = ", ".join(map(str, options.sources)) if own else ""
        runs = {contestant.name: Runs() for contestant in row.contestants}
        self.outcome = Outcome(row.name, size, runs, source, moment())
        for name, reason in row.absent.items():
            runs[name] = Runs(not_run=reason)

    def _left_out(self, contestant):
        if self._options.only:
            return "" if contestant.name in self._options.only else "not asked for"
        return "not part of a quick run" if self._options.quick and not contestant.quick else ""

    def _check(self, contestant, *, sample=False):
        """Run a contestant and judge its result; what was measured, or None if it is worth nothing."""
        runs = self.outcome.runs[contestant.name]
        found, output, fault = run_once(contestant, self._folder, self._options, sample=sample)
        if not fault or (found.left and output.exists()):
            digest = self._row.digest(output)
            self._wanted = self._wanted or digest
            if difference := digest.differs(self._wanted):
                fault = f"a wrong result: {difference}"
        if fault:
            runs.faults.append(fault)
        peak = f", {found.peak_bytes >> 20} MB" if sample else ""
        self._say(f"  {contestant.name}: {found.seconds:.2f} s{peak} {fault}")
        return found if not fault or found.left else None

    def run(self):
        """Run all turns; give the outcome."""
        taking = []
        for contestant in self._row.contestants:
            runs = self.outcome.runs[contestant.name]
            runs.not_run = self._left_out(contestant) or contestant.missing()
            if not runs.not_run:
                taking.append(contestant)
        for turn in range(self._options.turns):
            self._say(f"{self._row.name}, turn {turn + 1} of {self._options.turns}")
            for contestant in taking:
                runs = self.outcome.runs[contestant.name]
                if turn >= (contestant.turns or self._options.turns) or len(runs.faults) >= FAULTS:
                    continue
                slow = contestant.turns == 1  # it takes minutes, of which a look at the memory is little
                if found := self._check(contestant, sample=slow and self._options.memory):
                    runs.timed.append(found)
                    runs.sampled = found if found.peak_bytes is not None else None
        if self._options.memory:
            self._say(f"{self._row.name}, memory")
            for contestant in taking:
                runs = self.outcome.runs[contestant.name]
                if runs.timed and runs.sampled is None:
                    runs.sampled = self._check(contestant, sample=True)
        empty(self._options.work / "run" / "output")
        return self.outcome
