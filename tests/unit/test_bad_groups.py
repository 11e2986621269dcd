"""Groups that fail are put aside as a whole; functions that see pairs later are tried with those of each record."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from putting_aside import SETTINGS, number, parts_of, run, run_quickly, written

from mapreduce import (
    Aggregator,
    Count,
    Input,
    Job,
    Join,
    ListPartitioner,
)
from mapreduce.dataflow.bad.folder import read_bad
from mapreduce.dataflow.manifest.folder import read_output
from mapreduce.plan import Limits


def everything(key, values):
    yield key, list(values)


@settings(SETTINGS, max_examples=10)
@given(numbers=st.lists(st.integers(0, 9), max_size=40), doomed=st.sets(st.integers(0, 9)))
def test_a_group_whose_reducer_fails_is_left_out_as_a_whole(numbers, doomed, tmp_path_factory):
    """The other groups are as without it; its key and values are told; what it had emitted and counted is gone."""

    def reducer(key, values, *, ctx):
        for value in values:
            ctx.counters["values"] += 1
            ctx.outputs["all"].write(key, value)
            yield key, value
        if key in doomed:
            raise LookupError(key)

    folder = tmp_path_factory.mktemp("groups")
    job = Job(lambda line: [(int(line), [int(line)])], reducer=reducer, reducers=2, outputs={"all": "jsonl"})
    path = written(folder / "all", numbers)
    found = run_quickly(job, path, folder / "out", max_bad=10)
    good = written(folder / "good", [n for n in numbers if n not in doomed])
    wanted = run_quickly(job, good, folder / "wanted")
    assert parts_of(folder / "out") == parts_of(folder / "wanted")
    assert found.counters == wanted.counters
    counted = Counter(numbers)
    told = {bad["key"]: bad["content"] for bad in read_bad(folder / "out")}
    assert told == {str(n): json.dumps([[n]] * counted[n]) for n in doomed if n in counted}


def test_a_group_that_is_a_stream_can_be_put_aside(tmp_path):
    """A key with more values than fit in memory is left half read, and the next ones are whole."""

    def reducer(key, values):
        for n, _ in enumerate(values):
            if key == "b" and n == 1000:
                raise ValueError("enough")
        yield key, n

    path = written(tmp_path, ["a", "b", "c"])
    job = Job(lambda line: [(line, "v" * 20 + str(n)) for n in range(1500)], reducer=reducer)
    tiny = Limits(flush_records=100, sort_buffer=20_000, block=2000, merge=8000)
    outcome = run_quickly(job, path, tmp_path / "out", limits=tiny, max_bad=1)
    assert dict(read_output(tmp_path / "out")) == {"a": 1499, "c": 1499}
    assert outcome.bad == {"ValueError in reducer": 1}
    assert [bad["content"] for bad in read_bad(tmp_path / "out")] == [None]


def test_keys_of_a_frame_that_fail_are_found_by_halves(tmp_path):
    """A reducer over frames loses the keys that fail alone, and no other."""

    def reducer(frame):
        if 13 in frame["key"] or 7 in frame["key"]:
            raise ValueError("unlucky")
        return frame.group_by("key").agg(value=pl.col("value").sum())

    def mapper(frame):
        return frame.select(key=pl.col("value").cast(pl.Int64), value=1)

    path = written(tmp_path, [n % 20 for n in range(100)])
    result = run(Job(mapper, reducer=reducer, frames=True), path, tmp_path / "out", max_bad=2)
    assert dict(result) == {n: 5 for n in range(20) if n not in {7, 13}}
    assert [(bad["key"], bad["content"]) for bad in result.bad] == [("7", "[1, 1, 1, 1, 1]"), ("13", "[1, 1, 1, 1, 1]")]


def test_a_cogrouped_reducer_tells_the_values_of_each_input(tmp_path):
    """A group of two inputs that fails shows both."""

    def reducer(key, left, right):
        values = [*left, *right]
        if key == "b":
            raise ValueError(key)
        yield key, values

    def mapper(line):
        yield line, 1

    job = Job(inputs={"left": Input(mapper), "right": Input(mapper)}, reducer=reducer)
    inputs = {"left": written(tmp_path / "l", "ab"), "right": written(tmp_path / "r", "bbc")}
    result = run(job, inputs, tmp_path / "out", max_bad=1)
    assert dict(result) == {"a": [1], "c": [1]}
    assert [bad["content"] for bad in result.bad] == ['{"left": [1], "right": [1, 1]}']


def test_a_result_that_cannot_be_written_is_its_records_fault(tmp_path):
    """What the output's format cannot say is found record by record, of a mapper's and of a reducer's."""

    def unsayable(line):
        return {1: line} if line == "x" else line

    path = written(tmp_path, ["1", "x", "2"])
    mapped = run(Job(records=lambda line: [unsayable(line)]), path, tmp_path / "map", max_bad=1)
    assert [value for _, value in mapped] == ["1", "2"]
    assert mapped.status.bad == {"ValueTypeError in records function": 1}
    job = Job(lambda line: [(line, 1)], reducer=lambda key, values: [(key, unsayable(key))])
    for output_format in ("tsv", "jsonl", "msgpack"):
        place = tmp_path / output_format
        reduced = run(job, path, place, max_bad=1, output_format=output_format)
        assert sorted(reduced) == ([("1", "1"), ("2", "2")] if output_format != "msgpack" else sorted(reduced))
        assert sum(reduced.status.bad.values()) == (output_format != "msgpack")


class Longest(Aggregator):
    """Refuses odd things: made of one value, merged, or finished."""

    def create(self, value):
        return number(value)

    def add(self, state, value):
        return self.merge(state, self.create(value))

    def merge(self, state, other):
        if state + other == 13:
            raise ArithmeticError("13")
        return state + other

    def finish(self, state):
        return 10 // (state - 4)


def test_an_aggregator_of_the_users_own(tmp_path):
    """A value of which no state can be made is its record's fault; states that cannot be merged are their key's."""

    def mapper(line):
        key, _, value = line.partition(" ")
        yield key, value

    lines = ["a 1", "a x", "b 4", "c 6", "a 2"]
    job = Job(mapper, reducer=Longest(), split_size=16)
    result = run(job, written(tmp_path, lines), tmp_path / "out", max_bad=9)
    assert dict(result) == {"a": -10, "c": 5}
    assert [(bad["kind"], bad["content"] or bad["key"]) for bad in result.bad] == [
        ("ValueError in aggregator", "a x"),
        ("ZeroDivisionError in aggregator", "[4]"),
    ]


def test_states_that_cannot_be_merged_are_their_keys(tmp_path):
    """Over several map tasks a key's states meet in the reduce task; the key is left out, its neighbours are not."""

    def mapper(line):
        key, _, value = line.partition(" ")
        yield key, value

    lines = ["a 1", "b 6", "c 1", "a 2", "b 7", "c 9"]
    result = run(Job(mapper, reducer=Longest()), written(tmp_path, lines), tmp_path / "out", max_bad=9, split_size=12)
    assert dict(result) == {"a": -10, "c": 1}
    assert [(bad["kind"], bad["key"]) for bad in result.bad] == [("ArithmeticError in aggregator", "'b'")]


# ------------------------------------------------------------------------ functions that see a record's pairs later


def test_what_a_partitioner_or_a_sort_function_refuses_is_its_records_fault(tmp_path):
    """They are tried with the pairs of each record, and named."""
    path = written(tmp_path, ["1", "x", "2", "400"])
    part = Job(lambda line: [(line, 1)], reducer=Count(), partitioner=lambda key, parts: int(key) % 300, reducers=3)
    result = run(part, path, tmp_path / "part", max_bad=2)
    assert dict(result) == {"1": 1, "2": 1}
    assert [bad["kind"] for bad in result.bad] == ["ValueError in partitioner", "RecordError in partitioner"]
    ordered = Job(lambda line: [(0, line)], reducer=everything, sort_values=int)
    result = run(ordered, path, tmp_path / "order", max_bad=1)
    assert dict(result) == {0: ["1", "2", "400"]}
    assert [bad["kind"] for bad in result.bad] == ["ValueError in sort_values function"]
    named = Job(keys=lambda line: [line], reducer=Count(), partitioner=ListPartitioner({"1": 0, "2": 1, "400": 0}))
    result = run(named, path, tmp_path / "named", max_bad=1)
    assert sorted(result) == [("1", 1), ("2", 1), ("400", 1)]


def test_a_combiner_that_fails_leaves_values_to_the_reducer(tmp_path):
    """It may be called or not: so its failure costs no result, and is told in a warning."""

    def combiner(key, values):
        yield key, sum(number(value) for value in values)

    def reducer(key, values):
        yield key, sum(number(value) for value in values)

    path = written(tmp_path, ["a 1", "b 2", "b x", "a 3"])
    job = Job(lambda line: [tuple(line.split())], combiner=combiner, reducer=reducer)
    result = run(job, path, tmp_path / "out", max_bad=1)
    assert dict(result) == {"a": 4}
    assert [bad["key"] for bad in result.bad] == ["'b'"]
    assert any("combiner" in warning and "as they were" in warning for warning in result.warnings)


def test_a_broadcast_inputs_bad_records_are_told_once(tmp_path):
    """Every process loads the small input; one task tells of what was bad in it."""

    def left(line):
        yield line, number(line)

    def right(line):
        yield str(number(line)), "r"

    job = Job(inputs={"left": Input(left), "right": Input(right)}, reducer=Join(broadcast=True))
    inputs = {
        "left": written(tmp_path / "l", ["1", "x", "2", "3"] * 3),
        "right": written(tmp_path / "r", ["1", "y", "3"]),
    }
    result = run(job, inputs, tmp_path / "out", max_bad=4, split_size=6)
    assert sorted(result) == [("1", (1, "r"))] * 3 + [("3", (3, "r"))] * 3
    assert Counter(bad["content"] for bad in result.bad) == {"x": 3, "y": 1}
