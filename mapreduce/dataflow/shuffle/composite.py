"""Composite keys: a key and what its values are ordered by, as bytes that sort by the one and then by the other.

A composite is the key's encoding as it lies inside a tuple (see `keys`), which tells its end by itself, then likewise
that of what to order by, then the length of the first in four bytes. Encodings as they lie outside a tuple would not
do: "a" is the beginning of "ab", and the rows of one would lie among those of the other.

Three forms of a key column meet here: *composites*, *elements* (the key as it lies inside a tuple) and *encodings*
(the key alone, as everywhere else). All are columns of Binary, and each sorts as the keys do.
"""

from __future__ import annotations

import polars as pl

from mapreduce.dataflow.columns.batches import Lane, encode_keys, normal_floats
from mapreduce.dataflow.columns.keys import TAG_BYTES, TAG_STR, TAG_TUPLE

LENGTH_BYTES = 4  # of the length of a key's element: keys are far below 4 GB
_TEXTS = (TAG_STR, TAG_BYTES)


def compose(keys: pl.Series, key_lane: Lane, orders: pl.Series, order_lane: Lane) -> pl.Series:
    """The composites of keys and what to order each by, both columns of keys in any lane."""
    if not len(keys):
        return pl.Series("key", [], dtype=pl.Binary)
    firsts = elements(keys, key_lane)
    lengths = firsts.bin.size()
    distinct = lengths.unique()
    packed = pl.Series([length.to_bytes(LENGTH_BYTES, "big") for length in distinct.to_list()], dtype=pl.Binary)
    tails = lengths.replace_strict(distinct, packed, return_dtype=pl.Binary)
    frame = pl.DataFrame([firsts.alias("key"), elements(orders, order_lane).alias("order"), tails.alias("length")])
    return frame.select(pl.col("key") + pl.col("order") + pl.col("length")).to_series()


def key_elements(composites: pl.Series) -> pl.Series:
    """The elements of the keys in a column of composites."""
    whole = pl.col("key")
    length = whole.bin.slice(-LENGTH_BYTES, LENGTH_BYTES).bin.reinterpret(dtype=pl.UInt32, endianness="big")
    return composites.alias("key").to_frame().select(whole.bin.head(length)).to_series()


def key_encodings(found: pl.Series) -> pl.Series:
    """The encodings of keys of which the elements are given; 0.2 us a key, so give it distinct ones."""
    return pl.Series("key", list(map(_encoding, found.to_list())), dtype=pl.Binary)


def elements(keys: pl.Series, lane: Lane) -> pl.Series:
    """The elements of a column of keys."""
    if lane is Lane.FLOAT:
        keys = normal_floats(keys)
    encodings = encode_keys(keys, lane).alias("key")
    if lane in {Lane.INT, Lane.FLOAT, Lane.BOOL}:
        return encodings
    column = pl.col("key")
    end = pl.lit(b"\x00", dtype=pl.Binary)
    if lane is Lane.ENCODED:
        is_plain = bool(encodings.bin.starts_with(bytes((TAG_TUPLE,))).all())  # their insides are escaped already
    else:
        is_plain = not encodings.bin.contains(b"\x00").any()
    if is_plain:
        return encodings.to_frame().select(column + end).to_series()
    return pl.Series("key", list(map(_element, encodings.to_list())), dtype=pl.Binary)


def _element(encoding: bytes) -> bytes:
    if encoding[0] in _TEXTS:
        return encoding[:1] + encoding[1:].replace(b"\x00", b"\x00\xff") + b"\x00"
    return encoding + b"\x00" if encoding[0] == TAG_TUPLE else encoding


def _encoding(element: bytes) -> bytes:
    if element[0] in _TEXTS:
        return element[:1] + element[1:-1].replace(b"\x00\xff", b"\x00")
    return element[:-1] if element[0] == TAG_TUPLE else element
