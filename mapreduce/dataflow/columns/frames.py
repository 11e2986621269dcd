"""Polars frames for users' functions, from batches and back: the columns "key" and "value", no record changed.

A frame's column gets a Polars type where all its objects have one that Polars stores exactly (None is null); dicts of
the same str keys become a Struct, lists of one type a List, at any depth. Any other column holds Python objects
(`pl.Object`): mixed types, tuples, sets, ints beyond 64 bits, Decimals, whatever else would come back as something
else. Types are chosen by the objects, never by Polars' inference.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import (
    Batch,
    Lane,
    key_series,
    keys_list,
    normal_floats,
    sort_by_key,
    ungroup,
    value_series,
    values_list,
)
from mapreduce.dataflow.columns.keys import INT64_MAX, INT64_MIN, normalise_key
from mapreduce.dataflow.context import kind_of, shorten
from mapreduce.dataflow.shuffle.sizes import cut
from mapreduce.errors import KeyTypeError, RecordError, ValueTypeError

FRAME_BYTES = 8 << 20  # of a frame that a function is given: Polars' calls cost nothing then, and copies little
COLUMNS = ["key", "value"]


# ---------------------------------------------------------------------------------------------- objects to columns


def frame_of(batch: Batch) -> pl.DataFrame:
    """The batch's records, ungrouped and in order, as a frame with the columns "key" and "value"."""
    flat = ungroup(batch)
    keys, values = flat.frame["key"], flat.frame["value"]
    if flat.key_lane is Lane.ENCODED:
        keys = exact_column("key", keys_list(keys, flat.key_lane))
    if flat.value_lane is Lane.ENCODED:
        values = exact_column("value", values_list(values, flat.value_lane))
    return pl.DataFrame([keys, values])


def exact_column(name: str, objects: list[Any]) -> pl.Series:
    """A column that gives exactly these objects back (`to_list`): of the type of `exact_dtype`, or of objects."""
    dtype = exact_dtype(objects)
    return pl.Series(name, objects, dtype=pl.Object if dtype is None else dtype, strict=True)


def exact_dtype(objects: list[Any]) -> pl.DataType | None:
    """The Polars type whose columns hold these objects, or None for all, without a change; None where there is none."""
    kinds = set(map(type, objects))
    present = [item for item in objects if item is not None] if type(None) in kinds else objects
    kinds.discard(type(None))
    if not kinds:
        return pl.Null()
    rule = _RULES.get(kinds.pop())
    return None if kinds or rule is None else rule(present)


def _of_ints(objects: list[Any]) -> pl.DataType | None:
    return pl.Int64() if min(objects) >= INT64_MIN and max(objects) <= INT64_MAX else None


def _of_texts(objects: list[Any]) -> pl.DataType | None:
    return pl.String() if _is_utf8("".join(objects)) else None


def _is_utf8(text: str) -> bool:
    """Whether Polars can hold the text: it cannot hold lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_dicts(objects: list[Any]) -> pl.DataType | None:
    names = list(objects[0])
    if not names or set(map(type, names)) != {str} or any(list(item) != names for item in objects):
        return None
    if not all(map(_is_utf8, names)):
        return None
    fields: list[pl.Field] = []
    for name in names:
        dtype = exact_dtype([item[name] for item in objects])
        if dtype is None:
            return None
        fields.append(pl.Field(name, dtype))
    return pl.Struct(fields)


def _of_lists(objects: list[Any]) -> pl.DataType | None:
    inner = exact_dtype(list(chain.from_iterable(objects)))
    return None if inner is None else pl.List(inner)


def _of_times(objects: list[Any]) -> pl.DataType | None:
    return pl.Time() if all(item.tzinfo is None and not item.fold for item in objects) else None


def _of_datetimes(objects: list[Any]) -> pl.DataType | None:
    """Naive ones, and those of one zone of the zone database (by name: an offset alone would come back as one)."""
    zones = {item.tzinfo for item in objects}
    if len(zones) != 1:
        return None
    zone = zones.pop()
    if zone is None:
        return pl.Datetime("us") if not any(item.fold for item in objects) else None
    if type(zone) is not zoneinfo.ZoneInfo or zone.key is None or not ("/" in zone.key or zone.key == "UTC"):
        return None
    return pl.Datetime("us", zone.key) if all(map(_is_real_time, objects)) else None


def _is_real_time(moment: dt.datetime) -> bool:
    """Whether a local time is what its moment is called: not so for one that a clock set forward skips."""
    try:
        back = moment.astimezone(dt.UTC).astimezone(moment.tzinfo)
    except OverflowError:  # at the ends of the calendar
        return False
    return back.replace(tzinfo=None) == moment.replace(tzinfo=None) and back.fold == moment.fold


def _of_durations(objects: list[Any]) -> pl.DataType | None:
    microsecond = dt.timedelta(microseconds=1)
    fits = min(objects) // microsecond >= INT64_MIN and max(objects) // microsecond <= INT64_MAX
    return pl.Duration("us") if fits else None


_RULES: dict[type, Callable[[list[Any]], pl.DataType | None]] = {
    bool: lambda _objects: pl.Boolean(),
    int: _of_ints,
    float: lambda _objects: pl.Float64(),
    str: _of_texts,
    bytes: lambda _objects: pl.Binary(),
    dict: _of_dicts,
    list: _of_lists,
    dt.date: lambda _objects: pl.Date(),
    dt.time: _of_times,
    dt.datetime: _of_datetimes,
    dt.timedelta: _of_durations,
}


# ---------------------------------------------------------------------------------------------- columns to batches


def batches_of(result: Any, who: str, *, by_key: bool = False) -> Iterator[Batch]:
    """The records that a function gave as a frame, as several (an iterator or list of them) or as None, for nothing.

    In batches of at most about FRAME_BYTES, cut by the data alone; with `by_key` the rows of each frame are sorted by
    key, those of a key in their order. `who` names the function. Raises RecordError for anything else, and as
    `batch_of` does.
    """
    if result is None:
        return
    for frame in [result] if isinstance(result, pl.DataFrame) else _each_frame(result, who):
        batch = batch_of(frame, who)
        for piece, _ in cut(sort_by_key(batch) if by_key else batch, FRAME_BYTES):
            yield piece


def _each_frame(result: Any, who: str) -> Iterable[Any]:
    strange = (str, bytes, tuple, Mapping, pl.Series, pl.LazyFrame)
    if isinstance(result, strange) or not isinstance(result, Iterable):
        raise RecordError(_no_frame(result, who))
    return result


def batch_of(frame: Any, who: str) -> Batch:
    """The records of a frame with the columns "key" and "value", in its order; each is what `to_list` gives.

    `who` names the function that gave it. Raises RecordError (KeyTypeError, ValueTypeError), naming function and
    column, for other columns, keys of a type that keys cannot have, and values that cannot be kept.
    """
    if not isinstance(frame, pl.DataFrame):
        raise RecordError(_no_frame(frame, who))
    if sorted(frame.columns) != COLUMNS:
        names = ", ".join(map(repr, frame.columns)) or "none"
        raise RecordError(
            f"{who} gave a frame with the columns {names:.300}; it must have 'key' and 'value' and no other: "
            'write frame.select(key="...", value="..."), and pl.struct("a", "b") for several values'
        )
    keys, key_lane = _keys_of(frame["key"], who)
    values, value_lane = _values_of(frame["value"], who)
    return Batch(pl.DataFrame([keys, values]), key_lane, value_lane)


def _no_frame(given: Any, who: str) -> str:
    text = shorten(given)
    shown = "" if "\n" in text else f"{text:.200}, "  # Polars' objects fill many lines
    what = f"{who} gave {shown}{kind_of(given)}; with frames=True it gives Polars frames"
    if isinstance(given, pl.LazyFrame):
        return f"{what}: write frame.collect()"
    return f"{what} with the columns 'key' and 'value', one or several (yielded), or None for nothing"


def _native(series: pl.Series) -> tuple[pl.Series, Lane] | None:
    """The column in a native lane, or None for one that has nulls or no lane of its own."""
    dtype = series.dtype
    if series.null_count():
        return None
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        return series.cast(pl.String), Lane.STR
    if dtype.is_integer():
        unsigned = dtype in (pl.UInt64, pl.UInt128, pl.Int128) and series.len() > 0
        if unsigned and not _in_int64(series):
            return None
        return series.cast(pl.Int64), Lane.INT
    if dtype.is_float():
        return series.cast(pl.Float64), Lane.FLOAT
    lane = {pl.String: Lane.STR, pl.Binary: Lane.BYTES, pl.Boolean: Lane.BOOL}.get(dtype.base_type())
    return None if lane is None else (series, lane)


def _in_int64(series: pl.Series) -> bool:
    least, most = series.min(), series.max()
    assert isinstance(least, int)
    assert isinstance(most, int)
    return least >= INT64_MIN and most <= INT64_MAX


def _keys_of(series: pl.Series, who: str) -> tuple[pl.Series, Lane]:
    native = _native(series)
    if native is not None:
        column, lane = native
        return (normal_floats(column) if lane is Lane.FLOAT else column), lane
    dtype = series.dtype
    scalar = dtype.is_integer() or dtype.is_float() or isinstance(dtype, (pl.Categorical, pl.Enum))
    if not scalar and dtype.base_type() not in (pl.String, pl.Binary, pl.Boolean, pl.Null, pl.Object):
        raise KeyTypeError(
            f"{who} gave a frame whose column 'key' has the type {dtype}; keys are str, bytes, numbers, bool or null: "
            f"{_advice(dtype)}"
        )
    keys = series.to_list()
    try:
        return key_series(keys)
    except KeyTypeError:
        for key in keys:  # find the one
            try:
                normalise_key(key)
            except KeyTypeError as error:
                raise KeyTypeError(f"{who} gave a frame with the key {shorten(key):.200}: {error}") from error
        raise


def _advice(dtype: pl.DataType) -> str:
    if isinstance(dtype, (pl.Date, pl.Datetime, pl.Time, pl.Duration)):
        return 'write pl.col("key").dt.to_string()'
    if isinstance(dtype, pl.Decimal):
        return 'write pl.col("key").cast(pl.String)'
    if isinstance(dtype, pl.List):
        return 'write pl.col("key").list.join(...), or give tuples as objects'
    return 'write pl.format("{}...", ...), or give tuples as objects'


def _values_of(series: pl.Series, who: str) -> tuple[pl.Series, Lane]:
    native = _native(series)
    if native is not None:
        return native
    try:
        return value_series(series.to_list())
    except ValueTypeError as error:
        raise ValueTypeError(f"{who} gave a frame with a value that cannot be kept: {error}") from error
