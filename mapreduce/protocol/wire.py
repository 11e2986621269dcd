"""Messages as bytes: one msgpack frame each, with version, session and number.

Owns the frame format and its size limit. A frame that cannot be read is a WireError, which the receiver logs and
drops; it never reaches a handler.

A frame is the array [VERSION, type name, session, number, body]; the body is the message's fields (`plain`). Frames
of one peer that are ready together may be the parts of one message of the transport, which is cheaper than one for each
(`together`).
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from mapreduce.config import CONTROL_FRAME_BYTES
from mapreduce.errors import WireError
from mapreduce.protocol import messages, plain
from mapreduce.quick_dataclass import dataclass

VERSION = 3
BODIES = 300  # of messages with results, kept to be sent again: some 30 KB each, 128 KiB at most
FRAMES_TOGETHER = 200  # in one message of the transport: its own cost is gone by then

MESSAGE_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in typing.get_args(messages.Message)}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its session and number.

    Between agent and coordinator, `session` is the session's id ("" before there is one) and `number` counts this
    side's messages from 1 (0: not numbered, as Register and Heartbeat). Between client and coordinator `session` is ""
    and `number` is the request's, which the answer repeats.
    """

    session: str
    number: int
    message: messages.Message


def together(frames: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut frames for one peer, in their order, into messages of the transport: none holds up a heartbeat for long."""
    some: list[bytes] = []
    size = 0
    for frame in frames:
        if some and (len(some) == FRAMES_TOGETHER or size + len(frame) > CONTROL_FRAME_BYTES):
            yield some
            some, size = [], 0
        some.append(frame)
        size += len(frame)
    if some:
        yield some


def encode(envelope: Envelope) -> bytes:
    """Give the frame. Raises WireError if it is too large, or holds what a frame cannot: a defect of the sender."""
    message = envelope.message
    name = type(message).__name__
    try:
        frame: bytes = msgpack.packb(
            [VERSION, name, envelope.session, envelope.number, plain.to_plain(message)], use_bin_type=True
        )
    except (ValueError, OverflowError) as error:  # a lone surrogate in a text, an integer beyond 64 bits
        msg = f"{name} cannot be written: {error}"
        raise WireError(msg) from error
    if len(frame) > CONTROL_FRAME_BYTES:
        msg = f"{name} makes a frame of {len(frame)} bytes; the limit is {CONTROL_FRAME_BYTES}"
        raise WireError(msg)
    return frame


class Encoder:
    """Gives frames as `encode` does. Of results, which many workers are told alike, the fields are written once."""

    def __init__(self) -> None:
        # By the id of a message, with it: while it is here no other has that id.
        self._bodies: dict[int, tuple[messages.Message, bytes]] = {}

    def encode(self, envelope: Envelope) -> bytes:
        """Give the frame. Raises WireError as `encode` does."""
        message = envelope.message
        if not isinstance(message, messages.Results):
            return encode(envelope)
        head = _head(envelope)
        known = self._bodies.get(id(message))
        if known is not None:
            return head + known[1]
        frame = encode(envelope)
        while len(self._bodies) >= BODIES:
            del self._bodies[next(iter(self._bodies))]
        self._bodies[id(message)] = message, frame[len(head) :]
        return frame


def _head(envelope: Envelope) -> bytes:
    """What a frame begins with: all but the message's fields."""
    fields = [VERSION, type(envelope.message).__name__, envelope.session, envelope.number, None]
    packed: bytes = msgpack.packb(fields, use_bin_type=True)
    return packed[:-1]  # without the byte of None


def decode(frame: bytes) -> Envelope:
    """Read a frame. Raises WireError for whatever is not a frame of this version."""
    if len(frame) > CONTROL_FRAME_BYTES:
        msg = f"a frame of {len(frame)} bytes; the limit is {CONTROL_FRAME_BYTES}"
        raise WireError(msg)
    body = plain.unpack_plain(frame)
    if type(body) is not list or len(body) != 5:
        msg = "not a frame"
        raise WireError(msg)
    version, name, session, number, fields = body
    if version != VERSION:
        msg = f"protocol version {version!r}; this side speaks {VERSION}"
        raise WireError(msg)
    if type(name) is not str or name not in MESSAGE_TYPES:
        msg = f"no message is called {str(name)[:40]!r}"
        raise WireError(msg)
    if type(session) is not str or type(number) is not int or number < 0:
        msg = "session or number of the wrong type"
        raise WireError(msg)
    return Envelope(session, number, plain.from_plain(MESSAGE_TYPES[name], fields))
