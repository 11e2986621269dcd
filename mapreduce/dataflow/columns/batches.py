"""Records in memory: a column of keys beside a column of values, each in a lane.

A lane is native where all objects of a column have one type that Polars stores as it is; anything else (mixed types,
None, tuples, ints beyond 64 bits, lone surrogates) is in the lane ENCODED: bytes of `keys.encode_key` or
`values.encode_value`. The lane is chosen by the objects' exact types, never by Polars' inference, which makes ints of
`[1, True]`. Columns never hold nulls. Where columns of different lanes meet, both become ENCODED.

A grouped batch has each key once, with the list of its values. A repeated batch says of each row how often it comes:
what mappers give by the million that is always the same, such as `word, 1`, takes one row. Sorting and grouping give
the same result in each lane, whatever the number of Polars' threads, and sizes are functions of the data alone.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mapreduce.dataflow.columns.column_codec import (
    decode_key_column,
    decode_value_column,
    encode_key_list,
    encode_native_keys,
    encode_value_list,
    join_encodings,
    join_native_keys,
)
from mapreduce.dataflow.columns.json_text import long_ints
from mapreduce.dataflow.columns.keys import NAN, normalise_key
from mapreduce.dataflow.columns.lane import Lane, Layout
from mapreduce.dataflow.columns.sorting import sort_frame
from mapreduce.dataflow.columns.values import PICKLE_MARK
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mapreduce.dataflow.columns.keys import Key

__all__ = [
    "OFFSET_BYTES",
    "TIMES_BYTES",
    "VIEW_BYTES",
    "Batch",
    "Lane",
    "Layout",
    "common_lane",
    "concat",
    "encode_keys",
    "encode_values",
    "holds_pickles",
    "key_series",
    "keys_list",
    "make_batch",
    "normal_floats",
    "records_of",
    "regroup",
    "repeated",
    "sort_by_key",
    "ungroup",
    "value_series",
    "values_list",
    "with_lanes",
]

_LANES: dict[type, Lane] = {str: Lane.STR, bytes: Lane.BYTES, int: Lane.INT, float: Lane.FLOAT, bool: Lane.BOOL}
_NORMAL = frozenset({type(None), bool, int, str, bytes})  # types of keys that are normal as they are

VIEW_BYTES = 16  # what Arrow's views keep of each str or bytes beside its content
OFFSET_BYTES = 8  # what a list column keeps for each row
TIMES_BYTES = 8  # of the column "times"
_FIXED_BYTES = {pl.Int64: 8, pl.Float64: 8, pl.Boolean: 1}


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in memory: a frame with the columns "key" and "value", in the lanes' types.

    In a grouped batch a row is a key with the list of its values (never an empty list, and of the lane's type inside).
    In a repeated one the frame has a third column, "times" (Int64, at least 1): the row stands for so many pairs.
    """

    frame: pl.DataFrame
    key_lane: Lane
    value_lane: Lane
    grouped: bool = False

    def rows(self) -> int:
        """Rows of the frame."""
        return self.frame.height

    @property
    def repeated(self) -> bool:
        """Whether rows stand for several pairs each."""
        return "times" in self.frame.columns

    @property
    def layout(self) -> Layout:
        """What a row is."""
        return Layout.GROUPED if self.grouped else Layout.REPEATED if self.repeated else Layout.ROWS

    def records(self) -> int:
        """Pairs of a key and a value."""
        if self.repeated:
            return int(self.frame["times"].sum())
        if not self.grouped:
            return self.frame.height
        return int(self.frame["value"].list.len().sum())

    def nbytes(self) -> int:
        """Size in memory, in bytes: a function of the data alone, the same however it is cut and where it came from."""
        times = TIMES_BYTES * self.frame.height if self.repeated else 0
        return _series_bytes(self.frame["key"]) + _series_bytes(self.frame["value"]) + times


def _series_bytes(series: pl.Series) -> int:
    dtype = series.dtype
    if dtype == pl.String:
        return int(series.str.len_bytes().sum()) + VIEW_BYTES * len(series)
    if dtype == pl.Binary:
        return int(series.bin.size().sum()) + VIEW_BYTES * len(series)
    if isinstance(dtype, pl.List):
        return _series_bytes(_flat(series)) + OFFSET_BYTES * len(series)
    return _FIXED_BYTES[dtype.base_type()] * len(series)


def key_series(keys: list[Any]) -> tuple[pl.Series, Lane]:
    """The column of these keys, normalised, and its lane.

    Raises KeyTypeError, naming the type, where one is no key.
    """
    types = set(map(type, keys))
    if not _normal_types(types, keys):
        keys = [normalise_key(key) for key in keys]
        types = set(map(type, keys))
    native = _native("key", keys, types)
    if native is None:
        return encode_key_list(keys).alias("key"), Lane.ENCODED
    series, lane = native
    return (normal_floats(series) if lane is Lane.FLOAT else series), lane


def _normal_types(types: set[type], keys: list[Any]) -> bool:
    """Whether keys of these types need no normalising one by one: no NumPy scalars, no floats among others."""
    if types == {tuple}:
        return _NORMAL.issuperset(map(type, chain.from_iterable(keys)))
    return types <= _NORMAL or types == {float}


def value_series(values: list[Any]) -> tuple[pl.Series, Lane]:
    """The column of these values and its lane. Raises ValueTypeError for one that cannot even be pickled."""
    native = _native("value", values, set(map(type, values)))
    if native is None:
        return encode_value_list(values).alias("value"), Lane.ENCODED
    return native


def _native(name: str, objects: list[Any], types: set[type]) -> tuple[pl.Series, Lane] | None:
    """The column in the lane of its one type, or None where no native lane takes it."""
    if len(types) != 1:
        return None
    lane = _LANES.get(next(iter(types)))
    if lane is None:
        return None
    try:
        with long_ints():  # Polars shows an int that it cannot take
            return pl.Series(name, objects, dtype=lane.dtype, strict=True), lane
    except UnicodeEncodeError:
        return None  # lone surrogates
    except (TypeError, OverflowError):
        if lane is not Lane.INT:
            raise
        return None  # ints of more than 64 bits


def normal_floats(series: pl.Series) -> pl.Series:
    """Floats as keys have them: 0.0 for -0.0, and NaN of one bit pattern."""
    array = series.to_numpy() + 0.0
    array[np.isnan(array)] = NAN
    return pl.Series(series.name, array)


def make_batch(keys: list[Any], values: list[Any]) -> Batch:
    """The batch of these pairs, in this order. Raises as `key_series` and `value_series` do."""
    key_column, key_lane = key_series(keys)
    value_column, value_lane = value_series(values)
    return Batch(pl.DataFrame([key_column, value_column]), key_lane, value_lane)


def keys_list(series: pl.Series, lane: Lane) -> list[Key]:
    """The column's keys as Python objects."""
    return decode_key_column(series) if lane is Lane.ENCODED else series.to_list()


def values_list(series: pl.Series, lane: Lane, *, unpickle: bool = True) -> list[Any]:
    """The column's values as Python objects; for the value column of a grouped batch, a list of lists.

    Raises ValueTypeError for a pickled value where `unpickle` is False.
    """
    if lane is not Lane.ENCODED:
        return series.to_list()
    if isinstance(series.dtype, pl.List):
        flat = iter(decode_value_column(_flat(series), unpickle=unpickle))
        return [list(islice(flat, length)) for length in series.list.len().to_list()]
    return decode_value_column(series, unpickle=unpickle)


def encode_keys(series: pl.Series, lane: Lane) -> pl.Series:
    """The keys' order-preserving encodings, as a Binary column, whatever their lane."""
    if lane is Lane.ENCODED:
        return series
    return encode_native_keys(series).alias(series.name)


def join_keys(series: pl.Series, lane: Lane) -> tuple[bytes, NDArray[np.int64]]:
    """The encodings of keys, one behind the other, and the size of each."""
    return join_encodings(series) if lane is Lane.ENCODED else join_native_keys(series)


def encode_values(series: pl.Series, lane: Lane) -> pl.Series:
    """The values' canonical encodings, as a Binary column; for a grouped batch's column, as lists of Binary."""
    if lane is Lane.ENCODED:
        return series
    if isinstance(series.dtype, pl.List):
        return _relisted(encode_values(_flat(series), lane), series)
    return encode_value_list(series.to_list()).alias(series.name)


def holds_pickles(series: pl.Series, lane: Lane) -> bool:
    """Whether a column of values (flat or of lists) holds pickles, whose bytes may differ for equal values."""
    if lane is not Lane.ENCODED:
        return False
    flat = _flat(series) if isinstance(series.dtype, pl.List) else series
    return bool(flat.bin.starts_with(PICKLE_MARK).any())


def _flat(lists: pl.Series) -> pl.Series:
    """All elements of a column of (non-empty) lists, in order."""
    return lists.explode()


def _relisted(flat: pl.Series, lists: pl.Series) -> pl.Series:
    """A column of lists as long as those of `lists`, of the elements of `flat`."""
    lengths = lists.list.len().to_numpy()
    rows = pl.Series("row", np.repeat(np.arange(len(lists)), lengths))
    frame = pl.DataFrame([rows, flat.alias("value")])
    return frame.group_by("row", maintain_order=True).agg("value")["value"].alias(lists.name)


def common_lane(a: Lane, b: Lane) -> Lane:
    """The lane in which columns of these two lanes meet."""
    return a if a is b else Lane.ENCODED


def with_lanes(batch: Batch, key_lane: Lane, value_lane: Lane) -> Batch:
    """The same records in these lanes, each the batch's own or ENCODED. Raises ValueError for another."""
    if batch.key_lane is key_lane and batch.value_lane is value_lane:
        return batch
    keys, values = batch.frame["key"], batch.frame["value"]
    for have, want in ((batch.key_lane, key_lane), (batch.value_lane, value_lane)):
        if want not in (have, Lane.ENCODED):
            raise ValueError(f"a column of lane {have} can only become encoded, not {want}")
    if batch.key_lane is not key_lane:
        keys = encode_keys(keys, batch.key_lane)
    if batch.value_lane is not value_lane:
        values = encode_values(values, batch.value_lane)
    return Batch(pl.DataFrame([keys, values, *batch.frame.get_columns()[2:]]), key_lane, value_lane, batch.grouped)


def concat(batches: Sequence[Batch]) -> Batch:
    """One batch of all records, in order, in the lanes where they meet. A key may then be in several grouped rows.

    It is repeated where one of them is. Raises ValueError for no batches at all, or where some are grouped and others
    are not.
    """
    if not batches:
        raise ValueError("there must be a batch to begin with: without one there are no lanes")
    first = batches[0]
    if len(batches) == 1:
        return first
    if any(batch.grouped is not first.grouped for batch in batches):
        raise ValueError("grouped and ungrouped batches cannot be put together: group or ungroup them first")
    # An empty batch has no say: its lanes are whatever its maker took.
    filled = [batch for batch in batches if batch.frame.height] or [first]
    key_lane, value_lane = filled[0].key_lane, filled[0].value_lane
    for batch in filled:
        key_lane, value_lane = common_lane(key_lane, batch.key_lane), common_lane(value_lane, batch.value_lane)
    if any(batch.repeated for batch in filled):
        filled = list(map(repeated, filled))
    frames = [with_lanes(batch, key_lane, value_lane).frame for batch in filled]
    return Batch(pl.concat(frames, how="vertical"), key_lane, value_lane, first.grouped)


def regroup(batch: Batch) -> Batch:
    """Each key once, in the order in which keys were first seen, with its values in their order."""
    if batch.repeated:
        batch = ungroup(batch)
    grouped = batch.frame.group_by("key", maintain_order=True)
    values = pl.col("value").explode() if batch.grouped else pl.col("value")
    return Batch(grouped.agg(values), batch.key_lane, batch.value_lane, grouped=True)


def ungroup(batch: Batch) -> Batch:
    """A row for each pair, in order. Of a repeated batch these may be many."""
    if batch.repeated:
        rows = np.repeat(np.arange(batch.rows()), batch.frame["times"].to_numpy())
        return Batch(batch.frame.select("key", "value")[rows], batch.key_lane, batch.value_lane)
    if not batch.grouped:
        return batch
    return Batch(batch.frame.explode("value"), batch.key_lane, batch.value_lane)


def repeated(batch: Batch) -> Batch:
    """The same records as a repeated batch, those of each row beside one another."""
    if batch.repeated:
        return batch
    flat = ungroup(batch)
    return Batch(flat.frame.with_columns(times=pl.lit(1, dtype=pl.Int64)), flat.key_lane, flat.value_lane)


def sort_by_key(batch: Batch) -> Batch:
    """The rows by key, those of equal keys in their order."""
    return Batch(sort_frame(batch.frame), batch.key_lane, batch.value_lane, batch.grouped)


def records_of(batch: Batch, *, unpickle: bool = True) -> Iterator[tuple[Key, Any]]:
    """All pairs as Python objects, in order. Raises ValueTypeError for a pickle where `unpickle` is False."""
    flat = ungroup(batch)
    keys = keys_list(flat.frame["key"], flat.key_lane)
    return zip(keys, values_list(flat.frame["value"], flat.value_lane, unpickle=unpickle), strict=True)
