"""The journal's vocabulary: everything that changes durable state, one frozen dataclass each, and its bytes.

Entries hold no clock readings: leases and elapsed times start afresh when a coordinator does. An assignment is not
an entry: after a restart the agents say what they are running.
"""

from __future__ import annotations

import typing
from typing import Any

import msgpack

from mapreduce.coordinator.states import JobState
from mapreduce.errors import JournalError, WireError
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, JobSpec, TaskId
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class WorkerKnown:
    """A worker has registered (again): where its results are to be had."""

    worker: str
    name: str
    address: str
    folder: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker is given up, and all results that it holds with it."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A job was accepted."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class JobMoved:
    """A job that lives on is in another state."""

    job: str
    state: JobState


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job is done, failed or cancelled; its commits are no longer of interest."""

    job: str
    state: JobState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class JobForgotten:
    """An ended job is too old to be listed."""

    job: str


@dataclass(frozen=True, slots=True)
class Committed:
    """This attempt's result is its task's current one."""

    attempt: AttemptId
    worker: str
    done: Done


@dataclass(frozen=True, slots=True)
class Revoked:
    """The attempt is no longer its task's commit: the task runs again."""

    attempt: AttemptId
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt failed and counts against its task."""

    attempt: AttemptId
    kind: FailureKind
    worker: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """`producer` made other bytes than its task's earlier attempt: these tasks must not use what they read.

    Attempts of `tasks` with numbers up to `fence` are never accepted again. Those of other jobs that have read a kept
    result follow, as Fenced.
    """

    producer: TaskId
    tasks: tuple[TaskId, ...]
    fence: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """What these tasks of one job may have read of a kept result was made again, with other bytes.

    Attempts of `tasks` with numbers up to `fence` are never accepted again.
    """

    tasks: tuple[TaskId, ...]
    fence: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the job's owner should know."""

    job: str
    text: str


Entry = (
    WorkerKnown
    | WorkerGone
    | JobSubmitted
    | JobMoved
    | JobEnded
    | JobForgotten
    | Committed
    | Revoked
    | AttemptEnded
    | Restarted
    | Fenced
    | Warned
)

ENTRY_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in typing.get_args(Entry)}


def encode_entry(entry: Entry) -> bytes:
    """Give the entry's bytes: the msgpack array [type name, fields]."""
    data: bytes = msgpack.packb([type(entry).__name__, plain.to_plain(entry)], use_bin_type=True)
    return data


def decode_entry(data: bytes) -> Entry:
    """Read what `encode_entry` made. Raises JournalError for anything else."""
    try:
        name, fields = plain.unpack_plain(data)
        entry: Entry = plain.from_plain(ENTRY_TYPES[name], fields)
    except (WireError, ValueError, TypeError, KeyError) as error:
        msg = f"an entry of the journal cannot be read ({error}): it is damaged, or of another version of the engine"
        raise JournalError(msg) from error
    return entry
