"""Lines of text as columns, cut out of the bytes of UTF-8 by Polars: no line becomes a Python object.

What a line is, `readers.text` says; here is the quick way to the same lines and offsets. It answers None for bytes that
it does not take (bad ones, lines that are too long), and its callers go the other way, which knows what to say.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from mapreduce.dataflow.readers.text import LineBlock

_READS_LINES = hasattr(pl, "read_lines")  # since 1.38 Polars does, in a third of the time of cutting a string
_MAY_BE_PACKED = 128  # a first byte from here on, or one of "x(\x1f": so begins what Polars takes for compressed
_PACKED = b"x(\x1f"


@dataclass(frozen=True, slots=True)
class LineColumns:
    """Consecutive lines of one file: `lines` (String) without their ends, and `offsets` (Int64) of their first bytes.

    `first` is the offset of the first one; there is one at least.
    """

    offsets: pl.Series
    lines: pl.Series
    first: int

    def frame(self) -> pl.DataFrame:
        """The offsets as the column "key", the lines as "value"."""
        return pl.DataFrame([self.offsets.alias("key"), self.lines.alias("value")])


def cut_at(stream: Iterator[bytes], most: int, longest: int) -> Iterator[bytes]:
    """Cut a stream of lines anew: into those that begin in the same `most` bytes, whatever blocks they come in.

    Each result ends behind a newline or with the stream; or where more than `longest` bytes are no line's end, which is
    left to others to judge.
    """
    held: list[bytes] = []
    size = 0
    for fresh in stream:
        block = fresh
        while size + len(block) >= most:
            found = block.find(b"\n", max(most - 1 - size, 0))
            if found < 0:
                break
            yield b"".join([*held, block[: found + 1]])
            held, size, block = [], 0, block[found + 1 :]
        held.append(block)
        size += len(block)
        if size > most + longest:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def native_columns(raw: bytes, start: int, longest: int) -> LineColumns | None:
    """The lines of UTF-8 bytes that begin at byte `start` of their file, and end behind a newline or with it.

    None where they cannot be had so: for bad bytes, a line of more than `longest` bytes, and no lines at all.
    """
    mark = codecs.BOM_UTF8 if start == 0 and raw.startswith(codecs.BOM_UTF8) else b""
    text = raw.removeprefix(mark)
    if not text:
        return None
    returns = b"\r" in text  # few files have them, and Polars drops one at the end of the file too
    try:
        lines = _by_splitting(text) if returns else lines_in(text)
    except (pl.exceptions.ComputeError, OSError):  # bad bytes, or such as seem to be compressed
        return None
    ends = np.cumsum(lines.str.len_bytes().to_numpy().astype(np.int64) + 1)
    if ends[-1] - len(text) != (not text.endswith(b"\n")):
        return None  # a line is lost, or a piece of one: the quick way must not be trusted with such bytes
    starts = np.empty(len(ends), dtype=np.int64)
    starts[0] = 0
    starts[1:] = ends[:-1] + len(mark)
    if int(np.diff(starts, append=len(raw)).max()) > longest:
        return None
    if returns:
        lines = _without_returns(lines, ended=text.endswith(b"\n"))
    return LineColumns(pl.Series("key", starts + start), lines, start)


def lines_in(text: bytes) -> pl.Series:
    """What lies between the newlines of UTF-8 without carriage returns; a last newline ends the last line.

    Raises ComputeError, or OSError, for bytes that are no UTF-8, or that Polars takes for compressed ones.
    """
    if not _READS_LINES:
        return _by_splitting(text)
    if text[0] < _MAY_BE_PACKED and text[0] not in _PACKED:
        return pl.read_lines(text).to_series().rechunk()
    return pl.read_lines(b"\n" + text).to_series().slice(1).rechunk()  # nothing compressed begins with a newline


def _by_splitting(text: bytes) -> pl.Series:
    whole = pl.Series([text.removesuffix(b"\n")], dtype=pl.Binary).cast(pl.String)
    return whole.str.split("\n").explode()


def _without_returns(lines: pl.Series, *, ended: bool) -> pl.Series:
    """The lines without the carriage return before their newline, which the last one has if it is `ended`."""
    cut = lines.str.strip_suffix("\r")
    return cut if ended else cut.head(-1).append(lines.tail(1)).rechunk()


def columns_of(blocks: Iterable[LineBlock], most: int) -> Iterator[LineColumns]:
    """Put lines of one file together that begin less than `most` bytes after the first of them: however blocks fall."""
    offsets: list[int] = []
    lines: list[str] = []
    for block in blocks:
        starts, i = block.offsets(), 0
        while i < len(starts):
            if not offsets:
                end = starts[i] + most
            stop = bisect_left(starts, end, i)
            offsets += starts[i:stop]
            lines += block.lines[i:stop]
            if stop < len(starts):
                yield _of_lists(offsets, lines)
                offsets, lines = [], []
            i = stop
    if offsets:
        yield _of_lists(offsets, lines)


def _of_lists(offsets: list[int], lines: list[str]) -> LineColumns:
    keys, values = pl.Series("key", offsets, dtype=pl.Int64), pl.Series("value", lines, dtype=pl.String)
    return LineColumns(keys, values, offsets[0])
