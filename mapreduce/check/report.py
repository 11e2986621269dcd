"""What a check has found, as plain data and as text for a terminal."""

from __future__ import annotations

import enum
from dataclasses import asdict, field
from typing import Any

from mapreduce.progress import amount, clean, count, duration
from mapreduce.quick_dataclass import dataclass

INDENT = " " * 11  # of what belongs to a finding: below its title


class Level(enum.StrEnum):
    """How much a finding matters."""

    PROBLEM = "problem"  # the job fails, or its results depend on what they must not depend on
    WARNING = "warning"  # it works, and something will be slow, or breaks easily
    NOTE = "note"  # good to know
    PASSED = "ok"


class Sure(enum.StrEnum):
    """How sure an estimate is."""

    MEASURED = "measured"  # in a trial of all of the input, cut as in the run
    GOOD = "good"  # in proportion to the input, and its places are alike: within a third or so
    ROUGH = "rough"  # within a factor of two or three
    GUESS = "guess"  # the order of magnitude, perhaps


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `kind` is a word for programs, `title` a sentence.

    `details` are lines of examples and reasons, `code` the user's own lines that it comes from ("job.py:7: ...").
    """

    kind: str
    level: Level
    title: str
    details: tuple[str, ...] = ()
    code: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The finding as lines of text."""
        shown = [f"  {self.level.value:<9}{self.title}"]
        shown += [INDENT + line for text in self.details for line in text.split("\n")]
        return shown + [f"{INDENT}at {line}" for line in self.code]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure of the whole run: its `value` in `unit` (seconds, bytes, keys…), how sure it is, and why.

    `text` is the figure for people.
    """

    name: str
    value: float
    unit: str
    sure: Sure
    text: str
    why: str = ""

    def line(self) -> str:
        """The estimate as a line of text."""
        why = f": {self.why}" if self.why else ""
        return f"  {self.name:<24}{self.text}  ({self.sure.value}{why})"


@dataclass(frozen=True, slots=True)
class Travelling:
    """What travels to the workers: modules as (name, path, bytes), packages that must be there, bytes in all.

    `files` are the names of the files that go along. `by_value` says that the job itself travels as a pickle.
    """

    modules: tuple[tuple[str, str, int], ...] = ()
    packages: tuple[str, ...] = ()
    size: int = 0
    files: tuple[str, ...] = ()
    by_value: bool = False

    def lines(self) -> list[str]:
        """What travels as lines of text."""
        shown = ["code that travels" + (": a pickle of the job" if self.by_value else "") + f" ({amount(self.size)})"]
        shown += [f"  {name}  {path} ({amount(size)})" for name, path, size in self.modules]
        if not self.modules and not self.by_value:
            shown.append("  none: it is part of the engine")
        if self.files:
            shown.append(f"files that travel: {', '.join(self.files)}")
        shown.append(f"packages that workers need: {', '.join(self.packages) or 'none'}")
        return shown


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was looked at: records and bytes of so many files, of about so many in all; `why` that is no more."""

    records: int
    size: int
    files: int
    all_records: int
    all_size: int
    all_files: int
    whole: bool
    why: str = ""

    def line(self) -> str:
        """The sample in a line of text."""
        if self.whole:
            return f"sample  all of the input: {count(self.records)} records, {amount(self.size)}"
        why = f": no more, {self.why}" if self.why else ""
        return (
            f"sample  {count(self.records)} of about {count(self.all_records)} records, about {amount(self.size)} of "
            f"{amount(self.all_size)}, from {self.files:,} of {self.all_files:,} files{why}"
        )


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that a check has found of a job. `is_good` says that there is no problem.

    Attributes: `name` (the job's), `findings`, `estimates`, `travelling` and `sampled` (None where the check did not
    come so far), `seconds` (what the check took).
    """

    name: str
    findings: tuple[Finding, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    travelling: Travelling | None = None
    sampled: Sampled | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are problems."""
        return tuple(finding for finding in self.findings if finding.level is Level.PROBLEM)

    @property
    def is_good(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of this kind, without what has passed."""
        return tuple(one for one in self.findings if one.kind == kind and one.level is not Level.PASSED)

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """The report as lines of text for a terminal."""
        lines = [f"{self.name}: {self._verdict()}, checked in {duration(self.seconds)}", ""]
        if self.travelling is not None:
            lines += [*self.travelling.lines(), ""]
        if self.sampled is not None:
            lines += [self.sampled.line(), ""]
        lines.append("checks")
        for finding in self.findings:
            lines += finding.lines()
        if self.estimates:
            lines += ["", "estimate of the whole run"]
            lines += [estimate.line() for estimate in self.estimates]
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(clean(line).rstrip() for line in lines) + "\n"

    def to_plain(self) -> dict[str, Any]:
        """The report as what JSON has, for other programs."""
        return {"good": self.is_good, **asdict(self)}

    def _verdict(self) -> str:
        numbers = [
            (sum(one.level is level for one in self.findings), level.value)
            for level in (Level.PROBLEM, Level.WARNING, Level.NOTE)
        ]
        told = [f"{number} {word}{'' if number == 1 else 's'}" for number, word in numbers if number]
        return ", ".join(told) if told else "no problems"
