"""Hashes that tell values apart, for counting distinct ones: the same on every machine and in every run."""

from __future__ import annotations

from typing import Any

import xxhash

from mapreduce.aggregators import shown
from mapreduce.dataflow.columns.keys import normalise_key
from mapreduce.dataflow.columns.values import encode_value, holds_pickle
from mapreduce.errors import KeyTypeError, ValueTypeError

SIGN = 2**63  # takes an unsigned hash into the range of signed ints, which is what sketches take
_PLAIN = frozenset({str, bytes, int, bool, type(None)})  # normal as they are


def normalised(value: Any) -> Any:
    """The value that stands for all that count as the same one: as keys, where it may be one."""
    kind = type(value)
    if kind in _PLAIN or (kind is tuple and _PLAIN.issuperset(map(type, value))):
        return value
    try:
        return normalise_key(value)
    except KeyTypeError:
        return value


def fingerprint(value: Any) -> int:
    """A hash of 64 bits (signed) of what a value is. Raises ValueTypeError for one that only pickle can write."""
    data = encode_value(normalised(value))
    if holds_pickle(data):
        msg = (
            f"Distinct() cannot tell objects apart that only pickle can write, and got {shown(value)}: yield plain data"
        )
        raise ValueTypeError(msg)
    return fingerprint_of(data)


def fingerprint_of(encoding: bytes) -> int:
    """The fingerprint of a normalised value by its canonical encoding."""
    return xxhash.xxh3_64_intdigest(encoding) - SIGN
