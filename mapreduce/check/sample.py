"""Which records of the input a check looks at, and the reader that gives a trial's tasks these and no others.

The input is cut into a few stretches of equal bytes, and of each the first records are taken: files are cut by the
same rule as in a run (a record belongs to where its first byte lies), so what the sample holds are whole records in
whichever format. Everything here is bounded in records and in bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mapreduce.dataflow.columns.batches import Batch
from mapreduce.dataflow.columns.frames import FRAME_BYTES
from mapreduce.dataflow.context import Place
from mapreduce.dataflow.readers.reader import Reader
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.plan import Piece, Split

STRETCHES = 4  # of all inputs together: enough to see that splits differ, and as many map tasks in each trial
STRETCHES_EACH = 2  # of one input at least: a single task would show nothing of what borders between tasks do
SAMPLE_BYTES = 32 << 20  # as they lie on disk: some images, or the beginning of four large documents

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Portion:
    """Some records of a piece: `count` of them, from number `first` on; about `size` bytes, as they lie on disk."""

    piece: Piece
    first: int
    count: int
    size: int

    def cut(self, at: int) -> tuple[Portion, Portion]:
        """The first `at` records, and the others."""
        size = self.size * at // self.count
        return (
            replace(self, count=at, size=size),
            replace(self, first=self.first + at, count=self.count - at, size=self.size - size),
        )


@dataclass(frozen=True, slots=True)
class SampleTask:
    """What one map task of a trial reads: portions of the input of this number; `typed` as in a Split."""

    input: int
    typed: bool
    portions: tuple[Portion, ...]

    @property
    def split(self) -> Split:
        """The split that a task of a run would have in its place."""
        return Split(tuple(portion.piece for portion in self.portions), self.input, self.typed)

    @property
    def records(self) -> int:
        """How many records it has."""
        return sum(portion.count for portion in self.portions)

    @property
    def size(self) -> int:
        """About how many bytes these are on disk."""
        return sum(portion.size for portion in self.portions)


@dataclass(frozen=True, slots=True)
class Sample:
    """The tasks of a trial's first step, in the order of the inputs; `whole` says that they hold all of the input."""

    tasks: tuple[SampleTask, ...]
    whole: bool

    @property
    def records(self) -> int:
        """How many records it has."""
        return sum(task.records for task in self.tasks)

    @property
    def size(self) -> int:
        """About how many bytes these are on disk."""
        return sum(task.size for task in self.tasks)

    @property
    def files(self) -> int:
        """How many files they are from."""
        return len({portion.piece.path for task in self.tasks for portion in task.portions if portion.count})

    def counts(self, inputs: int) -> tuple[int, ...]:
        """How many tasks each of so many inputs has."""
        return tuple(sum(task.input == number for task in self.tasks) for number in range(inputs))

    def smaller(self, share: float) -> Sample:
        """So much of each portion, from its beginning, and a record at least."""
        tasks = [
            replace(task, portions=tuple(_beginning(portion, share) for portion in task.portions if portion.count))
            for task in self.tasks
        ]
        return Sample(tuple(tasks), whole=False)

    def finer(self) -> Sample:
        """The same records in smaller tasks: no two portions together, and what may be cut is cut once more.

        A third of a portion from the rest: at half, what comes in pairs would still be together.
        """
        tasks: list[SampleTask] = []
        for task in self.tasks:
            for portion in task.portions:
                cuttable = not portion.piece.whole and portion.count > 1
                parts = portion.cut(max(1, portion.count // 3)) if cuttable else (portion,)
                tasks += [replace(task, portions=(part,)) for part in parts]
        return Sample(tuple(tasks) or self.tasks, self.whole)

    def turned(self) -> Sample:
        """The same tasks, those of each input in the other order, as if its files had come so."""
        numbers = sorted({task.input for task in self.tasks})
        by_input = [[task for task in self.tasks if task.input == number] for number in numbers]
        return Sample(tuple(task for tasks in by_input for task in reversed(tasks)), self.whole)


def _beginning(portion: Portion, share: float) -> Portion:
    count = max(1, int(portion.count * share))
    return portion if count >= portion.count else portion.cut(count)[0]


@dataclass(frozen=True, slots=True)
class SampledInput:
    """One input to take a sample of: the splits that a run would have, and how a piece of them is read.

    `frames` says that the mapper takes frames: the records are then counted in these, since they need not be what other
    readers make of the file.
    """

    number: int
    splits: tuple[Split, ...]
    reader: Callable[[Split], Reader]
    frames: bool = False

    @property
    def size(self) -> int:
        """Bytes of all splits."""
        return sum(split.size for split in self.splits)


def take_sample(inputs: Sequence[SampledInput], records: int, most_bytes: int = SAMPLE_BYTES) -> Sample:
    """Take about so many records, from several places of every input, and at most about so many bytes of them.

    Runs none of the user's functions. Raises what readers raise: UnreadableRecord, InputError, InputChangedError.
    """
    each = max(STRETCHES_EACH, STRETCHES // max(len(inputs), 1))
    total = max(each * len(inputs), 1)
    tasks: list[SampleTask] = []
    whole = True
    for given in inputs:
        stretches = _stretches(given, each, max(1, records // total), max(1, most_bytes // total))
        found = [stretch for stretch in stretches if stretch.records]
        whole = whole and all(stretch.ended for stretch in stretches)
        if len(found) == 1:
            found = found[0].halves()
        typed = any(split.typed for split in given.splits)
        # An input without a record has a task too, as in a run.
        portions = [tuple(stretch.portions) for stretch in found] or [()]
        tasks += [SampleTask(given.number, typed, one) for one in portions]
    return Sample(tuple(tasks), whole)


class _Stretch:
    """A part of an input, of which the first records are taken."""

    def __init__(self, given: SampledInput, pieces: Sequence[Piece]) -> None:
        self._given = given
        self._pieces = pieces
        self.portions: list[Portion] = []
        self.ended = False  # whether there are no more records in it

    @property
    def records(self) -> int:
        return sum(portion.count for portion in self.portions)

    def take(self, records: int, most_bytes: int) -> None:
        """Take so many records from the beginning on; at least one, however large it is."""
        self.portions, self.ended = [], False
        left, room = records, most_bytes
        for piece in self._pieces:
            portion, ended = self._take_of(piece, left, room)
            if portion.count:
                self.portions.append(portion)
            left, room = left - portion.count, room - portion.size
            if not ended or left <= 0 or (room <= 0 and self.portions):
                self.ended = ended and piece is self._pieces[-1]
                return
        self.ended = True

    def _take_of(self, piece: Piece, left: int, room: int) -> tuple[Portion, bool]:
        """The first records of a piece, and whether these are all."""
        typed = any(split.typed for split in self._given.splits)
        reader = self._given.reader(Split((piece,), self._given.number, typed))
        count = size = seen = 0
        blocks = _counts(reader, frames=self._given.frames)
        for held in blocks:
            read, seen = reader.bytes_read - seen, reader.bytes_read
            taken = min(held, left - count)
            count += taken
            size += read * taken // max(held, 1)
            if count >= left or size >= room:
                # A reader may be far ahead of what it has given: whether that was all, only asking for more can tell.
                ended = taken == held and not any(blocks)
                return Portion(piece, 0, count, min(size, piece.size)), ended
        return Portion(piece, 0, count, piece.size), True

    def halves(self) -> list[_Stretch]:
        """Both halves of its records, if files of it can be cut; else itself."""
        if len(self.portions) != 1 or self.portions[0].piece.whole or self.portions[0].count < 2:
            return [self]
        made = []
        for portion in self.portions[0].cut(self.portions[0].count // 2):
            half = _Stretch(self._given, self._pieces)
            half.portions, half.ended = [portion], self.ended
            made.append(half)
        return made


def _counts(reader: Reader, *, frames: bool) -> Iterator[int]:
    """How many records each block has that a reader gives."""
    if frames:
        for frame in reader.frames():
            yield frame.frame.height
    else:
        for records in reader:
            yield len(records.values)


def _stretches(given: SampledInput, number: int, records: int, most_bytes: int) -> list[_Stretch]:
    """The input in so many stretches, with the first records of each; where some have few, more of the others."""
    stretches = [_Stretch(given, pieces) for pieces in cut_evenly(given.splits, number)]
    for stretch in stretches:
        stretch.take(records, most_bytes)
    missing = number * records - sum(stretch.records for stretch in stretches)
    open_ends = [stretch for stretch in stretches if not stretch.ended]
    if missing > 0 and open_ends:
        for stretch in open_ends:
            stretch.take(stretch.records + -(-missing // len(open_ends)), most_bytes)
    return stretches


def cut_evenly(splits: Sequence[Split], number: int) -> list[list[Piece]]:
    """The pieces of all splits in `number` stretches of equal bytes; one that cannot be cut is where it begins."""
    pieces = [piece for split in splits for piece in split.pieces]
    total = sum(piece.size for piece in pieces)
    starts = [total * i // number for i in range(number)]
    found: list[list[Piece]] = [[] for _ in range(number)]
    at = 0
    for piece in pieces:
        first = bisect_right(starts, at) - 1
        if piece.whole or not piece.size:
            found[first].append(piece)
        else:
            ends = [*starts[first + 1 :], total]
            begin = at
            for stretch, end in enumerate(ends, first):
                stop = min(end, at + piece.size)
                if stop > begin:
                    found[stretch].append(replace(piece, start=piece.start + begin - at, size=stop - begin))
                    begin = stop
        at += piece.size
    return found


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
