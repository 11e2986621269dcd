"""Words of text as a column, as `str.split` parts them: out of the bytes of UTF-8, and no word becomes a Python object.

Here is the quick way: every space is made a newline, and Polars cuts lines. As in `line_columns`, bytes that it does
not take are answered with None, and go the other way, which knows what to say of them.
"""

from __future__ import annotations

import codecs

import numpy as np
import polars as pl

from mapreduce.dataflow.readers.line_columns import lines_in
from mapreduce.quick_dataclass import dataclass

# What `str.isspace` holds of, beside ASCII; a test compares them with Python's own.
WIDE_SPACES = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_ASCII = 0x80
_PARTED = bytes(ord("\n") if byte < _ASCII and chr(byte).isspace() else byte for byte in range(256))
_LONGEST = 3  # bytes of a space
_CODES = np.array(
    sorted(int.from_bytes(space.encode().ljust(_LONGEST, b"\0"), "big") for space in WIDE_SPACES), dtype=np.uint32
)
_LEADS = sorted({space.encode()[0] for space in WIDE_SPACES})
_PAIR_LEAD = 0xC2  # of those of two bytes; what begins with the others has three
_PAIR = 0xFFFF00


@dataclass(frozen=True, slots=True)
class Words:
    """The words (String) of consecutive lines of the file `path`, the first at byte `start`; `lines` counts these."""

    words: pl.Series
    lines: int
    path: str
    start: int


def native_words(path: str, raw: bytes, start: int, longest: int) -> Words | None:
    """The words of UTF-8 bytes that begin at byte `start` of their file, and end behind a newline or with it.

    None where they cannot be had so: for bad bytes, perhaps a line of more than `longest` bytes, and no text at all.
    """
    mark = codecs.BOM_UTF8 if start == 0 and raw.startswith(codecs.BOM_UTF8) else b""
    text = raw.removeprefix(mark)
    if not text or len(text) > longest:
        return None
    parted = text.translate(_PARTED)
    if not text.isascii():
        parted = _without_wide_spaces(parted)
    try:
        words = lines_in(parted)
    except (pl.exceptions.ComputeError, OSError):  # bad bytes, or such as seem to be compressed
        return None
    size = int(words.str.len_bytes().sum()) + words.len()
    if size - len(parted) != (not parted.endswith(b"\n")):
        return None  # something is lost: the quick way must not be trusted with such bytes
    return Words(words.filter(words != ""), text.count(b"\n") + (not text.endswith(b"\n")), path, start)


def _without_wide_spaces(text: bytes) -> bytes:
    """The text with newlines in place of the bytes of each wide space."""
    units = np.frombuffer(text + bytes(_LONGEST - 1), dtype=np.uint8)
    at = np.flatnonzero(np.isin(units, _LEADS))
    first, second, third = (units[at + i].astype(np.uint32) for i in range(_LONGEST))
    code = first << 16 | second << 8 | third
    code[first == _PAIR_LEAD] &= _PAIR
    spaces = at[np.isin(code, _CODES)]
    if not len(spaces):
        return text
    cleared = units[: len(text)].copy()
    wide = spaces[units[spaces] != _PAIR_LEAD]
    for places in (spaces, spaces + 1, wide + 2):
        cleared[places] = ord("\n")
    return cleared.tobytes()
