"""Types of Parquet's columns: what objects make a column, what two types have in common, and their names.

The names stand in the manifest, so that the types of an output are known without a look into its parts.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import xxhash

from mapreduce.dataflow.frames import exact_dtype
from mapreduce.dataflow.json_text import ADVICE, shown
from mapreduce.errors import ValueTypeError

NAME_CHARS = 200  # of a type's name in the manifest, which crosses the wire for each part: longer ones are a checksum

_NAMES: dict[pl.DataType, str] = {
    pl.Null(): "none",
    pl.Boolean(): "bool",
    pl.Int64(): "int",
    pl.Float64(): "float",
    pl.String(): "str",
    pl.Binary(): "bytes",
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


def type_name(dtype: pl.DataType) -> str:
    """The name of a column's type in the manifest: "int", or JSON for nested ones; a checksum of a very long one."""
    form = _form_of(dtype)
    name = form if isinstance(form, str) else json.dumps(form, ensure_ascii=False, separators=(",", ":"))
    if len(name) > NAME_CHARS:
        return f"nested ({xxhash.xxh3_64_hexdigest(name.encode())})"
    return name


def _form_of(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.List):
        return {"list": _form_of(_dtype(dtype.inner))}
    if isinstance(dtype, pl.Struct):
        return {"dict": {field.name: _form_of(_dtype(field.dtype)) for field in dtype.fields}}
    return _NAMES.get(dtype, str(dtype))


def named_type(name: str) -> pl.DataType | None:
    """The type that has this name; None for one whose name doesn't say it all (dates, very long ones)."""
    return _of_form(json.loads(name) if name.startswith("{") else name)


def _of_form(form: Any) -> pl.DataType | None:
    if isinstance(form, str):
        return _DTYPES.get(form)
    if "list" in form:
        inner = _of_form(form["list"])
        return None if inner is None else pl.List(inner)
    found = {name: _of_form(part) for name, part in form["dict"].items()}
    fields = [pl.Field(name, dtype) for name, dtype in found.items() if dtype is not None]
    return pl.Struct(fields) if len(fields) == len(found) else None


def _common_name(names: set[str]) -> set[str]:
    """The name of the type that has the objects of all these; the same names if there is none that they say."""
    known: pl.DataType | None = pl.Null()
    for dtype in map(named_type, sorted(names)):
        known = None if known is None or dtype is None else unify(known, dtype)
    return names if known is None or not names else {type_name(known)}


def common_types(keys: set[str], values: set[str]) -> tuple[set[str], set[str], pl.Schema | None]:
    """The types of an output from those of its parts: one for each column, where there is one that names say.

    Also the columns that all parts should have: one whose records all have None somewhere, or that has no records at
    all, cannot know the types of the others, and programs that read all parts as one table mind. None where nothing
    can be said.
    """
    keys, values = _common_name(keys), _common_name(values)
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


def exact_series(name: str, objects: list[Any]) -> pl.Series:
    """A column of these objects. Raises ValueTypeError, showing those that have no type in common."""
    dtype = exact_dtype(objects)
    if dtype is None:
        forms = [_plain(item) for item in objects]
        dtype = exact_dtype(forms)
        if dtype is None:
            raise ValueTypeError(refusal(name, _reason(objects, forms)))
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


def _plain(value: Any) -> Any:
    """What stands for a value that has no type of its own: a list for a tuple, a dict's keys in one order."""
    kind = type(value)
    if kind is tuple or kind is list:
        return [_plain(part) for part in value]
    if kind is dict and all(type(name) is str for name in value):
        return {name: _plain(value[name]) for name in sorted(value)}
    if kind.__module__ == "numpy":
        return value.tolist()
    return value


def _reason(objects: list[Any], forms: list[Any]) -> str:
    """Why these objects make no column."""
    known: pl.DataType = pl.Null()
    earlier: Any = None
    for item, form in zip(objects, forms, strict=True):
        dtype = exact_dtype([form])
        if dtype is None:
            return f"{shown(item)} of type {type(item).__qualname__} has none{_advice(type(item))}"
        both = unify(known, dtype)
        if both is None:
            return differ(item, earlier)
        known, earlier = both, item if earlier is None else earlier
    raise AssertionError("a column was refused, but all its objects are of one type")


def _advice(kind: type) -> str:
    if kind in {tuple, list}:
        return " (for parts of several types emit a dict with str keys)"
    if kind in {int, str}:
        return " (str(value), or repr(value) for lone surrogates)"
    advice = ADVICE.get(kind.__qualname__ if kind.__module__ == "builtins" else kind.__module__)
    return f" ({advice})" if advice else ""


def differ(item: Any, earlier: Any) -> str:
    """What is said of two objects that make no column: the reason for `refusal`."""
    return f"{shown(item)} is of another type than {shown(earlier)}"


def refusal(column: str, reason: str) -> str:
    """The message for a part whose `column` ("key" or "value") cannot be written."""
    return (
        f"Parquet output cannot write the {column}s of all records: a column has one type, and {reason}. The types are "
        "str, bytes, int of 64 bits, float, bool, dates and times, lists of one type, and dicts that have the same str "
        "keys; None is null. Emit values of one type, or choose the output format jsonl."
    )
