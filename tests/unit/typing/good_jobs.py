"""Jobs that type checkers must accept (never imported: mypy reads it)."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator

from mapreduce import (
    Aggregator,
    Collect,
    Context,
    Count,
    Distinct,
    First,
    Job,
    Max,
    Mean,
    Min,
    Quantiles,
    Sample,
    Step,
    Sum,
    TopK,
    Variance,
)


def mapper(line: str) -> Iterator[tuple[str, int]]:
    yield line, 1


def keyed(key: int, line: str, *, ctx: Context, min_len: int = 3) -> list[tuple[str, int]]:
    ctx.counters["lines"] += 1
    return [(line, key)] if len(line) >= min_len else []


def nothing(line: str) -> None:
    del line


def texts(line: str) -> Iterator[tuple[str, str]]:
    yield line, line


def fields(line: str) -> Iterator[tuple[str, tuple[int, str]]]:
    yield line, (1, line)


def reducer(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def with_options(word: str, counts: Iterator[int], *, ctx: Context, top: int) -> list[tuple[str, float]]:
    return [(word, float(sum(counts) * top))]


def spread(word: str, partitions: int) -> int:
    return len(word) % partitions


def untyped(line):  # type: ignore[no-untyped-def]
    yield line, 1


class Mapper:
    def __init__(self, *, model: str = "small") -> None:
        self.model = model

    def __call__(self, key: int, line: str, *, ctx: Context) -> Iterator[tuple[str, int]]:
        yield line, key

    def finish(self) -> Iterator[tuple[str, int]]:
        yield self.model, 1


class Longest(Aggregator[str, str, int]):
    def create(self, value: str) -> str:
        return value

    def merge(self, state: str, other: str) -> str:
        return max(state, other, key=len)

    def finish(self, state: str) -> int:
        return len(state)


jobs = [
    Job(mapper),
    Job(nothing),
    Job(mapper, reducer=reducer, combiner=reducer, partitioner=spread),
    Job(keyed, reducer=with_options, name="options", reducers=3, split_size="16MB"),
    Job(untyped, reducer=reducer),
    Job(Mapper, reducer=reducer),
    Job(functools.partial(keyed, min_len=5), reducer=Sum()),
    Job(lambda line: [(line, 1)], reducer=lambda word, counts: [(word, sum(counts))]),
    Job(keys=str.split, reducer=Count()),
    Job(keys=untyped, reducer=Count()),
    Job(records=json.loads),
    Job(mapper, reducer=Sum()),
    Job(mapper, reducer=Mean()),
    Job(texts, reducer=Min()),
    Job(texts, reducer=Max()),
    Job(texts, reducer=Longest()),
    Job(mapper, reducer=Variance()),
    Job(mapper, reducer=Quantiles([0.5])),
    Job(mapper, reducer={"n": Count(), "mean": Mean(), "top": TopK(3), "some": Sample(3), "all": Collect()}),
    Job(texts, reducer={"n": Count(), "more": {"low": Min(), "values": Distinct()}, "longest": Longest()}),
    Job(fields, reducer=(Sum(), Max())),
    Job(fields, reducer=(Sum(), {"n": Count(), "first": First()})),
    Job(steps=[Step(mapper, reducer=Sum()), Step(keyed, reducer=reducer), Step(reducer=Count())]),
]
