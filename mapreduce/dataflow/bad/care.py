"""Careful mode: records go to the user's functions one by one, and one that fails is taken back and put aside.

An attempt runs its fast loops first, which know of none of this. Where a record fails in a job that puts bad records
aside, the attempt starts over with the careful loops (`map_loops`, `reduce_loops`). Counters, named outputs and random
numbers are as they were before the record; the state that a mapper class has made of it is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from mapreduce.dataflow.bad.at_work import AtWork, Story
from mapreduce.dataflow.bad.file import LISTED, Aside, AsideInMemory, BadRecord
from mapreduce.dataflow.columns.batches import Batch, make_batch
from mapreduce.dataflow.context import Context, shorten
from mapreduce.dataflow.readers.unreadable import PutAside, UnreadableRecord
from mapreduce.dataflow.tasks.emit import weight
from mapreduce.dataflow.tasks.failures import failure_of
from mapreduce.dataflow.tasks.named_outputs import HELD_BYTES
from mapreduce.plan import Done, Failure, FailureKind, Split

if TYPE_CHECKING:
    from mapreduce.dataflow.tasks.named_outputs import NamedOutputs
    from mapreduce.dataflow.tasks.setup import TaskSetup

_ROLES = {"keys": "keys function", "records": "records function"}
_NO_WAY_BACK = f"it had emitted more than {HELD_BYTES >> 20} MB by then, which cannot be taken back"

PARTS = 32  # of a batch or frame in which a process died: a million rows are down to one after four deaths

Check = tuple[str, Callable[[Batch], Any]]  # the role of a user's function that sees pairs later, and a try of it

H = TypeVar("H")


class Care:
    """What the careful loops of one attempt share: who is told of each record, and what becomes of bad ones.

    `aside` takes them, None where the job puts none aside: the first then fails the attempt. `outputs` are the named
    outputs, where the attempt has them, and `fits` refuses what its part cannot hold. `checks` are what else pairs must
    stand. `role` is the function at work where it is not the story's. `ordinal` is that of the next record, and
    `refused` counts those of the reader.
    """

    def __init__(self, setup: TaskSetup, context: Context, aside: Aside | None) -> None:
        self._setup = setup
        self._context = context
        self._gone = False
        self.aside = aside
        self.outputs: NamedOutputs | None = None
        self.fits: Callable[[Batch], None] | None = None
        self.checks: tuple[Check, ...] = ()
        self._fitting: set[tuple[type | None, type | None]] = set()
        self.role: str | None = None
        self.ordinal = 0
        self.refused = 0

    @classmethod
    def of(cls, setup: TaskSetup, context: Context, split: Split | None = None) -> Care:
        """That of an attempt that is run with care, over this split."""
        return cls(setup, context, Aside.of(setup, split))

    def refuse(self, error: UnreadableRecord) -> None:
        """Put aside what a reader refuses: what it calls in place of raising the error (`records.PutAside`)."""
        assert self.aside is not None, "a reader that puts aside for nobody"
        self.refused += 1
        self._setup.site.clear()
        failure = failure_of(error, self._setup)
        self._setup.site.clear()
        self.aside.put(BadRecord(failure, error.kind, error.content), error, refused=True)

    @property
    def reading(self) -> PutAside | None:
        """What a reader calls with records that are none; None where it is to raise."""
        return None if self.aside is None else self.refuse

    def each(
        self, count: int, call: Callable[[int, int], H], emit: Callable[[H], None], story: Callable[[int], Story]
    ) -> None:
        """Call with all of `count` records at once, [start, stop), or with halves of them where that fails.

        What `call` gives goes to `emit` once it is through; of a record that fails alone, `story` tells.
        """
        self._some(range(count), call, emit, story)
        self.ordinal += count

    def _some(
        self,
        part: range,
        call: Callable[[int, int], H],
        emit: Callable[[H], None],
        story: Callable[[int], Story],
    ) -> None:
        setup, first = self._setup, self.ordinal + part.start
        skipped, alone = self._skipped(first, len(part)), (first, len(part)) in setup.alone
        if skipped and len(part) == 1:
            self._skip(setup.skip[first], story(part.start))
            return
        if not (len(part) > 1 and (alone or skipped)):
            try:
                with marked(setup, AtWork(first, len(part), lambda: story(part.start))), self._way_back():
                    held = call(part.start, part.stop)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - judged: what is not the record's fault is raised again
                if len(part) > 1 and self.is_users(error, story(part.start)):
                    setup.site.clear()
                else:
                    self._fail(error, story(part.start))
                    return
            else:
                if self.outputs is not None:
                    self.outputs.release()
                emit(held)
                return
        size = -(-len(part) // (PARTS if alone else 2))
        for start in range(0, len(part), size):
            self._some(part[start : start + size], call, emit, story)

    def _skipped(self, first: int, count: int) -> bool:
        skip = self._setup.skip
        return bool(skip) and any(ordinal in skip for ordinal in range(first, first + count))

    def check(self, batch: Batch) -> None:
        """Raise what functions of the user would, which see these pairs later, and what writing them would."""
        if self.checks:
            context = self._context
            counters, random = dict(context.counters), context.random_state()
            for role, check in self.checks:
                self.role = role
                check(batch)
            self.role = None
            context.set_counters(counters)  # they are called again when the pairs go on, and count then
            context.set_random_state(random)
        if self.fits is not None:
            self.fits(batch)

    def check_pairs(self, pairs: list[Any]) -> None:
        """Check pairs that are Python objects. Plain ones need not be written to see that they can be, but once."""
        if not pairs or (self.fits is None and not self.checks):
            return
        kinds = {(_plain(key), _plain(value)) for key, value in pairs}
        if self.checks or not self._fitting.issuperset(kinds):
            self.check(make_batch([key for key, _ in pairs], [value for _, value in pairs]))
            self._fitting.update((key, value) for key, value in kinds if key is not None and value is not None)

    def held(
        self,
        emitted: Iterator[Any],
        hand_on: Callable[[list[Any]], None],
        check: Callable[[list[Any]], None] | None = None,
    ) -> list[Any]:
        """What a record emits, as far as it can be held and stands the check; what is more goes on at once."""
        found: list[Any] = []
        size = 0
        for one in emitted:
            found.append(one)
            size += weight(one)
            if size > HELD_BYTES:
                if check is not None:
                    check(found)
                self.let_go()
                hand_on(found)
                found, size = [], 0
        if check is not None:
            check(found)
        return found

    def held_batches(
        self, results: Any, batches: Iterator[Batch], hand_on: Callable[[list[Batch]], None]
    ) -> list[Batch]:
        """What a function over frames gives, as `held`; `results` is what it gave, and `batches` what is made of it."""
        found: list[Batch] = []
        size = 0
        try:
            for batch in batches:
                self.check(batch)
                found.append(batch)
                size += batch.nbytes()
                if size > HELD_BYTES:
                    self.let_go()
                    hand_on(found)
                    found, size = [], 0
        except BaseException:
            end(results)
            raise
        return found

    def let_go(self) -> None:
        """What the record at hand has emitted is too much to be held: it goes on, and cannot be taken back."""
        self._gone = True

    @contextmanager
    def _way_back(self) -> Iterator[None]:
        """Leave counters, named outputs and random numbers as they were, if what is done here fails."""
        context, outputs = self._context, self.outputs
        counters, self._gone, self.role = dict(context.counters), False, None
        random = context.random_state()
        if outputs is not None:
            outputs.hold(self.let_go)
        try:
            yield
            if context.counters != counters:
                context.counters.checked()
            if outputs is not None:
                outputs.check()
        except BaseException:
            if not self._gone:
                context.set_counters(counters)
                context.set_random_state(random)
                if outputs is not None:
                    outputs.take_back()
            raise

    def is_users(self, error: BaseException, story: Story) -> bool:
        """Whether a record, or several, may be put aside for this error."""
        self._setup.site.blame(story.function)
        return self.aside is not None and not self._gone and failure_of(error, self._setup).kind is FailureKind.USER

    def _fail(self, error: BaseException, story: Story) -> None:
        """Put a record aside; raise the error where that cannot be, or is not the record's fault."""
        site = self._setup.site
        site.blame(story.function, story.key)
        site.path, site.offset = story.path, story.offset
        site.record = None if story.content is None else shorten(story.content)
        failure = failure_of(error, self._setup)
        if self._gone and self.aside is not None and failure.kind is FailureKind.USER:
            error.add_note(_NO_WAY_BACK)
        if self.aside is None or self._gone or failure.kind is not FailureKind.USER:
            raise error
        site.clear()
        kind = f"{type(error).__name__} in {_ROLES.get(self.role or story.role, self.role or story.role)}"
        if failure.key is None and story.key is not None:
            failure = replace(failure, key=story.key)
        self.aside.put(BadRecord(failure, kind, story.kept()), error)

    def tell_of_table(self, aside: AsideInMemory) -> None:
        """Tell of the records of an input that every process loads whole: for one task only."""
        if self.aside is not None:
            aside.hand_to(self.aside)

    def _skip(self, why: str, story: Story) -> None:
        """Put a record aside that nobody is to see."""
        assert self.aside is not None, "nothing is skipped in a job that puts nothing aside"
        failure = Failure(
            FailureKind.USER,
            why,
            function=story.function,
            path=story.path,
            offset=story.offset,
            key=story.key,
            task=str(self._setup.attempt.task),
        )
        self.aside.put(BadRecord(failure, why, story.kept()))


def _plain(thing: Any) -> type | None:
    """The type of a thing that any output takes if it takes one of this type; None where that depends on more."""
    kind = type(thing)
    if kind is str:
        return kind if thing.isprintable() else None
    if kind is int:
        return kind if -(2**63) <= thing < 2**63 else None
    if kind is float:
        return kind if isfinite(thing) else None
    return kind if kind is bool or thing is None else None


def end(results: Any) -> None:
    """End a generator of the user's now: what its `finally` counts and writes can still be taken back."""
    if isinstance(results, GeneratorType):
        results.close()


def listed(values: Any) -> Any:
    """The values of a group as they are shown: the first LISTED of them."""
    return list(values[:LISTED])


@contextmanager
def marked(setup: TaskSetup, at: AtWork) -> Iterator[None]:
    """Have it noted that a user's function is at work, as long as it is."""
    if setup.mark is None:
        yield
        return
    setup.mark(at)
    try:
        yield
    finally:
        setup.mark(None)


def with_care(setup: TaskSetup, run: Callable[[bool], Done]) -> Done:
    """Run an attempt with its fast loops, and where a record is at fault and may be put aside, again with care."""
    if not setup.careful:
        try:
            return run(False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if setup.options.max_bad is None or failure_of(error, setup).kind is not FailureKind.USER:
                raise
        setup.site.clear()
        setup.site.place = setup.site.file = None
    return run(True)
