"""Talks to the coordinator's core as agents and a client would, for tests of its rules."""

from mapreduce.coordinator.entries import decode_entry, encode_entry
from mapreduce.coordinator.events import Received, Tick
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.plan import Done, JobSpec, PartInfo, StepShape, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope, encode

VERSIONS = {"python": "3.11"}


def spec(job="j", *shapes, **more):
    """A job of these (maps, reduces); one step of (2, 1) if none are given."""
    steps = tuple(StepShape(*shape) for shape in shapes or [(2, 1)])
    return JobSpec(job, "name", steps, *["0" * 64] * 4, more.pop("output", f"/out/{job}"), 1, **more)


def result(attempt, **more):
    """What an attempt made."""
    part = None if attempt.task.kind is TaskKind.MAP else PartInfo(1, 1, "ff")
    return Done(**{"part": part, **more})


class Driver:
    """Talks to a core as agents and a client; `told` holds what each peer was sent."""

    def __init__(self):
        self.core, self.now = Coordinator(1, VERSIONS, 0.0), 0.0
        self.sessions, self.sent, self.told, self.entries = {}, {}, {}, []
        self.over = set()

    def put(self, peer, envelope):
        return self.take(self.core.handle(Received(peer.encode(), envelope), self.now))

    def tick(self, now):
        self.now = now
        return self.take(self.core.handle(Tick(), now))

    def take(self, effects):
        self.entries += effects.entries
        self.effects = effects
        for send in effects.messages:
            encode(send.envelope)  # whatever is said fits a frame
            self.told.setdefault(send.identity.decode(), []).append(send.envelope.message)
        return effects

    def agent(self, worker, message):
        self.sent[worker] += 1
        return self.put(worker, Envelope(self.sessions[worker], self.sent[worker], message))

    def join(self, worker, slots=1, **inventory):
        self.put(worker, Envelope("", 0, m.Register(worker, worker, slots, VERSIONS, "tcp://x")))
        self.sessions[worker], self.sent[worker] = self.effects.messages[-1].envelope.session, 0
        self.agent(worker, m.Inventory(**inventory))

    def restart(self):
        """The coordinator dies, and another goes on with its journal; no worker has come back yet."""
        epoch = self.core.core.epoch + 1
        entries = [decode_entry(encode_entry(entry)) for entry in self.entries]
        self.core = Coordinator.recover(epoch, VERSIONS, self.now, snapshot=None, entries=entries)

    def ask(self, message):
        self.put("client", Envelope("", 1, message))
        return self.told["client"][-1]

    def submit(self, job, *workers):
        assert isinstance(self.ask(m.Submit(job)), m.Accepted)
        for worker in workers:
            self.agent(worker, m.Prepared(job.job))

    def running(self, worker):
        """What the worker was told to run and has not answered."""
        return [message.attempt for message in self.told.get(worker, []) if isinstance(message, m.RunAttempt)]

    def finish(self, worker, attempt=None, **more):
        attempt = attempt or [one for one in self.running(worker) if one not in self.over][-1]
        self.over.add(attempt)
        self.agent(worker, m.AttemptDone(attempt, result(attempt, **more)))
        return attempt

    def status(self, job="j"):
        return self.ask(m.GetStatus(job))
