r"""Records as JSON lines, for other programs, and back: `{"key":...,"value":...}`, or a value alone on a line.

JSON is as in the other text formats (see `json_text`): bytes as base64, NaN as NaN, a tuple as a list. What JSON cannot
say is a `ValueTypeError`. Columns in native lanes are written whole, by Polars. Lines end at `\n` alone, and no JSON
text holds one, so that a line is a record.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import Lane, keys_list, values_list
from mapreduce.dataflow.columns.json_text import (
    BYTES,
    SCALAR_NAMES,
    STR,
    TUPLE,
    UnsayableError,
    column_json,
    container_text,
    encode,
    json_escaped,
    long_ints,
    refusal,
    tuples,
)
from mapreduce.dataflow.columns.said import said_column

OUTPUT = "JSON lines"  # as messages call it

Parser = Callable[[Any], Any]


# ------------------------------------------------------------------------------------------------------- writing


def column_text(series: pl.Series, lane: Lane, *, key: bool) -> tuple[pl.Series, set[str]]:
    """Write a column as JSON texts: a series of str, and the names of its types.

    Raises ValueTypeError for a value that JSON cannot say.
    """
    if lane is Lane.ENCODED:
        return _objects_text(keys_list(series, lane), key=True) if key else said_column(series, _encoded_text)
    if len(series) == 0:
        return pl.Series([], dtype=pl.String), set()
    return column_json(series, lane), {lane.value}


def _encoded_text(series: pl.Series) -> tuple[pl.Series, set[str]]:
    return _objects_text(values_list(series, Lane.ENCODED, unpickle=False), key=False)


def _objects_text(objects: list[Any], *, key: bool) -> tuple[pl.Series, set[str]]:
    types: set[str] = set()
    with long_ints():
        texts = [_object_text(value, types, key=key) for value in objects]
    return pl.Series(texts, dtype=pl.String), types


def lines(columns: list[pl.Series]) -> bytes:
    """Put the texts of each record on a line: key and value, or the value alone."""
    value = columns[-1].alias("value")
    if len(columns) == 1:
        frame = value.to_frame()
        text = pl.format("{}\n", "value")
    else:
        frame = pl.DataFrame([columns[0].alias("key"), value])
        text = pl.concat_str(pl.lit('{"key":'), "key", pl.lit(',"value":'), "value", pl.lit("}\n"))
    joined: str = frame.select(text.str.join("")).item()
    return joined.encode()


def _object_text(value: Any, types: set[str], *, key: bool) -> str:
    kind = type(value)
    if kind is bytes:
        types.add(BYTES)
        return f'"{base64.b64encode(value).decode()}"'
    name = SCALAR_NAMES.get(kind)
    if name is not None:
        types.add(name)
        return encode(value)
    try:
        if kind is str:
            types.add(STR)
            return json_escaped(encode(value))
        return container_text(value, types, key=key)
    except UnsayableError as error:
        raise refusal(error, value, OUTPUT) from None


# ------------------------------------------------------------------------------------------------------- reading


def parser(types: tuple[str, ...], *, key: bool) -> Parser | None:
    """Give what mends a column of these types after JSON, which has no bytes and no tuples; None for nothing."""
    if types == (BYTES,):
        return base64.b64decode
    if key:
        return tuples  # a list is no key: each was a tuple
    return tuple if types == (TUPLE,) else None


def read_columns(text: str, parsers: list[Parser | None]) -> list[list[Any]]:
    """Read whole lines: the keys, if there are two parsers, and the values. Raises ValueError for what is none."""
    with long_ints():
        documents = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    columns = [documents]
    if len(parsers) == 2:
        try:
            columns = [[found["key"] for found in documents], [found["value"] for found in documents]]
        except (TypeError, KeyError, IndexError):
            msg = 'a line is no {"key": ..., "value": ...}'
            raise ValueError(msg) from None
    return [
        column if parse is None else [parse(item) for item in column]
        for parse, column in zip(parsers, columns, strict=True)
    ]
