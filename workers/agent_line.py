"""Attempts that wait for a slot, and how many of them a task process is handed at a time. Pure.

A process that is handed several attempts goes from one to the next without a word with its agent, and tells of several
at once. That is for attempts that take a moment each, by those before them. What it has not begun can be taken back
(see `turns`), so none waits long behind one that takes longer.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping

from mapreduce.plan import AttemptId, TaskId, TaskKind
from workers.agent_attempts import Running

# Elsewhere a process cannot tell what lies in its log pipe.
HANDED = 8 if sys.platform == "linux" else 1  # at a time: a wake-up costs a fraction of an attempt then
HANDED_S = 0.02  # of work that is handed at a time: a second slot is idle for no longer, where it has no work
BEHIND_S = 0.1  # then what waits behind an attempt is taken back, for other slots
PACE_SHARE = 0.25  # of the newest attempts in the pace

_Kind = tuple[str, int, TaskKind]


class Line:
    """The attempts that wait, in their order. `running` has what is known of all attempts: others have been dropped."""

    def __init__(self, running: Mapping[AttemptId, Running]) -> None:
        self._running = running
        self._waiting: deque[AttemptId] = deque()
        self._pace_s: dict[_Kind, float] = {}
        self._alone: set[str] = set()

    def add(self, attempt: AttemptId) -> None:
        """One more."""
        self._waiting.append(attempt)

    def put_back(self, attempts: Iterable[AttemptId]) -> None:
        """Those have no process any more: they are the next."""
        back = list(attempts)
        for attempt in back:
            self._running[attempt].process = 0
        self._waiting.extendleft(reversed(back))

    def take(self, slots: int) -> list[Running]:
        """Give those that the next process is to run, one after the other; [] if none waits."""
        some: list[Running] = []
        count = 1
        while self._waiting and len(some) < count:
            running = self._running.get(self._waiting[0])
            if running is not None:
                if some and not _are_alike(some[0], running):
                    break
                some.append(running)
                count = self._count(running, slots) if len(some) == 1 else count
            self._waiting.popleft()
        return some

    def note_pace(self, task: TaskId, took_s: float) -> None:
        """Attempts like this one took so long."""
        old = self._pace_s.get(_kind(task), took_s)
        self._pace_s[_kind(task)] = old + PACE_SHARE * (took_s - old)

    def go_alone(self, job: str) -> None:
        """This job's attempts are handed one at a time: they print."""
        self._alone.add(job)

    def forget(self, job: str) -> None:
        """The job is over."""
        self._alone.discard(job)
        for kind in [kind for kind in self._pace_s if kind[0] == job]:
            del self._pace_s[kind]

    def _count(self, first: Running, slots: int) -> int:
        task = first.attempt.task
        pace_s = self._pace_s.get(_kind(task))
        if pace_s is None or task.job in self._alone or not first.is_plain:
            return 1
        share = -(-len(self._waiting) // slots)
        return min(HANDED, share, HANDED if pace_s * HANDED <= HANDED_S else int(HANDED_S / pace_s))


def _kind(task: TaskId) -> _Kind:
    return task.job, task.step, task.kind


def _are_alike(one: Running, other: Running) -> bool:
    same = _kind(one.attempt.task) == _kind(other.attempt.task) and one.previous == other.previous
    return same and one.is_plain and other.is_plain
