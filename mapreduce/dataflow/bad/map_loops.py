"""The careful loops of map tasks: what a record emits goes on once the mapper is through with it.

They feed the same emitters and sinks as the fast ones, in the same order, so that what is cut from the records that are
good is cut alike. A batch or a frame that fails is tried by halves, down to the records that fail alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import polars as pl

from mapreduce.dataflow.bad.at_work import Story
from mapreduce.dataflow.bad.care import Care, Check, end
from mapreduce.dataflow.columns.batches import Batch
from mapreduce.dataflow.columns.frames import COLUMNS, batches_of
from mapreduce.dataflow.context import shorten
from mapreduce.dataflow.readers.lines import of_lines
from mapreduce.dataflow.readers.records import Batches, Frame, Records
from mapreduce.dataflow.readers.text import LineBlock
from mapreduce.dataflow.readers.word_columns import Words
from mapreduce.dataflow.tasks.map_task import FramesLoop, MapLoop


class CarefulMapLoop(MapLoop):
    """Runs one mapper over records, one at a time. `watch` must be called before the first."""

    def watch(self, care: Care, checks: tuple[Check, ...] = ()) -> None:
        """Say who takes bad records, and what else each record's pairs must stand."""
        self._care = care
        care.checks = checks

    def run(self, records: Records) -> None:
        """Call the mapper with each record; those that fail are put aside."""
        for i in range(len(records.values)):
            if isinstance(records, Batches):
                self._run_batch(records, i)
            else:
                self._run_record(records, i)
        if self._call.role == "keys":
            self._keys.end_block()

    def run_words(self, found: Words | LineBlock) -> None:
        """Take words that are a column, of which none can fail; lines one by one."""
        if isinstance(found, Words):
            super().run_words(found)
        else:
            self.run(of_lines(found))

    def _run_record(self, records: Records, i: int) -> None:
        place = records.place
        if place is not None:
            self._site.place = lambda: place(i)
        value = records.values[i]
        arguments = (value,) if self._call.positional == 1 else (records.key(i), value)
        self._care.each(1, lambda _start, _stop: self._emitted(arguments), self._emit, lambda _: self.story(records, i))

    def _run_batch(self, records: Batches, i: int) -> None:
        values, keys = records.values[i], records.firsts()[i] if self._call.positional == 2 else None

        def call(start: int, stop: int) -> Callable[[], None]:
            block, at = records.member(i, start)
            if block.place is not None:
                self._site.place = partial(block.place, at)
            part = values[start:stop]
            return self._emitted((part,) if keys is None else (keys[start:stop], part))

        self._care.each(len(values), call, self._emit, lambda j: self.story(*records.member(i, j)))

    def _emit(self, hand_on: Callable[[], None]) -> None:
        try:
            hand_on()
        except BaseException:
            self._site.blame(self._call.title)
            raise

    def _emitted(self, arguments: tuple[Any, ...]) -> Callable[[], None]:
        """Call the mapper, hold what it emits, and give what hands it on."""
        if self._call.is_generator:
            results: Iterable[Any] = self._function(*arguments)
        else:
            results = next(self._emitter.called(self._function, [arguments]))
        try:
            return self._held(results)
        except BaseException:
            end(results)
            raise

    def _held(self, results: Iterable[Any]) -> Callable[[], None]:
        role, held, check_pairs = self._call.role, self._care.held, self._care.check_pairs
        if role == "keys":
            checked = map(self._emitter.checked_key, results)
            keys = held(checked, self._take_key_list, lambda keys: check_pairs([(key, None) for key in keys]))
            whole = not self._call.is_generator and type(results) is list
            return partial(self._take_list if whole else self._take_key_list, keys)
        if role == "mapper":
            return partial(self._take_pairs, held(map(self._emitter.checked, results), self._take_pairs, check_pairs))
        settled = (self._emitter.settled(None, value) for value in results)
        values = held(settled, self._take_value_list, lambda values: check_pairs([(None, value) for value in values]))
        return partial(self._take_value_list, values)

    def _take_pairs(self, pairs: list[Any]) -> None:
        if self._tallied is None or not self._tallied.is_open:
            self._emitter.take(iter(pairs))
        elif (rest := self._tallied.take([iter(pairs)])) is not None:
            self._end_tally(rest)

    def _take_value_list(self, values: list[Any]) -> None:
        self._emitter.take_values(iter(values))

    def _take_key_list(self, keys: list[Any]) -> None:
        self._keys.take(iter(keys))

    def _take_list(self, keys: list[Any]) -> None:
        self._keys.take_lists([keys])

    def story(self, records: Records, i: int) -> Story:
        """What is known of the i-th record: its key is told where it has no offset."""
        path, offset = records.place(i) if records.place is not None else (None, None)
        key = None if offset is not None else shorten(records.key(i))
        text = None if records.content is None else partial(records.content, i)
        return Story(self._call.title, self._call.role, path, offset, key, records.values[i], text)


class CarefulFramesLoop(FramesLoop):
    """Runs one mapper over frames; one that fails is tried by halves. `watch` must be called before the first."""

    def watch(self, care: Care, checks: tuple[Check, ...] = ()) -> None:
        """Say who takes bad records, and what else the rows given must stand."""
        self._care = care
        care.checks = checks

    def run(self, frame: Frame) -> None:
        """Call the mapper with a frame; rows that fail are put aside."""
        rows, place = frame.frame, frame.place
        self._site.place = None if place is None else lambda: place

        def call(start: int, stop: int) -> list[Batch]:
            results = self._function(rows.slice(start, stop - start))
            return self._care.held_batches(results, batches_of(results, self._who), self._emit)

        def story(i: int) -> Story:
            path = None if place is None else place[0]
            offset, key = _row_place(frame, i)
            row = rows.row(i, named=True)
            content = row["value"] if rows.columns == COLUMNS else row
            return Story(self._call.title, self._call.role, path, offset, key, content)

        if rows.height:
            self._care.each(rows.height, call, self._emit, story)

    def _emit(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._add(batch)


def _row_place(frame: Frame, i: int) -> tuple[int | None, str | None]:
    """The offset of a row of a text format, whose column "key" it is; else its key, or which row it is."""
    rows, place = frame.frame, frame.place
    if rows.columns != COLUMNS:
        return None, None
    key = rows["key"][i]
    is_text = place is not None and place[1] is not None and rows.schema["key"] == pl.Int64
    return (key, None) if is_text else (None, shorten(key))
