"""Whole columns of keys and values to their encodings and back, quicker than one call of the codec for each.

The bytes are those of `keys.encode_key` and `values.encode_value`, always: what is here are shortcuts for the common
columns (native lanes, tuples of strings, tuples of scalars), each of which looks at the whole column first and leaves
it to the codec where the shortcut does not hold.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import polars as pl

from mapreduce.dataflow.columns.keys import TAG_FLOAT, TAG_INT, decode_key, encode_key
from mapreduce.dataflow.columns.values import MARK, SCALARS, Encoded, decode_value, encode_value, pack_flat

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGN = np.uint64(1 << 63)
_WORD_SIZE = 9  # an encoded int or float: tag and eight bytes
# Encodings decoded by one call: the unpacker holds them joined, beside the objects that it makes.
JOINED_BYTES = 16 << 20


def encode_key_list(keys: list[Any]) -> pl.Series:
    """The encodings (Binary) of normalised keys."""
    column = _encode_str_tuples(keys) if set(map(type, keys)) == {tuple} else None
    return pl.Series(list(map(encode_key, keys)), dtype=pl.Binary) if column is None else column


def _encode_str_tuples(keys: list[tuple[Any, ...]]) -> pl.Series | None:
    """Tuples of strings, none empty: their joined texts are their encodings, unless a string holds a NUL or worse."""
    if set(map(type, chain.from_iterable(keys))) != {str} or not all(keys):
        return None
    texts = ["P0" + "\x000".join(key) + "\x00" for key in keys]
    if sum(text.count("\x00") for text in texts) != sum(map(len, keys)):
        return None
    try:
        return pl.Series(texts, dtype=pl.String).cast(pl.Binary)
    except UnicodeEncodeError:
        return None  # lone surrogates


def encode_native_keys(series: pl.Series) -> pl.Series:
    """The encodings (Binary) of a native column of keys."""
    dtype = series.dtype
    if dtype == pl.String:
        return series.to_frame("k").select((pl.lit("0") + pl.col("k")).cast(pl.Binary)).to_series()
    if dtype == pl.Binary:
        return series.to_frame("k").select(pl.lit(b"@") + pl.col("k")).to_series()
    if dtype == pl.Boolean:
        return pl.Series([b"\x03" if key else b"\x02" for key in series.to_list()], dtype=pl.Binary)
    data = _numbers(series)
    return pl.Series([data[at : at + _WORD_SIZE] for at in range(0, len(data), _WORD_SIZE)], dtype=pl.Binary)


def join_native_keys(series: pl.Series) -> tuple[bytes, NDArray[np.int64]]:
    """The encodings of a native column of keys, one behind the other, and the size of each."""
    if series.dtype == pl.String and len(series):
        data: str = series.str.join("0").item()
        return f"0{data}".encode(), series.str.len_bytes().to_numpy().astype(np.int64) + 1
    if series.dtype in (pl.Int64, pl.Float64):
        return _numbers(series), np.full(len(series), _WORD_SIZE)
    return join_encodings(encode_native_keys(series))


def join_encodings(encodings: pl.Series) -> tuple[bytes, NDArray[np.int64]]:
    """Encodings (Binary), one behind the other, and the size of each."""
    return b"".join(encodings.to_list()), encodings.bin.size().to_numpy().astype(np.int64)


def _numbers(series: pl.Series) -> bytes:
    """The encodings of integers or floats: a tag, and eight bytes in which the greater number has the greater ones."""
    bits = series.to_numpy().view(np.uint64)
    is_int = series.dtype == pl.Int64
    words = bits ^ _SIGN if is_int else np.where(bits & _SIGN != 0, ~bits, bits ^ _SIGN)
    table = np.empty((len(words), _WORD_SIZE), dtype=np.uint8)
    table[:, 0] = TAG_INT if is_int else TAG_FLOAT
    table[:, 1:] = words.astype(">u8").view(np.uint8).reshape(-1, 8)
    return table.tobytes()


def decode_key_column(series: pl.Series) -> list[Any]:
    """The keys of a column (Binary) of encodings."""
    return list(map(decode_key, series.to_list()))


def encode_value_list(values: list[Any]) -> pl.Series:
    """The encodings (Binary) of any values. Raises ValueTypeError for one that cannot even be pickled."""
    types = set(map(type, values))
    if types == {Encoded}:
        return pl.Series(values, dtype=pl.Binary)
    flat = types <= SCALARS or (types == {tuple} and SCALARS.issuperset(map(type, chain.from_iterable(values))))
    if flat:
        try:
            return pl.Series(list(map(pack_flat, values)), dtype=pl.Binary)
        except OverflowError:
            pass  # an int of more than 64 bits: one by one
    return pl.Series(list(map(encode_value, values)), dtype=pl.Binary)


def decode_value_column(series: pl.Series, *, unpickle: bool) -> list[Any]:
    """The values of a column (Binary) of encodings. Raises ValueTypeError for a pickle where `unpickle` is False."""
    data: list[bytes] = series.to_list()
    if series.bin.starts_with(MARK).any() or int(series.bin.size().sum()) > JOINED_BYTES:
        return [decode_value(item, unpickle=unpickle) for item in data]
    unpacker = msgpack.Unpacker(
        use_list=False, strict_map_key=False, unicode_errors="surrogatepass", max_buffer_size=JOINED_BYTES
    )
    unpacker.feed(b"".join(data))
    values = list(unpacker)
    if len(values) != len(data):
        raise ValueError(f"{len(data)} encoded values were read as {len(values)}: an encoding is damaged")
    return values
