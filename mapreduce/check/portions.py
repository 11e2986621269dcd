"""The reader that gives a trial's tasks the records of their sample, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mapreduce.check.sample import Portion
from mapreduce.dataflow.columns.batches import Batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import Place
from mapreduce.dataflow.readers.reader import Reader
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.plan import Piece

T = TypeVar("T")


class PortionsReader:
    """Reads the portions of a task, one after the other, as a Reader does; `open_piece` makes the reader of a piece."""

    def __init__(self, portions: Sequence[Portion], open_piece: Callable[[Piece], Reader]) -> None:
        self._portions = portions
        self._open = open_piece
        self.bytes_read = 0
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Records]:
        for records, start, stop in self._each(iter, _length):
            yield some_records(records, start, stop)

    def columns(self) -> Iterator[Batch]:
        """Yield the same records as columns."""
        for batch, start, stop in self._each(lambda reader: reader.columns(), Batch.rows):
            yield slice_of(batch, start, stop)

    def frames(self, most: int = FRAME_BYTES) -> Iterator[Frame]:
        """Yield the records as frames of about `most` bytes each."""
        for frame, start, stop in self._each(lambda reader: reader.frames(most), lambda frame: frame.frame.height):
            yield Frame(frame.frame.slice(start, stop - start), frame.place)

    def _each(self, read: Callable[[Reader], Iterator[T]], count: Callable[[T], int]) -> Iterator[tuple[T, int, int]]:
        """Yield the blocks that hold records of the portions, and which of a block's records these are."""
        for portion in self._portions:
            reader = self._open(portion.piece)
            skip, left = portion.first, portion.count
            for block in read(reader) if left else ():
                held = count(block)
                start, stop = min(skip, held), min(skip + left, held)
                skip -= start
                left -= stop - start
                if stop > start:
                    yield block, start, stop
                if not left:
                    break
            self.bytes_read += portion.size
            self.warnings += [text for text in reader.warnings if text not in self.warnings]


def _length(records: Records) -> int:
    return len(records.values)


def some_records(records: Records, start: int, stop: int) -> Records:
    """The records from number `start` up to `stop` of these."""
    if stop - start == len(records.values):
        return records
    place = records.place

    def firsts() -> Sequence[Any]:
        return records.firsts()[start:stop]

    def moved(i: int) -> Place:
        assert place is not None
        return place(start + i)

    return replace(records, values=records.values[start:stop], firsts=firsts, place=None if place is None else moved)
