"""Results as JSON where they are emitted, for outputs that are text: not encoded, decoded, and only then made JSON.

A list, tuple or dict that JSON can say becomes C1, "J", the tag of its type's name, and its JSON in UTF-8: bytes that
stand for the value in a column of the lane ENCODED, as those of `encode_value` do elsewhere. They never leave the task:
only the formats that write JSON (`tsv`, `jsonl`) are given them, and they write what is here. All other values, and
those that these formats will refuse, are encoded as ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.json_text import (
    CONTAINER_NAMES,
    DICT,
    EXACT,
    JSON,
    LIST,
    TUPLE,
    UnsayableError,
    encode,
    json_escaped,
    long_ints,
    plain_container,
)
from mapreduce.dataflow.columns.lane import Lane
from mapreduce.dataflow.columns.values import VALUE_DEPTH, encode_value

SAID_MARK = b"\xc1J"  # a tag that `values` does not have
_BODY = len(SAID_MARK) + 1  # where the JSON begins
_HEADS = {name: SAID_MARK + tag for name, tag in ((LIST, b"l"), (TUPLE, b"t"), (DICT, b"d"), (JSON, b"j"))}
_NAMES = {head[-1:]: name for name, head in _HEADS.items()}
SAYABLE = frozenset({Lane.STR, Lane.INT, Lane.FLOAT, Lane.BOOL})  # of whose values JSON brings each back exactly
NULL = "null"
_NESTED = ({tuple}, {list})  # types of elements that are looked into in C


def said_value(value: Any) -> bytes:
    """The bytes that stand for a value on its way into a text output. Raises as `encode_value` does."""
    name = CONTAINER_NAMES.get(type(value))
    if name is None:
        return encode_value(value)
    try:
        plain, exact = _plain(value)
        try:
            text = _text(plain)
        except ValueError:  # an int of more digits than Python writes unasked
            with long_ints():
                text = _text(plain)
        return _HEADS[name if exact else JSON] + json_escaped(text).encode()
    except UnsayableError:
        return encode_value(value)  # the format refuses it, and says why


def said_pairs(left: pl.Series, right: pl.Series) -> pl.Series:
    """As `said_value` of tuples of two, from the JSON of both of each: of values of the lanes in SAYABLE, and None."""
    frame = pl.DataFrame([left.alias("left"), right.alias("right")])
    text = pl.concat_str(pl.lit("["), "left", pl.lit(","), "right", pl.lit("]"))
    return frame.select(value=pl.lit(_HEADS[TUPLE]) + text.cast(pl.Binary))["value"]


def said_column(
    series: pl.Series, texts_of: Callable[[pl.Series], tuple[pl.Series, set[str]]]
) -> tuple[pl.Series, set[str]]:
    """The texts of a column of encoded values, and the names of their types; `texts_of` gives those of all others."""
    is_said = series.bin.starts_with(SAID_MARK)
    if not is_said.any():
        return texts_of(series)
    said = series if is_said.all() else series.filter(is_said)
    names = {_NAMES[tag] for tag in said.bin.slice(_BODY - 1, 1).unique().to_list()}
    texts = said.bin.slice(_BODY).cast(pl.String)
    if len(said) == len(series):
        return texts, names
    others, other_names = texts_of(series.filter(~is_said))
    all_texts = pl.concat([texts.rename("text"), others.rename("text")])
    order = pl.concat([is_said.arg_true(), (~is_said).arg_true()]).arg_sort()
    return all_texts.gather(order), names | other_names


def _plain(value: Any) -> tuple[Any, bool]:
    """What JSON writes, and whether reading it gives the same back: `plain_container`, in C where that can be."""
    if type(value) is not dict:
        kinds = set(map(type, value))
        if kinds <= EXACT:
            return value, True
        if kinds in _NESTED and EXACT.issuperset(map(type, chain.from_iterable(value))):
            return value, kinds == {list}
    return plain_container(value, key=False, levels=VALUE_DEPTH)


def _encoder() -> Callable[[Any], str]:
    """As `encode`, of containers alone; made once, where `encode` makes what writes them for each."""
    make: Callable[..., Callable[[Any, int], tuple[str, ...]]] | None = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encode
    settings = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
    write = make(
        None,
        settings.default,
        json.encoder.encode_basestring,
        None,
        settings.key_separator,
        settings.item_separator,
        settings.sort_keys,
        settings.skipkeys,
        settings.allow_nan,
    )
    join = "".join
    return lambda value: join(write(value, 0))


_text = _encoder()
