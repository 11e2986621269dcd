"""A whole small cluster, simulated: the coordinator's real core, agents, a bad network; a seed decides everything.

Safety is checked at every step; at the end every job must have ended, with the right counters and the right inputs.
"""

import random
import zlib

from simulated_agent import FAULTS_S, VERSIONS, Agent
from simulated_checks import Checks

from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.entries import decode_entry, encode_entry
from mapreduce.coordinator.events import Received, Tick
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.plan import EVERY_PART, Done, JobSpec, MaxBad, PartInfo, StepShape, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope, decode, encode

STEP_S = 0.25
LIMIT_S = 240.0  # the jobs must have ended: some ten leases after the faults did
SHAPES = [
    (StepShape(5, 3),),
    (StepShape(4, 0),),
    (StepShape(4, 2), StepShape(2, 3)),
    (StepShape(3, 3), StepShape(3, 0), StepShape(3, 2)),
    (StepShape(0, 2),),
]


class Simulation(Checks):
    """One coordinator, some agents, one client; `seed` decides everything."""

    def __init__(self, seed, agent_type=Agent):
        self.random = random.Random(seed)
        self.now = 0.0
        self.epoch = 1
        self.agent_type = agent_type
        self.entries, self.snapshot = [], None
        self.core = Coordinator(1, VERSIONS, 0.0)
        self.commits, self.last_commits = {}, {}
        self.made = set()
        self.wire = []
        self.lives = 0
        self.loss = self.random.choice([0.0, 0.0, 0.02, 0.1])
        self.double = self.random.choice([0.0, 0.05])
        self.trouble = self.random.choice([0.0, 0.005, 0.02])
        self.wild = self.random.choice([0.0, 0.0, 0.5])  # how often a map of the first step makes other records
        self.chances = random.Random(~seed)  # of what came later, so that seeds stay what they were
        self.killing = bool(seed % 2) and getattr(agent_type, "has_processes", False)  # whether some records kill
        self.reused = set()  # the attempts that took what a failed job had left
        self.content, self.read = {}, {}  # by attempt: what it made, by partition; what it read, by its source
        self.agents = [self.new_agent(f"host{n}".encode()) for n in range(self.random.choice([1, 2, 3, 4]))]
        self.specs = {}
        warm = self.random.choice(["", "w"])  # whether all jobs are of one client, and the same code
        for n in range(self.random.choice([1, 2])):
            self.add_job(n, warm)
        self.waits = {}  # jobs that are submitted when another has ended
        if warm:
            self.waits = {self.add_job(len(self.specs), warm): "job0"}
        if self.random.random() < 0.5:
            self.add_chain(warm)

    def add_job(self, n, warm, steps=None, **kept):
        job, blobs = f"job{n}", [f"{n}" * 64] * 3
        code = "c" * 64 if warm else blobs[0]
        output = "" if kept.get("keep") else f"/out{n}"
        steps = steps or self.random.choice(SHAPES)
        if not kept and self.chances.random() < 0.5:
            kept = {"resumes": ("before",)}
        if self.killing:
            kept |= {"max_bad": MaxBad(1_000_000)}
        self.specs[job] = JobSpec(job, "n", steps, code, *blobs, output, 1, priority=n, warm=warm, **kept)
        return job

    def add_chain(self, warm):
        """A job that keeps its results, perhaps one that reads and keeps them too, and one that reads them all."""
        self.trouble = max(self.trouble, 0.01)  # or what is kept is rarely lost while it is read
        kept = [self.add_job(len(self.specs), warm, keep=True)]
        for keep in self.random.choice([(False,), (False, False), (True, False)]):
            reads = tuple(kept) if self.random.random() < 0.5 else tuple(kept[-1:])
            starts, maps = [], self.random.choice([0, 0, 2])  # some tasks may read files
            for job in reads:
                parts = self.specs[job].steps[-1].parts
                every = self.random.random() < 0.2
                starts.append(EVERY_PART if every else maps)
                maps += 0 if every else parts
            reduces = self.random.choice([0, 2])
            more = (StepShape(reduces or max(maps, 1), 2), StepShape(2, 2), StepShape(2, 1))
            steps = (StepShape(max(maps, 1), reduces), *more[: self.random.choice([0, 1, 3])])
            job = self.add_job(len(self.specs), warm, steps, keep=keep, reads=reads, reads_at=tuple(starts))
            kept += [job] if keep else []

    def is_due(self, job):
        """Whether a job may be submitted."""
        jobs = self.core.core.durable.jobs
        before = jobs.get(self.waits.get(job))
        waits = job in self.waits and (before is None or before.is_live)
        return not waits and all(read in jobs and jobs[read].is_live for read in self.specs[job].reads)

    def is_over(self, job):
        """Whether a job has ended, or never begins, since it would read results that were never made."""
        record = self.core.core.durable.jobs.get(job)
        if record is not None:
            return not record.is_live
        jobs = self.core.core.durable.jobs
        return any(
            self.is_over(read) and (read not in jobs or jobs[read].state != "done") for read in self.specs[job].reads
        )

    def readers_of(self, job):
        return [reader for reader, spec in self.specs.items() if job in spec.reads]

    def new_agent(self, identity):
        self.lives += 1
        return self.agent_type(self, identity, f"w{self.lives}")

    # ---- what attempts read and make

    def saved_on(self, worker, job):
        """The map tasks of a job whose results an earlier, failed one has left on a worker."""
        spec = self.specs[job]
        maps = spec.steps[0].maps if spec.resumes else 0
        return {index for index in range(maps) if zlib.crc32(f"{worker}/{job}/{index}".encode()) % 2}

    def result(self, attempt, worker):
        task = attempt.task
        first = task.step == 0 and task.kind is TaskKind.MAP
        reused = first and task.index in self.saved_on(worker, task.job)
        if reused:
            self.reused.add(attempt)
        read = sorted(self.read[attempt].values())
        reduces = self.specs[task.job].steps[task.step].reduces if task.kind is TaskKind.MAP else 0
        made = self.content[attempt] = [
            f"{zlib.crc32(repr((task, place, read, self.chance() if first else 0)).encode()):08x}"
            for place in range(reduces or 1)
        ]
        digests = "".join(made).encode() if reduces else b""
        part = None if digests or task.kind is TaskKind.COMMIT else PartInfo(1, 1, made[0])
        counters = {"tasks": 1}
        return Done(records_in=1, records_out=1, runs=1, digests=digests, part=part, counters=counters, reused=reused)

    def chance(self):
        return self.random.choice([1, 2]) if self.wild and self.random.random() < self.wild else 0

    def inputs(self, agent, attempt):
        """The sources that the attempt reads; every one must have been told."""
        task, shapes = attempt.task, self.specs[attempt.task.job].steps
        step = task.step
        if task.kind is TaskKind.REDUCE:
            keys = [(task.job, step, True, n) for n in range(shapes[step].maps)]
        elif task.kind is TaskKind.COMMIT:
            keys = [(task.job, step, False, n) for n in range(shapes[step].parts)]
        elif step > 0:
            keys = [(task.job, step - 1, False, task.index)]
        else:
            keys = self.kept_inputs(task)
        sources = [agent.sources[key] for key in keys]
        place = task.index if task.kind is TaskKind.REDUCE else 0
        self.read[attempt] = {source.attempt: self.content[source.attempt][place] for source in sources}
        # The parts of the last step lie in the shared output folder: they cannot be lost.
        return [] if task.kind is TaskKind.COMMIT else sources

    def kept_inputs(self, task):
        """What a map task of the first step reads of kept jobs, as the agent was told it."""
        spec = self.specs[task.job]
        for number, (job, start) in enumerate(zip(spec.reads, spec.reads_at, strict=True)):
            parts = range(self.specs[job].steps[-1].parts)
            for part in parts if start == EVERY_PART else {task.index - start} & set(parts):
                yield (task.job, -1 - number, False, part)

    def holds(self, source):
        return any(
            agent.worker == source.worker and (source.attempt in agent.kept or source.attempt in agent.outcomes)
            for agent in self.agents
        )

    # ---- network and coordinator

    def to_coordinator(self, identity, envelope):
        self.post(("c", identity, encode(envelope)))

    def post(self, item):
        faulty = self.now < FAULTS_S
        if faulty and self.random.random() < self.loss:
            return
        copies = 2 if faulty and self.random.random() < self.double else 1
        for _ in range(copies):
            delay = self.random.choice([0.0, 0.0, 0.1, 1.0]) if faulty and self.loss else 0.0
            self.wire.append((self.now + delay, len(self.wire), item))

    def handle(self, event):
        if isinstance(event, Received) and isinstance(event.envelope.message, m.GetBlob):
            self.serve_blob(event.identity, event.envelope)
            return
        effects = self.core.handle(event, self.now)
        for entry in effects.entries:
            self.check(entry)
            self.entries.append(encode_entry(entry))
        if self.now < FAULTS_S and self.random.random() < self.trouble / 20:
            self.restart()  # after the journal, before the messages
            return
        for send in effects.messages:
            self.post(("a", send.identity, encode(send.envelope)))
        if effects.entries:
            self.check_results_are_held()

    def serve_blob(self, identity, envelope):
        """What the server's shell does: every blob has one byte."""
        if self.core.knows_session(identity, envelope.session):
            answer = m.BlobData(envelope.message.sha256, 0, 1, b"x")
            self.post(("a", identity, encode(Envelope(envelope.session, 0, answer))))

    def replayed(self):
        durable = Durable() if self.snapshot is None else Durable.from_plain(self.snapshot)
        for data in self.entries:
            durable.apply(decode_entry(data))
        return durable

    def restart(self):
        live, again = self.core.core.durable, self.replayed()
        assert again.to_plain() == live.to_plain(), "the journal replayed gives another state"
        assert (again.held, again.outputs, again.commits) == (live.held, live.outputs, live.commits)
        self.epoch += 1
        entries = [decode_entry(data) for data in self.entries]
        self.core = Coordinator.recover(self.epoch, VERSIONS, self.now, snapshot=self.snapshot, entries=entries)
        if self.random.random() < 0.5:
            self.snapshot, self.entries = self.core.snapshot(), []

    # ---- time

    def break_something(self):
        for place, agent in enumerate(self.agents):
            roll = self.random.random()
            if roll < self.trouble:
                self.agents[place] = self.new_agent(agent.identity)  # killed, and started again
            elif roll < 2 * self.trouble:
                agent.paused_until = self.now + self.random.choice([3.0, 9.0, 15.0])
        if self.random.random() < self.trouble:
            self.restart()

    def step(self):
        self.now += STEP_S
        if self.now < FAULTS_S:
            self.break_something()
        due = sorted(item for item in self.wire if item[0] <= self.now)
        self.wire = [item for item in self.wire if item[0] > self.now]
        held = []
        for when, number, (to, identity, frame) in due:
            if to == "c":
                self.handle(Received(identity, decode(frame)))
                continue
            for agent in self.agents:
                if agent.identity == identity:
                    if agent.paused_until > self.now:
                        held.append((when, number, (to, identity, frame)))
                    else:
                        agent.receive(decode(frame))
        self.wire = held + self.wire
        for agent in self.agents:
            if agent.paused_until <= self.now:
                agent.step(self.now)
        self.handle(Tick())
        for job, spec in self.specs.items():
            if job not in self.core.core.durable.jobs and self.is_due(job):
                self.to_coordinator(b"client", Envelope("", 1, m.Submit(spec)))
            elif spec.keep and self.is_kept(job) and all(map(self.is_over, self.readers_of(job))):
                self.to_coordinator(b"client", Envelope("", 2, m.Cancel(job)))

    def is_kept(self, job):
        record = self.core.core.durable.jobs.get(job)
        return record is not None and record.state == "kept"

    def run(self):
        while self.now < LIMIT_S:
            self.step()
            if all(map(self.is_over, self.specs)):
                break
        self.check_end()
        self.check_all_is_free()
