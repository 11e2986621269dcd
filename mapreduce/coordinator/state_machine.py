"""The coordinator's pure core: events in, journal entries and messages out.

One door, `handle`. No clock (time is an argument), no randomness, no I/O; the same events give the same effects. It
runs under the server, in recovery (`recover`), and in the tests' simulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mapreduce.coordinator import attempts, jobs, requests, scheduling, sessions
from mapreduce.coordinator.core import Core, LogSize
from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.effects import Effects
from mapreduce.coordinator.entries import Entry
from mapreduce.coordinator.events import Event, Proceed, Received, Tick
from mapreduce.coordinator.roster import Roster, Worker
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    Heartbeat,
    Inventory,
    Leave,
    LogLines,
    Message,
    Prepared,
    Progress,
    Register,
    Rejected,
)
from mapreduce.protocol.wire import Envelope

AGENT_MESSAGES = (Inventory, Prepared, AttemptDone, AttemptFailed, Progress, LogLines, Leave)


class Coordinator:
    """The state machine. `epoch` is the coordinator's life number: no two lives on one journal share it.

    `versions` are those that workers must have: names ("python", "engine", "polars") to texts.
    """

    def __init__(self, epoch: int, versions: Mapping[str, str], now_s: float, durable: Durable | None = None) -> None:
        self._core = Core(epoch, dict(versions), durable or Durable(), Roster(epoch), now_s)
        for record in self._core.durable.jobs.values():
            if record.is_live:
                jobs.add_run(self._core, record)
        for worker, facts in self._core.durable.workers.items():
            self._core.roster.expect(worker, facts.name, now_s)

    @classmethod
    def recover(
        cls,
        epoch: int,
        versions: Mapping[str, str],
        now_s: float,
        *,
        snapshot: Any | None,
        entries: Iterable[Entry],
        log_sizes: Mapping[str, tuple[int, int]] | None = None,
    ) -> Coordinator:
        """Go on where a journal ends: its snapshot (plain data) and the entries after it.

        `log_sizes` gives the entries and bytes that are kept of each job's logs. Leases start afresh.
        Raises WireError or IllegalTransition if the journal is not one of ours.
        """
        durable = Durable() if snapshot is None else Durable.from_plain(snapshot)
        for entry in entries:
            durable.apply(entry)
        coordinator = cls(epoch, versions, now_s, durable)
        for job, (count, size) in (log_sizes or {}).items():
            coordinator._core.log_sizes[job] = LogSize(count, size)
        return coordinator

    def handle(self, event: Event, now_s: float) -> Effects:
        """Take one event at a time that never goes back, and give what must be made durable, and then sent."""
        core = self._core
        core.now_s = now_s
        match event:
            case Received(identity, envelope, missing_blobs):
                self._receive(identity, envelope, missing_blobs)
            case Tick():
                self._tick()
            case Proceed():
                pass
        scheduling.assign(core)
        if core.changed:
            requests.push(core)
        return core.take_effects()

    # ---- what the shell asks

    def snapshot(self) -> Any:
        """All durable state as plain data."""
        return self._core.durable.to_plain()

    @property
    def commits(self) -> int:
        """How many commits the durable state holds: what a snapshot's size grows with."""
        return self._core.durable.commits

    def knows_session(self, identity: bytes, session: str) -> bool:
        """Whether this is a living session of this peer."""
        return self._core.roster.find(identity, session) is not None

    def resolve(self, job: str) -> str | Rejected:
        """Give the id of the job that a client means."""
        record = requests.resolve(self._core, job)
        return record if isinstance(record, Rejected) else record.id

    def blobs_in_use(self) -> frozenset[str]:
        """The SHA-256 sums of all blobs that a live job needs."""
        specs = [run.record.spec for run in self._core.runs.values()]
        return frozenset(sha256 for spec in specs for sha256 in spec.blobs)

    @property
    def core(self) -> Core:
        """The state itself, to be looked at only: for tests and the simulator's checks."""
        return self._core

    # ---- events

    def _receive(self, identity: bytes, envelope: Envelope, missing_blobs: tuple[str, ...]) -> None:
        core, message = self._core, envelope.message
        if isinstance(message, Register):
            sessions.register(core, identity, message)
        elif isinstance(message, Heartbeat):
            sessions.heartbeat(core, identity, envelope.session, message)
        elif isinstance(message, AGENT_MESSAGES):
            worker = sessions.accept(core, identity, envelope.session, envelope.number)
            if worker is not None:
                self._from_agent(worker, message)
        elif not requests.handle(core, identity, envelope.number, message, missing_blobs):
            core.complaints.append(f"a peer sent {type(message).__name__}, which is not for a coordinator: dropped")

    def _from_agent(self, worker: Worker, message: Message) -> None:
        core = self._core
        if not worker.ready and not isinstance(message, Inventory | Leave):
            sessions.end(core, worker, f"{type(message).__name__} came before the inventory's end")
            return
        match message:
            case Inventory():
                sessions.inventory(core, worker, message)
            case Prepared():
                jobs.prepared(core, worker, message)
            case AttemptDone(attempt, done):
                attempts.done(core, worker, attempt, done)
            case AttemptFailed(attempt, failure):
                attempts.failed(core, worker, attempt, failure)
            case Progress():
                attempts.progress(core, worker, message)
            case LogLines():
                attempts.log_lines(core, message)
            case Leave(reason):
                sessions.lose(core, worker, reason or "it left")

    def _tick(self) -> None:
        core = self._core
        late, due = core.roster.tick(core.now_s)
        for worker in late:
            sessions.lose(core, worker, "it was silent for longer than its lease")
        for worker in due:
            core.beat(worker)
        scheduling.take_back(core)
        jobs.end_idle(core)
        requests.tick(core)
