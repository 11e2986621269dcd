"""The agents of the simulation: a plain one, and the real agents' state machine with modelled processes and disks."""

from simulated_killers import killed_at, with_bad

from mapreduce.config import AHEAD_PER_SLOT
from mapreduce.dataflow.saved_use import bitmap
from mapreduce.plan import Failure, FailureKind, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol import plain, wire
from mapreduce.protocol.wire import Envelope
from workers import agent_events as w
from workers import task_messages as t
from workers.agent_state import AgentState
from workers.killers import Mark

VERSIONS = {"python": "3.11", "engine": "1", "polars": "2"}
FAULTS_S = 40.0  # faults end then


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
            if until is not None and now >= until:
                del self.running[attempt]
                self.finish(attempt, pinned)
        self.begin()

    def begin(self):
        """Begin the attempts that have a slot; the others wait for one."""
        for attempt, (until, pinned) in list(self.running.items())[: self.slots]:
            if until is None:
                self.running[attempt] = (self.sim.now + self.sim.random.choice([0.0, 0.5, 2.0]), pinned)

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
                self.running[attempt] = (None, pinned)
                most = self.slots * (1 + AHEAD_PER_SLOT)
                assert len(self.running) <= most, f"{self.worker} has {self.slots} slots: {list(self.running)}"
                self.begin()
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


class Process:
    """A task process: what it was told of one job's results, and the attempt that it runs.

    `ahead` has the turns and attempts that it has not begun, `held` what is done and not told; `turn` is the last that
    it has begun, and `in_turns` says that its attempt has one.
    """

    def __init__(self):
        self.job = self.code = ""
        self.sources = {}
        self.attempt = self.order = None
        self.dying = False
        self.turn, self.ahead, self.held, self.in_turns = 0, [], [], False

    def add(self, packed):
        results = plain.unpack(m.Results, packed)
        assert results.job == self.job, "a process serves one job at a time"
        for source in results.sources:
            self.sources[results.job, results.step, results.of_maps, source.attempt.task.index] = source


class RealAgent:
    """An `AgentState` whose effects are carried out by models. `kept` are the attempts whose files are there."""

    has_processes = True

    def __init__(self, sim, identity, worker):
        self.sim, self.identity, self.worker, self.slots = sim, identity, worker, sim.random.choice([1, 2, 3])
        register = m.Register(worker, worker, self.slots, VERSIONS, f"tcp://{worker}", "/f")
        self.state = AgentState(register, "/jobs", "/shared")
        self.shared = set()
        self.processes, self.kept, self.outcomes = {}, set(), ()
        self.due = []
        self.paused_until = 0.0
        self.perform(self.state.start())

    def later(self, event, delays=(0.0, 0.0, 0.25, 1.0)):
        """Have an event come after a while; those with equal delays come in their order."""
        self.due.append((self.sim.now + self.sim.random.choice(delays), event))

    def handle(self, event):
        self.perform(self.state.handle(event, self.sim.now))

    def holds_jobs(self):
        """Whether it knows a job, or a process serves one."""
        return bool(self.state.outputs())

    def receive(self, envelope):
        """A frame comes from the coordinator."""
        self.handle(w.Received(envelope))

    def step(self, now):
        """Time passes: what was to happen until now happens, then a tick."""
        ready = [item for item in self.due if item[0] <= now]
        self.due = [item for item in self.due if item[0] > now]
        for _, event in sorted(ready, key=lambda item: item[0]):
            self.happen(event)
        self.handle(w.Tick())

    def happen(self, event):
        """Something of the models' comes about, unless its process is gone meanwhile."""
        if isinstance(event, w.ProcessSaid | w.ProcessEnded):
            process = self.processes.get(event.process)
            if process is None or (process.dying and isinstance(event, w.ProcessSaid)):
                return
            if isinstance(event, w.ProcessEnded):
                del self.processes[event.process]
            else:
                event = self.said(event.process, process, self.outcome(process, event.message))
        if isinstance(event, w.ProcessEnded):
            self.handle(w.ProcessAt(event.process, process.turn))
        if event is not None:
            self.handle(event)

    def said(self, number, process, message):
        """What a process says of an outcome, if it says it now; then it goes on with what it was handed."""
        if process.turn == 0 or not process.in_turns or not isinstance(message, t.TaskDone | t.TaskFailed):
            return w.ProcessSaid(number, message)
        if isinstance(message, t.TaskFailed):
            if process.held:
                self.handle(w.ProcessSaid(number, t.TasksDone(tuple(process.held))))
            return w.ProcessSaid(number, message)
        process.held.append(message)
        printed = self.sim.random.random() < 0.02
        if printed:
            self.handle(w.ProcessAt(number, process.turn))
            self.handle(w.ProcessPrinted(number, "printed"))
            process.ahead.clear()
        if not printed and process.ahead:
            self.begin_next(number, process)
            if self.sim.random.random() < 0.5:
                return None
        told = t.TasksDone(tuple(process.held), printed)
        process.held.clear()
        return w.ProcessSaid(number, told)

    def begin_next(self, number, process):
        """The process begins what comes next of what it was handed."""
        process.turn, process.order = process.ahead.pop(0)
        self.run(number, process, process.order.attempt, process.order.previous)

    def outcome(self, process, message):
        """Make the result when it is told."""
        if not isinstance(message, t.TaskDone):
            return message
        attempt, process.attempt = process.attempt, None
        lost = next((source for source in message.done if not self.sim.holds(source)), None)
        if lost is not None:
            return t.TaskFailed(attempt, Failure(FailureKind.INPUT_LOST, "gone", producer=lost.attempt))
        if self.sim.now < FAULTS_S and self.sim.random.random() < 0.03:
            return t.TaskFailed(attempt, Failure(FailureKind.DISK, "disk full"))
        self.sim.made.add((self.worker, attempt))
        self.kept.add(attempt)
        done = self.sim.result(attempt, self.worker)
        return t.TaskDone(attempt, with_bad(process.order, done) if self.sim.killing else done)

    def perform(self, effects):
        taken = []
        for effect in effects:
            match effect:
                case w.TakeBack(number):
                    taken.append(number)
                case w.Send(frame):
                    self.sim.to_coordinator(self.identity, wire.decode(frame))
                case w.StartProcess(number):
                    assert number not in self.processes
                    self.processes[number] = Process()
                case w.KillProcess(number):
                    if number in self.processes:
                        self.processes[number].dying = True
                        self.later(w.ProcessEnded(number, "signal SIGKILL"))
                case w.Tell(number, message):
                    if number in self.processes:
                        self.tell(number, self.processes[number], message)
                case w.StorePiece(job, role, sha256, offset, total, data):
                    if offset + len(data) == total:
                        self.shared |= {sha256} if role == "code" else set()
                        self.later(w.BlobStored(job, role, sha256))
                case w.DeleteShared(sha256):
                    assert not [p for p in self.processes.values() if p.code == sha256], "a process has loaded it"
                    self.shared.discard(sha256)
                case w.DeleteAttempt(attempt):
                    self.kept.discard(attempt)
                case w.DeleteJob(job):
                    left = [p for p in self.processes.values() if p.job == job]
                    warm = self.sim.specs[job].warm
                    busy = [p for p in left if p.attempt or p.dying or not warm]
                    assert not busy, "a job is deleted under a process"
                    for process in left:
                        process.job = ""
                    self.kept = {attempt for attempt in self.kept if attempt.task.job != job}
                case w.Exit(code, reason):
                    raise AssertionError(f"the agent stops with {code}: {reason}")
        for number in taken:
            if number in self.processes:
                process = self.processes[number]
                back = [turn for turn, _ in process.ahead]
                process.ahead.clear()
                self.handle(w.TakenBack(number, min(back, default=0), process.turn))

    def tell(self, number, process, message):
        match message:
            case t.LoadJob(job, _, _, code):
                assert not process.attempt, "a process is told of a job while it is busy"
                assert process.code in {"", code}, "a process serves one code for life"
                assert not process.code or self.sim.specs[job].warm, "only jobs that say so share processes"
                assert code in self.shared, "the code is not there"
                process.job, process.code, process.sources = job, code, {}
            case t.AddSources(packed):
                for one in packed:
                    process.add(one)
            case t.ProbeJob(job):
                assert process.job == job
                self.later(w.ProcessSaid(number, t.JobProbed(job, "/out", saved=self.saved(job))))
            case t.Run(attempt, previous):
                process.order, process.in_turns = message, False
                self.run(number, process, attempt, previous)
            case t.RunEach(first, attempts, previous):
                assert not process.ahead, "what is handed is told of before more is"
                process.in_turns = True
                process.ahead = [(turn, t.Run(attempt, previous)) for turn, attempt in enumerate(attempts, first)]
                self.begin_next(number, process)

    def saved(self, job):
        """What the process finds of the job that this one resumes."""
        return bitmap(self.sim.saved_on(self.worker, job))

    def run(self, number, process, attempt, previous):
        assert process.job == attempt.task.job
        pinned = self.sim.inputs(process, attempt)
        self.sim.check_previous(attempt, previous)
        process.attempt = attempt
        busy = [p.attempt for p in self.processes.values() if p.attempt is not None and not p.dying]
        assert len(busy) <= self.slots, f"{self.worker} has {self.slots} slots: {busy}"
        fatal = attempt.task.kind is not TaskKind.COMMIT and self.sim.now < FAULTS_S and self.sim.random.random() < 0.02
        mark = killed_at(process.order) if self.sim.killing else False
        if fatal:
            place, many = self.sim.random.randrange(100, 1 << 30), self.sim.random.choice([1, 64])
            chance = Mark(place, many) if process.order.careful else None
            self.later(w.ProcessEnded(number, "signal SIGKILL", chance), (0.5, 2.0))
        if mark is not False:
            self.later(w.ProcessEnded(number, "signal SIGSEGV", mark), (0.0, 0.25))
            return
        self.later(w.ProcessSaid(number, t.TaskDone(attempt, pinned)), (0.0, 0.5, 2.0))
