"""A whole small cluster, simulated: the coordinator's real core, agents, a bad network; a seed decides everything.

Safety is checked at every step; at the end every job must have ended, with the right counters and the right inputs.
"""

import random
import zlib

from simulated_killers import killers_of

from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.entries import (
    Committed,
    JobEnded,
    JobMoved,
    Restarted,
    Revoked,
    decode_entry,
    encode_entry,
)
from mapreduce.coordinator.events import Received, Tick
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.dataflow.saved_use import bitmap
from mapreduce.plan import (
    EVERY_PART,
    AttemptId,
    Done,
    Failure,
    FailureKind,
    JobSpec,
    MaxBad,
    PartInfo,
    StepShape,
    TaskKind,
)
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope, decode, encode

VERSIONS = {"python": "3.11", "engine": "1", "polars": "2"}
STEP_S = 0.25
FAULTS_S = 40.0  # faults end then
QUIET_S = 6.0  # after all that: for what was lost to be noticed, and for the last word of stopped attempts
LIMIT_S = 240.0  # and the jobs must have ended: some ten leases later
SHAPES = [
    (StepShape(5, 3),),
    (StepShape(4, 0),),
    (StepShape(4, 2), StepShape(2, 3)),
    (StepShape(3, 3), StepShape(3, 0), StepShape(3, 2)),
    (StepShape(0, 2),),
]


class Agent:
    """A worker that follows the protocol and does no work but remember: it checks that its inputs are there."""

    def __init__(self, sim, identity, worker):
        self.sim, self.identity, self.worker, self.slots = sim, identity, worker, sim.random.choice([1, 2, 3])
        self.session, self.sent, self.received = "", 0, 0
        self.running, self.outcomes, self.kept, self.prepared = {}, {}, set(), set()
        self.sources = {}
        self.paused_until = 0.0
        self.beat = self.asked = -1.0

    def send(self, message):
        """Send within the session, numbered."""
        if self.session:
            self.sent += 1
            self.sim.to_coordinator(self.identity, Envelope(self.session, self.sent, message))

    def holds_jobs(self):
        """Whether it is ready for a job."""
        return bool(self.prepared)

    def step(self, now):
        """Do what is due."""
        if not self.session:
            if now - self.asked >= 0.5:
                self.asked = now
                register = m.Register(self.worker, self.worker, self.slots, VERSIONS, f"tcp://{self.worker}", "/f")
                self.sim.to_coordinator(self.identity, Envelope("", 0, register))
        elif now - self.beat >= 1.0:
            self.beat = now
            self.sim.to_coordinator(self.identity, Envelope(self.session, 0, m.Heartbeat(self.sent, self.received)))
        for attempt, (until, pinned) in list(self.running.items()):
            if now >= until:
                del self.running[attempt]
                self.finish(attempt, pinned)

    def finish(self, attempt, pinned):
        """The attempt is over: report the first input that is lost, a random failure, or success."""
        lost = next((source for source in pinned if not self.sim.holds(source)), None)
        roll = self.sim.random.random() if self.sim.now < FAULTS_S else 1.0
        if lost is not None:
            outcome = m.AttemptFailed(attempt, Failure(FailureKind.INPUT_LOST, "gone", producer=lost.attempt))
        elif roll < 0.03:
            outcome = m.AttemptFailed(attempt, Failure(FailureKind.DISK, "disk full"))
        else:
            outcome = m.AttemptDone(attempt, self.sim.result(attempt, self.worker))
            self.sim.made.add((self.worker, attempt))
        self.outcomes[attempt] = outcome
        self.send(outcome)

    def receive(self, envelope):
        """Follow the session's rules, then act."""
        message = envelope.message
        if isinstance(message, m.Welcome):
            if message.worker == self.worker and envelope.session != self.session:
                self.session, self.sent, self.received = envelope.session, 0, 0
                inventory = [tuple(x) for x in (self.running, self.outcomes, self.kept, self.prepared)]
                for part, kind in enumerate(("running", "finished", "kept", "prepared")):
                    self.send(m.Inventory(**{kind: inventory[part]}, last=part == 3))
                for outcome in list(self.outcomes.values()):
                    self.send(outcome)
            return
        if envelope.session != self.session:
            return
        if isinstance(message, m.SessionEnded):
            self.session = ""
        elif isinstance(message, m.Heartbeat):
            if message.sent > self.received:
                self.session = ""
            for attempt in [a for a, o in self.outcomes.items() if isinstance(o, m.AttemptFailed)]:
                if message.received >= self.sent:
                    del self.outcomes[attempt]
        elif envelope.number == self.received + 1:
            self.received += 1
            self.act(message)
        elif envelope.number > self.received:
            self.session = ""

    def act(self, message):
        match message:
            case m.PrepareJob(job):
                self.prepared.add(job)
                self.send(m.Prepared(job, saved=bitmap(self.sim.saved_on(self.worker, job))))
            case m.Results(job, step, of_maps, sources):
                for source in sources:
                    self.sources[job, step, of_maps, source.attempt.task.index] = source
            case m.RunAttempt(attempt, previous):
                pinned = self.sim.inputs(self, attempt)
                self.sim.check_previous(attempt, previous)
                self.running[attempt] = (self.sim.now + self.sim.random.choice([0.0, 0.5, 2.0]), pinned)
                assert len(self.running) <= self.slots, f"{self.worker} has {self.slots} slots: {list(self.running)}"
            case m.Granted(attempt):
                if self.outcomes.pop(attempt, None) is not None:
                    self.kept.add(attempt)
            case m.Dropped(attempt) | m.CancelAttempt(attempt):
                self.kept.discard(attempt)
                self.outcomes.pop(attempt, None)
                if self.running.pop(attempt, None) is not None:
                    self.send(m.AttemptFailed(attempt, Failure(FailureKind.LOST, "cancelled")))
            case m.ForgetJob(job):
                for attempt in [a for a in self.running if a.task.job == job]:
                    del self.running[attempt]
                    self.send(m.AttemptFailed(attempt, Failure(FailureKind.LOST, "forgotten")))
                self.prepared.discard(job)
                self.outcomes = {a: o for a, o in self.outcomes.items() if a.task.job != job}
                self.kept = {a for a in self.kept if a.task.job != job}
                self.sources = {k: s for k, s in self.sources.items() if k[0] != job}


class Simulation:
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
            kept = {"resumes": "before"}
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

    def check_previous(self, attempt, previous):
        shapes = self.specs[attempt.task.job].steps[: attempt.task.step]
        expected = tuple({"tasks": s.maps + s.reduces} if s.maps + s.reduces else {} for s in shapes)
        assert previous == expected

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

    def check(self, entry):
        match entry:
            case Committed(attempt, worker):
                assert (worker, attempt) in self.made, f"{attempt} is no success of {worker}"
                assert attempt.task not in self.commits, f"two commits of {attempt.task}"
                assert attempt.number not in self.last_commits.get(attempt.task, ()), "an attempt number is used again"
                self.commits[attempt.task] = attempt.number
                self.last_commits.setdefault(attempt.task, set()).add(attempt.number)
            case Revoked(attempt):
                assert self.commits.pop(attempt.task) == attempt.number
            case Restarted():
                assert self.wild, "deterministic results were taken for different ones"
            case JobMoved(job, "kept") | JobEnded(job, "done"):
                self.check_what_was_read(job)

    def check_results_are_held(self):
        """What a task will read is on a worker that is not given up, or is being made again."""
        for run in self.core.core.runs.values():
            stages = run.record.stages
            for number, stage in enumerate(stages):
                for index, commit in stage.commits.items() if run.record.is_held(number) else ():
                    if commit.worker not in self.core.core.durable.workers:
                        assert number < run.record.final, f"{run.record.task(number, index)} is lost, and to be kept"
                        reader = stages[number + 1]
                        needed = (
                            not reader.is_whole if run.record.reads_all(number + 1) else index not in reader.commits
                        )
                        assert not needed, f"{run.record.task(number, index)} is lost, and will be read"
                        assert index in run.lost[number]

    def check_what_was_read(self, job):
        """Every result of the job is made of the current results before it, and of no others.

        Kept ones may be on their way again, or have made their job fail because they differ each time.
        """
        for task, number in self.commits.items():
            for source, content in self.read[AttemptId(task, number)].items() if task.job == job else ():
                if source.task.job != job and (source.task not in self.commits or self.has_failed(source.task.job)):
                    continue
                now = self.content[AttemptId(source.task, self.commits[source.task])]
                place = task.index if task.kind is TaskKind.REDUCE else 0
                assert now[place] == content, f"{task} has read what {source} made, which is no longer true"

    def has_failed(self, job):
        return self.core.core.durable.jobs[job].state == "failed"

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

    def check_all_is_free(self):
        """When all is over, every slot is free again, and the agents have forgotten the jobs."""
        while self.now < FAULTS_S:
            self.step()
        end = max(self.now, *(agent.paused_until for agent in self.agents)) + QUIET_S
        while self.now < end:
            self.step()
        for worker in self.core.core.roster.workers.values():
            assert not worker.busy, f"{worker.id} has slots that no attempt gives back: {worker.busy}"
        for agent in self.agents:
            assert not agent.kept, f"{agent.worker} keeps results of jobs that are over: {agent.kept}"
            assert not agent.holds_jobs(), f"{agent.worker} holds jobs that are over"

    def check_end(self):
        for job, spec in self.specs.items():
            record = self.core.core.durable.jobs.get(job)
            if record is None and self.is_over(job):
                continue
            run = self.core.core.runs.get(job)
            detail = (record.state, run and (run.frontier, run.running, run.prepared, run.waiting))
            if record.failure is not None:  # four full disks in a row are a fair end
                wild = self.wild and "is not deterministic" in record.failure.message
                gone = any(map(self.has_failed, spec.reads)) and "kept result" in record.failure.message
                fair = {FailureKind.DISK} if self.killing else {FailureKind.DISK, FailureKind.DIED}
                assert wild or gone or record.failure.kind in fair, record.failure
                continue
            assert record.state == "done", detail
            taken = {AttemptId(task, number) for task, number in self.commits.items()} & self.reused
            assert record.reused_maps == sum(attempt.task.job == job for attempt in taken)
            counted = [c.values.get("tasks", 0) for c in record.counted]
            expected = [s.maps + s.reduces for s in spec.steps]
            expected[-1] += not spec.keep  # the job commit
            assert counted == expected, "each committed attempt counts once"
            if self.killing:
                tasks = [task for task in self.commits if task.job == job]
                killed = sum(len(killers_of(task)) for task in tasks)
                assert sum(record.bad.kinds.values()) == killed, "each record that kills is put aside once"
        assert self.replayed().to_plain() == self.core.core.durable.to_plain()
