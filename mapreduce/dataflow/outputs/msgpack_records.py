"""Records as a stream of msgpack objects, for other programs, and back: `[key, value]`, or a value alone.

Msgpack has None, bool, int of 64 bits, float, str, bytes, arrays and maps: tuples are written as arrays, and dicts with
keys of these scalar types as maps. Anything else is refused with what to emit instead. Nothing of ours is an extension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgpack
import numpy as np

from mapreduce.dataflow.columns.batches import Batch, Lane, keys_list, values_list
from mapreduce.dataflow.columns.json_text import (
    ADVICE,
    BYTES,
    CONTAINER_NAMES,
    JSON,
    SCALAR_NAMES,
    STR,
    TUPLE,
    shown,
    tuples,
)
from mapreduce.dataflow.outputs.files import Ends
from mapreduce.errors import ValueTypeError

_NAMES: dict[type, str] = {**SCALAR_NAMES, str: STR, bytes: BYTES}


# ------------------------------------------------------------------------------------------------------- writing


class MsgpackRecords:
    """Packs the records of a part. `types` are filled as it goes on."""

    def __init__(self, types: tuple[set[str], set[str]], *, keys: bool) -> None:
        self._types = types
        self._keys = keys
        self._packer = msgpack.Packer(use_bin_type=True, strict_types=False)

    def encode(self, batch: Batch) -> tuple[bytes, Ends]:
        """The records, and where each ends. Raises ValueTypeError."""
        values = _objects(batch, "value", self._types[1])
        records: Iterable[Any] = values
        if self._keys:
            records = zip(_objects(batch, "key", self._types[0]), values, strict=True)
        packed = list(map(self._pack, records))
        sizes = np.fromiter(map(len, packed), dtype=np.int64, count=len(packed))
        return b"".join(packed), np.cumsum(sizes)

    def _pack(self, record: Any) -> bytes:
        try:
            made: bytes = self._packer.pack(record)
        except (OverflowError, UnicodeEncodeError, ValueError) as error:
            self._packer.reset()
            raise ValueTypeError(
                f"msgpack output cannot write {shown(record)}: {_why(error)}. Emit str(value) or repr(value), or "
                "choose the output format jsonl."
            ) from None
        return made


def _why(error: Exception) -> str:
    if isinstance(error, OverflowError):
        return "an int in it has more than 64 bits"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate in it is no UTF-8"
    return f"it is too large or nested too deeply ({error})"


def _objects(batch: Batch, name: str, types: set[str]) -> list[Any]:
    """The objects of a column as they are packed; notes the names of their types."""
    series, lane = batch.frame[name], batch.key_lane if name == "key" else batch.value_lane
    if lane is not Lane.ENCODED:
        types.add(lane.value)
        return series.to_list()
    key = name == "key"
    objects: list[Any] = keys_list(series, lane) if key else values_list(series, lane, unpickle=False)
    kinds = set(map(type, objects))
    types.update(_NAMES[kind] for kind in kinds & _NAMES.keys())
    if kinds <= _NAMES.keys():
        return objects
    for item in objects:
        if type(item) not in _NAMES:
            if type(item) not in CONTAINER_NAMES:
                raise _refusal(item, item)
            types.add(CONTAINER_NAMES[type(item)] if _is_exact(item, item, key=key) else JSON)
    return objects


def _is_exact(value: Any, whole: Any, *, key: bool) -> bool:
    """Whether a container is read back as it is, but for its outer tuple. Raises ValueTypeError for a strange part."""
    exact = True
    parts: Iterable[Any] = value
    if type(value) is dict:
        for name in value:
            if type(name) not in _NAMES:
                raise _refusal(name, whole)
        parts = value.values()
    for part in parts:
        kind = type(part)
        if kind in _NAMES:
            continue
        if kind not in CONTAINER_NAMES:
            raise _refusal(part, whole)
        exact = _is_exact(part, whole, key=key) and exact and (key or kind is not tuple)
    return exact


def _refusal(value: Any, whole: Any) -> ValueTypeError:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    where = "" if value is whole else f" inside {shown(whole)}"
    advice = ADVICE.get(name.split(".")[0], "Emit a str, or a tuple or dict of its parts")
    return ValueTypeError(
        f"msgpack output cannot write {shown(value)} of type {name}{where}: msgpack has None, bool, int of 64 bits, "
        f"float, str, bytes, lists, and dicts with keys that are no containers. {advice} instead."
    )


# ------------------------------------------------------------------------------------------------------- reading


def read(
    blocks: Iterable[bytes], key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of a file's bytes; keys are None where there are none. Raises ValueError for other bytes.

    Lists of a column of tuples alone are tuples again.
    """
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=0)
    tupled = value_types == (TUPLE,)
    size = end = 0
    for block in blocks:
        size += len(block)
        unpacker.feed(block)
        for record in unpacker:
            end = unpacker.tell()
            if not key_types:
                yield None, tuple(record) if tupled else record
                continue
            if type(record) is not list or len(record) != 2:
                msg = f"a record is no [key, value] but {shown(record)}"
                raise ValueError(msg)
            key, value = record
            yield tuples(key), tuple(value) if tupled else value
    if end != size:
        msg = f"the record at byte {end} is cut off"
        raise ValueError(msg)
