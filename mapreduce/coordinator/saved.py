"""Map results that failed jobs have left on workers: which worker has which, and who is to take them.

A job that resumes a failed one gives a task whose result a worker has to such a worker alone; to others only once none
of these is left. What is saved is no durable state: the agents say it when they are ready for the job.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator

from mapreduce.coordinator.records import JobRecord


def left_by(record: JobRecord, workers: Container[str]) -> tuple[int, int]:
    """How many map results a job that fails now leaves on the workers that are there, and their bytes.

    `workers` has the ids of these workers. Results with bad records are none of them.
    """
    if record.spec.keep or record.spec.reads or not record.spec.saves or not record.is_held(0):
        return 0, 0
    done = [commit.done for commit in record.stages[0].commits.values() if commit.worker in workers]
    kept = [one for one in done if not one.bad]
    return len(kept), sum(one.shuffle_bytes + (one.part.size if one.part is not None else 0) for one in kept)


def numbers_in(bitmap: bytes, size: int) -> Iterator[int]:
    """The numbers below `size` whose bits are set; the lowest bit of the first byte is number 0."""
    for place, byte in enumerate(bitmap[: (size + 7) // 8]):
        for bit in range(8):
            if byte >> bit & 1 and place * 8 + bit < size:
                yield place * 8 + bit


class SavedTasks:
    """The first step's map tasks that workers have saved results of, and that wait for these workers."""

    def __init__(self) -> None:
        self._holders: dict[int, set[str]] = {}
        self._waiting: dict[str, list[int]] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._holders

    def __bool__(self) -> bool:
        return bool(self._holders)

    def add(self, worker: str, index: int) -> None:
        """A worker has the result of a task that is to be run."""
        holders = self._holders.setdefault(index, set())
        if worker not in holders:
            holders.add(worker)
            heapq.heappush(self._waiting.setdefault(worker, []), index)

    def drop(self, index: int) -> None:
        """A task is done, or is to be run like any other."""
        self._holders.pop(index, None)

    def lose(self, worker: str) -> list[int]:
        """A worker is gone; give the tasks that nobody else has, which are like any other now."""
        alone = []
        for index in self._waiting.pop(worker, []):
            holders = self._holders.get(index)
            if holders is not None:
                holders.discard(worker)
                if not holders:
                    del self._holders[index]
                    alone.append(index)
        return alone

    def heap(self, worker: str) -> list[int]:
        """The tasks that a worker has the results of, as a heap; some may be done or dropped."""
        return self._waiting.get(worker, [])

    def first(self) -> int | None:
        """Some task that waits for a worker, None if there is none."""
        return next(iter(self._holders), None)
