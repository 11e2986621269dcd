"""Conversations with the coordinator's core as readable transcripts, replayed.

A transcript (`*.txt` here) has commands at the start of a line and, indented below each, what the core made of it:
`journal` entries, messages `to` a peer, log lines (`complaint`). `#` begins a comment. The commands:

    at SECONDS                          time moves on, and a tick comes
    submit JOB MAPSxREDUCES...          a client submits a job; priority=N, attempts=N, keep=1, reads=JOB,
                                        resumes=JOB and max_bad=N may follow
    cancel JOB | watch JOB | status JOB
    register WORKER [slots=N] [python=VERSION]
    inventory WORKER [running=..] [finished=..] [kept=..] [prepared=..]     attempts as JOB/[STEP:]map0#7
    prepared WORKER JOB [PROBLEM] [saved=INDEX,...]
    done WORKER ATTEMPT [digests=TEXT] [part=TEXT] [reused=1] [NAME=COUNT ...]
    failed WORKER ATTEMPT KIND [producer=ATTEMPT]
    heartbeat WORKER [sent=N] | leave WORKER
    lose WORKER                         its next message is lost
    restart                             the coordinator, on its journal

`python tests/scenarios/test_scenarios.py` writes all transcripts anew from their commands: look at the difference.
"""

import dataclasses
import enum
import re
from pathlib import Path

import pytest

from mapreduce.coordinator.entries import decode_entry, encode_entry
from mapreduce.coordinator.events import Received, Tick
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.dataflow.saved_use import bitmap
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, JobSpec, MaxBad, PartInfo, StepShape, TaskId, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope

FOLDER = Path(__file__).parent
VERSIONS = {"python": "3.11", "polars": "2.1.0"}
ATTEMPT = re.compile(r"(\w+)/(?:(\d+):)?(map|reduce|commit)(\d+)#(\d+)")


def parse_attempt(text):
    job, step, kind, index, number = ATTEMPT.fullmatch(text).groups()
    return AttemptId(TaskId(job, int(step or 0), TaskKind(kind), int(index)), int(number))


def attempts(text):
    return tuple(parse_attempt(part) for part in text.split(",") if part)


def show(value):
    """A value in short: defaults left out, attempts as in the commands."""
    if isinstance(value, AttemptId):
        return f"{show(value.task)}#{value.number}"
    if isinstance(value, TaskId):
        return f"{value.job}/{f'{value.step}:' if value.step else ''}{value.kind.value}{value.index}"
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, m.Source):
        return f"{show(value.attempt)}@{value.worker}"
    if isinstance(value, JobSpec):
        return f"{value.job} {' '.join(f'{s.maps}x{s.reduces}' for s in value.steps)}"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, tuple):
        return f"({', '.join(map(show, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {show(v)}' for k, v in value.items())}}}"
    if not dataclasses.is_dataclass(value):
        return str(value)
    shown = []
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        factory = field.default_factory
        default = factory() if factory is not dataclasses.MISSING else field.default
        if item != default and field.name not in {"lease_s", "heartbeat_s", "code", "setup", "plan", "probe"}:
            shown.append(f"{field.name}={show(item)}")
    return f"{type(value).__name__}({', '.join(shown)})"


class Conversation:
    """Carries out commands, and notes what comes of each."""

    def __init__(self):
        self.now = 0.0
        self.epoch = 1
        self.core = Coordinator(1, VERSIONS, 0.0)
        self.journal = []
        self.sessions, self.sent, self.got = {}, {}, {}
        self.requests = 0

    def run(self, line):
        name, *words = line.split("#", 1)[0].split() if not ATTEMPT.search(line) else line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        return getattr(self, f"do_{name}")(*plain, **options)

    def handle(self, event):
        effects = self.core.handle(event, self.now)
        lines = [f"    journal {show(entry)}" for entry in effects.entries]
        self.journal += [encode_entry(entry) for entry in effects.entries]
        for send in effects.messages:
            peer, envelope = send.identity.decode(), send.envelope
            if isinstance(envelope.message, m.Welcome):
                self.sessions[peer], self.sent[peer] = envelope.session, 0
            number = f" {envelope.number}" if envelope.session and envelope.number else ""
            lines.append(f"    to {peer}{number}: {show(envelope.message)}")
        return lines + [f"    complaint: {text}" for text in effects.complaints]

    def client(self, message):
        self.requests += 1
        return self.handle(Received(b"client", Envelope("", self.requests, message)))

    def agent(self, worker, message):
        self.sent[worker] += 1
        envelope = Envelope(self.sessions[worker], self.sent[worker], message)
        return self.handle(Received(worker.encode(), envelope))

    def do_at(self, seconds):
        self.now = float(seconds)
        return self.handle(Tick())

    def do_submit(self, job, *shapes, priority=0, attempts=2, keep="", reads="", resumes="", max_bad=""):
        steps = tuple(StepShape(*map(int, shape.split("x"))) for shape in shapes)
        spec = JobSpec(
            job,
            job,
            steps,
            *["0" * 64] * 4,
            output="" if keep else f"/out/{job}",
            input_bytes=1,
            priority=int(priority),
            user_attempts=int(attempts),
            keep=bool(keep),
            reads=(reads,) if reads else (),
            reads_at=(0,) if reads else (),
            resumes=(resumes,) if resumes else (),
            max_bad=MaxBad(int(max_bad)) if max_bad else None,
        )
        return self.client(m.Submit(spec))

    def do_cancel(self, job):
        return self.client(m.Cancel(job))

    def do_watch(self, job):
        return self.client(m.Watch(job))

    def do_status(self, job):
        return self.client(m.GetStatus(job))

    def do_register(self, worker, slots=1, python="3.11"):
        message = m.Register(worker, worker, int(slots), VERSIONS | {"python": python}, f"tcp://{worker}")
        return self.handle(Received(worker.encode(), Envelope("", 0, message)))

    def do_inventory(self, worker, running="", finished="", kept="", prepared=""):
        jobs = tuple(prepared.split(",")) if prepared else ()
        return self.agent(worker, m.Inventory(attempts(running), attempts(finished), attempts(kept), jobs))

    def do_prepared(self, worker, job, *problem, saved=""):
        failure = Failure(FailureKind.FATAL, " ".join(problem)) if problem else None
        return self.agent(worker, m.Prepared(job, failure, bitmap(int(n) for n in saved.split(",") if n)))

    def do_done(self, worker, attempt, digests="", part="", reused="", **counters):
        info = PartInfo(1, 1, part) if part else None
        counts = {name: int(value) for name, value in counters.items()}
        return self.agent(
            worker,
            m.AttemptDone(
                parse_attempt(attempt),
                Done(digests=digests.encode(), part=info, counters=counts, reused=bool(reused)),
            ),
        )

    def do_failed(self, worker, attempt, kind, producer=None):
        made = parse_attempt(producer) if producer else None
        return self.agent(
            worker, m.AttemptFailed(parse_attempt(attempt), Failure(FailureKind(kind), f"it {kind}", producer=made))
        )

    def do_heartbeat(self, worker, sent=None):
        beat = m.Heartbeat(self.sent[worker] if sent is None else int(sent), 0)
        return self.handle(Received(worker.encode(), Envelope(self.sessions[worker], 0, beat)))

    def do_leave(self, worker):
        return self.agent(worker, m.Leave("bye"))

    def do_lose(self, worker):
        self.sent[worker] += 1
        return []

    def do_restart(self):
        self.epoch += 1
        entries = [decode_entry(data) for data in self.journal]
        self.core = Coordinator.recover(self.epoch, VERSIONS, self.now, snapshot=None, entries=entries)
        return []


def replay(text):
    """The transcript that its commands give now."""
    conversation, lines = Conversation(), []
    for line in text.splitlines():
        if not line.startswith(" "):
            lines.append(line)
            if line and not line.startswith("#"):
                lines += conversation.run(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_the_conversation_goes_as_written(path):
    """The core answers each command of the transcript with exactly what stands below it."""
    text = path.read_text()
    assert replay(text) == text


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.txt")):
        path.write_text(replay(path.read_text()))
