"""What the core wants done: entries made durable first, then messages sent."""

from __future__ import annotations

from mapreduce.coordinator.entries import Entry
from mapreduce.protocol.messages import LogEntry
from mapreduce.protocol.wire import Envelope
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Send:
    """Send the envelope to the peer with this routing identity."""

    identity: bytes
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Effects:
    """The outcome of one event.

    No message may leave before all `entries` (and `logs`) are durable: it may tell what the entries say. `complaints`
    are for the operator's log: peers that break the protocol, workers that were given up. `unfinished` says that the
    event left work that can be done at once: a Proceed should follow soon.
    """

    entries: tuple[Entry, ...] = ()
    messages: tuple[Send, ...] = ()
    logs: tuple[LogEntry, ...] = ()
    complaints: tuple[str, ...] = ()
    unfinished: bool = False
