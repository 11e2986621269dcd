"""Which workers have room for a job's tasks, the least loaded first.

An index that is kept up as workers take and give back slots, so that nobody looks at all workers to find one. What it
holds may be out of date: an entry that is not true any more is passed over when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection

from mapreduce.coordinator.roster import Worker

Entry = tuple[float, str]  # load and id: so workers are chosen, whatever the order in which they came


class Openings:
    """The workers that are ready for one job, and have room."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._heap: list[Entry] = []
        self._in_heap: set[Entry] = set()  # so that no entry is there twice
        self._parked: set[str] = set()

    def add(self, worker: Worker) -> None:
        """A worker is ready for the job."""
        self._workers[worker.id] = worker
        worker.openings.add(self)
        self.note(worker)

    def remove(self, worker: Worker) -> None:
        """A worker is not, or not any more."""
        if self._workers.pop(worker.id, None) is not None:
            worker.openings.discard(self)
            self._parked.discard(worker.id)

    def clear(self) -> None:
        """The job is over."""
        for worker in tuple(self._workers.values()):
            self.remove(worker)

    def note(self, worker: Worker) -> None:
        """A worker's load has changed."""
        self._parked.discard(worker.id)
        if worker.room > 0:
            self._push((worker.load, worker.id))

    def best(self, avoid: Collection[str] = ()) -> Worker | None:
        """Give the least loaded worker that has room, and is none of `avoid`."""
        passed: list[Entry] = []
        found = None
        while self._heap:
            entry = self._heap[0]
            worker = self._workers.get(entry[1])
            if worker is None or worker.room <= 0 or worker.load != entry[0] or worker.id in self._parked:
                self._pop()
            elif worker.id in avoid:
                passed.append(self._pop())
            else:
                found = worker
                break
        for entry in passed:
            self._push(entry)
        return found

    def park(self, worker: Worker) -> None:
        """None of the tasks that wait is for this worker: do not ask it again before something changes."""
        self._parked.add(worker.id)

    def unpark(self) -> None:
        """A task waits that is for anybody."""
        parked, self._parked = self._parked, set()
        for worker in parked:
            self.note(self._workers[worker])

    def _push(self, entry: Entry) -> None:
        if entry not in self._in_heap:
            self._in_heap.add(entry)
            heapq.heappush(self._heap, entry)

    def _pop(self) -> Entry:
        entry = heapq.heappop(self._heap)
        self._in_heap.discard(entry)
        return entry
