"""A live job's volatile side: what runs, what waits, who is prepared. Made anew when a coordinator starts.

Only the `frontier` (the lowest stage that is not whole) gives out tasks. So every attempt finds all earlier stages
complete: their results to read, and the counters of earlier steps. A kept job that is whole has its frontier behind its
last stage.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Container, Sequence

from mapreduce.config import AHEAD_PER_SLOT, AHEAD_S
from mapreduce.coordinator.openings import Openings
from mapreduce.coordinator.records import Commit, JobRecord
from mapreduce.coordinator.roster import Worker
from mapreduce.coordinator.saved import SavedTasks, numbers_in
from mapreduce.plan import EVERY_PART, TaskId, TaskKind
from mapreduce.protocol.messages import Results
from mapreduce.quick_dataclass import dataclass

ATTEMPTS_PER_EPOCH = 1_000_000_000  # so that numbers of different epochs never meet: far more than a job can start

PACE_SHARE = 0.125  # of the newest attempt in the pace: some ten attempts decide it

PASSED_OVER = 20  # tasks that failed on a worker, looked past for one that did not: a bound on the work of a choice

Place = tuple[int, int]  # a task inside its job: (stage, index)


class Prepared(enum.Enum):
    """How far a worker is with a job's code."""

    ASKED = enum.auto()
    READY = enum.auto()
    LEFT_OUT = enum.auto()


@dataclass(frozen=True, slots=True)
class Running:
    """The current attempt of a task that has no commit.

    When it was given, at `given_s`, each slot of the worker had `turns` attempts to run, this one with them.
    """

    number: int
    worker: str
    given_s: float = 0.0
    turns: float = 1.0


class JobRun:
    """One live job. `lost` holds, by stage, committed tasks whose results are gone and not needed at present.

    `saved` has the tasks that wait for a worker with their results, which a failed job has left.

    `results` lists by stage the indexes in the order of their commits, `latest` the last place of each in that list:
    what a worker has been told is a place in it. `pages` are messages with stretches of these lists. `openings` are the
    workers that have room for its tasks, `pace_s` is how long its attempts take of late. `kept` are the records of the
    kept jobs that it reads, in the order of its spec, None for one that is forgotten; `touched_s` is when a job that
    read this one was last seen. `kept_bytes` is the size of what it keeps itself, while that is whole.
    """

    def __init__(
        self,
        record: JobRecord,
        epoch: int,
        workers: Container[str],
        now_s: float,
        kept: Sequence[JobRecord | None] = (),
    ) -> None:
        self.record = record
        self.kept = tuple(kept)
        self.places = {(stage.step, stage.kind): number for number, stage in enumerate(record.stages)}
        self.frontier = 0
        self.running: dict[Place, Running] = {}
        self.running_on: dict[str, dict[Place, None]] = {}
        self.openings = Openings()
        self.pace_s: float | None = None
        self.kept_bytes = 0
        self.running_in = [0] * len(record.stages)
        self.avoid: dict[Place, set[str]] = {}
        self.prepared: dict[str, Prepared] = {}
        self.ready = 0  # how many workers are
        self.left_out: dict[str, str] = {}
        self.progress: dict[Place, tuple[int, int]] = {}
        self.progress_records = self.progress_bytes = 0
        self.started_s = self.touched_s = now_s
        self.saved = SavedTasks()
        self._base = (epoch - 1) * ATTEMPTS_PER_EPOCH
        self._issued = 0
        self._local: dict[str, list[int]] = {}
        self._local_stage = -1  # the stage that _local is of
        self.waiting: list[list[int]] = []
        self.lost: list[set[int]] = []
        self.results: list[list[int]] = []
        self.latest: list[dict[int, int]] = []
        self.pages: dict[tuple[str, int, bool, int, int], tuple[Results, ...]] = {}
        for number, stage in enumerate(record.stages):
            committed = list(stage.commits)
            self.waiting.append([index for index in range(stage.size) if index not in stage.commits])
            held = record.is_held(number)
            self.lost.append({i for i in committed if held and stage.commits[i].worker not in workers})
            self.results.append(committed)
            self.latest.append({index: place for place, index in enumerate(committed)})
        self.advance()
        if self.is_whole:
            self.find_kept_bytes()

    def place(self, task: TaskId) -> Place | None:
        """Find a task; None if the job has no such task."""
        number = self.places.get((task.step, task.kind))
        if number is None or not 0 <= task.index < self.record.stages[number].size:
            return None
        return number, task.index

    def new_number(self) -> int:
        """Give an attempt number that this job has never used."""
        self._issued += 1
        assert self._issued < ATTEMPTS_PER_EPOCH
        return self._base + self._issued

    @property
    def last_number(self) -> int:
        """No attempt has a higher number yet."""
        return self._base + self._issued

    # ---- who is prepared

    def set_prepared(self, worker: Worker, state: Prepared | None) -> None:
        """Note how far a worker is, None if it is gone: it gets tasks while it is ready."""
        old = self.prepared.pop(worker.id, None)
        self.ready += (state is Prepared.READY) - (old is Prepared.READY)
        if state is not None:
            self.prepared[worker.id] = state
        if state is Prepared.READY:
            self.openings.add(worker)
        else:
            self.openings.remove(worker)

    # ---- what runs

    def start(self, place: Place, running: Running) -> None:
        """Note a task's current attempt."""
        assert place not in self.running
        self.running[place] = running
        self.running_on.setdefault(running.worker, {})[place] = None
        if place[0] == 0:
            self.saved.drop(place[1])  # should it be run again, whoever is free may take it
        self.running_in[place[0]] += 1

    def stop(self, place: Place) -> Running:
        """The task's current attempt is no longer."""
        self.running_in[place[0]] -= 1
        self.note_progress(place, 0, 0)
        self.progress.pop(place, None)
        running = self.running.pop(place)
        places = self.running_on[running.worker]
        del places[place]
        if not places:
            del self.running_on[running.worker]
        return running

    def note_pace(self, running: Running, now_s: float) -> None:
        """An attempt was done: keep how long such attempts take, without their wait for a slot."""
        took_s = max(0.0, now_s - running.given_s) / running.turns
        self.pace_s = took_s if self.pace_s is None else self.pace_s + PACE_SHARE * (took_s - self.pace_s)

    @property
    def most_ahead(self) -> int:
        """How many attempts may wait for each slot: so many that those before are done in a moment."""
        if self.pace_s is None:
            return 0
        return AHEAD_PER_SLOT if self.pace_s * AHEAD_PER_SLOT <= AHEAD_S else int(AHEAD_S / self.pace_s)

    def note_progress(self, place: Place, records: int, size: int) -> None:
        """Keep how far a running map of the first step is."""
        if place[0] == 0:
            old_records, old_size = self.progress.get(place, (0, 0))
            self.progress_records += records - old_records
            self.progress_bytes += size - old_size
            self.progress[place] = (records, size)

    # ---- what waits

    def committed(self, place: Place) -> None:
        """A task has a (new) commit: its result is to be told to whoever reads it."""
        stage, index = place
        if index in self.latest[stage]:
            self.pages.clear()  # one of them names the earlier one
        self.latest[stage][index] = len(self.results[stage])
        self.results[stage].append(index)
        self.avoid.pop(place, None)

    def wait(self, place: Place) -> None:
        """A task is to be run (again)."""
        stage, index = place
        heapq.heappush(self.waiting[stage], index)
        self.frontier = min(self.frontier, stage)
        self.pages.clear()
        self.openings.unpark()

    def note_saved(self, worker: str, bitmap: bytes) -> None:
        """A worker has results of map tasks of the first step that a failed job has left."""
        stage = self.record.stages[0]
        for index in numbers_in(bitmap, stage.size):
            if index not in stage.commits and (0, index) not in self.running and index not in stage.failures:
                self.saved.add(worker, index)

    def lose_saved(self, worker: str) -> bool:
        """A worker is gone, and what it had of a failed job with it; whether tasks are for all others now."""
        freed = self.saved.lose(worker)
        self.openings.unpark()
        for index in freed:
            heapq.heappush(self.waiting[0], index)
        return bool(freed)

    def advance(self) -> bool:
        """Move the frontier to the lowest stage that is not whole; True if it moved."""
        old, stages = self.frontier, self.record.stages
        end = len(stages) if self.record.spec.keep else len(stages) - 1
        while self.frontier < end and stages[self.frontier].is_whole:
            self.frontier += 1
        if self._local_stage != self.frontier:
            self.find_locals()
            self.openings.unpark()
        return self.frontier != old

    @property
    def is_whole(self) -> bool:
        """Whether it is a kept job with all of its results."""
        return self.frontier == len(self.record.stages)

    def find_locals(self) -> None:
        """Sort the frontier's tasks by the worker that holds their input, where each reads one result only."""
        self._local = {}
        stage = self._local_stage = self.frontier
        if self.is_whole or self.record.stages[stage].kind is not TaskKind.MAP:
            return
        inputs = self._kept_commits() if stage == 0 else self.record.stages[stage - 1].commits
        if not inputs:
            return
        for index in sorted(self.waiting[stage]):
            commit = inputs.get(index)
            if commit is not None:
                self._local.setdefault(commit.worker, []).append(index)

    def find_kept_bytes(self) -> None:
        """Sum up how large the parts are that the job keeps, once they are all there."""
        parts = [commit.done.part for commit in self.record.stages[-1].commits.values()]
        self.kept_bytes = sum(part.size for part in parts if part is not None)

    def _kept_commits(self) -> dict[int, Commit]:
        """What the map tasks of the first step read of kept jobs, by the task that reads it alone."""
        return {
            start + part: commit
            for start, kept in zip(self.record.spec.reads_at, self.kept, strict=True)
            if kept is not None and start != EVERY_PART
            for part, commit in kept.stages[-1].commits.items()
        }

    def _head(self, heap: list[int]) -> int | None:
        """Give the first task of the heap that really waits for anybody; those that do not drop out."""
        stage = self.frontier
        commits = self.record.stages[stage].commits
        while heap and (
            heap[0] in commits or (stage, heap[0]) in self.running or (stage == 0 and heap[0] in self.saved)
        ):
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _saved_on(self, worker: str | None) -> int | None:
        """Give the first task that waits for this worker, which has its result; without a worker, for any."""
        if self.frontier != 0 or not self.saved:
            return None
        if worker is None:
            return self.saved.first()
        heap = self.saved.heap(worker)
        while heap and heap[0] not in self.saved:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def next_task(self, worker: str | None = None) -> Place | None:
        """Give the task to run next (on this worker), and leave it waiting: starting it takes it out.

        A task that has failed on this worker is left to others, as long as there is another task for this one.
        """
        saved = self._saved_on(worker)
        if saved is not None:
            return (0, saved)
        local = self._local.get(worker) if worker is not None and self._local_stage == self.frontier else None
        index = self._head(local) if local else None
        if index is None or self._avoids(index, worker):
            index = self._wanted_by(worker)
        return None if index is None else (self.frontier, index)

    def _avoids(self, index: int, worker: str | None) -> bool:
        return worker in self.avoid.get((self.frontier, index), ())

    def _wanted_by(self, worker: str | None) -> int | None:
        heap = self.waiting[self.frontier]
        first = index = self._head(heap)
        passed: list[int] = []
        while index is not None and self._avoids(index, worker) and len(passed) < PASSED_OVER:
            passed.append(heapq.heappop(heap))
            index = self._head(heap)
        for other in passed:
            heapq.heappush(heap, other)
        return first if index is None else index
