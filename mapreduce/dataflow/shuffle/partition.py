"""Which partition a key belongs to: our own hash of the key's encoding, or the user's partitioner.

Not Polars' hash, which is promised for one version only: partitions must be the same wherever and whenever a task runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from mapreduce.dataflow.columns import Lane, encode_keys, keys_list
from mapreduce.errors import RecordError

Partitioner = Callable[[Any, int], int]
Partitions = npt.NDArray[np.uint32]

KEYS_AT_ONCE = 65_536  # become Python's bytes: a few MB; all keys of a buffer would take 200
SHOWN_CHARS = 200  # of a key in a message: long keys are told apart by their beginning


def partition_of(keys: pl.Series, lane: Lane, partitions: int, partitioner: Partitioner | None = None) -> Partitions:
    """The partition of each key: the xxh3_64 of its encoding modulo `partitions`, or what the partitioner says.

    Costs 0.1-0.2 us a key, so give it distinct keys. Raises RecordError where the partitioner's result is no partition.
    """
    if partitioner is not None:
        cuts = range(0, len(keys), KEYS_AT_ONCE)
        asked = [_asked(keys_list(keys.slice(cut, KEYS_AT_ONCE), lane), partitions, partitioner) for cut in cuts]
        return np.concatenate([np.empty(0, dtype=np.uint32), *asked])
    if partitions == 1:
        return np.zeros(len(keys), dtype=np.uint32)
    result = np.empty(len(keys), dtype=np.uint32)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        encodings = encode_keys(keys.slice(start, KEYS_AT_ONCE), lane).to_list()
        hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, encodings), dtype=np.uint64, count=len(encodings))
        result[start : start + len(encodings)] = hashes % np.uint64(partitions)
    return result


def _asked(keys: list[Any], partitions: int, partitioner: Partitioner) -> Partitions:
    results = [partitioner(key, partitions) for key in keys]
    for key, result in zip(keys, results, strict=True):
        if isinstance(result, bool) or not isinstance(result, int | np.integer) or not 0 <= result < partitions:
            msg = (
                f"the partitioner returned {result!r} ({type(result).__name__}) for the key {shown(key)}: "
                f"it must return an int from 0 to {partitions - 1} (its second argument less one)"
            )
            raise RecordError(msg)
    return np.array(results, dtype=np.uint32)


def shown(key: Any) -> str:
    """The key for a message: its repr, shortened."""
    text = repr(key)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
