"""A test's own coordinator: speaks the wire to real agents, and decides nothing by itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import zmq

from mapreduce import planner
from mapreduce.config import BLOB_PIECE_BYTES
from mapreduce.plan import AttemptId, Limits, TaskId, TaskKind
from mapreduce.protocol import wire
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    BlobData,
    GetBlob,
    Granted,
    Heartbeat,
    Inventory,
    LogLines,
    Prepared,
    PrepareJob,
    Progress,
    Register,
    Results,
    RunAttempt,
    Source,
    Welcome,
)
from mapreduce.request import Request

DEADLINE_S = 60  # for any one event: a loaded machine of two cores stalls for seconds


class Agent:
    """One registered agent, as the test sees it."""

    def __init__(self, coordinator, identity, register, session):
        self.coordinator = coordinator
        self.identity = identity
        self.register = register
        self.session = session
        self.sent = self.received = 0
        self.log = {}

    @property
    def worker(self):
        return self.register.worker

    def tell(self, message):
        """Send a numbered message."""
        self.sent += 1
        self.raw(self.sent, message)

    def raw(self, number, message, session=None):
        """Send a message with any number."""
        envelope = wire.Envelope(self.session if session is None else session, number, message)
        self.coordinator.socket.send_multipart([self.identity, wire.encode(envelope)])

    def expect(self, kind, where=lambda _message: True):
        """Wait for the next message of this kind for which `where` holds; others are dropped, logs kept."""
        return self.coordinator.expect(lambda agent, m: agent is self and isinstance(m, kind) and where(m))

    def prepare(self, planned):
        """Have the job prepared; gives the Prepared."""
        spec = planned.spec
        self.coordinator.blobs |= planned.blobs
        blobs = (spec.code, spec.setup, spec.plan, spec.probe, spec.files)
        self.tell(PrepareJob(spec.job, spec.name, *blobs, warm=spec.warm))
        return self.expect(Prepared)

    def run(self, attempt, *, grant=True):
        """Run an attempt to its end; gives its AttemptDone or AttemptFailed."""
        self.tell(RunAttempt(attempt))
        outcome = self.expect((AttemptDone, AttemptFailed), lambda m: m.attempt == attempt)
        if grant and isinstance(outcome, AttemptDone):
            self.tell(Granted(attempt))
        return outcome

    def source(self, outcome):
        """Where a successful attempt's result lies."""
        facts = self.register
        return Source(outcome.attempt, facts.worker, facts.shuffle_address, facts.shared_folder, outcome.done)


class FakeCoordinator:
    """A ROUTER socket at `address`; agents are started with `start_agent`."""

    def __init__(self, address, folder):
        self.frames = []  # that came, and were not looked at yet
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(address)
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.folder = Path(folder)
        self.agents = {}
        self.blobs = {}
        self.sessions = 0
        self.processes = []
        self.answer_heartbeats = True

    def close(self):
        for process, life in self.processes:
            if life is not None:
                os.close(life)
            process.kill() if life is None else None
            process.wait(DEADLINE_S)
        self.socket.close()
        self.context.term()

    def start_agent(self, *, slots=2, scratch=None, life=True, extra=()):
        """Start an agent process, and wait until it is registered; gives it and its process."""
        scratch = scratch or self.folder / "scratch"
        command = [sys.executable, "-P", "-m", "workers.agent", "--coordinator", self.address, "--slots", str(slots)]
        command += ["--scratch", str(scratch), "--name", "tester", *extra]
        read_end, write_end = os.pipe()
        fds = [read_end] if life else []
        if life:
            command += ["--life-fd", str(read_end)]
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(command, pass_fds=fds, stderr=log, start_new_session=True)
        os.close(read_end)
        if not life:
            os.close(write_end)
        self.processes.append((process, write_end if life else None))
        return self.welcome(), process

    def end_life(self, process):
        """Close the agent's life pipe."""
        place = next(i for i, (found, _) in enumerate(self.processes) if found is process)
        os.close(self.processes[place][1])
        self.processes[place] = (process, None)

    def kill(self, process):
        """Kill an agent as nobody can prepare for."""
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)

    def welcome(self, *, inventory=True):
        """Wait for a Register and give it a session."""
        identity, register = self.register()
        self.sessions += 1
        agent = Agent(self, identity, register, f"1-{self.sessions}")
        self.agents[identity] = agent
        agent.raw(0, Welcome(1, 8.0, 0.2))
        if inventory:
            agent.inventory = agent.expect(Inventory)
        return agent

    def register(self):
        """Wait for a Register; gives who sent it."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            identity, envelope = self.receive(deadline_s)
            if isinstance(envelope.message, Register):
                return identity, envelope.message

    def receive(self, deadline_s):
        """Wait for any frame."""
        if not self.frames:
            left_s = deadline_s - time.monotonic()
            assert self.socket.poll(max(0.0, left_s) * 1000), "no message came from any agent"
            identity, *frames = self.socket.recv_multipart()
            self.frames += [(identity, frame) for frame in frames]
        identity, frame = self.frames.pop(0)
        return identity, wire.decode(frame)

    def expect(self, wanted, deadline_s=DEADLINE_S):
        """Wait for a message of a session for which `wanted(agent, message)` holds; serve blobs meanwhile."""
        end_s = time.monotonic() + deadline_s
        while True:
            identity, envelope = self.receive(end_s)
            agent, message = self.agents.get(identity), envelope.message
            if agent is None or envelope.session != agent.session:
                continue
            if envelope.number:
                assert envelope.number == agent.received + 1, "messages come in order, none twice"
                agent.received = envelope.number
            if isinstance(message, GetBlob):
                self.serve(agent, message)
            elif isinstance(message, Heartbeat) and self.answer_heartbeats:
                agent.raw(0, Heartbeat(agent.sent, agent.received))
            elif isinstance(message, LogLines):
                agent.log[message.attempt] = agent.log.get(message.attempt, "") + message.text
            if wanted(agent, message):
                return message
            assert not isinstance(message, Progress) or message.attempts

    def serve(self, agent, message):
        data = self.blobs[message.sha256]
        piece = data[message.offset : message.offset + BLOB_PIECE_BYTES]
        agent.raw(0, BlobData(message.sha256, message.offset, len(data), piece))


def plan_job(folder, job, texts, *, reducers=2, split_size=None, **options):
    """Plan a job over texts, each a file's content; the output goes to folder/out."""
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"input{number}.txt"
        path.write_text(text, encoding="utf-8")
        paths.append(str(path))
    request = Request(
        job, tuple(paths), output=str(folder / "out"), reducers=reducers, split_size=split_size, **options
    )
    return planner.plan(request)


def attempt(planned, kind, index, number=1, step=0):
    """Name an attempt."""
    return AttemptId(TaskId(planned.spec.job, step, TaskKind(kind), index), number)


def results(planned, sources, *, of_maps=True, step=0):
    """Say where results lie."""
    return Results(planned.spec.job, step, of_maps, tuple(sources))


SMALL = Limits(flush_records=1000, sort_buffer=50_000, block=4_000, merge=400_000, read=20_000)


def process_alive(pid):
    """Whether a process runs (a zombie does not)."""
    return parent_of(pid) is not None


def parent_of(pid):
    """The parent of a live process; None if it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = text.rsplit(")", 1)[1].split()[:2]
    return None if state == "Z" else int(parent)


def descendants(pid):
    """All live processes below `pid`."""
    parents = {
        int(entry.name): parent_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()
    }
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}
