"""Comma-separated values as columns, cut out of the bytes of UTF-8 by Polars: no field becomes a Python object.

What a record is, `readers.csv_records` says; here is the quick way to the same fields where lines are records and there
is nothing to unquote. It answers None for bytes that it does not take, and its callers go the other way.
"""

from __future__ import annotations

import codecs

import polars as pl

_STRANGE = (b'"', b"\r", b"\0")  # quotes, and what the csv module has rules of its own for


def native_fields(raw: bytes, start: int, separator: str, width: int, longest: int) -> list[pl.Series] | None:
    """The fields of UTF-8 lines, which begin at byte `start` of their file: `width` columns (String).

    None for bad bytes, quotes, carriage returns, lines with another number of fields (empty ones too), and fields that
    may have more than `longest` characters.
    """
    text = raw.removeprefix(codecs.BOM_UTF8) if start == 0 else raw
    if not text or any(byte in text for byte in _STRANGE) or (width == 1 and _has_empty_line(text)):
        return None
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            separator=separator,
            quote_char=None,
            schema={f"column_{i + 1}": pl.String for i in range(width)},
        )
    except (pl.exceptions.PolarsError, OSError):  # bad bytes, too many fields, or such as seem to be compressed
        return None
    fields = [column.fill_null("").rechunk() for column in frame]
    lengths = [column.str.len_bytes() for column in fields]
    # Each field ends with a byte, the file's last perhaps not: else a line has too few fields.
    ended = len(text) + (not text.endswith(b"\n"))
    if sum(int(length.sum()) for length in lengths) + width * frame.height != ended:
        return None
    if max(_most(length) for length in lengths) > longest:
        return None
    return fields


def _has_empty_line(text: bytes) -> bool:
    return text.startswith(b"\n") or b"\n\n" in text


def _most(lengths: pl.Series) -> int:
    most = lengths.max()
    assert isinstance(most, int)
    return most
