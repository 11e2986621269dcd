"""Keys: which objects may be one, when two are the same one, and bytes that sort as keys do.

A key is None, a bool, int, float, str, bytes, or a tuple of keys, by exact type: `1`, `1.0` and `True` are three keys.
Keys sort by type in that order, then by value: ints of any size, floats with NaN last, str by code point (lone
surrogates included), bytes, tuples element by element with the shorter first. There is one NaN, and no -0.0.

The encoding keeps the order: comparing encodings is comparing keys. It is also what the partitioning hash reads, so it
must never change. The idea of a tag and of an order-preserving body for each type is FoundationDB's tuple layer.

| key   | bytes                                                                                       |
|-------|---------------------------------------------------------------------------------------------|
| None  | 01                                                                                          |
| bool  | 02 False, 03 True                                                                           |
| int   | 11 and 8 bytes, big-endian, sign bit flipped                                                |
|       | 12, 4 bytes of length, magnitude: above 64 bits; 10 and both inverted: below                |
| float | 20 and the 8 bytes of the double: sign bit flipped if positive, all bits if negative        |
| str   | 30 and UTF-8 (surrogates as three bytes)                                                    |
| bytes | 40 and the bytes                                                                            |
| tuple | 50 and the elements; in it, str and bytes have 00 escaped as 00 FF and end in 00, as does a |
|       | tuple inside a tuple                                                                        |

No Polars here; NumPy only once a NumPy scalar has come by.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import xxhash

from mapreduce.errors import KeyTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

Key: TypeAlias = "bool | int | float | str | bytes | tuple[Key, ...] | None"

NAN = float("nan")  # the one NaN that keys have

KEY_DEPTH = 64  # tuples inside tuples: deeper ones are surely a mistake, and recursion must end before Python's limit
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

TAG_NONE, TAG_FALSE, TAG_TRUE = 0x01, 0x02, 0x03
TAG_INT_BELOW, TAG_INT, TAG_INT_ABOVE = 0x10, 0x11, 0x12
TAG_FLOAT, TAG_STR, TAG_BYTES, TAG_TUPLE = 0x20, 0x30, 0x40, 0x50

_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_pack_int = struct.Struct(">BQ").pack
_pack_float = struct.Struct(">d").pack
_from_word = struct.Struct(">Q").unpack_from
_to_float = struct.Struct(">d").unpack
PLAIN_KEYS = frozenset({bool, int, str, bytes, type(None)})  # what needs no normalising at all
_ALLOWED = "a key is None, a bool, int, float, str, bytes, or a tuple of these"


def normalise_key(key: Any) -> Key:
    """The key itself, or the equal one that stands for it: one NaN, 0.0 for -0.0, Python's scalars for NumPy's.

    Raises KeyTypeError, naming the type, for anything that is not a key; subclasses (an IntEnum, a namedtuple) are
    refused because they could not come back as what they were.
    """
    return _normalise(key, 0)


def _normalise(key: Any, depth: int) -> Key:
    kind = type(key)
    if kind in PLAIN_KEYS:
        return cast("Key", key)
    if kind is float:
        return NAN if key != key else key + 0.0  # noqa: PLR0124 - NaN is what differs from itself; -0.0 + 0.0 is 0.0
    if kind is tuple:
        if depth >= KEY_DEPTH:
            raise KeyTypeError(f"a key of tuples more than {KEY_DEPTH} deep: use a flatter key")
        return tuple([_normalise(element, depth + 1) for element in key])
    if kind.__module__ == "numpy":
        plain = _numpy_scalar(key)
        if plain is not key:
            return _normalise(plain, depth)
    raise KeyTypeError(_refusal(key))


def _numpy_scalar(key: Any) -> Any:
    """The Python scalar that a NumPy number, str or bytes holds; other objects as they are.

    A datetime64 or timedelta64 is not made the int that counts its units: it would lose what it means.
    """
    import numpy as np  # noqa: PLC0415 - loaded already: its module made this object

    kind = type(key)
    if kind is np.str_:
        return str.__str__(key)  # NumPy's own str() and item() drop NULs at the end
    if kind is np.bytes_:
        return bytes(key)
    if isinstance(key, (np.bool_, np.integer, np.floating)) and key.dtype.kind in "biuf":
        plain = key.item()
        return plain if type(plain) in {bool, int, float} else key  # a long double stays what it is
    return key


def _refusal(key: Any) -> str:
    kind = type(key)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base, advice in (
        (bool, "bool(key)"),
        (int, "int(key)"),
        (float, "float(key)"),
        (str, "str(key)"),
        (bytes, "bytes(key)"),
        (tuple, "tuple(key)"),
    ):
        if isinstance(key, base):
            return (
                f"{name} is a subclass of {base.__name__}, which a key cannot be, since it would come back as a plain "
                f"{base.__name__}: write {advice}"
            )
    advice = {
        "list": "write tuple(key)",
        "bytearray": "write bytes(key)",
        "set": "write tuple(sorted(key))",
        "frozenset": "write tuple(sorted(key))",
        "dict": "write tuple(sorted(key.items()))",
        "datetime.date": "write key.isoformat()",
        "datetime.datetime": "write key.isoformat()",
        "numpy.datetime64": "write str(key)",
        "numpy.timedelta64": "write str(key)",
    }.get(name, "make one of these from it")
    return f"{name} cannot be a key: {_ALLOWED}; {advice}"


def encode_key(key: Key) -> bytes:
    """The bytes of a *normalised* key (see the table above): their order is the keys' order.

    Raises KeyTypeError for what is no key.
    """
    kind = type(key)
    if kind is str:
        return b"\x30" + _utf8(cast("str", key))
    if kind is bytes:
        return b"\x40" + cast("bytes", key)
    if kind is tuple:
        return b"\x50" + b"".join([_ELEMENT[type(element)](element) for element in cast("tuple[Key, ...]", key)])
    encode = _ELEMENT.get(kind)
    if encode is None:
        raise KeyTypeError(_refusal(key))
    return encode(key)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _encode_none(_key: None) -> bytes:
    return b"\x01"


def _encode_bool(key: bool) -> bytes:
    return b"\x03" if key else b"\x02"


def _encode_int(key: int) -> bytes:
    if INT64_MIN <= key <= INT64_MAX:
        return _pack_int(TAG_INT, key + _SIGN)
    magnitude = abs(key)
    size = (magnitude.bit_length() + 7) // 8
    body = size.to_bytes(4, "big") + magnitude.to_bytes(size, "big")
    return b"\x12" + body if key > 0 else b"\x10" + _inverted(body)


def _inverted(body: bytes) -> bytes:
    return body.translate(_INVERSE)


_INVERSE = bytes(range(255, -1, -1))


def _encode_float(key: float) -> bytes:
    body = _pack_float(key)
    if body[0] & 0x80:
        return b"\x20" + body.translate(_INVERSE)
    return b"\x20" + bytes((body[0] | 0x80,)) + body[1:]


def _encode_str_element(key: str) -> bytes:
    if "\x00" in key:
        return b"\x30" + _utf8(key).replace(b"\x00", b"\x00\xff") + b"\x00"
    return _utf8(f"0{key}\x00")


def _encode_bytes_element(key: bytes) -> bytes:
    return b"\x40" + key.replace(b"\x00", b"\x00\xff") + b"\x00"


def _encode_tuple_element(key: tuple[Key, ...]) -> bytes:
    return b"\x50" + b"".join([_ELEMENT[type(element)](element) for element in key]) + b"\x00"


_ELEMENT: dict[type, Callable[[Any], bytes]] = {
    type(None): _encode_none,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    str: _encode_str_element,
    bytes: _encode_bytes_element,
    tuple: _encode_tuple_element,
}


def decode_key(data: bytes) -> Key:
    """The key that `encode_key` made these bytes of. Raises ValueError for bytes that are no encoding of a key."""
    tag = data[0] if data else 0
    if tag == TAG_STR:
        return _text(data[1:])
    if tag == TAG_BYTES:
        return data[1:]
    if tag == TAG_TUPLE:
        elements = _str_tuple(data)
        if elements is None:
            parts, at = _decode_elements(data, 1)
            if at <= len(data):
                raise ValueError("stray bytes after an encoded key")
            return tuple(parts)
        return elements
    key, at = _decode_element(data, 0)
    if at != len(data):
        raise ValueError(f"{len(data) - at} stray bytes after an encoded key")
    return key


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogatepass")


def _str_tuple(data: bytes) -> tuple[str, ...] | None:
    """A tuple of strings alone, none with a NUL, at once; None for any other.

    Each 00 must be followed by the tag of a str, or be the last byte: then, from the first on, each ends a str.
    """
    if data[1:2] != b"\x30":
        return None
    parts = data[2:-1].split(b"\x000")
    if data.count(0) != len(parts) or data[-1]:
        return None
    try:
        return tuple([part.decode() for part in parts])
    except UnicodeDecodeError:
        return None  # lone surrogates


def _decode_elements(data: bytes, at: int) -> tuple[list[Key], int]:
    """The elements from `at` up to the 00 that ends their tuple (or the end of the data), and what lies behind it."""
    elements: list[Key] = []
    end = len(data)
    while at < end and data[at]:
        if data[at] == TAG_STR:
            stop = data.find(b"\x00", at)
            if stop >= 0 and data[stop + 1 : stop + 2] != b"\xff":  # the common str, without the price of two calls
                elements.append(_text(data[at + 1 : stop]))
                at = stop + 1
                continue
        element, at = _decode_element(data, at)
        elements.append(element)
    return elements, at + 1


def _decode_element(data: bytes, at: int) -> tuple[Key, int]:
    """The element that starts at `at`, and where the next one starts."""
    tag = data[at] if at < len(data) else 0
    if tag in (TAG_INT, TAG_FLOAT):
        if at + 9 > len(data):
            raise ValueError("an encoded key is cut short")
        word: int = _from_word(data, at + 1)[0]
        return (word - _SIGN if tag == TAG_INT else _float_of(word)), at + 9
    if tag in (TAG_STR, TAG_BYTES):
        body, after = _escaped(data, at + 1)
        return (_text(body) if tag == TAG_STR else body), after
    if tag == TAG_TUPLE:
        elements, at = _decode_elements(data, at + 1)
        if at > len(data):
            raise ValueError("an encoded key is cut short")
        return tuple(elements), at
    if tag in (TAG_NONE, TAG_FALSE, TAG_TRUE):
        return (None if tag == TAG_NONE else tag == TAG_TRUE), at + 1
    if tag in (TAG_INT_ABOVE, TAG_INT_BELOW):
        return _big_int(data, at)
    raise ValueError(f"{tag:#04x} at byte {at} is no tag of an encoded key")


def _float_of(word: int) -> float:
    bits = word ^ _SIGN if word & _SIGN else word ^ _ALL
    value: float = _to_float(bits.to_bytes(8, "big"))[0]
    return value


def _escaped(data: bytes, start: int) -> tuple[bytes, int]:
    """The bytes from `start` up to the first 00 without an FF behind it, unescaped, and where the next element is."""
    end = data.find(b"\x00", start)
    while end >= 0 and data[end + 1 : end + 2] == b"\xff":
        end = data.find(b"\x00", end + 2)
    if end < 0:
        raise ValueError("an encoded key is cut short")
    return data[start:end].replace(b"\x00\xff", b"\x00"), end + 1


def _big_int(data: bytes, at: int) -> tuple[int, int]:
    below = data[at] == TAG_INT_BELOW
    size_bytes = data[at + 1 : at + 5]
    size = int.from_bytes(_inverted(size_bytes) if below else size_bytes, "big")
    body = data[at + 5 : at + 5 + size]
    if len(size_bytes) < 4 or len(body) < size:
        raise ValueError("an encoded key is cut short")
    value = int.from_bytes(_inverted(body) if below else body, "big")
    return (-value if below else value), at + 5 + size


key_hash: Callable[[bytes], int] = xxhash.xxh3_64_intdigest  # of a key's encoding: below 2**64, the same for ever
