"""The coordinator's core with thousands of simulated workers, in one process: what an event costs as jobs grow.

python -m benchmarks.coordinator_scale [--quick]

The core is the real one, and so is its journal: on the disk, with a commit for each round of events as in the server.
The agents are simulated, answer at once or after simulated time, and have no sockets; frames are written and read as
they would be. Each case runs in a process of its own, whose largest memory is that of the core, its journal and all the
agents. What is measured of an event is what the core takes for it, and its share of its round's commit.
"""

import argparse
import dataclasses
import gc
import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from mapreduce.coordinator.__main__ import GC_THRESHOLDS
from mapreduce.coordinator.events import Proceed, Received, Tick
from mapreduce.coordinator.journal import Journal
from mapreduce.coordinator.records import DIGEST_BYTES
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.plan import Done, JobSpec, PartInfo, StepShape, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Encoder, Envelope, decode, encode

VERSIONS = {"python": "3.11"}
ROUND_EVENTS = 500  # before a commit, as in the server
TICK_S = 0.25  # of simulated time
BEAT_S = 1.0  # of simulated time, between two heartbeats of an agent
SHA256 = "0" * 64


@dataclasses.dataclass(frozen=True)
class Case:
    """A job on a cluster. `work_s` is the simulated time of a task."""

    name: str
    maps: int
    reduces: int
    workers: int
    slots: int = 1
    work_s: float = 0.0


FULL = (
    Case("1,000 tasks", 1_000, 0, 5_000),
    Case("10,000 tasks", 10_000, 0, 5_000),
    Case("100,000 tasks", 100_000, 0, 5_000),
    Case("100,000 tasks of 10 s", 100_000, 0, 5_000, work_s=10.0),
    Case("1,000 x 1,000 shuffle", 1_000, 1_000, 5_000),
)
QUICK = (
    Case("200 tasks", 200, 0, 100),
    Case("2,000 tasks", 2_000, 0, 100),
    Case("2,000 tasks of 10 s", 2_000, 0, 100, work_s=10.0),
    Case("100 x 100 shuffle", 100, 100, 100),
)


class Cluster:
    """Simulated agents around a core: they take frames, run each attempt for `work_s`, and ask for its commit."""

    def __init__(self, case, folder):
        self.case, self.now = case, 0.0
        self.journal = Journal(folder)
        self.core = Coordinator(self.journal.epoch, VERSIONS, 0.0)
        self.sent = {}  # by identity: the session, the number of its last message, and that of the last received
        self.events = deque()
        self.later = []  # a heap of what happens in simulated time
        self.serial = 0
        self.waiting = {}  # by identity: what it was told to run and has no slot for
        self.running = {}  # by identity: how many attempts
        self.costs_s, self.rounds_s = [], []
        self.answers = []
        self.encoder = Encoder()

    def happen(self, delay_s, act, *arguments):
        """Have something happen after simulated time."""
        self.serial += 1
        heapq.heappush(self.later, (self.now + delay_s, self.serial, act, arguments))

    def say(self, identity, message, *, numbered=True):
        """An agent says something, within its session."""
        state = self.sent[identity]
        state[1] += numbered
        self.events.append((identity, encode(Envelope(state[0], state[1] if numbered else 0, message))))

    def join(self):
        """Have all agents register."""
        for n in range(self.case.workers):
            identity = n.to_bytes(5, "big")
            self.waiting[identity], self.running[identity] = deque(), 0
            register = m.Register(f"worker-{n}", f"host-{n}", self.case.slots, VERSIONS, f"tcp://10.0.0.1:{n}")
            self.events.append((identity, encode(Envelope("", 0, register))))
        self.drain()

    def beat(self, identity):
        """An agent's heartbeat, and the next one."""
        state = self.sent[identity]
        self.say(identity, m.Heartbeat(state[1], state[2]), numbered=False)
        self.happen(BEAT_S, self.beat, identity)

    def receive(self, identity, envelope):
        """An agent takes what was sent to it."""
        message = envelope.message
        if identity == b"client":
            self.answers.append(message)
            return
        if envelope.number:
            self.sent[identity][2] = envelope.number
        match message:
            case m.Welcome():
                self.sent[identity] = [envelope.session, 0, 0]
                self.say(identity, m.Inventory())
                self.happen(BEAT_S * (len(self.sent) % 100) / 100, self.beat, identity)
            case m.PrepareJob(job):
                self.say(identity, m.Prepared(job))
            case m.RunAttempt(attempt):
                self.waiting[identity].append(attempt)
                self.start(identity)

    def start(self, identity):
        """Run what waits, as far as there are slots."""
        while self.waiting[identity] and self.running[identity] < self.case.slots:
            self.running[identity] += 1
            attempt = self.waiting[identity].popleft()
            if self.case.work_s:
                self.happen(self.case.work_s, self.finish, identity, attempt)
            else:
                self.finish(identity, attempt)

    def finish(self, identity, attempt):
        """An attempt is done."""
        if attempt.task.kind is TaskKind.MAP and self.case.reduces:
            done = Done(records_in=1, runs=1, shuffle_bytes=1, digests=bytes(DIGEST_BYTES * self.case.reduces))
        else:
            done = Done(records_in=1, records_out=1, part=PartInfo(1, 1, "0" * 16))
        self.say(identity, m.AttemptDone(attempt, done))
        self.running[identity] -= 1
        self.start(identity)

    # ---- the coordinator's side

    def round(self):
        """Hand over the events that are there, up to a round's, commit, and send: what the server does."""
        entries, messages, costs = [], [], []
        for _ in range(min(len(self.events), ROUND_EVENTS)):
            identity, frame = self.events.popleft()
            event = Tick() if identity is None else Received(identity, decode(frame))
            while event is not None:
                begun = time.perf_counter()
                effects = self.core.handle(event, self.now)
                costs.append(time.perf_counter() - begun)
                entries += effects.entries
                messages += effects.messages
                event = Proceed() if effects.unfinished else None
        begun = time.perf_counter()
        self.journal.append(entries)
        commit_s = time.perf_counter() - begun
        self.costs_s += [cost + commit_s / len(costs) for cost in costs]
        self.rounds_s.append(commit_s)
        for send in messages:
            self.encoder.encode(send.envelope)
            self.receive(send.identity, send.envelope)

    def drain(self):
        """Rounds until nothing is left to hand over."""
        while self.events:
            self.round()

    def step(self):
        """Simulated time passes, up to the next tick."""
        until = self.now + TICK_S
        while self.later and self.later[0][0] <= until:
            self.now, _, act, arguments = heapq.heappop(self.later)
            act(*arguments)
            if len(self.events) >= ROUND_EVENTS:
                self.round()
        self.now = until
        self.events.append((None, b""))
        self.drain()
        if self.journal.wants_snapshot(self.core.commits):
            self.journal.write_snapshot(self.core.snapshot())

    def run(self):
        """Submit the job, and go on until it is done. Gives the figures."""
        self.join()
        self.costs_s.clear()
        gc.collect()
        spec = JobSpec("job", "name", (StepShape(self.case.maps, self.case.reduces),), *[SHA256] * 4, "/out", 1)
        cpu_s, begun_s = time.process_time(), time.perf_counter()
        self.events.append((b"client", encode(Envelope("", 1, m.Submit(spec)))))
        while self.core.core.durable.jobs.get("job") is None or self.core.core.durable.jobs["job"].is_live:
            self.step()
        wall_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        self.journal.close()
        record = self.core.core.durable.jobs["job"]
        tasks = sum(stage.finished for stage in record.stages)
        return self.figures(tasks, wall_s, cpu_s)

    def figures(self, tasks, wall_s, cpu_s):
        """What was measured, as plain values."""
        costs = sorted(self.costs_s)
        commit_s = sum(self.rounds_s)
        return {
            "tasks": tasks,
            "workers": self.case.workers,
            "events": len(costs),
            "p50_ms": 1000 * costs[len(costs) // 2],
            "p99_ms": 1000 * costs[len(costs) * 99 // 100],
            "max_ms": 1000 * costs[-1],
            "mean_us": 1e6 * sum(costs) / len(costs),
            "commits": len(self.rounds_s),
            "commit_s": commit_s,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "tasks_per_s": tasks / wall_s,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def run_case(case):
    """Run one case in this process, and give its figures."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Cluster(case, Path(folder)).run()
    finally:
        gc.set_threshold(*before)


def run(quick):
    """Run all cases, each in a process of its own; gives their figures by name."""
    found = {}
    for case in QUICK if quick else FULL:
        command = [sys.executable, "-m", "benchmarks.coordinator_scale", "--case", json.dumps(dataclasses.asdict(case))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=os.fspath(Path(__file__).parents[1]))
        found[case.name] = json.loads(done.stdout)
    return found


def table(found):
    """The figures as lines of text."""
    yield f"{'job':24} {'events':>8} {'p50':>8} {'p99':>8} {'max':>9} {'mean':>9} {'tasks/s':>8} {'peak':>7}"
    for name, one in found.items():
        yield (
            f"{name:24} {one['events']:8,} {one['p50_ms']:5.2f} ms {one['p99_ms']:5.2f} ms {one['max_ms']:6.1f} ms "
            f"{one['mean_us']:6.0f} us {one['tasks_per_s']:8,.0f} {one['peak_mb']:4.0f} MB"
        )


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(prog="benchmarks.coordinator_scale", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small jobs on a hundred workers")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        json.dump(run_case(Case(**json.loads(options.case))), sys.stdout)
        return
    for line in table(run(options.quick)):
        print(line)


if __name__ == "__main__":
    main()
