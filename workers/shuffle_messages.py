"""What a task process and a shuffle server say to each other: two requests, three answers.

Owns the vocabulary and its bytes: one msgpack frame [VERSION, type name, fields]. A server's files are named by
integers and a checked job id only, so that no request can name another file.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import msgpack

from mapreduce.config import FETCH_PIECE_BYTES
from mapreduce.dataflow.shuffle.block_index import Slice
from mapreduce.errors import WireError
from mapreduce.plan import AttemptId
from mapreduce.protocol import plain

VERSION = 2
PART = -1  # in place of a spill: the attempt's intermediate part
INDEX_BYTES = 64 << 20  # of a slice's index: 100 bytes a block of a megabyte, so this is half a terabyte
FRAME_BYTES = max(FETCH_PIECE_BYTES, INDEX_BYTES) + 4096


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
    """The slice; its path means nothing to who asked."""

    request: int
    slice: Slice


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
    """Give the frame."""
    frame: bytes = msgpack.packb(
        [VERSION, type(message).__name__, plain.to_plain(message)], use_bin_type=True, unicode_errors="surrogatepass"
    )
    return frame


def decode(frame: bytes) -> ShuffleMessage:
    """Read a frame. Raises WireError for anything else."""
    body = plain.unpack_plain(frame)
    if type(body) is not list or len(body) != 3:
        msg = "not a frame of the shuffle"
        raise WireError(msg)
    version, name, fields = body
    if version != VERSION:
        msg = f"shuffle protocol version {version!r}; this side speaks {VERSION}"
        raise WireError(msg)
    if type(name) is not str or name not in MESSAGE_TYPES:
        msg = f"no message of the shuffle is called {str(name)[:40]!r}"
        raise WireError(msg)
    message: ShuffleMessage = plain.from_plain(MESSAGE_TYPES[name], fields)
    return message
