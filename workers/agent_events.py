"""What can happen to an agent (events) and what it does about it (effects): one frozen dataclass each.

The pure machine (`agent_state`) turns the one into the other; the shell (`agent_shell`) makes the events and carries
out the effects. `process` numbers a task process of this agent, from 1, and is never used again.
"""

from __future__ import annotations

from mapreduce.plan import AttemptId
from mapreduce.protocol.wire import Envelope
from mapreduce.quick_dataclass import dataclass
from workers.killers import Mark
from workers.task_messages import FromTask, ToTask

# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Received:
    """A frame came from the coordinator."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class LineBlocked:
    """The socket took no more: what was to be sent is lost. `numbered` says whether it was a numbered message."""

    numbered: bool


@dataclass(frozen=True, slots=True)
class LineOpen:
    """The socket takes messages again."""


@dataclass(frozen=True, slots=True)
class ProcessSaid:
    """A task process sent a message."""

    process: int
    message: FromTask


@dataclass(frozen=True, slots=True)
class ProcessAt:
    """A task process has come to the attempt with this turn (see RunEach), 0 where it has begun none in turns."""

    process: int
    turn: int


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The turns of a process from `first` on are taken back (0: none was left), and it is at work on that of `at`."""

    process: int
    first: int
    at: int


@dataclass(frozen=True, slots=True)
class ProcessPrinted:
    """A task process, or what it started, wrote this to stdout or stderr."""

    process: int
    text: str


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """A task process is gone with all of its process group; `how` is such as "signal SIGKILL" or "exit code 3".

    `mark` is what it noted last, where it was at work with care.
    """

    process: int
    how: str
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class BlobStored:
    """A job's blob lies complete and checked where it belongs."""

    job: str
    role: str
    sha256: str


@dataclass(frozen=True, slots=True)
class BlobBroken:
    """A job's blob could not be stored."""

    job: str
    role: str
    reason: str
    disk: bool


@dataclass(frozen=True, slots=True)
class OutputLeft:
    """A job that is over has left attempts' files below its output folder."""

    job: str
    output: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The agent is to leave in good order."""

    reason: str


Event = (
    Tick
    | Received
    | LineBlocked
    | LineOpen
    | ProcessSaid
    | ProcessAt
    | TakenBack
    | ProcessPrinted
    | ProcessEnded
    | BlobStored
    | BlobBroken
    | OutputLeft
    | StopAsked
)

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Send:
    """Send this frame to the coordinator."""

    frame: bytes
    numbered: bool


@dataclass(frozen=True, slots=True)
class StartProcess:
    """Start a task process; it may be told things at once."""

    process: int


@dataclass(frozen=True, slots=True)
class KillProcess:
    """Kill a task process and its process group; ProcessEnded follows."""

    process: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a message to a task process."""

    process: int
    message: ToTask


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Take back the turns that a process has not begun; TakenBack follows at once."""

    process: int


@dataclass(frozen=True, slots=True)
class StorePiece:
    """Store a piece of a job's blob; BlobStored or BlobBroken follows the last."""

    job: str
    role: str
    sha256: str
    offset: int
    total: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DeleteAttempt:
    """Delete what an attempt made: its files in scratch, and its private file below `output` (if that is known)."""

    attempt: AttemptId
    output: str


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a job's scratch; OutputLeft follows if its attempts left files below `output`.

    With `save` its map results are saved before; what is saved of the jobs `drop` is deleted.
    """

    job: str
    output: str
    save: bool = False
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteShared:
    """Delete a blob that no job shares any more."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the agent's own log."""

    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Stop, with this exit code."""

    code: int
    reason: str


Effect = (
    Send
    | StartProcess
    | KillProcess
    | Tell
    | TakeBack
    | StorePiece
    | DeleteAttempt
    | DeleteJob
    | DeleteShared
    | Note
    | Exit
)
