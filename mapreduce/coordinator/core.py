"""The coordinator's whole state, and the outbox of the event at hand: what all of its rules work on.

Durable state changes only through `record`. Whatever is sent to a worker goes through `tell`, which numbers it.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import field

from mapreduce.coordinator import entries as e
from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.effects import Effects, Send
from mapreduce.coordinator.job_run import JobRun, Place
from mapreduce.coordinator.records import JobRecord
from mapreduce.coordinator.roster import Roster, Worker
from mapreduce.plan import AttemptId
from mapreduce.protocol.messages import Heartbeat, LogEntry, Message
from mapreduce.protocol.wire import Envelope
from mapreduce.quick_dataclass import dataclass

EFFORT = 500  # messages of one event, or what takes as long: some milliseconds; with more to give the next goes on
Order = tuple[int, int, str]  # how jobs are served: by priority (negated), then by submission


@dataclass(slots=True)
class LogSize:
    """How much of a job's output is kept."""

    entries: int = 0
    size: int = 0  # bytes


@dataclass(slots=True)
class Watcher:
    """A client that wants to see a job's changes. `waiting_for` is what it was told last."""

    number: int
    expires_s: float
    sent_s: float
    waiting_for: str


@dataclass(slots=True)
class Core:
    """All state. `versions` are the coordinator's own; workers must have the same."""

    epoch: int
    versions: Mapping[str, str]
    durable: Durable
    roster: Roster
    now_s: float
    runs: dict[str, JobRun] = field(default_factory=dict)
    watchers: dict[str, dict[bytes, Watcher]] = field(default_factory=dict)
    log_sizes: dict[str, LogSize] = field(default_factory=dict)
    attempt_logs: dict[AttemptId, int] = field(default_factory=dict)  # bytes kept of live jobs' attempts
    elapsed_s: dict[str, float] = field(default_factory=dict)  # of jobs that ended in this epoch
    hungry: list[Order] = field(default_factory=list)  # live jobs that may have tasks to give out, in order
    changed: set[str] = field(default_factory=set)  # watched jobs with something new to show
    entries: list[e.Entry] = field(default_factory=list)
    messages: list[Send] = field(default_factory=list)
    logs: list[LogEntry] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    effort: int = 0  # of the event at hand, in messages
    unfinished: bool = False  # whether it left tasks that it could have given out

    def take_effects(self) -> Effects:
        """Give and clear what the event at hand has brought about."""
        boxes = (tuple(self.entries), tuple(self.messages), tuple(self.logs), tuple(self.complaints))
        effects = Effects(*boxes, unfinished=self.unfinished)
        for box in (self.entries, self.messages, self.logs, self.complaints):
            box.clear()
        self.effort, self.unfinished = 0, False
        return effects

    def record(self, entry: e.Entry) -> None:
        """Change durable state, and have the change journalled before any message of this event leaves."""
        self.durable.apply(entry)
        self.entries.append(entry)

    def tell(self, worker: Worker, message: Message) -> None:
        """Send the next numbered message of the worker's session; nothing to a worker that is away."""
        if worker.session:
            worker.sent += 1
            self.effort += 1
            self.messages.append(Send(worker.identity, Envelope(worker.session, worker.sent, message)))

    def beat(self, worker: Worker) -> None:
        """Send a heartbeat, which is not numbered."""
        beat = Heartbeat(worker.sent, worker.received)
        self.messages.append(Send(worker.identity, Envelope(worker.session, 0, beat)))

    def answer(self, identity: bytes, message: Message, *, session: str = "", number: int = 0) -> None:
        """Answer a client's request, or an agent outside of a session's numbering."""
        self.messages.append(Send(identity, Envelope(session, number, message)))

    def touch(self, job: str) -> None:
        """A job has something new to show."""
        if job in self.watchers:
            self.changed.add(job)

    # ---- who has work

    def feed(self, run: JobRun) -> None:
        """A job may have tasks to give out."""
        order = _order(run.record)
        place = bisect.bisect_left(self.hungry, order)
        if place == len(self.hungry) or self.hungry[place] != order:
            self.hungry.insert(place, order)

    def sate(self, record: JobRecord) -> None:
        """A job has nothing to give out at present."""
        order = _order(record)
        place = bisect.bisect_left(self.hungry, order)
        if place < len(self.hungry) and self.hungry[place] == order:
            del self.hungry[place]

    def attempt_at(self, run: JobRun, place: Place) -> AttemptId:
        """Name the current attempt of a running task."""
        return run.record.attempt(*place, run.running[place].number)


def _order(record: JobRecord) -> Order:
    return (-record.spec.priority, record.sequence, record.id)
