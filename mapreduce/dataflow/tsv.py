r"""Records as tab-separated text, for people and pipes, and back.

A str is written as it is, but for tab, newline, carriage return and backslash (`\t \n \r \\`) and lone surrogates
(`\ud800`), so that a line is a record and the file is UTF-8. Everything else is JSON: bytes as base64, NaN as NaN, a
tuple as a list. What JSON cannot say is a `ValueTypeError`. Columns in native lanes are written whole, by Polars.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from mapreduce.dataflow.columns import Lane, keys_list, values_list
from mapreduce.errors import ValueTypeError

# Names of column types, as they stand in the manifest. A column of type JSON came through changed: bytes, or tuples
# inside other containers.
NONE, BOOL, INT, FLOAT, STR, BYTES = "none", "bool", "int", "float", "str", "bytes"
LIST, TUPLE, DICT, JSON = "list", "tuple", "dict", "json"

SHOWN_CHARS = 100  # of a refused value in a message
REPR_LIKE_MIN, REPR_LIKE_MAX = 1e-4, 1e16  # between these Polars and Python write a float alike: no exponent

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_TABLE = str.maketrans(_ESCAPES)
_BACK = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
_ESCAPED = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCALARS = frozenset({type(None), bool, int, float, str})  # what JSON brings back exactly
_encode_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


# ------------------------------------------------------------------------------------------------------- writing


def column_text(series: pl.Series, lane: Lane, *, key: bool) -> tuple[pl.Series, set[str]]:
    """Write a column as text: a series that `lines` can take as it is, and the names of its types.

    Raises ValueTypeError for a value that JSON cannot say.
    """
    if lane is Lane.ENCODED:
        objects = keys_list(series, lane) if key else values_list(series, lane, unpickle=False)
        return objects_text(objects, key=key)
    if len(series) == 0:
        return series.cast(pl.String, strict=False), set()
    return _NATIVE[lane](series), {lane.value}


def objects_text(objects: list[Any], *, key: bool) -> tuple[pl.Series, set[str]]:
    """Write any objects as text. The same as `column_text`, from Python's objects."""
    types: set[str] = set()
    with long_ints():
        texts = [_object_text(value, types, key=key) for value in objects]
    return pl.Series(texts, dtype=pl.String), types


def lines(columns: list[pl.Series]) -> bytes:
    """Put columns of text side by side: one line a record, fields between tabs."""
    frame = pl.DataFrame([column.alias(str(i)) for i, column in enumerate(columns)])
    stream = io.BytesIO()
    frame.write_csv(stream, include_header=False, separator="\t", line_terminator="\n", quote_style="never")
    return stream.getvalue()


def _str_column(series: pl.Series) -> pl.Series:
    if not series.str.contains_any(list(_ESCAPES)).any():
        return series
    return series.str.replace_many(list(_ESCAPES), list(_ESCAPES.values()))


def _float_column(series: pl.Series) -> pl.Series:
    """Every float as JSON: as `repr` writes it, since what Polars makes of small and large ones is its own."""
    size = series.abs()
    alike = ((size >= REPR_LIKE_MIN) & (size < REPR_LIKE_MAX)) | (size == 0)
    texts = series.cast(pl.String)
    if alike.all():
        return texts
    others = pl.Series([_encode_json(value) for value in series.filter(~alike).to_list()], dtype=pl.String)
    return texts.scatter((~alike).arg_true(), others)


_NATIVE: dict[Lane, Callable[[pl.Series], pl.Series]] = {
    Lane.STR: _str_column,
    Lane.BYTES: lambda series: series.bin.encode("base64"),
    Lane.INT: lambda series: series,  # numbers and booleans are written by `lines` as JSON has them
    Lane.FLOAT: _float_column,
    Lane.BOOL: lambda series: series,
}


def _object_text(value: Any, types: set[str], *, key: bool) -> str:
    kind = type(value)
    if kind is str:
        types.add(STR)
        return _surrogates_escaped(value.translate(_TABLE))
    if kind is bytes:
        types.add(BYTES)
        return base64.b64encode(value).decode()
    name = _SCALAR_NAMES.get(kind)
    if name is not None:
        types.add(name)
        return _encode_json(value)
    name = _CONTAINER_NAMES.get(kind)
    if name is None:
        raise _unsayable(value, value)
    plain, exact = _plain(value, value, key=key)
    types.add(name if exact else JSON)
    return _surrogates_escaped(_encode_json(plain))


_SCALAR_NAMES: dict[type, str] = {type(None): NONE, bool: BOOL, int: INT, float: FLOAT}
_CONTAINER_NAMES: dict[type, str] = {list: LIST, tuple: TUPLE, dict: DICT}


def _plain(value: Any, whole: Any, *, key: bool) -> tuple[Any, bool]:
    """Give what JSON writes for a container, and whether reading it gives the same back (but for its outer tuple)."""
    kind = type(value)
    if kind is dict:
        for name in value:
            if type(name) is not str:
                raise _unsayable(name, whole, "a dict's key that is no str")
        if _SCALARS.issuperset(map(type, value.values())):
            return value, True
        parts = {name: _part(part, whole, key=key) for name, part in value.items()}
        return {name: part for name, (part, _) in parts.items()}, all(exact for _, exact in parts.values())
    if _SCALARS.issuperset(map(type, value)):
        return value, True
    elements = [_part(part, whole, key=key) for part in value]
    return [part for part, _ in elements], all(exact for _, exact in elements)


def _part(value: Any, whole: Any, *, key: bool) -> tuple[Any, bool]:
    kind = type(value)
    if kind in _SCALARS:
        return value, True
    if kind is bytes:
        return base64.b64encode(value).decode(), False
    if kind not in _CONTAINER_NAMES:
        raise _unsayable(value, whole)
    plain, exact = _plain(value, whole, key=key)
    # Inside a key every array is a tuple; inside a value it is read back as a list.
    return plain, exact and (key or kind is not tuple)


def _unsayable(value: Any, whole: Any, what: str = "") -> ValueTypeError:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    where = "" if value is whole else f" inside {shown(whole)}"
    return ValueTypeError(
        f"TSV output cannot write {shown(value)} of type {name}{', ' + what if what else ''}"
        f"{where}: a field is a str, or what JSON says (None, bool, int, float, bytes, list, tuple, dict with str "
        f"keys). {_ADVICE.get(name.split('.')[0], 'Emit a str, or a tuple or dict of its parts')} instead; "
        "mapreduce.run(job, inputs) without an output folder gives every value as it was emitted."
    )


_ADVICE = {
    "set": "Emit sorted(value)",
    "frozenset": "Emit sorted(value)",
    "datetime": "Emit str(value) or value.isoformat()",
    "decimal": "Emit str(value) or float(value)",
    "numpy": "Emit value.tolist()",
    "bytearray": "Emit bytes(value)",
    "complex": "Emit (value.real, value.imag)",
    "int": "Emit a dict with str keys, or a list of pairs,",
}


def shown(value: Any) -> str:
    """The repr of a value for a message, shortened."""
    with long_ints():
        text = repr(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def _surrogates_escaped(text: str) -> str:
    if text.isascii():
        return text
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


@contextlib.contextmanager
def long_ints() -> Iterator[None]:
    """Lift Python's limit of digits: our ints come from users' own code or from files that we wrote."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


# ------------------------------------------------------------------------------------------------------- reading


def parser(types: tuple[str, ...], *, key: bool) -> Callable[[str], Any]:
    """Give what turns a field of a column of these types into an object; text where the column is mixed."""
    if len(types) != 1:
        return unescape
    if types[0] in {LIST, TUPLE, DICT, JSON}:
        return _parse_key_json if key else (_parse_tuple if types[0] == TUPLE else json.loads)
    return _PARSERS[types[0]]


def read_columns(text: str, parsers: Sequence[Callable[[str], Any]]) -> list[list[Any]]:
    """Read whole lines, a parser for each field. Raises ValueError for lines of other numbers of fields."""
    count = text.count("\n") + (not text.endswith("\n"))
    fields = text.removesuffix("\n").replace("\n", "\t").split("\t")
    width = len(parsers)
    if len(fields) != count * width:
        msg = f"{len(fields) / count:.2g} fields a line, and the manifest says {width}"
        raise ValueError(msg)
    plain = "\\" not in text
    with long_ints():
        return [
            fields[i::width] if plain and parse is unescape else list(map(parse, fields[i::width]))
            for i, parse in enumerate(parsers)
        ]


def bad_line(text: str, parsers: Sequence[Callable[[str], Any]], first: int) -> str:
    """Name the line that `read_columns` cannot read; `first` is the number of the text's first."""
    for number, line in enumerate(text.removesuffix("\n").split("\n"), first):
        try:
            read_columns(line + "\n", parsers)
        except ValueError:
            return f"line {number}"
    return f"lines from {first} on"


def unescape(field: str) -> str:
    """Undo the escapes of a str."""
    if "\\" not in field:
        return field
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else _BACK.get(match[2], match[0]), field)


def _parse_tuple(field: str) -> Any:
    return tuple(json.loads(field))


def _parse_key_json(field: str) -> Any:
    return _tuples(json.loads(field))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if type(value) is list else value


_PARSERS: dict[str, Callable[[str], Any]] = {
    STR: unescape,
    INT: int,
    FLOAT: float,
    BOOL: "true".__eq__,
    NONE: lambda _field: None,
    BYTES: base64.b64decode,
}
