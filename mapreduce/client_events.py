"""What the client's machines take (events) and want done (effects): frozen dataclasses, matched by type."""

from __future__ import annotations

from mapreduce.protocol.messages import FromClient, JobStatus, LogEntry, ToClient
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """A message came; `number` is that of the request it answers."""

    number: int
    message: ToClient


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """The user wants the job stopped."""


Event = Received | Tick | CancelWanted


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message under this number."""

    number: int
    message: FromClient


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell the user."""

    text: str


@dataclass(frozen=True, slots=True)
class NewStatus:
    """The job's status, newer than the last."""

    status: JobStatus


@dataclass(frozen=True, slots=True)
class NewLogs:
    """What tasks printed since the last."""

    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The coordinator has the job; it will run whether or not this client stays."""

    job: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The job is over, with this status."""

    status: JobStatus


@dataclass(frozen=True, slots=True)
class Answered:
    """The question's answer."""

    message: ToClient


@dataclass(frozen=True, slots=True)
class Refused:
    """The coordinator will not do it; `reason` is its own."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody has ever answered at the address."""


Effect = Send | Notice | NewStatus | NewLogs | Submitted | Ended | Answered | Refused | Unreachable
