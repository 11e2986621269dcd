"""What JSON says of a value, and what it cannot say: shared by the text formats of outputs.

Bytes are base64, NaN is NaN, a tuple is a list, ints have any number of digits. Anything else that JSON has no form for
is refused with what to emit instead. Reads and writes no files.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.lane import Lane
from mapreduce.errors import ValueTypeError

# Names of column types, as they stand in the manifest. A column of type JSON came through changed: bytes, or tuples
# inside other containers.
NONE, BOOL, INT, FLOAT, STR, BYTES = "none", "bool", "int", "float", "str", "bytes"
LIST, TUPLE, DICT, JSON = "list", "tuple", "dict", "json"

SHOWN_CHARS = 100  # of a refused value in a message
REPR_LIKE_MIN, REPR_LIKE_MAX = 1e-4, 1e16  # between these Polars and Python write a float alike: no exponent

ANY_LEVELS = 1 << 30  # of containers that are no deeper than codecs take them

SCALAR_NAMES: dict[type, str] = {type(None): NONE, bool: BOOL, int: INT, float: FLOAT}
CONTAINER_NAMES: dict[type, str] = {list: LIST, tuple: TUPLE, dict: DICT}
EXACT = frozenset({type(None), bool, int, float, str})  # what JSON brings back exactly
_SPECIAL = r'["\\\x00-\x1f]'  # what a JSON string must escape
_SURROGATE = re.compile("[\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # two characters, and one to whoever reads their escapes

encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class UnsayableError(Exception):
    """Something in a value that JSON has no form for. The formats make a ValueTypeError of it (`refusal`)."""

    def __init__(self, value: Any, what: str = "") -> None:
        super().__init__()
        self.value = value
        self.what = what


def refusal(error: UnsayableError, whole: Any, output: str) -> ValueTypeError:
    """The error that a user gets: what of `whole` cannot be written, to which `output`, and what to emit instead."""
    kind = type(error.value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    where = "" if error.value is whole else f" inside {shown(whole)}"
    return ValueTypeError(
        f"{output} output cannot write {shown(error.value)} of type {name}{', ' + error.what if error.what else ''}"
        f"{where}: a field is a str, or what JSON says (None, bool, int, float, bytes, list, tuple, dict with str "
        f"keys). {ADVICE.get(name.split('.')[0], 'Emit a str, or a tuple or dict of its parts')} instead; "
        "mapreduce.run(job, inputs) without an output folder gives every value as it was emitted."
    )


ADVICE = {
    "set": "Emit sorted(value)",
    "frozenset": "Emit sorted(value)",
    "datetime": "Emit str(value) or value.isoformat()",
    "decimal": "Emit str(value) or float(value)",
    "numpy": "Emit value.tolist()",
    "bytearray": "Emit bytes(value)",
    "complex": "Emit (value.real, value.imag)",
    "str": "Emit repr(value), or text.encode('utf-16', 'surrogatepass').decode('utf-16')",
    "int": "Emit a dict with str keys, or a list of pairs,",
}


def shown(value: Any) -> str:
    """The repr of a value for a message, shortened."""
    with long_ints():
        text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


@contextlib.contextmanager
def long_ints() -> Iterator[None]:
    """Lift Python's limit of digits: our ints come from users' own code or from files that we wrote."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


# ------------------------------------------------------------------------------------------------------- writing


def container_text(value: Any, types: set[str], *, key: bool) -> str:
    """Write a list, tuple or dict, and note its type's name in `types`. Raises UnsayableError, for all else too."""
    name = CONTAINER_NAMES.get(type(value))
    if name is None:
        raise UnsayableError(value)
    plain, exact = plain_container(value, key=key)
    types.add(name if exact else JSON)
    return json_escaped(encode(plain))


def json_escaped(text: str) -> str:
    """As `surrogates_escaped`, for a JSON text. Raises UnsayableError for surrogates that JSON takes for a pair."""
    if text.isascii():
        return text
    pair = _PAIR.search(text)
    if pair is not None:
        raise UnsayableError(pair.group(), "two surrogates that JSON reads as one character")
    return surrogates_escaped(text)


def surrogates_escaped(text: str) -> str:
    r"""Write lone surrogates as JSON does (`\ud800`), so that the text can be UTF-8."""
    if text.isascii():
        return text
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def float_texts(series: pl.Series) -> pl.Series:
    """Every float as JSON: as `repr` writes it, since what Polars makes of small and large ones is its own."""
    size = series.abs()
    alike = ((size >= REPR_LIKE_MIN) & (size < REPR_LIKE_MAX)) | (size == 0)
    texts = series.cast(pl.String)
    if alike.all():
        return texts
    others = pl.Series([encode(value) for value in series.filter(~alike).to_list()], dtype=pl.String)
    return texts.scatter((~alike).arg_true(), others)


def column_json(series: pl.Series, lane: Lane) -> pl.Series:
    """The JSON of every value of a column in a native lane."""
    return _NATIVE[lane](series)


def _strings(series: pl.Series) -> pl.Series:
    special = series.str.contains(_SPECIAL)
    texts = _quoted(series)
    if not special.any():
        return texts
    others = pl.Series([encode(value) for value in series.filter(special).to_list()], dtype=pl.String)
    return texts.scatter(special.arg_true(), others)


def _quoted(series: pl.Series) -> pl.Series:
    return pl.select(pl.concat_str(pl.lit('"'), series, pl.lit('"'))).to_series()


_NATIVE: dict[Lane, Callable[[pl.Series], pl.Series]] = {
    Lane.STR: _strings,
    Lane.BYTES: lambda series: _quoted(series.bin.encode("base64")),
    Lane.INT: lambda series: series.cast(pl.String),
    Lane.FLOAT: float_texts,
    Lane.BOOL: lambda series: series.cast(pl.String),
}


def plain_container(value: Any, *, key: bool, levels: int = ANY_LEVELS) -> tuple[Any, bool]:
    """Give what JSON writes for a container, and whether reading it gives the same back (but for its outer tuple).

    Raises UnsayableError for what JSON has no form for, and for containers more than `levels` deep.
    """
    if levels <= 0:
        raise UnsayableError(value, "too deep")
    kind = type(value)
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise UnsayableError(name, "a dict's key that is no str")
        if EXACT.issuperset(map(type, value.values())):
            return value, True
        parts = {name: _part(part, key=key, levels=levels - 1) for name, part in value.items()}
        return {name: part for name, (part, _) in parts.items()}, all(exact for _, exact in parts.values())
    if EXACT.issuperset(map(type, value)):
        return value, True
    elements = [_part(part, key=key, levels=levels - 1) for part in value]
    return [part for part, _ in elements], all(exact for _, exact in elements)


def _part(value: Any, *, key: bool, levels: int) -> tuple[Any, bool]:
    kind = type(value)
    if kind in EXACT:
        return value, True
    if kind is bytes:
        return base64.b64encode(value).decode(), False
    if kind not in CONTAINER_NAMES:
        raise UnsayableError(value)
    plain, exact = plain_container(value, key=key, levels=levels)
    # Inside a key every array is a tuple; inside a value it is read back as a list.
    return plain, exact and (key or kind is not tuple)


# ------------------------------------------------------------------------------------------------------- reading


def tuples(value: Any) -> Any:
    """The same with a tuple for each list, as keys have them."""
    return tuple(map(tuples, value)) if type(value) is list else value
