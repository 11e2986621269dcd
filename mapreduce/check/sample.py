"""Which records of the input a check looks at.

The input is cut into a few stretches of equal bytes, and of each the first records are taken: files are cut by the
same rule as in a run (a record belongs to where its first byte lies), so what the sample holds are whole records in
whichever format. Everything here is bounded in records and in bytes.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mapreduce.dataflow.readers.reader import Reader
from mapreduce.plan import Piece, Split
from mapreduce.quick_dataclass import dataclass

STRETCHES = 4  # of all inputs together: enough to see that splits differ, and as many map tasks in each trial
STRETCHES_EACH = 2  # of one input at least: a single task would show nothing of what borders between tasks do
LOOK_AHEAD = 200  # blocks that a reader may give before it reads on: some megabytes, unpacked from a few bytes
SAMPLE_BYTES = 32 << 20  # as they lie on disk: some images, or the beginning of four large documents


@dataclass(frozen=True, slots=True)
class Portion:
    """Some records of a piece: `count` of them, from number `first` on; about `size` bytes, as they lie on disk.

    In a sample `size` is their share of the bytes of their input.
    """

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
    """What one map task of a trial reads: portions of the input of this number; `typed` as in a Split.

    `entire` says that they are a split of the run, which is read as there: to its end, with what is no record.
    """

    input: int
    typed: bool
    portions: tuple[Portion, ...]
    entire: bool = False

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
    """The tasks of a trial's first step, in the order of the inputs; `whole` says that they hold all of the input.

    `all_records` is about how many records all inputs have.
    """

    tasks: tuple[SampleTask, ...]
    whole: bool
    all_records: float

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
        if share >= 1:
            return self
        tasks = [
            replace(task, portions=tuple(_beginning(portion, share) for portion in task.portions if portion.count))
            for task in self.tasks
        ]
        return replace(self, tasks=tuple(tasks), whole=False)

    def least(self) -> Sample:
        """One record of each input that has any."""
        chosen: dict[int, SampleTask] = {}
        for task in self.tasks:
            if task.input not in chosen or not chosen[task.input].records:
                chosen[task.input] = task
        tasks = [
            replace(task, portions=tuple(_beginning(portion, 0) for portion in task.portions if portion.count)[:1])
            for task in chosen.values()
        ]
        return replace(self, tasks=tuple(tasks), whole=False)

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
        return replace(self, tasks=tuple(tasks) or self.tasks)

    def turned(self) -> Sample:
        """The same tasks, those of each input in the other order, as if its files had come so."""
        numbers = sorted({task.input for task in self.tasks})
        by_input = [[task for task in self.tasks if task.input == number] for number in numbers]
        return replace(self, tasks=tuple(task for tasks in by_input for task in reversed(tasks)))


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
    all_records = 0.0
    for given in inputs:
        stretches = _stretches(given, each, max(1, records // total), max(1, most_bytes // total))
        found = [stretch for stretch in stretches if stretch.records]
        whole = whole and all(stretch.ended for stretch in stretches)
        expected = sum(stretch.expected for stretch in stretches)
        all_records += expected
        if len(found) == 1:
            found = found[0].halves()
        typed = any(split.typed for split in given.splits)
        # An input without a record has a task too, as in a run.
        for stretch in found:
            stretch.portions = [replace(one, size=int(one.count * given.size / expected)) for one in stretch.portions]
        portions = [tuple(stretch.portions) for stretch in found] or [()]
        tasks += [SampleTask(given.number, typed, one) for one in portions]
    return Sample(tuple(tasks), whole, all_records)


def take_all(inputs: Sequence[SampledInput]) -> Sample:
    """Take all records, in the tasks that a run would have. Raises as `take_sample`."""
    tasks: list[SampleTask] = []
    for given in inputs:
        for split in given.splits:
            stretch = _Stretch(given, split.pieces)
            portions = tuple(stretch.take_of(piece, sys.maxsize, sys.maxsize).portion for piece in split.pieces)
            tasks.append(SampleTask(given.number, split.typed, portions, entire=True))
    return Sample(tuple(tasks), whole=True, all_records=sum(task.records for task in tasks))


@dataclass(frozen=True, slots=True)
class _Taken:
    """The first records of a piece; `given` records of it, these or others, take `read` bytes.

    `ended` says that the portion has all that the piece has.
    """

    portion: Portion
    given: int
    read: int
    ended: bool


class _Stretch:
    """A part of an input, of which the first records are taken."""

    def __init__(self, given: SampledInput, pieces: Sequence[Piece]) -> None:
        self._given = given
        self._pieces = pieces
        self._taken: list[_Taken] = []
        self.portions: list[Portion] = []
        self.ended = False  # whether there are no more records in it

    @property
    def records(self) -> int:
        return sum(portion.count for portion in self.portions)

    @property
    def expected(self) -> float:
        """How many records it has in all, if they are everywhere as dense as where they were taken."""
        if self.ended:
            return self.records
        given, read = sum(taken.given for taken in self._taken), sum(taken.read for taken in self._taken)
        return max(self.records, given * sum(piece.size for piece in self._pieces) / max(read, 1))

    def take(self, records: int, most_bytes: int) -> None:
        """Take so many records from the beginning on; at least one, however large it is."""
        self._taken, self.ended = [], False
        left, room = records, most_bytes
        for piece in self._pieces:
            taken = self.take_of(piece, left, room)
            self._taken.append(taken)
            left, room = left - taken.portion.count, room - taken.portion.size
            if not taken.ended or left <= 0 or (room <= 0 and left < records):
                break
        self.ended = len(self._taken) == len(self._pieces) and all(taken.ended for taken in self._taken)
        self.portions = [taken.portion for taken in self._taken if taken.portion.count]

    def take_of(self, piece: Piece, left: int, room: int) -> _Taken:
        """Take the first records of a piece, at most `left`, of about `room` bytes.

        A reader may have read far ahead of what it has given. So records are counted from one time that it reads on to
        another: these take the bytes that were read meanwhile, be it ever so far ahead.
        """
        typed = any(split.typed for split in self._given.splits)
        reader = self._given.reader(Split((piece,), self._given.number, typed))
        count = given = read = ahead = 0
        begun: tuple[int, int] | None = None
        for held in _counts(reader, frames=self._given.frames):
            reads_on = given > 0 and reader.bytes_read > read
            if count >= left or (count and read >= room):
                ahead += 1
                if (reads_on and begun is not None) or ahead > LOOK_AHEAD:
                    break
            else:
                count = min(given + held, left)
            if reads_on and begun is None:
                begun = given, read
            given += held
            read = reader.bytes_read
        else:
            size = piece.size * count // max(given, 1)
            return _Taken(Portion(piece, 0, count, size), given, piece.size, ended=count == given)
        first, start = begun or (0, 0)
        return _Taken(Portion(piece, 0, count, read * count // max(given, 1)), given - first, read - start, ended=False)

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
