"""The splits of a job as bytes, one of which is read without decoding the others.

Layout: magic, version, the number of splits, an index of offsets (little-endian, 64 bit, one more than splits), then
each split as `protocol.plain` packs it. Raises WireError for anything else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mapreduce.errors import WireError
from mapreduce.plan import Split
from mapreduce.protocol import plain

_HEADER = struct.Struct("<4sIQ")
_OFFSET = struct.Struct("<Q")
_MAGIC = b"MRSP"
_VERSION = 1


def encode_splits(splits: Sequence[Split]) -> bytes:
    """Encode the splits; the same splits always give the same bytes."""
    packed = [plain.pack(split) for split in splits]
    position = _HEADER.size + _OFFSET.size * (len(packed) + 1)
    offsets = [position]
    for data in packed:
        position += len(data)
        offsets.append(position)
    index = struct.pack(f"<{len(offsets)}Q", *offsets)
    return b"".join([_HEADER.pack(_MAGIC, _VERSION, len(packed)), index, *packed])


def split_count(blob: bytes) -> int:
    """How many splits the bytes hold. Raises WireError."""
    if len(blob) < _HEADER.size:
        raise WireError(f"a plan of splits has at least {_HEADER.size} bytes, this one {len(blob)}")
    magic, version, count = _HEADER.unpack_from(blob)
    if magic != _MAGIC or version != _VERSION:
        raise WireError(f"no plan of splits of version {_VERSION}: it begins with {blob[:8]!r}")
    if _HEADER.size + _OFFSET.size * (count + 1) > len(blob):
        raise WireError(f"a plan of {count} splits is longer than {len(blob)} bytes: it was cut off")
    return int(count)


def split_at(blob: bytes, index: int) -> Split:
    """Decode one split. Raises IndexError for an index that is none, WireError for damaged bytes."""
    count = split_count(blob)
    if not 0 <= index < count:
        raise IndexError(f"split {index} of {count}")
    at = _HEADER.size + _OFFSET.size * index
    (start,), (end,) = _OFFSET.unpack_from(blob, at), _OFFSET.unpack_from(blob, at + _OFFSET.size)
    if not start <= end <= len(blob):
        raise WireError(f"split {index} would lie at bytes {start} to {end} of {len(blob)}")
    return plain.unpack(Split, blob[start:end])
