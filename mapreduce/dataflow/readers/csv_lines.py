"""The lines of a table, as the csv module takes them, and where they lie."""

from __future__ import annotations

import csv
import functools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from mapreduce.dataflow.readers.text import LineBlock


class Lines:
    """The lines of one piece, one by one, and where those lie that were given last.

    `count` is how many there are in the blocks so far.
    """

    def __init__(self, blocks: Iterable[LineBlock]) -> None:
        self._blocks = iter(blocks)
        self._held: list[tuple[int, LineBlock]] = []  # with the number of each block's first line
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

    def offsets(self, lines: list[int]) -> Callable[[], list[int]]:
        """Give what works out, once, the bytes where these lines begin, which are still held."""
        held = list(self._held)

        def offsets() -> list[int]:
            found = []
            for line in lines:
                number, block = held[bisect_right(held, line, key=lambda one: one[0]) - 1]
                found.append(block.offset(line - number))
            return found

        return functools.cache(offsets)

    def raw(self, line: int, stop: int) -> bytes:
        """The bytes from one line up to another, which are still held."""
        parts = []
        for number, block in self._held:
            inside = range(max(line, number), min(stop, number + len(block.lines)))
            if inside:
                start = block.offset(inside[0] - number) - block.start
                last = inside[-1] + 1 - number
                end = block.offset(last) - block.start if last < len(block.lines) else len(block.raw)
                parts.append(block.raw[start:end])
        return b"".join(parts)


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
