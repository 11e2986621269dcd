"""Who is connected: workers, their sessions, the numbering of messages, leases and slots.

Owns liveness and nothing of jobs: it says who has gone silent, and others decide what follows.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from mapreduce.config import AHEAD_PER_SLOT, HEARTBEAT_S, LEASE_S, TICK_S
from mapreduce.plan import AttemptId
from mapreduce.protocol.messages import Register
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from mapreduce.coordinator.openings import Openings

# Ticks come every TICK_S; after a longer pause the coordinator itself was away, and nobody else is to blame for it.
OWN_PAUSE_S = 4 * TICK_S
# After a restart tasks are given out when all known workers are back, or after so long: until then they may be running
# there. An agent notices a restart by its next heartbeat, and registers within a second of that.
RETURN_S = 3 * HEARTBEAT_S


@dataclass(slots=True)
class Holdings:
    """What an agent's Inventory listed until now."""

    running: set[AttemptId] = field(default_factory=set)
    finished: set[AttemptId] = field(default_factory=set)
    kept: set[AttemptId] = field(default_factory=set)
    prepared: set[str] = field(default_factory=set)


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """One life of an agent. `session` is "" while it is away; then `deadline_s` is when it is given up.

    `sent` and `received` are the numbers of the session's last messages. `busy` holds the attempts that it was given,
    in their order: running ones, those that wait there for a slot, and cancelled ones until the agent says that they
    have stopped. `moved_s` is when the first of them were given or the last was over. `ready` says that its inventory
    is taken, so that it may get work. `cursors` tells how far it knows a stage's results: (job, stage) -> entries.
    `openings` are those of the jobs that it is ready for. `visit_s` is when the next look at its lease is due.
    """

    id: str
    name: str = ""
    slots: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    address: str = ""
    folder: str = ""
    identity: bytes = b""
    session: str = ""
    sent: int = 0
    received: int = 0
    ready: bool = False
    heard_s: float = 0.0
    deadline_s: float = 0.0
    beat_s: float = 0.0
    holdings: Holdings = field(default_factory=Holdings)
    busy: dict[AttemptId, None] = field(default_factory=dict)
    moved_s: float = 0.0
    openings: set[Openings] = field(default_factory=set)
    visit_s: float = 0.0
    cursors: dict[tuple[str, int], int] = field(default_factory=dict)
    note: str = ""

    @property
    def free_slots(self) -> int:
        """How many attempts it can run at once beside those that it has."""
        return max(0, self.slots - len(self.busy)) if self.ready else 0

    @property
    def room(self) -> int:
        """How many attempts it can be given, those included that would wait there for a slot."""
        return self.slots * (1 + AHEAD_PER_SLOT) - len(self.busy) if self.ready else 0

    @property
    def load(self) -> float:
        """The share of its slots that is taken; above 1 where attempts wait for a slot."""
        return len(self.busy) / self.slots

    @property
    def lease_s(self) -> float:
        """When its lease is over, unless it is heard before."""
        return self.heard_s + LEASE_S if self.session else self.deadline_s

    @property
    def label(self) -> str:
        """How a person knows it."""
        return self.name or self.id


class Roster:
    """All workers, with a session or away."""

    def __init__(self, epoch: int) -> None:
        self.workers: dict[str, Worker] = {}
        self.sessions: dict[str, Worker] = {}
        self.free: dict[str, Worker] = {}  # those with a free slot
        self.ahead: dict[str, Worker] = {}  # those that were given more than they have slots for
        self._visits: list[tuple[float, str]] = []  # a heap: when to look at a worker's lease and heartbeat
        self._epoch = epoch
        self._opened = 0
        self._ticked_s: float | None = None
        self._returning: set[str] = set()
        self._returned_by_s = 0.0

    def expect(self, worker: str, name: str, now_s: float) -> None:
        """A worker of the coordinator's last life: it has one lease to come back."""
        self.workers[worker] = Worker(worker, name, deadline_s=now_s + LEASE_S)
        self._visit(self.workers[worker])
        self._returning.add(worker)
        self._returned_by_s = now_s + RETURN_S

    def is_settled(self, now_s: float) -> bool:
        """Whether the workers of the coordinator's last life have said what they are running."""
        return not self._returning or now_s >= self._returned_by_s

    @property
    def awaits_news(self) -> bool:
        """Whether a worker of the coordinator's last life has not said yet what it is running."""
        return bool(self._returning)

    def find(self, identity: bytes, session: str) -> Worker | None:
        """Give the worker whose living session this is, from this peer."""
        worker = self.sessions.get(session)
        return worker if worker is not None and worker.identity == identity else None

    def is_repeated(self, identity: bytes, message: Register) -> Worker | None:
        """Give the worker if this Register asks again for a session that was given and not yet used."""
        worker = self.workers.get(message.worker)
        unused = worker is not None and worker.session and not worker.received and not worker.sent
        return worker if worker is not None and unused and worker.identity == identity else None

    def open(self, identity: bytes, message: Register, now_s: float) -> Worker:
        """Give the worker a new session; an older one of it must have ended."""
        worker = self.workers.setdefault(message.worker, Worker(message.worker))
        assert not worker.session
        self._opened += 1
        worker.session = f"{self._epoch}-{self._opened}"
        worker.identity = identity
        worker.name, worker.slots, worker.versions = message.name, message.slots, message.versions
        worker.address, worker.folder = message.shuffle_address, message.shared_folder
        worker.sent = worker.received = 0
        worker.heard_s = worker.beat_s = now_s
        worker.holdings = Holdings()
        worker.cursors = {}
        self.sessions[worker.session] = worker
        self._visit(worker)
        return worker

    def close(self, worker: Worker, now_s: float) -> None:
        """End the worker's session: from now on it has a lease to come back."""
        del self.sessions[worker.session]
        worker.session = ""
        worker.ready = False
        worker.deadline_s = now_s + LEASE_S
        worker.busy = {}
        self._visit(worker)
        self.settle(worker)

    def remove(self, worker: Worker) -> None:
        """Forget a worker without a session."""
        assert not worker.session
        del self.workers[worker.id]
        self._returning.discard(worker.id)

    def make_ready(self, worker: Worker) -> None:
        """The worker's inventory is taken."""
        worker.ready = True
        worker.holdings = Holdings()
        self._returning.discard(worker.id)
        self.settle(worker)

    def settle(self, worker: Worker) -> None:
        """Note whether it has a free slot; to be called whenever that may have changed."""
        if worker.free_slots > 0:
            self.free[worker.id] = worker
        else:
            self.free.pop(worker.id, None)
        if len(worker.busy) > worker.slots:
            self.ahead[worker.id] = worker
        else:
            self.ahead.pop(worker.id, None)
        for openings in worker.openings:
            openings.note(worker)

    def occupy(self, worker: Worker, attempt: AttemptId, now_s: float) -> None:
        """Take a slot, or a place in the line for one."""
        if not worker.busy:
            worker.moved_s = now_s
        worker.busy[attempt] = None
        self.settle(worker)

    def release(self, worker: Worker, attempt: AttemptId, now_s: float) -> None:
        """Give a slot back; nothing if the attempt had none."""
        if attempt in worker.busy:
            del worker.busy[attempt]
            worker.moved_s = now_s
            self.settle(worker)

    def tick(self, now_s: float) -> tuple[list[Worker], list[Worker]]:
        """Give the workers whose lease is over (with a session, or away), and those due for a heartbeat."""
        pause = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        self._ticked_s = now_s
        if pause > OWN_PAUSE_S:
            for worker in self.workers.values():
                worker.heard_s += pause
                worker.deadline_s += pause
        late, due = [], []
        while self._visits and self._visits[0][0] <= now_s:
            visit_s, name = heapq.heappop(self._visits)
            found = self.workers.get(name)
            if found is None or found.visit_s != visit_s:
                continue  # it is gone, or another look at it is due
            found.visit_s = math.inf  # should the same look be there twice
            if now_s >= found.lease_s:
                late.append(found)
                continue
            if found.session and now_s >= found.beat_s + HEARTBEAT_S:
                found.beat_s = now_s
                due.append(found)
            self._visit(found)
        for worker in late:
            self._visit(worker)  # again at the next tick, should it still be there
        return late, due

    def _visit(self, worker: Worker) -> None:
        """Have a look at the worker when its lease may be over or its next heartbeat is due, whichever comes first."""
        beat_s = worker.beat_s + HEARTBEAT_S if worker.session else worker.lease_s
        worker.visit_s = min(worker.lease_s, beat_s)
        heapq.heappush(self._visits, (worker.visit_s, worker.id))

    def ready(self) -> Iterator[Worker]:
        """All workers that may get work."""
        return (worker for worker in self.workers.values() if worker.ready)
