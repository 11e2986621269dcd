"""An agent's state machine, and a coordinator's side of its session, for tests."""

from dataclasses import replace

from mapreduce.config import HEARTBEAT_S
from mapreduce.protocol import wire
from mapreduce.protocol.messages import BlobData, GetBlob, PrepareJob, Register, RunAttempt, Welcome
from workers.agent_events import BlobStored, ProcessSaid, Received, Send, Tell, Tick
from workers.agent_state import AgentState
from workers.task_messages import JobProbed, LoadJob, ProbeJob, Run

REGISTER = Register("w1", "name", 2, {"python": "3.11"}, "tcp://127.0.0.1:1")
SHAS = [("code", "c" * 64), ("setup", "s" * 64), ("plan", "p" * 64), ("probe", "q" * 64)]


class Driver:
    """An agent's state with a coordinator's side of the session."""

    def __init__(self):
        self.state = AgentState(REGISTER, "/scratch/jobs", "/scratch/shared")
        self.now_s = 100.0
        self.sent = 0
        self.session = ""
        self.effects = self.state.start()
        self.asked = self.loaded = []  # of the last job: the blobs that were asked for, the processes that load it

    def do(self, event):
        """Handle an event; gives the effects."""
        self.effects = self.state.handle(event, self.now_s)
        return self.effects

    def after(self, seconds):
        """Let time pass, with one tick at its end."""
        self.now_s += seconds
        return self.do(Tick())

    def welcome(self, session="1-1"):
        """Give the agent a session."""
        self.session, self.sent = session, 0
        return self.do(Received(wire.Envelope(session, 0, Welcome(1, 8.0, HEARTBEAT_S))))

    def tell(self, message):
        """A numbered message of the coordinator comes."""
        self.sent += 1
        return self.do(Received(wire.Envelope(self.session, self.sent, message)))

    def tell_raw(self, number, message, session=None):
        """A message with any number comes."""
        return self.do(Received(wire.Envelope(self.session if session is None else session, number, message)))

    def messages(self, kind=object):
        """What the last effects send, of one kind."""
        found = [wire.decode(effect.frame).message for effect in self.effects if isinstance(effect, Send)]
        return [message for message in found if isinstance(message, kind)]

    def numbers(self):
        """The numbers of the messages that the last effects send."""
        return [wire.decode(effect.frame).number for effect in self.effects if isinstance(effect, Send)]

    def of(self, kind):
        """The last effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def ready(self, job="job-1", **more):
        """Have a job prepared; gives the number of the process that probed it. `more` is of its PrepareJob."""
        message = PrepareJob(job, "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64)
        self.tell(replace(message, **more))
        self.asked = [get.sha256 for get in self.messages(GetBlob)]
        roles = {sha256: role for role, sha256 in SHAS if sha256 in self.asked}
        roles |= {sha256: role for role, sha256 in more.items() if sha256 in self.asked}
        for sha256 in self.asked:
            self.tell_raw(0, BlobData(sha256, 0, 3, b"abc"))
        for sha256 in self.asked:
            self.do(BlobStored(job, roles[sha256], sha256))
        self.loaded = [tell.process for tell in self.of(Tell) if isinstance(tell.message, LoadJob)]
        (probe,) = [tell.process for tell in self.of(Tell) if isinstance(tell.message, ProbeJob)]
        self.do(ProcessSaid(probe, JobProbed(job, "/out")))
        return probe

    def run(self, which):
        """Give the agent an attempt; gives the number of its process."""
        self.tell(RunAttempt(which))
        (process,) = [tell.process for tell in self.of(Tell) if isinstance(tell.message, Run)]
        return process
