"""What agent, fork server and task processes say to each other over socketpairs: one frozen dataclass each.

Owns the vocabulary and its bytes inside one machine; `task_link` moves the frames. Never pickle: a frame is a 4-byte
length and the msgpack array [type name, fields].
"""

from __future__ import annotations

import struct
import typing
from dataclasses import field
from typing import Any

import msgpack

from mapreduce.errors import WireError
from mapreduce.plan import AttemptId, Done, Failure
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass

LENGTH = struct.Struct("<I")
FRAME_BYTES = 64 << 20  # of one frame: a job's sources are told in pieces far below, so more is a defect


# ------------------------------------------------------------------------------------------- agent to fork server


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a task process that is called `process`; its socket, its log pipe's write end and its marks come along."""

    process: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill that task process and all of its process group; its end is reported as any other."""

    process: int


# ------------------------------------------------------------------------------------------- fork server to agent


@dataclass(frozen=True, slots=True)
class ForkServerReady:
    """All imports are done: forks come at once from now on."""


@dataclass(frozen=True, slots=True)
class Forked:
    """The task process runs as `pid`, the leader of its own process group."""

    process: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The task process is gone: `status` is a wait status as of `os.waitpid`; `error` is set where fork failed."""

    process: int
    status: int
    error: str = ""


# ------------------------------------------------------------------------------------------- agent to task process


@dataclass(frozen=True, slots=True)
class LoadJob:
    """Serve this job from now on: its blobs lie in `folder`, where its results go too.

    `code` and `files` ("" if there are none) are blobs that jobs share, found in `shared` (see `scratch`). A process
    that has loaded some code before is told of jobs with the same code only. In `saved` is what failed jobs have left.
    """

    job: str
    folder: str
    shared: str
    code: str
    files: str = ""
    saved: str = ""


@dataclass(frozen=True, slots=True)
class ProbeJob:
    """Check that this worker sees the job's inputs and output folder; answer JobProbed."""

    job: str


@dataclass(frozen=True, slots=True)
class AddSources:
    """More committed results of the loaded job, each a packed Results of one source; later ones replace earlier."""

    packed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Run this attempt on the sources told so far; answer TaskDone or TaskFailed.

    `careful`, `skip` and `alone` are as in TaskSetup. `again`: another process has begun with it, and may have left
    files.
    """

    attempt: AttemptId
    previous: tuple[dict[str, int], ...]
    careful: bool = False
    skip: dict[int, str] = field(default_factory=dict)
    alone: tuple[tuple[int, int], ...] = ()
    again: bool = False


@dataclass(frozen=True, slots=True)
class RunEach:
    """Run these attempts one after the other, which take a moment each; answer TasksDone, or TaskFailed for the first.

    Their turns are numbered, from `first` on: each begins only if its turn has not been taken back (see `turns`).
    """

    first: int
    attempts: tuple[AttemptId, ...]
    previous: tuple[dict[str, int], ...]


@dataclass(frozen=True, slots=True)
class CleanOutput:
    """Remove what attempts of an ended job left below its output folder; answer OutputCleaned."""

    job: str
    output: str


# ------------------------------------------------------------------------------------------- task process to agent


@dataclass(frozen=True, slots=True)
class JobProbed:
    """The job is loaded and the probe has run. `output` is the job's output folder, "" if the code did not load.

    `saved` is as in Prepared.
    """

    job: str
    output: str
    problem: Failure | None = None
    saved: bytes = b""


@dataclass(frozen=True, slots=True)
class Doing:
    """How far the running attempt is: records and bytes read, and where in the input, if that is known."""

    records: int
    bytes_read: int
    path: str | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class TaskDone:
    """The attempt succeeded."""

    attempt: AttemptId
    done: Done


@dataclass(frozen=True, slots=True)
class TasksDone:
    """Some attempts of a RunEach succeeded, in their order. `printed`: the last wrote something, none follows it."""

    done: tuple[TaskDone, ...]
    printed: bool = False


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """The attempt failed; the process is not used for another."""

    attempt: AttemptId
    failure: Failure


@dataclass(frozen=True, slots=True)
class OutputCleaned:
    """CleanOutput is done; `problem` says what could not be removed, or is ""."""

    job: str
    problem: str = ""


ToForkServer = Fork | Kill
FromForkServer = ForkServerReady | Forked | Ended
ToTask = LoadJob | ProbeJob | AddSources | Run | RunEach | CleanOutput
FromTask = JobProbed | Doing | TaskDone | TasksDone | TaskFailed | OutputCleaned
LinkMessage = ToForkServer | FromForkServer | ToTask | FromTask

MESSAGE_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in typing.get_args(LinkMessage)}


def encode(message: LinkMessage) -> bytes:
    """Give the frame with its length. Raises WireError if it is larger than FRAME_BYTES."""
    body: bytes = msgpack.packb(
        [type(message).__name__, plain.to_plain(message)],
        use_bin_type=True,
        unicode_errors="surrogatepass",  # file names and texts of user code may hold lone surrogates
    )
    if len(body) > FRAME_BYTES:
        msg = f"{type(message).__name__} makes a frame of {len(body)} bytes; the limit is {FRAME_BYTES}"
        raise WireError(msg)
    return LENGTH.pack(len(body)) + body


def decode(body: bytes | bytearray) -> LinkMessage:
    """Read a frame without its length. Raises WireError for anything that is not one of ours."""
    try:
        name, fields = msgpack.unpackb(body, raw=False, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        msg = f"not a frame between agent and task process: {error or type(error).__name__}"
        raise WireError(msg) from None
    if type(name) is not str or name not in MESSAGE_TYPES:
        msg = f"no message between agent and task process is called {str(name)[:40]!r}"
        raise WireError(msg)
    message: LinkMessage = plain.from_plain(MESSAGE_TYPES[name], fields)
    return message
