"""What a bad record leaves behind: nothing; and what is told of it: all, whatever its code or its content does."""

from __future__ import annotations

import base64
import datetime as dt
import json

import polars as pl
import pytest
from putting_aside import number, run, written

from mapreduce import (
    Aggregator,
    Count,
    Files,
    Job,
    JobFailed,
    JsonLines,
    Max,
    Parquet,
)
from mapreduce.dataflow.bad.file import Aside, BadRecord
from mapreduce.dataflow.tasks import named_outputs, sinks
from mapreduce.errors import UsageError
from mapreduce.max_bad import is_too_many, read_max_bad
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, MaxBad, TaskId, TaskKind, TaskOptions
from mapreduce.protocol.messages import AttemptDone
from mapreduce.protocol.wire import Envelope, encode

LINES = ["a", "x", "b"]
ATTEMPT = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)


def cleaning_up(line, *, ctx):
    try:
        yield line, 1
        if line == "x":
            yield [line], 1
    finally:
        ctx.counters["closed"] += 1
        ctx.outputs["seen"].write(line, 1)


def test_a_generator_that_is_left_in_the_middle_is_taken_back_with_its_record(tmp_path):
    """What its `finally` counts and writes is the bad record's, of a mapper's and of a reducer's."""

    def reducer(key, values, *, ctx):
        return cleaning_up(key, ctx=ctx)

    counts = Job(lambda line: [(line, 1)], reducer=reducer, outputs={"seen": "jsonl"})
    for name, job in {"map": Job(cleaning_up, outputs={"seen": "jsonl"}), "reduce": counts}.items():
        result = run(job, written(tmp_path, LINES), tmp_path / name, max_bad=1)
        assert dict(result) == {"a": 1, "b": 1}
        assert dict(result.outputs["seen"]) == {"a": 1, "b": 1}
        assert result.counters == {"closed": 2}


def test_a_generator_of_frames_is_taken_back_too(tmp_path):
    """Its `finally` runs before counters are as they were."""

    def mapper(frame, *, ctx):
        try:
            yield frame.select(key="value", value=1)
            if "x" in frame["value"]:
                yield "no frame"
        finally:
            ctx.counters["rows"] += frame.height

    result = run(Job(mapper, reducer=Count(), frames=True), written(tmp_path, LINES), tmp_path / "out", max_bad=1)
    assert dict(result) == {"a": 1, "b": 1}
    assert result.counters == {"rows": 2}


class Mute(Exception):
    def __str__(self):
        raise LookupError("no text")


def mute(line):
    if line == "x":
        raise Mute
    yield line, 1


def test_an_exception_whose_text_cannot_be_had_is_told_all_the_same(tmp_path):
    """Its record is put aside; without max_bad the job fails by it, and not by what its __str__ raises."""
    job, path = Job(mute, reducer=Count()), written(tmp_path, LINES)
    result = run(job, path, tmp_path / "out", max_bad=1)
    assert dict(result) == {"a": 1, "b": 1}
    (bad,) = result.bad
    assert bad["message"] == "Mute: (its text cannot be shown: str() of it raises LookupError)"
    with pytest.raises(JobFailed, match="Mute: ") as caught:
        run(job, path, tmp_path / "fails")
    assert (caught.value.failure.offset, caught.value.failure.record) == (2, "'x'")


def test_a_lone_surrogate_in_a_message_crosses_to_the_coordinator(tmp_path):
    """The story of the last bad record goes with its task's outcome."""

    def mapper(line):
        if line == "x":
            raise ValueError("\ud800")
        yield line, 1

    result = run(Job(mapper, reducer=Count()), written(tmp_path, LINES), tmp_path / "out", max_bad=1)
    (bad,) = result.bad
    assert bad["message"] == "ValueError: \ud800"
    (tmp_path / "_tmp-job").mkdir()
    aside = Aside(ATTEMPT, TaskOptions("job", str(tmp_path), max_bad=MaxBad(1)), tmp_path)
    aside.put(BadRecord(Failure(FailureKind.USER, "\ud800", traceback="\ud800"), "kind"))
    aside.finish()
    done = Done(bad=aside.counts, bad_places=aside.places, bad_last=aside.last)
    assert encode(Envelope("", 1, AttemptDone(ATTEMPT, done)))


def test_functions_that_see_pairs_later_count_once(tmp_path):
    """A try of a partitioner or a sort function leaves counters and random numbers as they were."""

    def mapper(line):
        number(line)
        yield line, 1

    def partitioner(key, partitions, *, ctx):
        ctx.counters["asked"] += 1
        return 0

    def order(value, *, ctx):
        ctx.counters["ordered"] += 1
        return ctx.random.random()

    def reducer(key, values):
        yield key, list(values)

    job = Job(mapper, reducer=reducer, partitioner=partitioner, sort_values=order, reducers=2)
    found = run(job, written(tmp_path / "all", ["1", "x", "2"]), tmp_path / "out", max_bad=1)
    wanted = run(job, written(tmp_path / "good", ["1", "2"]), tmp_path / "wanted")
    assert found.counters == wanted.counters == {"asked": 2, "ordered": 2}


def test_a_sort_function_that_raises_stopiteration_is_named(tmp_path):
    """It is no end of the values: the record is bad, and without max_bad the job fails by it."""

    def order(value):
        return next(iter(())) if value == "x" else value

    job = Job(lambda line: [("k", line)], reducer=lambda key, values: [(key, list(values))], sort_values=order)
    path = written(tmp_path, LINES)
    result = run(job, path, tmp_path / "out", max_bad=1)
    assert dict(result) == {"k": ["a", "b"]}
    assert result.status.bad == {"RecordError in sort_values function": 1}
    with pytest.raises(JobFailed, match=r"sort_values function .* raised StopIteration"):
        run(job, path, tmp_path / "fails")


def test_a_share_is_exact():
    """0.57% of 10,000 are 57, though 0.57 * 10,000 is less in floats."""
    limit = read_max_bad("0.57%")
    assert not is_too_many(limit, {"kind": 57}, 10_000, maps_done=True)
    assert is_too_many(limit, {"kind": 58}, 10_000, maps_done=True)


@pytest.mark.parametrize("given", [2**63, "9" * 30])
def test_a_bound_that_no_message_can_carry_is_refused(given):
    """It is named before the job starts."""
    with pytest.raises(UsageError, match="max_bad= is"):
        read_max_bad(given)


@pytest.mark.parametrize("chunk", [2, 8192])
def test_what_a_named_output_cannot_write_is_its_records_fault(chunk, tmp_path, monkeypatch):
    """The record that wrote it is put aside, and no other, whenever the output is written."""
    monkeypatch.setattr(named_outputs, "CHUNK_RECORDS", chunk)

    def mapper(line, *, ctx):
        ctx.outputs["seen"].write(line, "two\nlines" if line == "x" else "one")
        yield line, 1

    path = written(tmp_path, [*LINES, "c", "d"])
    result = run(Job(mapper, outputs={"seen": "text"}), path, tmp_path / "out", max_bad=1)
    assert dict(result) == dict.fromkeys("abcd", 1)
    assert [value for _, value in result.outputs["seen"]] == ["one"] * 4
    (bad,) = result.bad
    assert bad["content"] == "x"
    assert bad["message"].startswith("ctx.outputs['seen']: text output cannot write")


def test_a_chunk_of_earlier_records_that_cannot_be_written_blames_no_record(tmp_path, monkeypatch):
    """What fails as a table, beyond single records, fails the job: the record at hand is not at fault."""
    monkeypatch.setattr(named_outputs, "CHUNK_RECORDS", 1)

    def mapper(line, *, ctx):
        ctx.outputs["seen"].write(line, {"other": 1} if line == "x" else {"name": 1})
        number(line if line == "2" else "1")
        yield line, 1

    with pytest.raises(JobFailed, match="its names are not the columns") as caught:
        run(Job(mapper, outputs={"seen": "csv"}), written(tmp_path, ["2", "a", "x", "b"]), tmp_path / "out", max_bad=9)
    assert "bad record" not in str(caught.value)


class Largest(Aggregator):
    def create(self, value):
        return value

    def merge(self, state, other):
        return max(state, other)

    def finish(self, state):
        return state


def test_a_result_of_an_aggregator_that_cannot_be_written_is_its_keys_fault(tmp_path):
    """What the output's format cannot say of a key is found as what its methods raise."""

    class Listing(Largest):
        def finish(self, state):
            return {1: state} if state == "x" else state

    result = run(
        Job(lambda line: [(line, line)], reducer=Listing()), written(tmp_path, LINES), tmp_path / "out", max_bad=1
    )
    assert dict(result) == {"a": "a", "b": "b"}
    assert [(bad["key"], bad["kind"]) for bad in result.bad] == [("'x'", "ValueTypeError in aggregator")]


@pytest.mark.parametrize("split_size", [3, 1000])
@pytest.mark.parametrize("aggregator", [Largest(), Max()], ids=["own", "built in"])
def test_a_key_whose_values_do_not_go_together_is_put_aside_wherever_they_meet(aggregator, split_size, tmp_path):
    """In the map task or in the reduce task: the key with its states, and no other."""

    def mapper(line):
        yield line[0], int(line[1:]) if line[1:].isdigit() else line[1:]

    path = written(tmp_path, ["k1", "kx", "a1", "k2", "a2", "b7"])
    result = run(Job(mapper, reducer=aggregator), path, tmp_path / "out", max_bad=1, split_size=split_size)
    assert dict(result) == {"a": 2, "b": 7}
    assert [(bad["key"], bad["content"]) for bad in result.bad] == [("'k'", '[1, "x", 2]')]


def test_the_content_is_what_the_record_was(tmp_path):
    """Rows with what JSON does not have are told whole, and text as it was; of whole files the bytes."""

    def mapper(row):
        raise ValueError(row["text"])

    row = {"text": "see at 0xbeef", "when": dt.date(2026, 1, 2), "bytes": b"\xff", "long": "l" * 2000}
    pl.DataFrame([row]).write_parquet(tmp_path / "in.parquet")
    result = run(Job(records=mapper, input=Parquet()), tmp_path / "in.parquet", tmp_path / "rows", max_bad=1)
    (bad,) = result.bad
    assert json.loads(bad["content"]) == row | {"when": "2026-01-02", "bytes": {"base64": "/w=="}}
    assert bad["length"] == len(bad["content"])

    text = {"text": "an object at 0x7f"}
    (tmp_path / "in.jsonl").write_text(json.dumps(text))
    result = run(Job(records=mapper, input=JsonLines()), tmp_path / "in.jsonl", tmp_path / "json", max_bad=1)
    assert [json.loads(bad["content"]) for bad in result.bad] == [text]

    (tmp_path / "in.bin").write_bytes(b"\xff" * 1000)
    job = Job(lambda frame: frame["none"], reducer=Count(), input=Files(text=False), frames=True)
    (bad,) = run(job, tmp_path / "in.bin", tmp_path / "files", max_bad=1).bad
    assert (base64.b64decode(bad["content"]), bad["base64"]) == (b"\xff" * 1000, True)


class Faceless:
    def __repr__(self):
        raise ValueError("no repr")

    def __reduce__(self):
        return Faceless, ()


class Listless(dict):
    def __reduce__(self):
        return Listless, ({(1, 2): 3},)

    def __repr__(self):
        raise ValueError("no repr")


def test_values_whose_own_code_fails_are_told_by_their_type(tmp_path):
    """What cannot be shown of a group does not hide the failure."""

    def mapper(line):
        yield line, Faceless() if line == "a" else Listless({(1, 2): 3})

    def reducer(key, values):
        raise LookupError(key)

    result = run(Job(mapper, reducer=reducer), written(tmp_path, "ab"), tmp_path / "out", max_bad=2)
    assert [(bad["kind"], bad["content"]) for bad in result.bad] == [
        ("LookupError in reducer", '["<Faceless whose repr raises ValueError>"]'),
        ("LookupError in reducer", "<list whose repr raises ValueError>"),
    ]


def test_plain_results_are_not_written_twice(tmp_path, monkeypatch):
    """With care, plain results are tried at the first of each type, and not group by group."""
    tried = []
    check = sinks.PartSink.check
    monkeypatch.setattr(sinks.PartSink, "check", lambda self, batch: (tried.append(batch.rows()), check(self, batch)))

    def reducer(key, values):
        yield key, 1 // (key - 7) + sum(values)

    path = written(tmp_path, range(500))
    result = run(Job(lambda line: [(int(line), 1)], reducer=reducer), path, tmp_path / "out", max_bad=1)
    assert len(dict(result)) == 499
    assert tried == [1]
