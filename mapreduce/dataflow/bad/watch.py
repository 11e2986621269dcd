"""What careful mode watches beside records and groups: combiners, aggregators in map tasks, tables of broadcast joins.

Each has ordinals of its own (`series`). A combiner's call that is to be skipped leaves its values as they are: a
combiner may be called for any part of a key's values, or for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from mapreduce.dataflow.bad.at_work import AtWork, Story
from mapreduce.dataflow.bad.care import marked
from mapreduce.dataflow.bad.series import COMBINING, FOLDING, TABLE
from mapreduce.dataflow.columns.batches import keys_list
from mapreduce.dataflow.context import Context, shorten
from mapreduce.dataflow.tasks.fold import Fold

if TYPE_CHECKING:
    from mapreduce.calls import Call
    from mapreduce.dataflow.columns.segments import Segments
    from mapreduce.dataflow.tasks.kernels import Column
    from mapreduce.dataflow.tasks.setup import TaskSetup


class WatchedCombiner:
    """A user's combiner function, of which it is noted when it is at work; some calls are spared it."""

    def __init__(self, call: Call, function: Callable[..., Any], setup: TaskSetup, context: Context) -> None:
        self._call = call
        self._function = function
        self._setup = setup
        self._context = context
        self._calls = count(COMBINING)

    def __call__(self, *arguments: Any) -> Any:
        """Call it with a key and values, or with a frame."""
        at = AtWork(next(self._calls), 1, lambda: self._story(arguments))
        why = self._setup.skip.get(at.ordinal)
        if why is not None:
            return self._spared(arguments, why)
        if self._call.is_generator:
            return self._generated(at, arguments)
        with marked(self._setup, at):
            return self._function(*arguments)

    def _generated(self, at: AtWork, arguments: tuple[Any, ...]) -> Iterator[Any]:
        with marked(self._setup, at):
            yield from self._function(*arguments)

    def _story(self, arguments: tuple[Any, ...]) -> Story:
        key = shorten(arguments[0]) if len(arguments) > 1 else None
        return Story(self._call.title, self._call.role, key=key)

    def _spared(self, arguments: tuple[Any, ...], why: str) -> Any:
        key = self._story(arguments).key
        shown = f" on the key {key}" if key is not None else ""
        self._context.warn(f"{self._call.title}, a combiner, {why}{shown}: the reducer got such values as they were")
        if len(arguments) == 1:
            return arguments[0]
        key, values = arguments
        return [(key, value) for value in values]


class WatchedFold(Fold):
    """A fold in a map task, of which it is noted at which key an aggregator's own methods are at work."""

    def watch(self, setup: TaskSetup) -> WatchedFold:
        """Say whose fold it is, before its first batch."""
        self._setup = setup
        self._calls = count(FOLDING)
        return self

    def _walk(self, part: Segments, fold: Callable[[Sequence[Any]], Any]) -> Column:
        row = -1

        def story() -> Story:
            key = shorten(keys_list(part.keys.slice(row, 1), part.key_lane)[0])
            return Story(repr(self._aggregator), "aggregator", key=key)

        def watched(values: Sequence[Any]) -> Any:
            nonlocal row
            row += 1
            with marked(self._setup, AtWork(next(self._calls), 1, story)):
                return fold(values)

        return super()._walk(part, watched)


def watch_table(setup: TaskSetup, loading: TaskSetup) -> None:
    """Have the loading of a broadcast input watched as its task is, with ordinals from TABLE on."""
    mark = setup.mark
    if mark is not None:
        loading.mark = lambda at: mark(None if at is None else replace(at, ordinal=at.ordinal + TABLE))
    loading.skip = {at - TABLE: why for at, why in setup.skip.items() if TABLE <= at < COMBINING}
    loading.alone = frozenset((at - TABLE, many) for at, many in setup.alone if TABLE <= at < COMBINING)
