"""The lines of a table, as the csv module takes them, and where they lie."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from mapreduce.dataflow.inputs.encoding import BAD_MARK
from mapreduce.dataflow.readers.text import LineBlock

_Held = list[tuple[int, LineBlock]]  # blocks with the number of each one's first line


class Lines:
    """The lines of one piece, one by one, and where those lie that were given last.

    `count` is how many there are in the blocks so far.
    """

    def __init__(self, blocks: Iterable[LineBlock]) -> None:
        self._blocks = iter(blocks)
        self._held: _Held = []
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._each_block())

    def _each_block(self) -> Iterator[list[str]]:
        for block in self._blocks:
            self._held.append((self.count, block))
            self.count += len(block.lines)
            yield block.lines

    def forget_before(self, line: int) -> None:
        """Let go of blocks that lie before a line."""
        at = bisect_right(self._held, line, key=lambda held: held[0]) - 1
        del self._held[: max(at, 0)]

    def end_of_first(self) -> int | None:
        """The byte behind the first line; None if it is not held, or may be no row by itself: for a quote in it."""
        number, block = self._held[0]
        if number or '"' in block.lines[0] or not block.lines[0].endswith("\n"):
            return None
        return block.start + block.raw.index(b"\n") + 1

    def spans(self, starts: Sequence[int], stops: Sequence[int]) -> Spans:
        """Give where records lie that go from the line `starts[i]` up to `stops[i]`; these lines are still held."""
        return Spans(list(self._held), starts, stops)


class Spans:
    """Where some records lie, each in the lines from one up to another. Worked out when it is asked for."""

    def __init__(self, held: _Held, starts: Sequence[int], stops: Sequence[int]) -> None:
        self._held = held
        self._starts = starts
        self._stops = stops
        self._offsets: list[int] | None = None

    def offsets(self) -> list[int]:
        """The byte where each begins. Computed at the first call."""
        if self._offsets is None:
            self._offsets = []
            for line in self._starts:
                number, block = self._held[bisect_right(self._held, line, key=lambda one: one[0]) - 1]
                self._offsets.append(block.offset(line - number))
        return self._offsets

    def content(self, i: int) -> str | bytes:
        """The i-th as it stands in the file, without the end of its last line: bytes where these are no text."""
        texts: list[str] = []
        parts: list[bytes] = []
        newline = b"\n"
        for number, block in self._held:
            inside = range(max(self._starts[i], number), min(self._stops[i], number + len(block.lines)))
            if inside:
                first, last = inside[0] - number, inside[-1] + 1 - number
                end = block.offset(last) - block.start if last < len(block.lines) else len(block.raw)
                texts += block.lines[first:last]
                parts.append(block.raw[block.offset(first) - block.start : end])
                newline = block.encoding.newline
        text = "".join(texts)
        if BAD_MARK in text:
            return b"".join(parts).removesuffix(newline)
        return text.removesuffix("\n").removesuffix("\r")


class EachLine:
    """Rows of lines that are parsed each by itself, so that the next one can be read after one that is none."""

    def __init__(self, lines: Iterator[str], separator: str) -> None:
        self._lines = lines
        self._separator = separator
        self.line_num = 0

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines)
        self.line_num += 1
        return next(csv.reader([line], delimiter=self._separator, strict=True))
