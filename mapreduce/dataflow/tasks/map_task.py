"""The mapper's side of a map task: the loops that run it.

One loop is chosen for each task by what the mapper is, so that no record pays for what it doesn't use: the record at
hand, its offset and the context's place are worked out only when somebody asks. Knows nothing of where pairs go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import length_hint
from typing import Any

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.batches import Batch
from mapreduce.dataflow.columns.frames import batches_of
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.readers.records import Frame, Records
from mapreduce.dataflow.readers.text import LineBlock
from mapreduce.dataflow.readers.word_columns import Words
from mapreduce.dataflow.tasks.emit import Emitter
from mapreduce.dataflow.tasks.emit_keys import KeyEmitter
from mapreduce.dataflow.tasks.lifting import twin
from mapreduce.dataflow.tasks.sinks import Sink, keeping
from mapreduce.dataflow.tasks.tallying import tallying
from mapreduce.errors import UnwritableResult
from mapreduce.plan import Limits

PIECE_CHARS = 4096  # of lines split together: the words stay in the processor's cache until they are counted
LISTING = (str.split, str.rsplit, str.splitlines)  # give a list, always


class MapLoop:
    """Runs one mapper over records, into a sink."""

    def __init__(self, call: Call, function: Callable[..., Any], sink: Sink, site: Site, limits: Limits) -> None:
        self._call = call
        self._function = function
        self._sink = sink
        self._site = site
        self._emitter = Emitter(sink.add, call, site, limits, keep=keeping(sink))
        # A plain function may raise StopIteration, which `map` takes for the end; these never do.
        self._runs_in_c = call.is_generator or function in LISTING
        self._keys = KeyEmitter(sink, self._emitter, site, limits)
        self._tallied = tallying(call, sink, self._emitter, site, limits)
        self._twin = None if self._tallied is None else twin(function)
        counting = self._tallied_pairs if self._twin is None else self._lifted_pairs
        self._loop: Callable[[tuple[Iterator[Any], ...]], None] = {
            "mapper": self._pairs if self._tallied is None else counting,
            "keys": self._generated_keys if self._runs_in_c else self._returned_keys,
            "records": self._values,
        }[call.role]

    @property
    def emitted(self) -> int:
        """How many pairs, keys or values have been taken."""
        return self._emitter.records + self._keys.records + (self._tallied.pairs if self._tallied is not None else 0)

    def run(self, records: Records) -> None:
        """Call the mapper with each record. What it raises passes through, with the site filled in."""
        pending = iter(records.values)
        site, place, total = self._site, records.place, len(records.values)
        if place is not None:
            site.place = lambda: place(max(total - length_hint(pending) - 1, 0))
        site.file = records.path
        arguments = (pending,) if self._call.positional == 1 else (iter(records.firsts()), pending)
        try:
            self._loop(arguments)
        except KeyboardInterrupt:
            raise
        except BaseException:
            self._locate(records, max(total - length_hint(pending) - 1, 0))
            raise

    @property
    def splits_words(self) -> bool:
        """Whether `run_words` does what `run` does: a newline parts words like a space, so lines need not be cut."""
        return self._call.role == "keys" and self._function is str.split and self._call.positional == 1

    @property
    def counts_words(self) -> bool:
        """Whether `run_words` takes words that are a column already."""
        return self.splits_words and self._keys.counts_columns

    def run_words(self, found: Words | LineBlock) -> None:
        """Take words, or those of lines. What fails under it passes through, with the site filled in."""
        path, start = found.path, found.start
        self._site.place, self._site.file = lambda: (path, start), path
        try:
            if isinstance(found, Words):
                self._keys.take_column(found.words)
            else:
                self._keys.take_evenly(map(str.split, _pieces(found.text)))
                self._keys.end_block()
        except KeyboardInterrupt:
            raise
        except BaseException:
            self._site.path = path
            raise

    def finish(self, finish: Callable[[], Any] | None) -> None:
        """Call the mapper's `finish`, if it has one, and hand on what is left."""
        self._site.place = self._site.file = None
        self._end_tally(())
        if finish is not None:
            try:
                self._finish(finish)
            except Exception:
                self._site.blame(f"finish() of {self._call.title}")
                raise
        self._emitter.flush()
        self._keys.finish()

    def _finish(self, finish: Callable[[], Any]) -> None:
        results = iter(self._emitter.results(finish()))
        if self._call.role == "mapper":
            self._emitter.take(results)
        elif self._call.role == "keys":
            self._keys.take(results)
        else:
            self._emitter.take_values(results)

    def _results(self, arguments: tuple[Iterator[Any], ...]) -> Iterator[Any]:
        """All that the mapper emits for the records, as one iterator, without a step of Python where that can be."""
        if self._runs_in_c:
            return chain.from_iterable(map(self._function, *arguments))
        return chain.from_iterable(self._emitter.called(self._function, zip(*arguments, strict=False)))

    def _pairs(self, arguments: tuple[Iterator[Any], ...]) -> None:
        self._emitter.take(self._results(arguments))

    def _tallied_pairs(self, arguments: tuple[Iterator[Any], ...]) -> None:
        """Count equal pairs as long as that pays; what then is left becomes columns."""
        tallied = self._tallied
        assert tallied is not None
        calls: Iterable[Iterator[Any]]
        calls = (self._results(arguments),) if tallied.across_calls else map(self._function, *arguments)
        rest = tallied.take(calls)
        if rest is not None:
            self._end_tally(chain(rest, self._results(arguments)))

    def _lifted_pairs(self, arguments: tuple[Iterator[Any], ...]) -> None:
        """As `_tallied_pairs`, by the mapper's twin, up to the first iterable that it cannot be sure of."""
        tallied = self._tallied
        assert tallied is not None
        assert self._twin is not None
        rest = tallied.take_lifted(map(self._twin, *arguments))
        if rest is not None and not tallied.lifts:
            self._loop = self._tallied_pairs
            rest = tallied.take(chain((rest,), map(self._function, *arguments)))
        if rest is not None:
            self._end_tally(chain(rest, self._results(arguments)))

    def _end_tally(self, rest: Iterable[Any]) -> None:
        """Hand on what was counted, and make columns of the rest and of all that follows."""
        if self._tallied is not None and self._tallied.is_open:
            self._loop = self._pairs
            self._emitter.take(chain(self._tallied.end(), rest))

    def _values(self, arguments: tuple[Iterator[Any], ...]) -> None:
        self._emitter.take_values(self._results(arguments))

    def _generated_keys(self, arguments: tuple[Iterator[Any], ...]) -> None:
        self._keys.take(self._results(arguments))
        self._keys.end_block()

    def _returned_keys(self, arguments: tuple[Iterator[Any], ...]) -> None:
        self._keys.take_lists(self._emitter.called(self._function, zip(*arguments, strict=False)))
        self._keys.end_block()

    def _locate(self, records: Records, i: int) -> None:
        """Note what the mapper was at work on."""
        site = self._site
        if site.users is not None:  # noted where it happened, for an earlier record of the same chunk: which is unknown
            site.path = records.place(i)[0] if records.place is not None and records.values else None
            return
        site.blame(self._call.title)
        if not records.values:
            return
        if records.place is not None:
            site.path, site.offset = records.place(i)
        if site.offset is None:
            site.key = shorten(records.key(i))
        site.record = records.shown(i)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text behind newlines, into pieces of PIECE_CHARS and what there is to the next newline."""
    at = 0
    while at < len(text):
        stop = text.find("\n", at + PIECE_CHARS) + 1 or len(text)
        yield text[at:stop]
        at = stop


class FramesLoop:
    """Runs one mapper over frames of records, into a sink. `emitted` counts the rows that it gave."""

    def __init__(self, call: Call, function: Callable[..., Any], sink: Sink, site: Site) -> None:
        self._call = call
        self._function = function
        self._sink = sink
        self._site = site
        self._who = in_role(call.function, call.role)
        self.emitted = 0

    def run(self, frame: Frame) -> None:
        """Call the mapper with a frame. What it raises passes through, with the site filled in."""
        site, place = self._site, frame.place
        site.place = None if place is None else lambda: place
        try:
            self._take(self._function(frame.frame))
        except KeyboardInterrupt:
            raise
        except BaseException:
            if site.users is None:
                site.blame(self._call.title)
                if place is not None:
                    site.path, site.offset = place
                site.record = frame.shown()
            raise

    def finish(self, finish: Callable[[], Any] | None) -> None:
        """Call the mapper's `finish`, if it has one."""
        self._site.place = None
        if finish is not None:
            try:
                self._take(finish())
            except Exception:
                self._site.blame(f"finish() of {self._call.title}")
                raise

    def _take(self, result: Any) -> None:
        for batch in batches_of(result, self._who):
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        try:
            self._sink.add(batch)
        except UnwritableResult:
            self._site.blame(self._call.title)
            raise
        except Exception:
            self._site.spare_user()  # unless a user's function under it has been blamed
            raise
        self.emitted += batch.rows()
