r"""Values as lines of text, as they are, and nothing else: no keys, no escapes. A value is a str without a line break.

Lines end at `\n` alone, and a reader of lines drops a `\r` before it: a value that holds the one or ends with the
other would come back as something else, and is refused.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, Lane, values_list
from mapreduce.dataflow.columns.json_text import STR, shown
from mapreduce.errors import ValueTypeError

OUTPUT = "text"  # as messages call it
COUNTED_BYTES = 256 << 10  # looked at by one call: what NumPy makes of them stays in the cache


def encode(batch: Batch, types: set[str]) -> bytes:
    """The values as lines. Raises ValueTypeError for one that cannot be a line."""
    series = batch.frame["value"]
    if batch.value_lane is not Lane.STR:
        raise _no_text(values_list(series, batch.value_lane, unpickle=False))
    # The bytes come from Polars as they are: of a str Python would make another one, and of that bytes. They are looked
    # at once they lie in a row: values of a merge lie anywhere in memory, and going there takes as long as all else.
    lines: bytes = pl.concat([series, pl.Series([""])]).str.join("\n").cast(pl.Binary).item()
    if _line_ends(lines) != len(series) or b"\r" in lines:
        broken = series.str.contains("\n", literal=True) | series.str.ends_with("\r")
        if broken.any():
            raise _refused(series.filter(broken)[0], "has a line break in it, and a line is a value")
    types.add(STR)
    return lines


def _line_ends(lines: bytes) -> int:
    """How many there are: `bytes.count` goes from one to the next, which takes four times as long in lines of 100."""
    content = np.frombuffer(lines, dtype=np.uint8)
    steps = range(0, len(content), COUNTED_BYTES)
    return sum(int(np.count_nonzero(content[at : at + COUNTED_BYTES] == ord("\n"))) for at in steps)


def _no_text(values: list[object]) -> ValueTypeError:
    for value in values:
        if type(value) is not str:
            return _refused(value, f"is of type {type(value).__qualname__}, and only a str is text")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return _refused(value, "has a lone surrogate in it, which is no UTF-8")
    raise AssertionError("a column of text was refused")


def _refused(value: object, why: str) -> ValueTypeError:
    return ValueTypeError(
        f"{OUTPUT} output cannot write the value {shown(value)}: it {why}. Emit str(value) or repr(value), or choose "
        "the output format tsv or jsonl."
    )


def read(text: str) -> list[str]:
    """The values of whole lines."""
    return text.removesuffix("\n").split("\n")
