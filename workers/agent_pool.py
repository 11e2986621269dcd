"""Which task processes an agent has, and which one serves what. Pure.

Owns the rules of reuse: a process serves one job for life (user code may change it in any way), one attempt at a time,
and is killed after a failure, so that the next attempt runs in another. As many as there are slots are started ahead.

Jobs of one client that say so (with the same token `warm`) and have the same code share processes, one after the other:
when such a job ends, those that are idle are kept for the next, with all that they have loaded. The next may take over
those that are idle before that, too: a job lives on as long as its results are kept.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import field

from mapreduce.config import STDERR_TAIL_LINES
from mapreduce.plan import AttemptId
from mapreduce.quick_dataclass import dataclass
from workers.agent_events import Effect, KillProcess, StartProcess, Tell
from workers.agent_jobs import HeldJob
from workers.task_messages import LoadJob

TAIL_LINE_CHARS = 400  # of one line in a tail: twenty such lines stay far below FAILURE_TEXT_CHARS
CRASH = "Fatal Python error: "  # how the interpreter's own report begins; the innermost frame comes first
SPARE_PROCESSES = 1  # beyond the slots, for probing a job while others run: idle ones above that are killed
WARM_IDLE_S = 600.0  # without a job: a person thinks for minutes between two runs, then the memory is for others


class Role(enum.StrEnum):
    """What a task process is doing."""

    IDLE = "idle"
    PROBING = "probing"
    RUNNING = "running"
    CLEANING = "cleaning"
    DYING = "dying"


class OutputTail:
    """The last lines that a process wrote; of a crash that the interpreter reports, its first, where it happened."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self._crash: list[str] = []
        self._last = ""

    def add(self, text: str) -> None:
        """Take more text, cut anywhere."""
        *lines, last = text.split("\n")
        for line in lines:
            self._add_line((self._last + line)[:TAIL_LINE_CHARS])
            self._last = ""
        self._last = (self._last + last)[:TAIL_LINE_CHARS]

    def text(self) -> str:
        """The last lines, the unfinished one included."""
        lines = self._crash or self._lines
        return "\n".join([*lines, self._last] if self._last else lines)

    def _add_line(self, line: str) -> None:
        self._lines.append(line)
        if line.startswith(CRASH) or 0 < len(self._crash) < STDERR_TAIL_LINES:
            self._crash.append(line)


@dataclass(slots=True)
class TaskProcess:
    """One task process. `told` is the version of its job's sources that it knows; `drop` is deleted after its end.

    `attempt` is the first that it was handed and has not told the outcome of, `behind` are the others; their turns are
    numbered, none twice: that of `attempt` is `turn`, and `last` the last one. `at` is the turn that it was seen at
    last, and `since_s` when it was handed them, or told of the last. `left` are those that it had when it was killed.
    `stopped` is the attempt that ran in it when it was killed at the coordinator's wish. `load` is what it was last
    told to serve; `job` is "" before that, and again once a job is over whose processes stay `warm`. `idle_s` is since
    when it has been kept so.
    """

    number: int
    job: str = ""
    warm: str = ""
    load: LoadJob | None = None
    idle_s: float | None = None
    role: Role = Role.IDLE
    attempt: AttemptId | None = None
    behind: deque[AttemptId] = field(default_factory=deque)
    left: list[AttemptId] = field(default_factory=list)
    turn: int = 0
    last: int = 0
    at: int = 0
    since_s: float = 0.0
    told: int = 0
    drop: AttemptId | None = None
    stopped: AttemptId | None = None
    used: bool = False
    tail: OutputTail = field(default_factory=OutputTail)

    def hand(self, attempts: Sequence[AttemptId], now_s: float) -> None:
        """It is to run these, one after the other."""
        self.attempt, self.since_s = attempts[0], now_s
        self.behind = deque(attempts[1:])
        self.turn = self.last + 1
        self.last += len(attempts)

    @property
    def handed(self) -> list[AttemptId]:
        """All that it has to run."""
        return [] if self.attempt is None else [self.attempt, *self.behind]

    @property
    def at_hand(self) -> AttemptId | None:
        """What it is at work on, as far as it was seen."""
        place = min(self.at - self.turn, len(self.behind))  # it may have come to a turn that was taken back
        return self.behind[place - 1] if place > 0 else self.attempt

    def finish(self) -> None:
        """The first of its attempts is over."""
        self.attempt = self.behind.popleft() if self.behind else None
        self.turn += 1

    def take_back(self, first: int) -> list[AttemptId]:
        """It has not begun those with turns from `first` on, and will not: give them."""
        handed = self.handed
        begun, back = handed[: max(0, first - self.turn)], handed[max(0, first - self.turn) :]
        self.attempt = begun[0] if begun else None
        self.behind = deque(begun[1:])
        return back


class Pool:
    """The agent's task processes."""

    def __init__(self, slots: int, *, one_job: bool = False) -> None:
        """With `one_job` no processes are started for others, once it is over."""
        self._slots = self._ahead = slots
        self._one_job = one_job
        self._last = 0
        self._processes: dict[int, TaskProcess] = {}  # the least recently used first

    def get(self, number: int) -> TaskProcess | None:
        """That process, unless it is gone."""
        return self._processes.get(number)

    @property
    def slots(self) -> int:
        """How many attempts run at a time."""
        return self._slots

    def seen_at(self, number: int, turn: int) -> list[Effect]:
        """A process has come to this turn."""
        if number in self._processes:
            self._processes[number].at = turn
        return []

    def holding_up(self, since_s: float) -> list[int]:
        """The processes that were handed several attempts, and have told of none since then."""
        return [p.number for p in self._processes.values() if p.behind and p.since_s <= since_s]

    @property
    def has_slot(self) -> bool:
        """Whether another attempt may begin: one that was stopped keeps its slot until its process is gone."""
        taken = sum(one.role is Role.RUNNING or one.stopped is not None for one in self._processes.values())
        return taken < self._slots

    def of_job(self, job: str) -> list[TaskProcess]:
        """All processes that serve `job`, dying ones included."""
        return [process for process in self._processes.values() if process.job == job]

    def fill(self) -> list[Effect]:
        """Start processes ahead, until there are as many as slots."""
        effects: list[Effect] = []
        while len(self._alive()) < self._ahead:
            effects.append(self._start())
        return effects

    def take(self, job: HeldJob | None, role: Role) -> tuple[TaskProcess, list[Effect]]:
        """Give a process for a job: one that serves it, one that is warm for it, or a fresh one (as for no job)."""
        effects: list[Effect] = []
        process = self._best(job)
        if process is None:
            effects.append(self._start())
            process = self._processes[self._last]
        if job is not None:
            effects += self._bind(process, job)
        process.role = role
        process.used = True
        process.tail = OutputTail()
        self._processes[process.number] = self._processes.pop(process.number)
        return process, effects + self.trim()

    def _best(self, job: HeldJob | None) -> TaskProcess | None:
        """The idle process that suits a job best: of those that suit it alike, the one that was used last."""
        idle = [p for p in self._alive() if p.role is Role.IDLE]
        if job is not None:
            for suits in (
                lambda p: p.job == job.job,
                lambda p: not p.job and _is_warm_for(p, job),
                lambda p: _is_warm_for(p, job),
            ):
                found = next((p for p in reversed(idle) if suits(p)), None)
                if found is not None:
                    return found
        return next((p for p in idle if p.load is None), None)

    def load_ahead(self, job: HeldJob) -> list[Effect]:
        """Have all idle processes that are fresh, or warm for the job, load it, so that its first tasks needn't."""
        idle = [p for p in self._alive() if p.role is Role.IDLE]
        ahead = [p for p in idle if p.load is None or (not p.job and _is_warm_for(p, job))]
        return [effect for process in ahead for effect in self._bind(process, job)]

    def leave(self, job: str, *, loads: bool) -> list[Effect]:
        """A job is over: keep the processes that stay warm, and kill the others. `loads`: its code did load here."""
        effects: list[Effect] = []
        if self._one_job:
            self._ahead = 0
        for process in self.of_job(job):
            if process.warm and process.role is Role.IDLE and loads:
                process.job, process.told, process.idle_s = "", 0, None
            else:
                process.stopped = process.stopped or process.attempt
                effects += self.kill(process)
        return effects + self.trim()

    def cool(self, now_s: float) -> list[Effect]:
        """Kill the processes that have been kept warm for too long."""
        effects: list[Effect] = []
        for process in self._alive():
            if process.job or process.load is None:
                continue
            if process.idle_s is None:
                process.idle_s = now_s
            elif now_s - process.idle_s >= WARM_IDLE_S:
                effects += self.kill(process)
        return effects

    def shared(self) -> set[str]:
        """The sums of the blobs that processes have loaded."""
        return {
            sha256 for p in self._processes.values() if p.load is not None for sha256 in (p.load.code, p.load.files)
        }

    def release(self, process: TaskProcess) -> list[Effect]:
        """The process has done its work well and may do more."""
        process.role = Role.IDLE
        process.attempt = None
        process.behind.clear()
        return self.trim()

    def kill(self, process: TaskProcess, drop: AttemptId | None = None) -> list[Effect]:
        """Kill a process, and have what `drop` made deleted after its end."""
        if drop is not None:
            process.drop = drop
        process.left += [attempt for attempt in process.handed if attempt not in {drop, process.stopped}]
        process.attempt = None
        process.behind.clear()
        if process.role is Role.DYING:
            return []
        process.role = Role.DYING
        return [KillProcess(process.number), *self.fill()]

    def trim(self) -> list[Effect]:
        """Kill idle processes that are too many, the least recently used first."""
        effects: list[Effect] = []
        alive = self._alive()
        surplus = len(alive) - self._slots - SPARE_PROCESSES
        for process in [p for p in alive if p.role is Role.IDLE][: max(0, surplus)]:
            effects += self.kill(process)
        return effects

    def ended(self, number: int) -> TaskProcess | None:
        """The process is gone; give what it was."""
        return self._processes.pop(number, None)

    def _alive(self) -> list[TaskProcess]:
        return [process for process in self._processes.values() if process.role is not Role.DYING]

    def _start(self) -> Effect:
        self._last += 1
        self._processes[self._last] = TaskProcess(self._last)
        return StartProcess(self._last)

    def _bind(self, process: TaskProcess, job: HeldJob) -> list[Effect]:
        if process.job == job.job:
            return []
        process.job, process.warm, process.load, process.told = job.job, job.warm, job.load, 0
        return [Tell(process.number, job.load)]


def _is_warm_for(process: TaskProcess, job: HeldJob) -> bool:
    """Whether a process has loaded this job's code, for the same client."""
    if process.load is None:
        return False
    return bool(job.warm) and process.warm == job.warm and process.load.code == job.load.code
