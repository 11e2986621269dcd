"""Joins into outputs that are text: pairs of scalars become JSON without being encoded, and nobody can tell."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sides import TINY, side_by_side

import mapreduce
from mapreduce import Input, Job, Join
from mapreduce.dataflow.columns.said import SAID_MARK
from mapreduce.dataflow.outputs import jsonl, tsv
from mapreduce.dataflow.tasks import broadcast, join_task
from mapreduce.dataflow.tasks.join_task import JoinLoop
from mapreduce.dataflow.tasks.sinks import PartSink
from mapreduce.joins import BROADCAST_JOINS, JOINS
from mapreduce.plan import Limits

KEYS = st.integers(0, 4)
SIDES = st.one_of(
    *(
        st.lists(st.tuples(KEYS, values), max_size=12)
        for values in (
            st.integers(-(2**63), 2**63 - 1),
            st.text(st.sampled_from('ab"\\\t\né\x00\U0001f600'), max_size=4),
            st.floats(),
            st.booleans(),
            st.binary(max_size=3),
            st.one_of(st.none(), st.integers(), st.lists(st.integers(), max_size=2)),
        )
    )
)


def texts(folder, how, left, right, limits, *, says):
    """The results of a join as both formats write them, with the names of their types, and which are said."""
    out = []
    loop = JoinLoop(Join(how), out.append, limits, folder, says=says)
    side_by_side(folder, [left, right], loop.run, limits)
    found, types = [], set()
    for batch in out:
        for module in (tsv, jsonl):
            made, names = module.column_text(batch.frame["value"], batch.value_lane, key=False)
            found += zip(batch.frame["key"].to_list(), made.to_list(), strict=True)
            types |= names
    said = [row for batch in out if batch.value_lane == "encoded" for row in batch.frame["value"].to_list()]
    return (found, types), [row.startswith(SAID_MARK) for row in said]


@pytest.mark.parametrize("how", JOINS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=SIDES, right=SIDES, limits=st.sampled_from([TINY, Limits()]))
def test_the_texts_are_those_of_encoded_pairs(tmp_path_factory, how, left, right, limits):
    """Whatever the types of both sides, and where values are missing."""
    fast, _ = texts(tmp_path_factory.mktemp("fast"), how, left, right, limits, says=True)
    slow, said = texts(tmp_path_factory.mktemp("slow"), how, left, right, limits, says=False)
    assert fast == slow
    assert not any(said)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([("a", 1)], [("a", "b")], True),
        ([("a", 1.5)], [("a", True)], True),
        ([("a", 1)], [("z", "b")], True),
        ([("a", b"1")], [("a", "b")], False),
        ([("a", [1])], [("a", "b")], False),
    ],
)
def test_pairs_of_scalars_are_said(tmp_path, left, right, expected):
    """But for bytes, which JSON does not bring back; where a side is missing, its None is said too."""
    _, said = texts(tmp_path, "outer", left, right, Limits(), says=True)
    assert said
    assert set(said) == {expected}


def number(line):
    key, value = line.split()
    yield key, int(value)


def text(line):
    key, value = line.split()
    yield key, value


@pytest.mark.parametrize("join", [*map(Join, JOINS), *(Join(how, broadcast=True) for how in BROADCAST_JOINS)], ids=str)
@pytest.mark.parametrize(("output_format", "says"), [("tsv", True), ("jsonl", True), ("msgpack", False)])
def test_jobs_give_the_same_files(tmp_path, monkeypatch, join, output_format, says):
    """Of shuffled and of broadcast joins, into text; other formats get encoded pairs."""
    (tmp_path / "a.txt").write_text("".join(f"k{n % 7} {n}\n" for n in range(50)))
    (tmp_path / "b.txt").write_text("".join(f"k{n % 5} v{n}\n" for n in range(8)) + "k9 v9\n")
    job = Job(inputs={"a": Input(number), "b": Input(text)}, reducer=join, output=output_format)
    said = []
    add = PartSink.add

    def spy(sink, batch):
        if batch.value_lane == "encoded":
            said.extend(row.startswith(SAID_MARK) for row in batch.frame["value"].to_list())
        add(sink, batch)

    monkeypatch.setattr(PartSink, "add", spy)

    def ran(name):
        inputs = {"a": str(tmp_path / "a.txt"), "b": str(tmp_path / "b.txt")}
        mapreduce.run(job, inputs, tmp_path / name, runner="inline", reducers=2)
        files = sorted((tmp_path / name).glob("part-*"))
        return [path.read_bytes() for path in files], said.copy()

    fast, fast_said = ran("fast")
    said.clear()
    for module in (join_task, broadcast):
        monkeypatch.setattr(module, "can_be_said", lambda _values, _lane: False)
    slow, slow_said = ran("slow")
    assert fast == slow
    assert not any(slow_said)
    if join.how not in {"semi", "anti"}:
        assert fast_said
        assert set(fast_said) == {says}
