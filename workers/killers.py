"""Records that kill the process that is at work on them: found by what it noted, put aside once that is proven.

Pure. Owns the rules of the hunt in one attempt: when the agent starts it again in another process, to know more, or to
do without the record. A chance kill must never change a result: a record is put aside only after several deaths on it
alone, and what a process made whose batches were cut for the search counts for nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mapreduce.dataflow.bad.series import COMBINING, FOLDING, SERIES, TABLE
from mapreduce.plan import Failure
from mapreduce.quick_dataclass import dataclass

DEATHS_ON_ONE = 2  # by its own doing (a crash, an exit): once may be chance, such as a neighbour's broken memory
KILLS_ON_ONE = 3  # by a signal that may come from outside: memory that others took, somebody's kill -9
FROM_OUTSIDE = frozenset({"signal SIGKILL", "signal SIGTERM"})
STARTS = 100  # of one attempt: a record costs two or three, one in a frame some more, and each begins from the start
ASIDE_NOTE = "  go on without such records:  --max-bad N (in Python, max_bad=N)"


@dataclass(frozen=True, slots=True)
class Mark:
    """What an attempt noted last: `count` records (or groups) from the `ordinal`-th on, counted from 0 within a series.

    `through`: the user's function was done with them. The rest is as in Failure; `role` is the function's.
    """

    ordinal: int
    count: int
    through: bool = False
    function: str | None = None
    role: str = "mapper"
    path: str | None = None
    offset: int | None = None
    key: str | None = None
    record: str | None = None

    def where(self) -> str:
        """What was at work on what, in words; ordinals are told from 1 on."""
        noun = "group" if self.role in {"reducer", "aggregator"} else "record"
        series, number = self.ordinal - self.ordinal % SERIES, self.ordinal % SERIES + 1
        if series == COMBINING:
            return f"after call {number} of the combiner" if self.through else f"in the combiner, in its call {number}"
        if series == FOLDING:
            return "after it folded values" if self.through else "while it folded the values of a key in a map task"
        owner = "the joined input" if series == TABLE else "the task"
        if self.through:
            return f"after {noun} {number} of {owner}, while none was being worked on"
        if self.count > 1:
            return f"at work on one of the {noun}s {number} to {number + self.count - 1} of {owner}"
        return f"at work on {noun} {number} of {owner}"


class Hunt:
    """What is known of the records that kill the processes of one attempt.

    `aside`: the job puts bad records aside. `skip` and `alone` are as in TaskSetup.
    """

    def __init__(self, *, aside: bool) -> None:
        self._aside = aside
        self._deaths: Counter[int] = Counter()
        self._starts = 1
        self.skip: dict[int, str] = {}
        self.alone: set[tuple[int, int]] = set()

    @property
    def again(self) -> bool:
        """Whether another process has been at work on the attempt before."""
        return self._starts > 1

    def died(self, mark: Mark | None, how: str) -> bool:
        """A process died; whether the attempt is to be started again. `how` is as in ProcessEnded."""
        if mark is None or mark.through or self._starts >= STARTS:
            return False
        if mark.count > 1:
            if (mark.ordinal, mark.count) in self.alone:
                return False
            self.alone.add((mark.ordinal, mark.count))
        elif not self._aside or mark.ordinal >= FOLDING:
            return False
        else:
            self._deaths[mark.ordinal] += 1
            if self._deaths[mark.ordinal] >= (KILLS_ON_ONE if how in FROM_OUTSIDE else DEATHS_ON_ONE):
                self.skip[mark.ordinal] = f"killed the process: {_in_short(how)}"
                self.alone.clear()
        self._starts += 1
        return True

    def done(self) -> bool:
        """An attempt came to its end; whether it is to be started again, since batches were cut for the search."""
        if not self.alone:
            return False
        self.alone.clear()
        self._starts += 1
        return True

    def story(self, failure: Failure, mark: Mark | None) -> Failure:
        """The failure of the attempt by a death, with what the process noted last."""
        if mark is None:
            return failure
        message = f"{failure.message}, {mark.where()}"
        if self._starts >= STARTS:
            message += f" (after {STARTS} starts of the attempt; records put aside: {len(self.skip)})"
        failure = replace(failure, message=message, path=mark.path, offset=mark.offset)
        if mark.through:
            return failure
        notes = () if self._aside or mark.ordinal >= FOLDING else (ASIDE_NOTE,)
        return replace(failure, function=mark.function, key=mark.key, record=mark.record, notes=notes)


def _in_short(how: str) -> str:
    """How a process ended, as a kind of bad record."""
    return how.removeprefix("signal ")
