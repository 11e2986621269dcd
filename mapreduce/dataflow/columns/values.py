"""Values: bytes that bring every value back exactly as it was emitted, and equal bytes for equal values.

Two values have the same encoding exactly when they have the same types and contents throughout: `[1]`, `(1,)` and
`[True]` differ, a set is written in the order of its elements' encodings, a dict in its own order. Floats keep their
bits, NaN's and -0.0's too. What is canonical: None, bool, int, float, str, bytes, bytearray, tuple, list, dict, set,
frozenset, the datetime family (time zones of `datetime.timezone` and `zoneinfo`), Decimal, complex, NumPy arrays and
scalars of plain dtypes. A value that holds anything else anywhere, subclasses included, is pickled *whole*, so that
two bytes at its front tell it (`holds_pickle`): pickles of equal values may differ.

The bytes are msgpack where they can be, since its C code is quick: scalars, and tuples and dicts of scalars, are plain
msgpack (an array is a tuple). All else is C1, a byte that msgpack never uses, then a tag, then a body.

No Polars here; NumPy only once one of its objects has come by.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import pickle
import struct
import zoneinfo
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack

from mapreduce.errors import ValueTypeError
from mapreduce.tracebacks import raised_by_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VALUE_DEPTH = 40  # containers inside containers: each level copies its bytes once more; deeper values are pickled
PICKLE_PROTOCOL = 5  # the newest that all supported Pythons share
MARK = b"\xc1"  # begins whatever is not plain msgpack
PICKLE_MARK = b"\xc1P"

SCALARS = frozenset({type(None), bool, int, float, str, bytes})  # exact types that msgpack takes without loss

# No size limits: what is decoded was written by us and is checksummed.
_unpack = functools.partial(msgpack.unpackb, use_list=False, strict_map_key=False, unicode_errors="surrogatepass")
_unpack_list = functools.partial(_unpack, use_list=True)


class Encoded(bytes):
    """The bytes of `encode_value`, in a list of values that become a column: they stand for the value they encode."""

    __slots__ = ()


class _NotCanonicalError(Exception):
    """Something in a value has no canonical encoding: the whole value is pickled. Never leaves this module."""


# One packer for all: making one costs more than most values. It must not be re-entered, and is not: it only ever gets
# exact scalars and flat containers of them, which run no Python code.
pack_flat: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass").pack


def encode_value(value: Any) -> bytes:
    """The canonical bytes of a value, or a pickle of it.

    Raises ValueTypeError, naming the type, for what cannot even be pickled.
    """
    try:
        data = _encode(value, 0)
    except _NotCanonicalError:
        data = b""  # of no value; pickled below, so that what pickle raises does not come with an error of ours
    return data or PICKLE_MARK + _pickled(value)


def decode_value(data: bytes, *, unpickle: bool = True) -> Any:
    """The value of `encode_value`'s bytes.

    Raises ValueTypeError where a pickle is met and `unpickle` is False (only task processes may run pickles), or where
    a pickle cannot be loaded.
    """
    if data[0] != 0xC1:
        return _unpack(data)
    if data[1] == 0x50 and not unpickle:
        raise ValueTypeError(
            "a value is pickled, and only task processes load pickles: emit plain values (numbers, str, bytes, tuple, "
            "list, dict, set, datetime, Decimal, NumPy arrays) where results are to be read elsewhere"
        )
    return _DECODERS[data[1]](data)


def holds_pickle(data: bytes) -> bool:
    """Whether an encoded value is pickled, so that equal values may differ in their bytes. Costs two bytes' look."""
    return data.startswith(PICKLE_MARK)


def _encode(value: Any, depth: int) -> bytes:
    encode = _ENCODERS.get(type(value))
    if encode is not None:
        return encode(value, depth)
    if type(value).__module__ == "numpy":
        return _encode_numpy(value)
    raise _NotCanonicalError


def _encode_scalar(value: Any, _depth: int) -> bytes:
    return pack_flat(value)


def _encode_encoded(value: Encoded, _depth: int) -> bytes:
    return value


def _encode_int(value: int, _depth: int) -> bytes:
    try:
        return pack_flat(value)
    except OverflowError:
        return b"\xc1i" + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _encode_tuple(value: tuple[Any, ...], depth: int) -> bytes:
    if SCALARS.issuperset(map(type, value)):
        try:
            return pack_flat(value)
        except OverflowError:
            pass  # an int of more than 64 bits: element by element
    return b"\xc1t" + _encode_elements(value, depth)


def _encode_list(value: list[Any], depth: int) -> bytes:
    if SCALARS.issuperset(map(type, value)):
        try:
            return b"\xc1l" + pack_flat(value)
        except OverflowError:
            pass  # an int of more than 64 bits: element by element
    return b"\xc1L" + _encode_elements(value, depth)


def _encode_dict(value: dict[Any, Any], depth: int) -> bytes:
    if SCALARS.issuperset(map(type, value)) and SCALARS.issuperset(map(type, value.values())):
        try:
            return pack_flat(value)
        except OverflowError:
            pass  # an int of more than 64 bits: element by element
    return b"\xc1d" + _encode_elements([part for item in value.items() for part in item], depth)


def _encode_set(value: set[Any], depth: int) -> bytes:
    return b"\xc1s" + _encode_elements(value, depth, ordered=False)


def _encode_frozenset(value: frozenset[Any], depth: int) -> bytes:
    return b"\xc1f" + _encode_elements(value, depth, ordered=False)


def _encode_elements(values: Iterable[Any], depth: int, *, ordered: bool = True) -> bytes:
    """The elements' encodings as a msgpack array of bytes; a set's are sorted, so that equal sets are equal bytes."""
    if depth >= VALUE_DEPTH:
        raise _NotCanonicalError
    parts = [_encode(value, depth + 1) for value in values]
    return pack_flat(parts if ordered else sorted(parts))


def _encode_bytearray(value: bytearray, _depth: int) -> bytes:
    return b"\xc1b" + value


def _refuse_memoryview(_value: memoryview, _depth: int) -> bytes:
    # cloudpickle would take it, and bring it back as bytes
    raise ValueTypeError("a memoryview cannot be a value, since it would come back as bytes: write bytes(value)")


def _encode_complex(value: complex, _depth: int) -> bytes:
    return b"\xc1c" + struct.pack(">dd", value.real, value.imag)


def _encode_decimal(value: decimal.Decimal, _depth: int) -> bytes:
    return b"\xc1n" + str(value).encode()


def _encode_timedelta(value: dt.timedelta, _depth: int) -> bytes:
    return b"\xc1e" + pack_flat((value.days, value.seconds, value.microseconds))


def _encode_date(value: dt.date, _depth: int) -> bytes:
    return b"\xc1a" + pack_flat((value.year, value.month, value.day))


def _encode_datetime(value: dt.datetime, _depth: int) -> bytes:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return b"\xc1z" + pack_flat((value.year, value.month, value.day, *clock, *_zone(value.tzinfo)))


def _encode_time(value: dt.time, _depth: int) -> bytes:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return b"\xc1h" + pack_flat((*clock, *_zone(value.tzinfo)))


def _zone(zone: dt.tzinfo | None) -> tuple[Any, ...]:
    """A time zone as scalars: nothing, a name of the zone database, or an offset and perhaps its own name."""
    if zone is None:
        return ()
    if type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        return (zone.key,)
    if type(zone) is dt.timezone:
        offset = zone.utcoffset(None)
        facts = (offset.days, offset.seconds, offset.microseconds)
        return facts if dt.timezone(offset).tzname(None) == zone.tzname(None) else (*facts, zone.tzname(None))
    raise _NotCanonicalError


def _zone_of(facts: tuple[Any, ...]) -> dt.tzinfo | None:
    if not facts:
        return None
    if len(facts) == 1:
        return zoneinfo.ZoneInfo(facts[0])
    return dt.timezone(dt.timedelta(*facts[:3]), *facts[3:])


def _encode_numpy(value: Any) -> bytes:
    """Arrays: dtype, shape and bytes in C order. Scalars: dtype and bytes."""
    import numpy as np  # noqa: PLC0415 - loaded already: its module made this object

    kind = type(value)
    if kind is np.str_:
        return b"\xc1v" + pack_flat(("U", str.__str__(value)))  # NumPy's own str() drops NULs at the end
    if kind is np.bytes_:
        return b"\xc1v" + pack_flat(("S", bytes(value)))
    if kind is np.ndarray and _plain_dtype(value.dtype):
        return b"\xc1y" + pack_flat((value.dtype.str, *value.shape, value.tobytes()))
    if isinstance(value, np.generic) and kind is not np.void and _plain_dtype(value.dtype):
        return b"\xc1v" + pack_flat((value.dtype.str, value.tobytes()))
    raise _NotCanonicalError


def _plain_dtype(dtype: Any) -> bool:
    """Whether a dtype is said by its short name alone and all bytes of its items matter.

    Not so: objects, fields, strings of variable width, metadata, and long doubles, whose padding is arbitrary.
    """
    if dtype.kind not in "biufcmMSU" or dtype.metadata is not None:
        return False
    return bool(dtype.itemsize <= {"f": 8, "c": 16}.get(dtype.kind, dtype.itemsize))


def _decode_array(data: bytes) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy, and few jobs have arrays

    name, *shape, body = _unpack(data[2:])
    dtype = np.dtype(name)
    if dtype.itemsize == 0 or not body:
        return np.zeros(shape, dtype)
    return np.frombuffer(bytearray(body), dtype).reshape(shape)  # a bytearray, so that the array can be written to


def _decode_numpy_scalar(data: bytes) -> Any:
    import numpy as np  # noqa: PLC0415 - heavy, and few jobs have arrays

    name, body = _unpack(data[2:])
    if name == "U":
        return np.str_(body)
    if name == "S":
        return np.bytes_(body)
    return np.frombuffer(body, np.dtype(name))[0]


def _decode_elements(data: bytes) -> list[Any]:
    return [
        _unpack(part) if part[0] != 0xC1 else _DECODERS[part[1]](part)  # never a pickle: only whole values are pickled
        for part in _unpack(data[2:])
    ]


def _decode_dict(data: bytes) -> dict[Any, Any]:
    parts = iter(_decode_elements(data))
    return dict(zip(parts, parts, strict=True))


def _decode_datetime(data: bytes) -> dt.datetime:
    year, month, day, hour, minute, second, micro, fold, *zone = _unpack(data[2:])
    return dt.datetime(year, month, day, hour, minute, second, micro, tzinfo=_zone_of(zone), fold=fold)


def _decode_time(data: bytes) -> dt.time:
    hour, minute, second, micro, fold, *zone = _unpack(data[2:])
    return dt.time(hour, minute, second, micro, tzinfo=_zone_of(zone), fold=fold)


def _pickled(value: Any) -> bytes:
    with suppress(Exception):  # users' __reduce__ may raise anything; cloudpickle tries again and its error is raised
        return pickle.dumps(value, protocol=PICKLE_PROTOCOL)
    return _cloudpickled(value)


def _cloudpickled(value: Any) -> bytes:
    import cloudpickle  # noqa: PLC0415 - heavy, and only for what plain pickle cannot do

    try:
        data: bytes = cloudpickle.dumps(value, protocol=PICKLE_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - as above; it becomes one of ours
        kind = type(value)
        raise ValueTypeError(
            f"a value of type {kind.__module__}.{kind.__qualname__} cannot be pickled "
            f"({type(error).__name__}: {error}): emit plain values (numbers, str, bytes, tuple, list, dict, set, "
            "datetime, Decimal, NumPy arrays)"
        ) from (error if raised_by_user(error) else None)
    return data


def _unpickled(data: bytes) -> Any:
    try:
        return pickle.loads(memoryview(data)[2:])  # noqa: S301 - a task process loads what the job's own code pickled
    except Exception as error:
        raise ValueTypeError(
            f"a pickled value of {len(data) - 2} bytes cannot be loaded ({type(error).__name__}: {error})"
        ) from error


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    str: _encode_scalar,
    float: _encode_scalar,
    type(None): _encode_scalar,
    bool: _encode_scalar,
    bytes: _encode_scalar,
    Encoded: _encode_encoded,
    int: _encode_int,
    tuple: _encode_tuple,
    list: _encode_list,
    dict: _encode_dict,
    set: _encode_set,
    frozenset: _encode_frozenset,
    bytearray: _encode_bytearray,
    memoryview: _refuse_memoryview,
    complex: _encode_complex,
    decimal.Decimal: _encode_decimal,
    dt.timedelta: _encode_timedelta,
    dt.date: _encode_date,
    dt.datetime: _encode_datetime,
    dt.time: _encode_time,
}

_DECODERS: dict[int, Callable[[bytes], Any]] = {
    ord("P"): _unpickled,
    ord("i"): lambda data: int.from_bytes(data[2:], "big", signed=True),
    ord("t"): lambda data: tuple(_decode_elements(data)),
    ord("l"): lambda data: _unpack_list(data[2:]),
    ord("L"): _decode_elements,
    ord("d"): _decode_dict,
    ord("s"): lambda data: set(_decode_elements(data)),
    ord("f"): lambda data: frozenset(_decode_elements(data)),
    ord("b"): lambda data: bytearray(data[2:]),
    ord("c"): lambda data: complex(*struct.unpack(">dd", data[2:])),
    ord("n"): lambda data: decimal.Decimal(data[2:].decode()),
    ord("e"): lambda data: dt.timedelta(*_unpack(data[2:])),
    ord("a"): lambda data: dt.date(*_unpack(data[2:])),
    ord("z"): _decode_datetime,
    ord("h"): _decode_time,
    ord("y"): _decode_array,
    ord("v"): _decode_numpy_scalar,
}
