"""Types of columns of Parquet and Arrow: what objects make one, what two types have in common, and their names.

The names stand in the manifest, so that the types of an output are known without a look into its parts. They also say
what a column cannot: that its lists were tuples, or that something in it has come through changed.
"""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import xxhash

from mapreduce.dataflow.columns.frames import exact_dtype
from mapreduce.dataflow.columns.json_text import ADVICE, LIST, TUPLE, shown
from mapreduce.errors import ValueTypeError
from mapreduce.output_formats import PARQUET

NAME_CHARS = 200  # of the name of the keys' type, which crosses the wire for each part: longer ones are a checksum
CHANGED = "changed"  # begins the name of a type of which some values are read back as others
DATETIME = "datetime"  # begins the name of the type of moments, before their zone
_UTC = zoneinfo.ZoneInfo("UTC")

_NAMES: dict[pl.DataType, str] = {
    pl.Null(): "none",
    pl.Boolean(): "bool",
    pl.Int64(): "int",
    pl.Float64(): "float",
    pl.String(): "str",
    pl.Binary(): "bytes",
    pl.Date(): "date",
    pl.Time(): "time",
    pl.Duration("us"): "duration",
    pl.Datetime("us"): DATETIME,
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def unify(a: pl.DataType, b: pl.DataType) -> pl.DataType | None:
    """The type of a column that has objects of both, or None if there is none. Null is any type's."""
    if a == b or b == pl.Null():
        return a
    if a == pl.Null():
        return b
    if isinstance(a, pl.List) and isinstance(b, pl.List):
        inner = unify(_dtype(a.inner), _dtype(b.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(a, pl.Struct) and isinstance(b, pl.Struct):
        others = {field.name: _dtype(field.dtype) for field in b.fields}
        if {field.name for field in a.fields} != set(others):
            return None
        found = {field.name: unify(_dtype(field.dtype), others[field.name]) for field in a.fields}
        fields = [pl.Field(name, dtype) for name, dtype in found.items() if dtype is not None]
        return pl.Struct(fields) if len(fields) == len(found) else None
    return None


def _dtype(given: Any) -> pl.DataType:
    dtype: pl.DataType = given() if isinstance(given, type) else given
    return dtype


def type_name(dtype: pl.DataType, marks: AbstractSet[str] = frozenset(), most: int = NAME_CHARS) -> str:
    """The name of a column's type in the manifest: "int", or JSON for nested ones; a checksum of one beyond `most`.

    The marks are those that `exact_series` has noted: a column of tuples alone is named so, and read back so.
    """
    form = _form_of(dtype)
    changed = CHANGED in marks or {LIST, TUPLE} <= marks
    if TUPLE in marks and not changed:
        form = {TUPLE: form[LIST]}
    name = form if isinstance(form, str) else json.dumps(form, ensure_ascii=False, separators=(",", ":"))
    if len(name) + len(CHANGED) >= most:
        name = f"nested ({xxhash.xxh3_64_hexdigest(name.encode())})"
        changed = changed or TUPLE in marks
    return f"{CHANGED} {name}" if changed else name


def is_tuples(name: str) -> bool:
    """Whether a type of this name is that of tuples alone, which the file has as lists."""
    return name.startswith(f'{{"{TUPLE}"')


def is_changed(name: str) -> bool:
    """Whether some values of a column of this type are read back as others."""
    return name.startswith(f"{CHANGED} ")


def _marks_of(name: str) -> set[str]:
    """What `type_name` was told beside the type."""
    if is_changed(name):
        return {CHANGED}
    return {TUPLE} if is_tuples(name) else {LIST} if name.startswith(f'{{"{LIST}"') else set()


def _form_of(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.List):
        return {LIST: _form_of(_dtype(dtype.inner))}
    if isinstance(dtype, pl.Struct):
        return {"dict": {field.name: _form_of(_dtype(field.dtype)) for field in dtype.fields}}
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "us" and dtype.time_zone is not None:
        return f"{DATETIME} {dtype.time_zone}"
    return _NAMES.get(dtype, str(dtype))


def named_type(name: str) -> pl.DataType | None:
    """The type that has this name; None for one whose name doesn't say it all (very long ones)."""
    name = name.removeprefix(f"{CHANGED} ")
    return _of_form(json.loads(name) if name.startswith("{") else name)


def _of_form(form: Any) -> pl.DataType | None:
    if isinstance(form, str):
        zone = form.removeprefix(f"{DATETIME} ")
        return _DTYPES.get(form) if zone == form else pl.Datetime("us", zone)
    if LIST in form or TUPLE in form:
        inner = _of_form(form.get(LIST) or form[TUPLE])
        return None if inner is None else pl.List(inner)
    found = {name: _of_form(part) for name, part in form["dict"].items()}
    fields = [pl.Field(name, dtype) for name, dtype in found.items() if dtype is not None]
    return pl.Struct(fields) if len(fields) == len(found) else None


def _common_name(names: set[str], most: int) -> set[str]:
    """The name of the type that has the objects of all these; the same names if there is none that they say."""
    known: pl.DataType | None = pl.Null()
    for dtype in map(named_type, sorted(names)):
        known = None if known is None or dtype is None else unify(known, dtype)
    if known is None or not names:
        return names
    return {type_name(known, set().union(*map(_marks_of, names)), most)}


def common_types(keys: set[str], values: set[str], most: int) -> tuple[set[str], set[str], pl.Schema | None]:
    """The types of an output from those of its parts: one for each column, where there is one that names say.

    Also the columns that all parts should have: one whose records all have None somewhere, or that has no records at
    all, cannot know the types of the others, and programs that read all parts as one table mind. None where nothing
    can be said. `most` characters may be in the name of the values' type.
    """
    keys, values = _common_name(keys, NAME_CHARS), _common_name(values, most)
    if not values:
        return keys, values, None  # no part has a record
    columns: dict[str, pl.DataType] = {}
    for column, names in {"key": keys, "value": values}.items():
        dtype = named_type(next(iter(names))) if len(names) == 1 else None
        if dtype is not None:
            columns[column] = dtype
        elif names:
            return keys, values, None
    return keys, values, pl.Schema(columns)


# --------------------------------------------------------------------------------------------- objects to columns


def exact_series(name: str, objects: list[Any], base: str, marks: set[str]) -> pl.Series:
    """A column of these objects. Raises ValueTypeError, showing those that have no type in common.

    Notes in `marks` whether there are lists and tuples among them, and whether anything in it comes back changed.
    """
    dtype = exact_dtype(objects)
    if isinstance(dtype, pl.List):
        marks.add(LIST)
    if dtype is None:
        forms = [_outer(item, marks) for item in objects]
        dtype = exact_dtype(forms)
        if dtype is None:
            raise ValueTypeError(refusal(name, _reason(objects, forms), base))
        objects = forms
    return _series(objects, dtype).alias(name)


def _series(objects: list[Any], dtype: pl.DataType) -> pl.Series:
    """A column of these objects, of their type, column by column: Polars makes nested ones object by object."""
    if isinstance(dtype, pl.Struct):
        fields: dict[str, pl.Series] = {}
        for field in dtype.fields:
            parts = [None if item is None else item[field.name] for item in objects]
            fields[field.name] = _series(parts, _dtype(field.dtype))
        structs = pl.DataFrame(fields).to_struct("")
        return structs if None not in objects else _with_nulls(structs, objects)
    if isinstance(dtype, pl.List):
        flat = _series(list(chain.from_iterable(item for item in objects if item)), _dtype(dtype.inner))
        lengths = [len(item) if item else 0 for item in objects]
        rows = pl.Series("row", np.repeat(np.arange(len(objects)), lengths))
        lists = pl.DataFrame([rows, flat.alias("item")]).group_by("row", maintain_order=True).agg("item")
        every = pl.DataFrame({"row": pl.Series(np.arange(len(objects)))})
        found = every.join(lists, on="row", how="left", maintain_order="left")["item"]
        filled = found.fill_null(pl.Series([[]], dtype=dtype)) if 0 in lengths else found
        return filled if None not in objects else _with_nulls(filled, objects)
    return pl.Series(objects, dtype=dtype, strict=True)


def _with_nulls(series: pl.Series, objects: list[Any]) -> pl.Series:
    """The same, and null where the object is None."""
    there = pl.Series([item is not None for item in objects], dtype=pl.Boolean)
    return pl.select(pl.when(there).then(series)).to_series()


def _outer(value: Any, marks: set[str]) -> Any:
    """As `_plain`, for a whole value: a tuple is one again when it is read, where all values are."""
    kind = type(value)
    if kind is tuple or kind is list:
        marks.add(TUPLE if kind is tuple else LIST)
        return [_plain(part, marks) for part in value]
    return _plain(value, marks)


def _plain(value: Any, marks: set[str]) -> Any:
    """What stands for a value that has no type of its own: a list for a tuple, a dict's keys in one order, a zone."""
    kind = type(value)
    if kind is tuple or kind is list:
        if kind is tuple:
            marks.add(CHANGED)
        return [_plain(part, marks) for part in value]
    if kind is dict and all(type(name) is str for name in value):
        return {name: _plain(value[name], marks) for name in sorted(value)}
    if kind is dt.datetime and value.tzinfo == dt.UTC:  # the library's constant: equal, but no zone with a name
        marks.add(CHANGED)
        return value.replace(tzinfo=_UTC, fold=0)
    if kind.__module__ == "numpy" and not _is_bare_time(value):
        marks.add(CHANGED)
        return value.tolist()
    return value


def _is_bare_time(value: Any) -> bool:
    """Whether NumPy's dates or durations are finer, longer or of another unit than Python has: bare ints there."""
    return value.dtype.kind in "mM" and int in set(map(type, value.ravel().tolist()))


def _reason(objects: list[Any], forms: list[Any]) -> str:
    """Why these objects make no column."""
    known: pl.DataType = pl.Null()
    earlier: Any = None
    for item, form in zip(objects, forms, strict=True):
        dtype = exact_dtype([form])
        if dtype is None:
            return f"{shown(item)} of type {type(item).__qualname__} has none{_advice(item)}"
        both = unify(known, dtype)
        if both is None:
            return differ(item, earlier)
        known, earlier = both, item if earlier is None else earlier
    raise AssertionError("a column was refused, but all its objects are of one type")


def _advice(item: Any) -> str:
    kind = type(item)
    if kind is dt.datetime and item.tzinfo is not None:
        return " (value.astimezone(datetime.timezone.utc), or a zone of zoneinfo.ZoneInfo with a name)"
    if kind in {tuple, list}:
        return " (for parts of several types emit a dict with str keys)"
    if kind in {int, str}:
        return " (str(value), or repr(value) for lone surrogates)"
    advice = ADVICE.get(kind.__qualname__ if kind.__module__ == "builtins" else kind.__module__)
    return f" ({advice})" if advice else ""


def differ(item: Any, earlier: Any) -> str:
    """What is said of two objects that make no column: the reason for `refusal`."""
    return f"{shown(item)} is of another type than {shown(earlier)}"


def refusal(column: str, reason: str, base: str = PARQUET) -> str:
    """The message for a part whose `column` ("key" or "value") cannot be written in this format."""
    return (
        f"{base.capitalize()} output cannot write the {column}s of all records: a column has one type, and {reason}. "
        "The types are str, bytes, int of 64 bits, float, bool, dates and times, lists of one type, and dicts that "
        "have the same str keys; None is null. Emit values of one type, or choose the output format jsonl."
    )
