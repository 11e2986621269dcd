"""Bad records are put aside, one by one, and the rest of the job is as if they had never been there."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from putting_aside import SETTINGS, number, parts_of, run, run_quickly, written

from mapreduce import (
    Count,
    Job,
    Step,
    Sum,
)
from mapreduce.dataflow.bad.folder import read_bad

LINES = st.lists(st.sampled_from(["1", "22", "x", "31", "boom", "7", "5x5", "12", "404"]), max_size=30)


def is_good(line):
    return line.isdigit()


def pairs(line, *, ctx):
    ctx.counters["lines"] += 1
    yield line[-1:], ctx.random.random()
    ctx.counters["characters"] += len(line)
    yield line[:1], number(line)


def listed(line):
    return [(line[:1], [number(line)]), (line[-1:], (1, 2.5))]


def words(line):
    return [line[:1], line[-1:]] if number(line) >= 0 else None


def generated_words(line):
    yield line[:1]
    yield number(line)


def batch(lines, *, ctx):
    ctx.counters["lines"] += len(lines)
    for line in lines:
        yield line[:1], number(line)


def of_frame(frame, *, ctx):
    numbers = pl.Series("value", [number(value) for value in frame["value"]], dtype=pl.Int64)
    ctx.counters["lines"] += frame.height
    return frame.select(pl.col("value").str.slice(0, 1).alias("key"), numbers)


class Counting:
    def __init__(self):
        self.total = 0

    def __call__(self, line):
        yield line[:1], number(line)
        self.total += 1

    def finish(self):
        yield "total", self.total


def noting(line, *, ctx):
    ctx.outputs["seen"].write(line[:1], line)
    yield line[:1], number(line)


def everything(key, values):
    yield key, list(values)


def total_of_frame(frame):
    return frame.group_by("key").agg(value=pl.col("value").sum())


JOBS = {
    "pairs": Job(pairs, reducer=everything, reducers=2),
    "list": Job(listed, reducer=everything),
    "keys": Job(keys=words, reducer=Count()),
    "generated keys": Job(keys=generated_words, reducer=Count()),
    "records": Job(records=words),
    "map only, with named outputs": Job(noting, outputs={"seen": "jsonl"}),
    "batches": Job(batch, reducer=Sum(), batch_size=3),
    "class": Job(Counting, reducer=everything),
    "frames": Job(of_frame, reducer=total_of_frame, frames=True),
    "steps": Job(
        steps=[Step(pairs, reducer=everything), Step(lambda key, values: [(key, len(values))], reducer=Sum())]
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_output_is_that_of_the_records_that_are_good(name, tmp_path):
    """Any lines: parts, manifest, named outputs and counters are those of a run over the good lines alone."""
    job, runs = JOBS[name], iter(range(100))

    @SETTINGS
    @given(LINES)
    def check(lines):
        folder = tmp_path / str(next(runs))
        good = [line for line in lines if is_good(line)]
        found = run_quickly(job, written(folder / "all", lines), folder / "out", max_bad=100)
        wanted = run_quickly(job, written(folder / "good", good), folder / "wanted")
        assert parts_of(folder / "out") == parts_of(folder / "wanted")
        assert found.counters == wanted.counters
        told = list(read_bad(folder / "out"))
        assert [bad["content"] for bad in told] == [line for line in lines if not is_good(line)]
        starts = [sum(len(line) + 1 for line in lines[:i]) for i, line in enumerate(lines) if not is_good(line)]
        assert [bad["offset"] for bad in told] == starts
        assert sum(found.bad.values()) == len(told)

    check()


def test_what_is_told_of_a_bad_record(tmp_path):
    """Path, offset, kind, message, function, step, task, traceback and content, as a line of JSON."""
    path = written(tmp_path, ["1", "x", "2"])
    result = run(JOBS["list"], path, tmp_path / "out", max_bad=1)
    (bad,) = result.bad
    assert "in listed\n    return [(line[:1], [number(line)])" in bad.pop("traceback")
    assert bad.pop("function").startswith("listed (test_bad_records.py:")
    assert bad == {
        "path": str(path),
        "offset": 2,
        "key": None,
        "kind": "ValueError in mapper",
        "message": "ValueError: invalid literal for int() with base 10: 'x'",
        "step": 1,
        "task": "map 0",
        "content": "x",
        "base64": False,
        "length": 1,
    }
    facts = json.loads((tmp_path / "out" / "_job.json").read_text())
    assert facts["bad"] == {"records": 1, "files": ["part-00000.jsonl"]}
    assert result.status.bad == {"ValueError in mapper": 1}


def test_a_long_record_is_known_by_its_beginning(tmp_path):
    """The content is cut, and its whole length is told."""
    result = run(JOBS["list"], written(tmp_path, ["x" * 200_000]), tmp_path / "out", max_bad=1)
    (bad,) = result.bad
    assert (bad["content"], bad["length"]) == ("x" * 65_536, 200_000)


def kinds(line):
    if line == "pair":
        yield line
    elif line == "key":
        yield [line], 1
    elif line == "value":
        yield line, object
    elif line == "stop":
        next(iter(()))
    elif line == "exit":
        raise SystemExit(3)
    yield line, 1


def test_records_whose_pairs_cannot_be_taken_are_bad_too(tmp_path):
    """No pair, a key that cannot be one, a StopIteration, sys.exit(): each by its kind."""
    path = written(tmp_path, ["good", "pair", "key", "stop", "exit", "fine"])
    result = run(Job(kinds, reducer=Count()), path, tmp_path / "out", max_bad=9)
    assert dict(result) == {"good": 1, "fine": 1}
    assert [(bad["content"], bad["kind"]) for bad in result.bad] == [
        ("pair", "RecordError in mapper"),
        ("key", "KeyTypeError in mapper"),
        ("stop", "RuntimeError in mapper"),
        ("exit", "SystemExit in mapper"),
    ]


def test_a_counter_that_is_none_is_the_records_that_counts_so(tmp_path):
    """A counter set to a float takes its record along, and nothing else."""

    def mapper(line, *, ctx):
        ctx.counters["n"] += 1 if line == "1" else 0.5
        yield line, 1

    result = run(Job(mapper, reducer=Count()), written(tmp_path, ["1", "2", "1"]), tmp_path / "out", max_bad=1)
    assert dict(result) == {"1": 2}
    assert result.counters == {"n": 2}


def test_an_object_in_a_message_has_no_address(tmp_path):
    """The same bad record has the same line at every run, also where its message shows an object."""

    class Thing:
        pass

    def mapper(line):
        raise ValueError(Thing())

    path = written(tmp_path, ["1"])
    runs = [run(Job(mapper, reducer=Count()), path, tmp_path / name, max_bad=1) for name in "ab"]
    assert list(runs[0].bad) == list(runs[1].bad)
    assert "object at 0x...>" in next(iter(runs[0].bad))["message"]
