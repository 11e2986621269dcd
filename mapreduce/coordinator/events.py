"""What can happen to the coordinator's core: a message came, time passed, or work was left of the event before."""

from __future__ import annotations

from mapreduce.protocol.wire import Envelope
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """A message came from the peer with this routing identity.

    For a Submit, `missing_blobs` are those of its three blobs that the store does not have.
    """

    identity: bytes
    envelope: Envelope
    missing_blobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; whatever had come until now was handed over before."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """The event before has left work (`Effects.unfinished`), so that others need not wait for long: go on with it."""


Event = Received | Tick | Proceed
