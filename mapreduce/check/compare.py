"""Two values, or the outputs of two trials, held against each other: the same, the same but for last bits, or not."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mapreduce.check.trial import Outcome, OutputTrace, Pair
from mapreduce.dataflow.columns.keys import decode_key, encode_key
from mapreduce.dataflow.columns.values import decode_value, encode_value
from mapreduce.dataflow.context import shorten
from mapreduce.plan import TaskId
from mapreduce.quick_dataclass import dataclass

# Of the larger number: a sum of a million floats in another order differs by far less, and a mistake by far more.
RELATIVE = 1e-9
# Of two numbers near 0, such as a sum of some thousand numbers around 1 that cancel each other out.
ABSOLUTE = 1e-13
EXAMPLES = 3  # shown of what differs
SHOWN_CHARS = 80  # of a key or value in an example
_NO_KEY = encode_key(None)


class Likeness(enum.IntEnum):
    """How alike two results are, from the best on."""

    SAME = 0
    LAST_BITS = 1  # floats differ by less than RELATIVE
    ORDER = 2  # the same records in another order
    DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """How alike the results of two trials are, and examples of what differs, as text."""

    likeness: Likeness
    examples: tuple[str, ...] = ()


def alike(one: Any, other: Any) -> Likeness:
    """How alike two values are; never ORDER."""
    if encode_value(one) == encode_value(other):
        return Likeness.SAME
    return Likeness.LAST_BITS if _close(one, other) else Likeness.DIFFERENT


def _close(one: Any, other: Any) -> bool:
    """Whether two values differ in the last bits of floats alone."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float:
        return (one != one and other != other) or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)  # noqa: PLR0124 - of a NaN
    if kind is complex:
        return _close(one.real, other.real) and _close(one.imag, other.imag)
    if kind is Decimal:
        return bool(one == other) or math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if kind is tuple or kind is list:
        return len(one) == len(other) and all(map(_close, one, other))
    if kind is dict:
        return list(one) == list(other) and all(map(_close, one.values(), other.values()))
    if kind.__module__ == "numpy":
        return _close_numpy(one, other)
    return encode_value(one) == encode_value(other) or bool(one == other)  # pickles of equal values may differ


def _close_numpy(one: Any, other: Any) -> bool:
    import numpy as np  # noqa: PLC0415 - loaded already: it made these objects

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind in "fc":
        return bool(np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True))
    return bool(np.array_equal(one, other))


def compare(one: Outcome, other: Outcome, names: tuple[str, str]) -> Compared:
    """Hold the outputs of two trials against each other; `names` say in examples which is which."""
    worst = Compared(Likeness.SAME)
    for output, trace in one.outputs.items():
        found = _compare_output(trace, other.outputs[output], names, output)
        if found.likeness > worst.likeness:
            worst = found
    return worst


def _compare_output(one: OutputTrace, other: OutputTrace, names: tuple[str, str], output: str) -> Compared:
    if one.sum == other.sum:
        return Compared(Likeness.SAME)
    if one.records == other.records and sorted(one.pairs) == sorted(other.pairs):
        return Compared(Likeness.ORDER, _first_moved(one.pairs, other.pairs, names))
    first, second = _by_key(one.pairs), _by_key(other.pairs)
    likeness = Likeness.LAST_BITS
    examples: list[str] = []
    where = f"output {output}, " if output else ""
    for key in sorted({*first, *second}):
        mine, theirs = first.get(key), second.get(key)
        if mine == theirs:
            continue
        if mine is not None and theirs is not None and _all_close(mine, theirs):
            if likeness is Likeness.LAST_BITS:
                examples.append(where + _example(key, mine, theirs, names))
            continue
        if likeness is Likeness.LAST_BITS:  # those before were less than this
            likeness, examples = Likeness.DIFFERENT, []
        examples.append(where + _example(key, mine, theirs, names))
        if len(examples) >= EXAMPLES:
            break
    return Compared(likeness, tuple(examples[:EXAMPLES]))


def _by_key(pairs: Sequence[Pair]) -> Mapping[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _all_close(one: list[bytes], other: list[bytes]) -> bool:
    if len(one) != len(other):
        return False
    return all(a == b or _close(decode_value(a), decode_value(b)) for a, b in zip(one, other, strict=True))


def _example(key: bytes, mine: list[bytes] | None, theirs: list[bytes] | None, names: tuple[str, str]) -> str:
    shown = _shown(decode_key(key))
    if mine is None or theirs is None:
        return f"the key {shown} is there {names[1] if mine is None else names[0]} only"
    at = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
    values = [_shown(decode_value(each[at])) if at < len(each) else "no more" for each in (mine, theirs)]
    who = f"the key {shown}" if key != _NO_KEY else "the results"
    return f"{who}: {values[0]} {names[0]}, {values[1]} {names[1]}"


def _first_moved(one: Sequence[Pair], other: Sequence[Pair], names: tuple[str, str]) -> tuple[str, ...]:
    """What stands at the first place where two lists of records differ."""
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs:
            shown = [f"{_shown(decode_key(key))}, {_shown(decode_value(value))}" for key, value in (mine, theirs)]
            return (f"({shown[0]}) {names[0]}, ({shown[1]}) {names[1]}, at the same place",)
    return ()


def _shown(thing: Any) -> str:
    text = shorten(thing)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def first_difference(one: Outcome, other: Outcome) -> TaskId | None:
    """The first task that made something else in the other trial, of the same plan; None where that is not known."""
    for mine, theirs in zip(one.traces, other.traces, strict=False):
        if mine.task.index == theirs.task.index and mine.sum and theirs.sum and mine.sum != theirs.sum:
            return mine.task
    return None
