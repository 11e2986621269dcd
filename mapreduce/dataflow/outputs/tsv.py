r"""Records as tab-separated text, for people and pipes, and back.

A str is written as it is, but for tab, newline, carriage return and backslash (`\t \n \r \\`) and lone surrogates
(`\ud800`), so that a line is a record and the file is UTF-8. Everything else is JSON: bytes as base64, NaN as NaN, a
tuple as a list. What JSON cannot say is a `ValueTypeError`. Columns in native lanes are written whole, by Polars.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import Lane, keys_list, values_list
from mapreduce.dataflow.columns.json_text import (
    BOOL,
    BYTES,
    DICT,
    FLOAT,
    INT,
    JSON,
    LIST,
    NONE,
    SCALAR_NAMES,
    STR,
    TUPLE,
    UnsayableError,
    container_text,
    encode,
    float_texts,
    long_ints,
    refusal,
    surrogates_escaped,
    tuples,
)
from mapreduce.dataflow.columns.said import said_column

OUTPUT = "TSV"  # as messages call it

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_TABLE = str.maketrans(_ESCAPES)
_BACK = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
_ESCAPED = re.compile(r"\\(?:u([0-9a-f]{4})|(.))")


# ------------------------------------------------------------------------------------------------------- writing


def column_text(series: pl.Series, lane: Lane, *, key: bool) -> tuple[pl.Series, set[str]]:
    """Write a column as text: a series that `lines` can take as it is, and the names of its types.

    Raises ValueTypeError for a value that JSON cannot say.
    """
    if lane is Lane.ENCODED:
        return objects_text(keys_list(series, lane), key=True) if key else said_column(series, _encoded_text)
    if len(series) == 0:
        return series.cast(pl.String, strict=False), set()
    return _NATIVE[lane](series), {lane.value}


def _encoded_text(series: pl.Series) -> tuple[pl.Series, set[str]]:
    return objects_text(values_list(series, Lane.ENCODED, unpickle=False), key=False)


def objects_text(objects: list[Any], *, key: bool) -> tuple[pl.Series, set[str]]:
    """As `column_text`, of the objects of a column."""
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


_NATIVE: dict[Lane, Callable[[pl.Series], pl.Series]] = {
    Lane.STR: _str_column,
    Lane.BYTES: lambda series: series.bin.encode("base64"),
    Lane.INT: lambda series: series,  # numbers and booleans are written by `lines` as JSON has them
    Lane.FLOAT: float_texts,
    Lane.BOOL: lambda series: series,
}


def _object_text(value: Any, types: set[str], *, key: bool) -> str:
    kind = type(value)
    if kind is str:
        types.add(STR)
        return surrogates_escaped(value.translate(_TABLE))
    if kind is bytes:
        types.add(BYTES)
        return base64.b64encode(value).decode()
    name = SCALAR_NAMES.get(kind)
    if name is not None:
        types.add(name)
        return encode(value)
    try:
        return container_text(value, types, key=key)
    except UnsayableError as error:
        raise refusal(error, value, OUTPUT) from None


# ------------------------------------------------------------------------------------------------------- reading


def parser(types: tuple[str, ...], *, key: bool) -> Callable[[str], Any]:
    """Give what turns a field of a column of these types into an object; text where the column is mixed.

    Raises ValueError for a type that columns do not have.
    """
    if len(types) != 1:
        return unescape
    if types[0] in {LIST, TUPLE, DICT, JSON}:
        return _parse_key_json if key else (_parse_tuple if types[0] == TUPLE else json.loads)
    if types[0] not in _PARSERS:
        msg = f"there is no type {types[0]!r:.100} of a column of TSV"
        raise ValueError(msg)
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


def unescape(field: str) -> str:
    """Undo the escapes of a str."""
    if "\\" not in field:
        return field
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else _BACK.get(match[2], match[0]), field)


def _parse_tuple(field: str) -> Any:
    return tuple(json.loads(field))


def _parse_key_json(field: str) -> Any:
    return tuples(json.loads(field))


_PARSERS: dict[str, Callable[[str], Any]] = {
    STR: unescape,
    INT: int,
    FLOAT: float,
    BOOL: "true".__eq__,
    NONE: lambda _field: None,
    BYTES: base64.b64decode,
}
