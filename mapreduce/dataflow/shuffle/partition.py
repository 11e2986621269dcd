"""Which partition a key belongs to: by our own hash of the key's encoding, by a list or ranges, or as a function says.

Not Polars' hash, which is promised for one version only: partitions must be the same wherever and whenever a task runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, encode_keys, join_keys, keys_list
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.shuffle.composite import key_elements, key_encodings
from mapreduce.dataflow.shuffle.key_hash import hashes_of
from mapreduce.dataflow.shuffle.ranges import rows_within
from mapreduce.dataflow.shuffle.sizes import group_starts
from mapreduce.errors import RecordError

Partitioner = Callable[[Any, int], int]
Partitions = npt.NDArray[np.uint32]

KEYS_AT_ONCE = 65_536  # become Python's bytes: a few MB; all keys of a buffer would take 200
SHOWN_CHARS = 200  # of a key in a message: long keys are told apart by their beginning


class Listed:
    """Looks each key's partition up by its encoding; `other` takes those that are not in the list.

    Raises RecordError for such a key where `other` is None.
    """

    def __init__(self, parts: Mapping[bytes, int], other: int | None) -> None:
        self._parts = parts
        self._other = other

    def __call__(self, keys: pl.Series, lane: Lane) -> Partitions:
        """The partition of each key."""
        result = np.empty(len(keys), dtype=np.uint32)
        for start in range(0, len(keys), KEYS_AT_ONCE):
            encodings = encode_keys(keys.slice(start, KEYS_AT_ONCE), lane).to_list()
            other = -1 if self._other is None else self._other
            found = np.array([self._parts.get(encoding, other) for encoding in encodings], dtype=np.int64)
            if len(missing := np.flatnonzero(found < 0)):
                self._refuse(encodings[missing[0]])
            result[start : start + len(found)] = found
        return result

    def _refuse(self, encoding: bytes) -> None:
        key = decode_key(encoding)
        msg = (
            f"the key {shown(key)} ({type(key).__name__}) is not in the mapping of ListPartitioner: add it, or say "
            "with other=NUMBER which part takes all other keys (1, 1.0 and True are three keys)"
        )
        raise RecordError(msg)


class Ranges:
    """Cuts ascending keys at the encodings `boundaries`: partition i has the keys from the one before i up to i."""

    def __init__(self, boundaries: Sequence[bytes]) -> None:
        self._boundaries = boundaries

    def __call__(self, keys: pl.Series, lane: Lane) -> Partitions:
        """The partition of each key of an ascending column."""
        starts = [rows_within(keys, lane, boundary, b"")[0] for boundary in self._boundaries]
        counts = np.diff([0, *starts, len(keys)])
        return np.repeat(np.arange(len(counts), dtype=np.uint32), counts)


def partitions_of(
    batch: Batch, partitions: int, partitioner: Partitioner | Listed | Ranges | None, *, composite: bool
) -> Partitions:
    """The partition of each row of a sorted batch; of composite keys the key alone decides. Raises RecordError."""
    keys, starts, lane = distinct_keys(batch, composite=composite)
    if composite:
        keys = key_encodings(keys)
    chosen = partition_of(keys, lane, partitions, partitioner)
    return np.repeat(chosen, np.diff(starts, append=batch.rows()))


def distinct_keys(batch: Batch, *, composite: bool) -> tuple[pl.Series, npt.NDArray[np.int64], Lane]:
    """The distinct keys of a sorted batch, where the rows of each begin, and their lane; of composites the elements."""
    keys = key_elements(batch.frame["key"]) if composite else batch.frame["key"]
    starts = group_starts(keys)
    return keys.gather(starts), starts, batch.key_lane


def partition_of(
    keys: pl.Series, lane: Lane, partitions: int, partitioner: Partitioner | Listed | Ranges | None = None
) -> Partitions:
    """The partition of each key: the xxh3_64 of its encoding modulo `partitions`, or what the partitioner says.

    Costs 0.05 us a short key, so give it distinct keys; Ranges need them ascending. Raises RecordError where a
    function's result is no partition, or a list lacks a key.
    """
    if isinstance(partitioner, Listed | Ranges):
        return partitioner(keys, lane)
    if partitioner is not None:
        cuts = range(0, len(keys), KEYS_AT_ONCE)
        asked = [_asked(keys_list(keys.slice(cut, KEYS_AT_ONCE), lane), partitions, partitioner) for cut in cuts]
        return np.concatenate([np.empty(0, dtype=np.uint32), *asked])
    if partitions == 1:
        return np.zeros(len(keys), dtype=np.uint32)
    result = np.empty(len(keys), dtype=np.uint32)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        hashes = hashes_of(*join_keys(keys.slice(start, KEYS_AT_ONCE), lane))
        result[start : start + len(hashes)] = hashes % np.uint64(partitions)
    return result


def _asked(keys: list[Any], partitions: int, partitioner: Partitioner) -> Partitions:
    results = [partitioner(key, partitions) for key in keys]
    for key, result in zip(keys, results, strict=True):
        if isinstance(result, bool) or not isinstance(result, int | np.integer) or not 0 <= result < partitions:
            who = getattr(partitioner, "who", "the partitioner")
            msg = (
                f"{who} returned {result!r} ({type(result).__name__}) for the key {shown(key)}: "
                f"it must return an int from 0 to {partitions - 1} (its second argument less one)"
            )
            raise RecordError(msg)
    return np.array(results, dtype=np.uint32)


def shown(key: Any) -> str:
    """The key for a message: its repr, shortened."""
    text = repr(key)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
