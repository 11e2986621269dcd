"""How many bad records a job may put aside, and what is said when there are more.

Owns the reading of `--max-bad`, the counting by kind and the story of a job that fails so; the data plane puts records
aside (`dataflow.bad.file`), and whoever runs the job judges by the sums here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from fractions import Fraction

from mapreduce.errors import RecordError, UsageError
from mapreduce.plan import Done, Failure, FailureKind, MaxBad
from mapreduce.quick_dataclass import dataclass

KINDS = 20  # of bad records that a task, or a status, tells apart: a screen of them; the rest is counted together
KINDS_OF_JOB = 200  # that the coordinator counts apart: ten tasks with nothing in common
OTHERS = "others"  # what the rest is called
BAD_FOLDER = "_bad"  # in the output folder: inputs skip names that begin so
WHOLE = 100  # percent
MOST = 2**63 - 1  # that fits the wire
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def read_max_bad(given: int | str | None, option: str = "max_bad=") -> MaxBad | None:
    """Read a number of records, or text such as "10" or "0.5%". Raises UsageError, which begins with the option."""
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MOST:
        return MaxBad(given)
    if isinstance(given, str):
        text = given.strip()
        percent = _PERCENT.fullmatch(text)
        if percent is not None and float(percent[1]) <= WHOLE:
            return MaxBad(percent=float(percent[1]))
        if text.isascii() and text.isdecimal() and len(text) < len(str(MOST)):
            return MaxBad(int(text))
    raise UsageError(
        f"{option} is {given!r:.100}; it is a number of records such as 10, or a share of them such as 0.5%: more bad "
        "records than that fail the job"
    )


def count_kinds(total: dict[str, int], new: Mapping[str, int], sign: int = 1, most: int = KINDS_OF_JOB) -> None:
    """Add counts by kind (or take them back, with -1), of at most so many kinds and OTHERS."""
    for kind, count in new.items():
        name = kind if kind in total or (sign > 0 and len(total) < most) else OTHERS
        total[name] = total.get(name, 0) + sign * count
        if total[name] <= 0:
            del total[name]


def shown_kinds(bad: Mapping[str, int]) -> dict[str, int]:
    """The most frequent kinds, and the rest together: what a status has room for."""
    ordered = sorted(bad.items(), key=lambda item: (item[0] == OTHERS, -item[1], item[0]))
    shown = dict(ordered[:KINDS])
    rest = sum(count for _, count in ordered[KINDS:])
    if rest:
        shown[OTHERS] = shown.get(OTHERS, 0) + rest
    return shown


def is_too_many(limit: MaxBad, bad: Mapping[str, int], records: int, *, maps_done: bool) -> bool:
    """Whether a job has more bad records than it may; a share is judged once all `records` have been read."""
    total = sum(bad.values())
    if limit.percent is None:
        return total > limit.records
    return maps_done and total * WHOLE > Fraction(str(limit.percent)) * records  # 0.57 * 10_000 is less than 5700


def too_many(
    limit: MaxBad, bad: Mapping[str, int], places: Mapping[str, str], last: Failure | None, records: int | None = None
) -> Failure:
    """What fails a job with too many bad records: the story of the last one, then all by kind and what to do.

    `records` is how many have been read, where the limit is a share of them. `places` has an example of each kind.
    """
    total = sum(bad.values())
    allowed = f"--max-bad allows {limit.records:,}"
    if limit.percent is not None:
        allowed = f"--max-bad allows {limit.percent:g}% of {records or 0:,}"
    count = f"{total:,} bad record{'' if total == 1 else 's'}: {allowed}"
    what = (*summary_of(bad, places), "mend the input or the functions, or allow more with --max-bad N or P%")
    if last is None or not last.message:
        return replace(last or Failure(FailureKind.USER, ""), kind=FailureKind.USER, message=count, notes=what)
    return replace(last, kind=FailureKind.USER, notes=(count, *what))


def summary_of(bad: Mapping[str, int], places: Mapping[str, str]) -> tuple[str, ...]:
    """Lines for people: how many bad records of each kind, and where one of them is."""
    shown = shown_kinds(bad)
    return tuple(
        f"  {count:,} {kind}" + (f", as in {places[kind]}" if kind in places else "") for kind, count in shown.items()
    )


def total_line(bad: Mapping[str, int]) -> str:
    """One line for a summary: how many there are, and of which kinds."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in shown_kinds(bad).items())
    total = sum(bad.values())
    return f"{total:,} bad record{'' if total == 1 else 's'} put aside: {kinds}"


@dataclass(slots=True)
class BadTotals:
    """The bad records of all current results of a job by kind, a place of each kind, and the story of the last one."""

    kinds: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    last: Failure | None = None

    def add(self, done: Done) -> None:
        """Count those of a result."""
        count_kinds(self.kinds, done.bad)
        for kind, place in done.bad_places.items():
            if kind in self.kinds:
                self.places.setdefault(kind, place)
        self.last = done.bad_last or self.last

    def subtract(self, done: Done) -> None:
        """Take those of a result back, which is to be made again."""
        count_kinds(self.kinds, done.bad, -1)

    def problem(self, limit: MaxBad, records: int, *, maps_done: bool) -> Failure | None:
        """What fails the job, where these are too many."""
        if not is_too_many(limit, self.kinds, records, maps_done=maps_done):
            return None
        return too_many(limit, self.kinds, self.places, self.last, records)


class TooManyBad(RecordError):
    """A task alone has more bad records than its job may. `failure` is what is to be told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.describe())
        self.failure = failure
