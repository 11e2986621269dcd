"""Records as a mapper gets them: one by one, or in batches; as Python objects, or as Polars frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from mapreduce.dataflow.columns.batches import Batch, keys_list, ungroup, values_list
from mapreduce.dataflow.context import Place, shorten
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    import polars as pl


@dataclass(slots=True)
class Records:
    """Some records as the mapper gets them: `values`, and where it takes two arguments `firsts()`.

    `place` gives the input path and offset of the i-th record, where records come from a file, and `content` the record
    as it stands there, where that is text of which the value was made. `path` is that of all of them, where they surely
    come from one file.
    """

    values: list[Any]
    firsts: Callable[[], Sequence[Any]]
    place: Callable[[int], Place] | None = None
    content: Callable[[int], str | bytes] | None = None
    path: str | None = None

    def key(self, i: int) -> Any:
        """The key of the i-th record."""
        return self.firsts()[i]

    def shown(self, i: int) -> str:
        """The i-th record, for messages."""
        return shorten(self.values[i])


@dataclass(slots=True)
class Batches(Records):
    """Batches of records in place of records: each of `values` and `firsts()` is a list of them.

    `member` gives the records that the j-th record of the i-th batch came with, and its number among them; `place` is
    that of a batch's first record.
    """

    member: Callable[[int, int], tuple[Records, int]] = field(kw_only=True)

    def key(self, i: int) -> Any:
        """The key of the i-th batch's first record."""
        return self.firsts()[i][0]

    def shown(self, i: int) -> str:
        """The i-th batch's first record, and how many there are."""
        return f"{shorten(self.values[i][0])}, in a batch of {len(self.values[i])}"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of records. `place` is that of its first record, None where records come from no file."""

    frame: pl.DataFrame
    place: Place | None = None

    def shown(self) -> str:
        """Its shape and columns, for messages: its records may be many."""
        names = ", ".join(self.frame.columns)
        return f"a frame of {self.frame.height} rows, with the columns {names:.200}"


def numbered(first: int, count: int) -> Callable[[], range]:
    """The first arguments of records that have numbers: so many, from `first` on."""
    return lambda: range(first, first + count)


def in_file(path: str) -> Callable[[int], Place]:
    """The place of records of which only the file is known."""
    return lambda _i: (path, None)


def of_pairs(batch: Batch, *, unpickle: bool = True) -> Records:
    """The records of a batch."""
    flat = ungroup(batch)
    keys = keys_list(flat.frame["key"], flat.key_lane)
    return Records(values_list(flat.frame["value"], flat.value_lane, unpickle=unpickle), lambda: keys)


_Part = tuple[Records, int, int]  # the records from one number up to another


def batched(blocks: Iterator[Records], size: int) -> Iterator[Batches]:
    """Put records together in batches of `size`, the last of fewer, whatever blocks they come in."""
    parts: list[_Part] = []
    held = 0
    for block in blocks:
        full: list[list[_Part]] = []
        at, total = 0, len(block.values)
        while total - at >= size - held:
            parts.append((block, at, at + size - held))
            at += size - held
            full.append(parts)
            parts, held = [], 0
        if at < total:
            parts.append((block, at, total))
            held += total - at
        if full:
            yield _batches(full)
    if parts:
        yield _batches([parts])


def _batches(batches: list[list[_Part]]) -> Batches:
    def firsts() -> list[Any]:
        return [[key for block, start, stop in parts for key in block.firsts()[start:stop]] for parts in batches]

    def member(i: int, j: int) -> tuple[Records, int]:
        for block, start, stop in batches[i]:
            if j < stop - start:
                return block, start + j
            j -= stop - start
        raise IndexError(j)

    def place(i: int) -> Place:
        block, at = member(i, 0)
        assert block.place is not None
        return block.place(at)

    values = [[value for block, start, stop in parts for value in block.values[start:stop]] for parts in batches]
    return Batches(values, firsts, place if batches[0][0][0].place is not None else None, member=member)
