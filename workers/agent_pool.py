"""Which task processes an agent has, and which one serves what. Pure.

Owns the rules of reuse: a process serves one job for life (user code may change it in any way), one attempt at a time,
and is killed after a failure, so that the next attempt runs in another. As many as there are slots are started ahead.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from mapreduce.config import STDERR_TAIL_LINES
from mapreduce.plan import AttemptId
from workers.agent_events import Effect, KillProcess, StartProcess, Tell
from workers.task_messages import LoadJob

TAIL_LINE_CHARS = 400  # of one line in a tail: twenty such lines stay far below FAILURE_TEXT_CHARS
CRASH = "Fatal Python error: "  # how the interpreter's own report begins; the innermost frame comes first
SPARE_PROCESSES = 1  # beyond the slots, for probing a job while others run: idle ones above that are killed


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

    `stopped` is the attempt that ran in it when it was killed at the coordinator's wish.
    """

    number: int
    job: str = ""
    role: Role = Role.IDLE
    attempt: AttemptId | None = None
    told: int = 0
    drop: AttemptId | None = None
    stopped: AttemptId | None = None
    used: bool = False
    tail: OutputTail = field(default_factory=OutputTail)


class Pool:
    """The agent's task processes. `folder_of` in `take` is where a job's blobs and results lie."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._last = 0
        self._processes: dict[int, TaskProcess] = {}  # the least recently used first

    def get(self, number: int) -> TaskProcess | None:
        """That process, unless it is gone."""
        return self._processes.get(number)

    def of_job(self, job: str) -> list[TaskProcess]:
        """All processes that serve `job`, dying ones included."""
        return [process for process in self._processes.values() if process.job == job]

    def fill(self) -> list[Effect]:
        """Start processes ahead, until there are as many as slots."""
        effects: list[Effect] = []
        while len(self._alive()) < self._slots:
            effects.append(self._start())
        return effects

    def take(self, job: str, folder: str, role: Role) -> tuple[TaskProcess, list[Effect]]:
        """Give a process for a job: one that serves it already, or a fresh one."""
        effects: list[Effect] = []
        idle = [p for p in self._alive() if p.role is Role.IDLE]
        process = next((p for p in reversed(idle) if p.job == job), None) or next((p for p in idle if not p.job), None)
        if process is None:
            effects.append(self._start())
            process = self._processes[self._last]
        effects += self._bind(process, job, folder)
        process.role = role
        process.used = True
        process.tail = OutputTail()
        self._processes[process.number] = self._processes.pop(process.number)
        return process, effects + self.trim()

    def load_ahead(self, job: str, folder: str) -> list[Effect]:
        """Have all fresh idle processes load the job's code, so that its first tasks needn't."""
        fresh = [p for p in self._alive() if p.role is Role.IDLE and not p.job]
        return [effect for process in fresh for effect in self._bind(process, job, folder)]

    def release(self, process: TaskProcess) -> list[Effect]:
        """The process has done its work well and may do more."""
        process.role = Role.IDLE
        process.attempt = None
        return self.trim()

    def kill(self, process: TaskProcess, drop: AttemptId | None = None) -> list[Effect]:
        """Kill a process, and have what `drop` made deleted after its end."""
        if drop is not None:
            process.drop = drop
        process.attempt = None
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

    def _bind(self, process: TaskProcess, job: str, folder: str) -> list[Effect]:
        if process.job == job:
            return []
        process.job = job
        return [Tell(process.number, LoadJob(job, folder))]
