"""Who is connected: workers, their sessions, the numbering of messages, leases and slots.

Owns liveness and nothing of jobs: it says who has gone silent, and others decide what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mapreduce.config import HEARTBEAT_S, LEASE_S, TICK_S
from mapreduce.plan import AttemptId
from mapreduce.protocol.messages import Register

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


@dataclass(slots=True, eq=False)
class Worker:
    """One life of an agent. `session` is "" while it is away; then `deadline_s` is when it is given up.

    `sent` and `received` are the numbers of the session's last messages. `busy` holds the attempts that take a slot:
    running ones, and cancelled ones until the agent says that they have stopped. `ready` says that its inventory is
    taken, so that it may get work. `cursors` tells how far it knows a stage's results: (job, stage) -> entries.
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
    busy: set[AttemptId] = field(default_factory=set)
    cursors: dict[tuple[str, int], int] = field(default_factory=dict)
    note: str = ""

    @property
    def free_slots(self) -> int:
        """How many attempts it can take now."""
        return self.slots - len(self.busy) if self.ready else 0

    @property
    def load(self) -> float:
        """The share of its slots that is taken."""
        return len(self.busy) / self.slots

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
        self._epoch = epoch
        self._opened = 0
        self._ticked_s: float | None = None
        self._returning: set[str] = set()
        self._returned_by_s = 0.0

    def expect(self, worker: str, name: str, now_s: float) -> None:
        """A worker of the coordinator's last life: it has one lease to come back."""
        self.workers[worker] = Worker(worker, name, deadline_s=now_s + LEASE_S)
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
        return worker

    def close(self, worker: Worker, now_s: float) -> None:
        """End the worker's session: from now on it has a lease to come back."""
        del self.sessions[worker.session]
        worker.session = ""
        worker.ready = False
        worker.deadline_s = now_s + LEASE_S
        worker.busy = set()
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

    def occupy(self, worker: Worker, attempt: AttemptId) -> None:
        """Take a slot."""
        worker.busy.add(attempt)
        self.settle(worker)

    def release(self, worker: Worker, attempt: AttemptId) -> None:
        """Give a slot back; nothing if the attempt had none."""
        worker.busy.discard(attempt)
        self.settle(worker)

    def tick(self, now_s: float) -> tuple[list[Worker], list[Worker]]:
        """Give the workers whose lease is over (with a session, or away), and those due for a heartbeat."""
        pause = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        self._ticked_s = now_s
        late, due = [], []
        for worker in self.workers.values():
            if pause > OWN_PAUSE_S:
                worker.heard_s += pause
                worker.deadline_s += pause
            if now_s >= (worker.heard_s + LEASE_S if worker.session else worker.deadline_s):
                late.append(worker)
            elif worker.session and now_s - worker.beat_s >= HEARTBEAT_S:
                worker.beat_s = now_s
                due.append(worker)
        return late, due

    def ready(self) -> Iterator[Worker]:
        """All workers that may get work."""
        return (worker for worker in self.workers.values() if worker.ready)
