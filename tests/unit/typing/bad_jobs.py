"""Jobs that type checkers must refuse, each line marked with a comment (never imported: mypy reads it)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mapreduce import Aggregator, Count, Job, Mean, Step, Sum, Variance


def mapper(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def texts(line: str) -> Iterator[tuple[str, str]]:
    yield line, line


def not_pairs(line: str) -> Iterator[str]:
    yield line


def reducer(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def joins(word: str, parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield word, "".join(parts)


def of_bytes(word: bytes, counts: Iterable[int]) -> Iterator[tuple[bytes, int]]:
    yield word, sum(counts)


def wants_list(word: str, counts: list[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def single(word: str) -> Iterator[tuple[str, int]]:
    yield word, 1


def to_text(word: str, counts: Iterable[int]) -> Iterator[tuple[str, str]]:
    yield word, str(sum(counts))


class Mapper:
    def __call__(self, line: str) -> Iterator[tuple[str, int]]:
        yield line, 1


class Longest(Aggregator[str, str, int]):
    def create(self, value: str) -> str:
        return value

    def merge(self, state: str, other: str) -> str:
        return max(state, other, key=len)

    def finish(self, state: str) -> int:
        return len(state)


Job(mapper, reducer=joins)  # refused
Job(texts, reducer=reducer)  # refused
Job(Mapper, reducer=joins)  # refused
Job(mapper, reducer=of_bytes)  # refused
Job(keys=str.split, reducer=of_bytes)  # refused
Job(mapper, reducer=wants_list)  # refused
Job(mapper, reducer=single)  # refused
Job(not_pairs)  # refused
Job(mapper, reducer=Longest())  # refused
Job(texts, reducer=Sum())  # refused
Job(texts, reducer=Mean())  # refused
Job(texts, reducer=Variance())  # refused
Job(texts, reducer={"n": Count(), "variance": Variance()})  # refused
Job(mapper, reducer=reducer, combiner=to_text)  # refused
Job(mapper, reducer=reducer, partitioner=reducer)  # refused
Job(mapper, reducers="three")  # refused
Step(mapper, reducer=joins)  # refused
Job(steps=[Step(texts, reducer=Sum())])  # refused
