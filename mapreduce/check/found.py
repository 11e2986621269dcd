"""What a check has found so far, and what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from mapreduce.check.report import CheckReport, Estimate, Finding, Level, Sampled, Travelling
from mapreduce.check.sample import Sample
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import MapReduceError
from mapreduce.failed.advice import has_users_line
from mapreduce.plan import Failure
from mapreduce.quick_dataclass import dataclass


@dataclass(slots=True)
class Found:
    """What is known so far; `say` tells a waiting person what is being done, "" that nothing is.

    `command` is what runs the job that is checked, `started_s` when the check began (of `time.monotonic`).
    """

    say: Callable[[str], None]
    name: str
    command: str
    started_s: float
    findings: list[Finding]
    estimates: list[Estimate]
    travelling: Travelling | None = None
    sampled: Sampled | None = None
    notes: tuple[str, ...] = ()

    def report(self) -> CheckReport:
        """All of it."""
        return CheckReport(
            self.name,
            tuple(self.findings),
            tuple(self.estimates),
            self.travelling,
            self.sampled,
            time.monotonic() - self.started_s,
            self.notes,
        )

    def problem(self, kind: str, title: str, *details: str) -> None:
        """Note a problem."""
        self.findings.append(Finding(kind, Level.PROBLEM, title, details))

    def passed(self, kind: str, title: str) -> None:
        """Note that something is as it should be."""
        self.findings.append(Finding(kind, Level.PASSED, title))

    def failed(self, title: str, failure: Failure) -> None:
        """Note that the job fails, and how to see why at the user's line, if it fails at one."""
        advice = f"the same with a debugger at this line:\n  {self.command} --pdb"
        self.problem("failure", title, failure.describe(), *([advice] if has_users_line(failure) else ()))

    def unreadable(self, error: MapReduceError) -> None:
        """Note that the input, or a record of it, cannot be read."""
        title = "a record cannot be read" if isinstance(error, UnreadableRecord) else "the input cannot be read"
        self.problem("record", title, str(error))

    def note_sample(self, sample: Sample, why: str) -> None:
        """Tell of the sample that was taken in the end, and `why` it is no larger, if that is to be told."""
        assert self.sampled is not None
        size = self.sampled.all_size if sample.whole else sample.size
        self.sampled = replace(
            self.sampled, records=sample.records, size=size, files=sample.files, whole=sample.whole, why=why
        )
