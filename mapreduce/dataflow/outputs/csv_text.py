r"""Records as comma-separated values (RFC 4180), for other programs, and back: a header, then a record each.

Where the first value of a part is a dict, its values are rows: the columns are "key" and the names of the dict, which
all dicts of the part must have; else the columns are "key" and "value". Without keys there is no column "key". None is
an empty field, the empty str is `""` (in a file of one column both are, since others skip empty lines). Other values
are written as in TSV, but for escapes, which CSV does not have: fields are quoted. Lines end at `\n`.
"""

from __future__ import annotations

import base64
import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import xxhash

from mapreduce.dataflow.columns.batches import Batch, Lane, keys_list, values_list
from mapreduce.dataflow.columns.frames import exact_dtype
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
    shown,
    tuples,
)
from mapreduce.dataflow.outputs.files import Ends
from mapreduce.errors import ValueTypeError

OUTPUT = "CSV"  # as messages call it
TABLE_LOST = "table"  # begins the name of the type of a table whose columns are too many to be named

Columns = dict[str, set[str]]  # the columns of a table, in order, with the names of their types


# ------------------------------------------------------------------------------------------------------- writing


class CsvLines:
    """Makes the lines of a part. `types` are filled as it goes on, those of values at its end."""

    def __init__(self, types: tuple[set[str], set[str]], *, keys: bool, types_chars: int) -> None:
        self._types = types
        self._keys = keys
        self._types_chars = types_chars
        self._table: Columns | None = None  # of dicts; None for plain values
        self._first: Any = None  # the value that decided it, to be shown beside another

    def encode(self, batch: Batch) -> bytes:
        """The lines of these records, without the header. Raises ValueTypeError."""
        columns: list[pl.Series] = []
        if self._keys:
            columns.append(_column(batch.frame["key"], batch.key_lane, self._types[0], key=True))
        columns += self._values(batch.frame["value"], batch.value_lane)
        if len(columns) == 1:
            columns = [columns[0].cast(pl.String).fill_null("")]  # others take an empty line for no record
        return _lines([column.alias(str(number)) for number, column in enumerate(columns)])

    def begin(self) -> bytes:
        """The header, of what has been written so far; of a part without records that of plain values."""
        return header(list(self._table) if self._table is not None else ["value"], keys=self._keys)

    def finish(self) -> None:
        """Note the types of the values, if they are rows of a table."""
        if self._table is not None:
            self._types[1].add(table_name(self._table, self._types_chars))

    def _values(self, series: pl.Series, lane: Lane) -> list[pl.Series]:
        objects = values_list(series, lane, unpickle=False) if lane is Lane.ENCODED else None
        if not self._types[1] and self._table is None:
            self._first = series[0] if objects is None else objects[0]
            self._table = _table_of(self._first, keys=self._keys)
        if self._table is None:
            dicts = [item for item in objects or () if type(item) is dict]
            if dicts:
                raise _mixed(dicts[0], self._first)
            return [_column(series, lane, self._types[1], key=False)]
        if objects is None:
            raise _mixed(self._first, series[0])
        names = self._table.keys()
        for item in objects:
            if type(item) is not dict:
                raise _mixed(self._first, item)
            if item.keys() != names:
                raise _other_names(item, self._first)
        return [_objects([item[name] for item in objects], types) for name, types in self._table.items()]


def _table_of(value: Any, *, keys: bool) -> Columns | None:
    """The columns of a table whose first row is this value; None if it is no dict. Raises ValueTypeError."""
    if type(value) is not dict:
        return None
    if not value or not all(type(name) is str and _is_utf8(name) for name in value):
        raise ValueTypeError(
            f"{OUTPUT} output cannot write {shown(value)}: the names of a dict are the names of columns, one or more, "
            "and each is a str. Emit such a dict, or choose the output format jsonl."
        )
    if keys and "key" in value:
        raise ValueTypeError(
            f"{OUTPUT} output cannot write {shown(value)}: it has the name 'key', which is the column of the records' "
            "keys. Emit it under another name, or choose the output format jsonl."
        )
    return {name: set() for name in value}


def _mixed(row: Any, plain: Any) -> ValueTypeError:
    return ValueTypeError(
        f"{OUTPUT} output cannot write {shown(row)} and {shown(plain)} as values of one output: a dict is a row with "
        "columns of its names, anything else a column. Emit one of both, or choose the output format jsonl."
    )


def _other_names(item: dict[Any, Any], first: dict[str, Any]) -> ValueTypeError:
    return ValueTypeError(
        f"{OUTPUT} output cannot write {shown(item)}: its names are not the columns, which are those of the first "
        f"value, {shown(first)}. Emit dicts of the same names (None is an empty field), or choose the output format "
        "jsonl."
    )


def header(names: Sequence[str], *, keys: bool) -> bytes:
    """The first line of a file: "key", where there are keys, and the names of the values' columns."""
    names = [*(["key"] if keys else []), *names]
    return _lines([pl.Series(str(number), [name]) for number, name in enumerate(names)])


def _lines(columns: list[pl.Series]) -> bytes:
    stream = io.BytesIO()
    frame = pl.DataFrame(columns)
    frame.write_csv(stream, include_header=False, line_terminator="\n", quote_style="necessary")
    return stream.getvalue()


def _column(series: pl.Series, lane: Lane, types: set[str], *, key: bool) -> pl.Series:
    if lane is Lane.ENCODED:
        objects = keys_list(series, lane) if key else values_list(series, lane, unpickle=False)
        return _objects(objects, types, key=key)
    types.add(lane.value)
    return _NATIVE[lane](series)


_NATIVE: dict[Lane, Callable[[pl.Series], pl.Series]] = {
    Lane.STR: lambda series: series,
    Lane.BYTES: lambda series: series.bin.encode("base64"),
    Lane.INT: lambda series: series,
    Lane.FLOAT: float_texts,
    Lane.BOOL: lambda series: series,
}
_LANES: dict[pl.DataType, Lane] = {
    pl.String(): Lane.STR,
    pl.Binary(): Lane.BYTES,
    pl.Int64(): Lane.INT,
    pl.Float64(): Lane.FLOAT,
    pl.Boolean(): Lane.BOOL,
}


def _objects(objects: list[Any], types: set[str], *, key: bool = False) -> pl.Series:
    dtype = exact_dtype(objects)
    lane = _LANES.get(dtype) if dtype is not None else None
    if lane is not None:
        series = pl.Series(objects, dtype=dtype)
        types.update([lane.value, NONE] if series.null_count() else [lane.value])
        return _NATIVE[lane](series)
    with long_ints():
        return pl.Series([_text(value, types, key=key) for value in objects], dtype=pl.String)


def _text(value: Any, types: set[str], *, key: bool) -> str | None:
    kind = type(value)
    if kind is str:
        types.add(STR)
        if not _is_utf8(value):
            raise ValueTypeError(
                f"{OUTPUT} output cannot write {shown(value)}: lone surrogates are no UTF-8, and CSV has no escapes. "
                "Emit repr(value), or choose the output format jsonl."
            )
        return str(value)
    if kind is bytes:
        types.add(BYTES)
        return base64.b64encode(value).decode()
    if value is None:
        types.add(NONE)
        return None
    name = SCALAR_NAMES.get(kind)
    if name is not None:
        types.add(name)
        return encode(value)
    try:
        return container_text(value, types, key=key)
    except UnsayableError as error:
        raise refusal(error, value, OUTPUT) from None


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


# ------------------------------------------------------------------------------------------------- names of types


def table_name(columns: Columns, most: int) -> str:
    """The name of a table's type in the manifest: JSON, or of one longer than `most` a checksum of it."""
    name = json.dumps({column: sorted(types) for column, types in columns.items()}, separators=(",", ":"))
    return name if len(name) <= most else f"{TABLE_LOST} ({xxhash.xxh3_64_hexdigest(name.encode())})"


def named_table(name: str) -> Columns | None:
    """The columns of a table whose type has this name; None for any other type. Raises ValueError for no name."""
    if not name.startswith("{"):
        return None
    columns = json.loads(name)
    for types in columns.values():
        if type(types) is not list or any(type(kind) is not str for kind in types):
            msg = f"the types of a column of CSV are an array of names, not {types!r:.100}"
            raise ValueError(msg)
    return {column: set(types) for column, types in columns.items()}


def common_values(names: set[str], most: int) -> set[str]:
    """The names of the types of all parts together: tables of the same columns in one order are one."""
    tables = [named_table(name) for name in sorted(names)]
    first = tables[0] if tables else None
    if first is None or any(table is None or list(table) != list(first) for table in tables):
        return names
    merged: Columns = {column: set() for column in first}
    for table in tables:
        for column, types in (table or {}).items():
            merged[column] |= types
    return {table_name(merged, most)}


# ------------------------------------------------------------------------------------------------------- reading


def record_ends(data: bytes, *, inside: bool = False) -> Ends:
    """Where records end: at line ends that are not between quotes. `inside` says that the data begins between some."""
    array = np.frombuffer(data, dtype=np.uint8)
    ends = array == ord("\n")
    if inside or b'"' in data:
        ends &= np.cumsum(array == ord('"')) % 2 == inside
    return np.flatnonzero(ends) + 1


def header_end(data: bytes) -> int:
    """Where the first record ends. Raises ValueError if none does."""
    ends = record_ends(data)
    if not len(ends):
        msg = "the header has no end"
        raise ValueError(msg)
    return int(ends[0])


def check_types(types: tuple[str, ...], *, key: bool) -> None:
    """Raise ValueError where columns cannot be of these types."""
    tables = [name for name in types if not key and name.startswith(("{", TABLE_LOST))]
    for columns in filter(None, map(named_table, tables)):
        for kinds in columns.values():
            _parser(kinds)
    if not tables:
        _parser(set(types), key=key)


class CsvReader:
    """Reads whole records of one file, the first of which is the header. The types are the whole output's."""

    def __init__(self, key_types: tuple[str, ...], value_types: tuple[str, ...]) -> None:
        self._parse_key = _parser(set(key_types), key=True) if key_types else None
        self._types = value_types
        self._names: list[str] | None = None  # of the file's columns; None before the header
        self._table = False

    def read(self, data: bytes) -> Iterator[tuple[Any, Any]]:
        """The pairs; keys are None where there are none. Raises ValueError for what is no such CSV."""
        if self._names is None:
            stop = header_end(data)
            self._read_header(data[:stop].decode())
            data = data[stop:]
        columns = self._columns(data)
        keys: Iterator[Any] | list[Any] = iter(lambda: None, 0)
        with long_ints():
            if self._parse_key is not None:
                keys = list(map(self._parse_key, columns.pop(0)))
            values = self._values(columns)
        return zip(keys, values, strict=False)

    def _read_header(self, text: str) -> None:
        (names,) = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        self._names = names
        if self._parse_key is not None:
            if names[:1] != ["key"]:
                msg = f"the header has no column 'key', and the manifest says that there are keys: {text!r}"
                raise ValueError(msg)
            names = names[1:]
        tables = [name for name in self._types if name.startswith(("{", TABLE_LOST))]
        # Some parts may hold rows and others plain values: what this one holds, its header says.
        self._table = bool(tables) and (len(tables) == len(self._types) or names != ["value"])

    def _columns(self, data: bytes) -> list[list[str | None]]:
        assert self._names is not None
        schema = {str(number): pl.String for number in range(len(self._names))}
        if data.startswith(codecs.BOM_UTF8):
            data = codecs.BOM_UTF8 + data  # Polars leaves out the first, and these are the first record's own
        frame = pl.read_csv(
            io.BytesIO(data),
            has_header=False,
            schema=schema,
            infer_schema=False,
            raise_if_empty=False,
        )
        records = len(record_ends(data))
        if frame.height != records:
            msg = f"{records} records are read as {frame.height}: it was changed"
            raise ValueError(msg)
        return [frame[name].to_list() for name in schema]

    def _values(self, columns: list[list[str | None]]) -> list[Any]:
        assert self._names is not None
        names = self._names[len(self._names) - len(columns) :]
        one = len(self._names) == 1
        if not self._table:
            return list(map(_parser(set(self._types), one=one), columns[0]))
        known = named_table(self._types[0]) if len(self._types) == 1 else None
        parsers = [_parser(known.get(name, set()) if known else set(), one=one) for name in names]
        parsed = [list(map(parse, column)) for parse, column in zip(parsers, columns, strict=True)]
        return [dict(zip(names, row, strict=True)) for row in zip(*parsed, strict=True)]


def _parser(types: set[str], *, key: bool = False, one: bool = False) -> Callable[[str | None], Any]:
    """What turns the fields of a column of these types into objects; text where they are several beside None.

    In the `one` column of a file the empty str stands for None, unless the column has str. No types: all are text.
    Raises ValueError for a type that columns do not have, and then for a field that is missing in one without None.
    """
    kinds = types - {NONE}
    if one and NONE in types and STR not in types:
        inner = _parser(types)
        return lambda field: None if not field else inner(field)
    if kinds and NONE not in types:
        inner = _parser({*types, NONE}, key=key)
        return lambda field: _missing() if field is None else inner(field)
    if len(kinds) != 1:
        return lambda field: field
    kind = next(iter(kinds))
    if kind in {LIST, TUPLE, DICT, JSON}:
        parse: Callable[[Any], Any] = _tuple_of if kind == TUPLE else json.loads
        if key:
            parse = _key_of
    else:
        if kind not in _PARSERS:
            msg = f"there is no type {kind!r:.100} of a column of CSV"
            raise ValueError(msg)
        parse = _PARSERS[kind]
    return lambda field: None if field is None else parse(field)


def _missing() -> Any:
    msg = "a field is empty or missing, in a column that has no None"
    raise ValueError(msg)


def _tuple_of(field: str) -> Any:
    return tuple(json.loads(field))


def _key_of(field: str) -> Any:
    return tuples(json.loads(field))


_PARSERS: dict[str, Callable[[Any], Any]] = {
    STR: lambda field: field,
    INT: int,
    FLOAT: float,
    BOOL: "true".__eq__,
    BYTES: base64.b64decode,
}
