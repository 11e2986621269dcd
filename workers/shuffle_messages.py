"""What a task process and a shuffle server say to each other: two requests, three answers.

Owns the vocabulary and its bytes: msgpack frames [VERSION, messages], each of these the bytes of [type name, fields].
Messages share frames, since sending one takes longer than to answer it. A server's files are named by integers and a
checked job id only, so that no request can name another file.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from mapreduce.config import FETCH_PIECE_BYTES
from mapreduce.dataflow.shuffle.block_index import Slice
from mapreduce.errors import WireError
from mapreduce.plan import AttemptId
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass

VERSION = 3
PART = -1  # in place of a spill: the attempt's intermediate part
INDEX_BYTES = 64 << 20  # of a slice's index: 100 bytes a block of a megabyte, so this is half a terabyte
FRAME_BYTES = max(FETCH_PIECE_BYTES, INDEX_BYTES) + 4096
INLINE_BYTES = 8 << 10  # of a slice come with its index: fewer cost less than to ask for them
REQUEST_BYTES = 16 << 10  # of a frame of requests; ours have at most half of it, about 80 requests
REPLY_BYTES = 256 << 10  # of a frame of several answers: larger ones take their time alone
BODY_BYTES = 5  # what msgpack has beside the bytes of a message


@dataclass(frozen=True, slots=True)
class SliceRequest:
    """Where do the blocks of this partition lie in this file? `spill` numbers the attempt's runs, or is PART.

    Of the partition only blocks are wanted that may have keys in [low, high), as encodings; empty bounds are none.
    """

    request: int
    attempt: AttemptId
    spill: int
    partition: int
    low: bytes = b""
    high: bytes = b""


@dataclass(frozen=True, slots=True)
class BytesRequest:
    """Send `length` bytes of this file from `offset` on; at most FETCH_PIECE_BYTES."""

    request: int
    attempt: AttemptId
    spill: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SliceReply:
    """The slice; its path means nothing to who asked. `data` has all of its bytes, where these are few, or nothing."""

    request: int
    slice: Slice
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class BytesReply:
    """The bytes that were asked for."""

    request: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Gone:
    """The file cannot be had here; `reason` says why."""

    request: int
    reason: str


Request = SliceRequest | BytesRequest
Reply = SliceReply | BytesReply | Gone
ShuffleMessage = Request | Reply

MESSAGE_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in typing.get_args(ShuffleMessage)}


def encode(message: ShuffleMessage) -> bytes:
    """Give the frame of one message."""
    return _frame([_body(message)])


def frames(messages: Iterable[ShuffleMessage], most: int) -> Iterator[bytes]:
    """Give the messages in as few frames of at most about `most` bytes; a larger message has a frame of its own."""
    bodies: list[bytes] = []
    size = 0
    for message in messages:
        body = _body(message)
        if bodies and size + len(body) > most:
            yield _frame(bodies)
            bodies, size = [], 0
        bodies.append(body)
        size += len(body) + BODY_BYTES
    if bodies:
        yield _frame(bodies)


def _body(message: ShuffleMessage) -> bytes:
    body: bytes = msgpack.packb(
        [type(message).__name__, plain.to_plain(message)], use_bin_type=True, unicode_errors="surrogatepass"
    )
    return body


def _frame(bodies: list[bytes]) -> bytes:
    frame: bytes = msgpack.packb([VERSION, bodies])
    return frame


def decode(frame: bytes) -> ShuffleMessage:
    """Read a frame of one message. Raises WireError for anything else."""
    messages = decode_all(frame)
    if len(messages) != 1:
        msg = f"a frame of {len(messages)} messages, not of one"
        raise WireError(msg)
    return messages[0]


def decode_all(frame: bytes) -> list[ShuffleMessage]:
    """Read a frame. Raises WireError for anything else."""
    body = plain.unpack_plain(frame)
    if type(body) is not list or len(body) != 2:
        msg = "not a frame of the shuffle"
        raise WireError(msg)
    version, bodies = body
    if version != VERSION:
        msg = f"shuffle protocol version {version!r}; this side speaks {VERSION}"
        raise WireError(msg)
    if type(bodies) is not list or not all(type(one) is bytes for one in bodies):
        msg = "not a frame of the shuffle"
        raise WireError(msg)
    return [_message(plain.unpack_plain(one)) for one in bodies]


def _message(body: Any) -> ShuffleMessage:
    if type(body) is not list or len(body) != 2:
        msg = "not a message of the shuffle"
        raise WireError(msg)
    name, fields = body
    if type(name) is not str or name not in MESSAGE_TYPES:
        msg = f"no message of the shuffle is called {str(name)[:40]!r}"
        raise WireError(msg)
    message: ShuffleMessage = plain.from_plain(MESSAGE_TYPES[name], fields)
    return message
