"""Joins: every kind against its definition in plain Python, large keys, and pairs as the codec would write them."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sides import TINY, side_by_side

import mapreduce
from mapreduce import Input, Job
from mapreduce.dataflow.columns.batches import make_batch, records_of, value_series
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value, holds_pickle
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.tasks import join_task
from mapreduce.dataflow.tasks.broadcast import BroadcastSink, Loaded, Table
from mapreduce.dataflow.tasks.cogroup import LargeGroup
from mapreduce.dataflow.tasks.join_task import Coded, JoinLoop, pair_column
from mapreduce.dataflow.tasks.sinks import Written
from mapreduce.joins import BROADCAST_JOINS, JOINS, Join
from mapreduce.plan import AttemptId, Limits, TaskId, TaskKind

KEYS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([None, True, 1, 1.0, "a", "b", ("a", 1), b"a", float("nan"), -0.0, 0.0, 2**70]),
)
DEEP = [[[[[]]]]]
VALUES = st.one_of(
    st.integers(),
    st.text(st.sampled_from("ab\ud800"), max_size=2),
    st.sampled_from([None, True, -0.0, float("nan"), 2**80, b"x" * 300, "y" * 70_000, {1}, DEEP, (1, (2,)), (), {}]),
    st.lists(st.integers(0, 3), max_size=2),
    st.sampled_from([dt.date(2024, 1, 1), range(3), {"a": 1}, {"a": [1]}, ("a", 1), Counter("ab")]),
)
PAIRS = st.one_of(
    st.lists(st.tuples(KEYS, VALUES), max_size=20),
    st.lists(st.tuples(st.integers(0, 5), st.integers()), max_size=40),
    st.lists(st.tuples(st.floats(), st.just("x")), max_size=10),
)


def definition(how, left, right):
    """What a join gives, record by record, as encodings: by key, then left-major, from the words of its docstring."""
    by_key = {}
    for number, side in enumerate((left, right)):
        for key, value in side:
            by_key.setdefault(encode_key(normalise_key(key)), ([], []))[number].append(value)
    found = []
    for key, (lefts, rights) in sorted(by_key.items()):
        if how == "semi":
            values = lefts if rights else []
        elif how == "anti":
            values = [] if rights else lefts
        elif lefts and rights:
            values = [(a, b) for a in lefts for b in rights]
        else:
            values = [(a, None) for a in lefts] if how in {"left", "outer"} else []
            values += [(None, b) for b in rights] if how in {"right", "outer"} else []
        found += [(key, canonical(value)) for value in values]
    return found


def canonical(value):
    """The encoding of a value; of one that is pickled its repr, since equal values may have pickles that differ."""
    data = encode_value(value)
    return repr(value) if holds_pickle(data) else data


def encoded(batches):
    """Records of batches as encodings."""
    pairs = chain.from_iterable(map(records_of, batches))
    return [(encode_key(key), canonical(value)) for key, value in pairs]


def join(folder, how, left, right, limits=TINY):
    """What a join's reduce task gives, and the kinds of groups that it got."""
    out, seen = [], []
    loop = JoinLoop(Join(how), out.append, limits, Path(folder))

    def use(groups):
        seen.append(type(groups))
        loop.run(groups)

    side_by_side(Path(folder), [left, right], use, limits)
    assert loop.emitted == sum(batch.rows() for batch in out)
    return encoded(out), seen


@pytest.mark.parametrize("how", JOINS)
@settings(max_examples=12, deadline=None)
@given(PAIRS, PAIRS, st.sampled_from([TINY, Limits()]))
def test_every_join_is_what_its_definition_says(how, left, right, limits):
    """Whatever the types and limits, a join gives the records of its definition, in their order, to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        assert join(folder, how, left, right, limits)[0] == definition(how, left, right)


@pytest.mark.parametrize("how", JOINS)
@pytest.mark.parametrize(("lefts", "rights"), [(100, 1), (1, 100), (60, 70), (100, 0), (0, 100)])
def test_a_key_with_very_many_values_is_joined_as_a_stream(how, lefts, rights, tmp_path):
    """Neither side of a large key is held beyond the bound: the right one goes to a file, which is removed."""
    left = [("a", 0)] + [("k", f"left {n}") for n in range(lefts)]
    right = [("k", {"right": n}) for n in range(rights)] + [("z", None)]
    limits = Limits(block=128, merge=2048, sort_buffer=1 << 14)  # a quarter of 2 KB may be held of a key
    found, seen = join(tmp_path, how, left, right, limits)
    assert LargeGroup in seen
    assert found == definition(how, left, right)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("run-")] == []


def test_large_results_come_in_pieces(tmp_path, monkeypatch):
    """Two lists of values that fit in memory, but whose pairs do not, are joined piece by piece."""
    monkeypatch.setattr(join_task, "PIECE_ROWS", 1000)
    out = []
    loop = JoinLoop(Join(), out.append, Limits(), tmp_path)
    left, right = [("k", n) for n in range(100)], [("k", str(n)) for n in range(170)]
    side_by_side(tmp_path, [left, right], loop.run, Limits())
    assert [batch.rows() for batch in out] == [1000] * 17
    assert encoded(out) == definition("inner", left, right)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6))
def test_pairs_are_encoded_as_the_codec_does(pairs):
    """A tuple put together from two encodings has the bytes that the tuple itself would get."""
    left, right = (Coded.of(*value_series(list(side))) for side in zip(*pairs, strict=True))
    rows = np.arange(len(pairs))
    found = pair_column(left, right, rows, rows[::-1]).to_list()
    wanted = [(a, b) for (a, _), (_, b) in zip(pairs, reversed(pairs), strict=True)]
    assert list(map(holds_pickle, found)) == [holds_pickle(encode_value(pair)) for pair in wanted]
    plain = [(data, pair) for data, pair in zip(found, wanted, strict=True) if not holds_pickle(data)]
    assert [data for data, _ in plain] == [encode_value(pair) for _, pair in plain]


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.batches = []
        self.add = self.batches.append

    def finish(self):
        return Written()


def context():
    """The context of a first map task."""
    return Context(AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1))


@pytest.mark.parametrize("how", BROADCAST_JOINS)
@settings(max_examples=15, deadline=None)
@given(PAIRS, PAIRS, st.integers(1, 30))
def test_a_broadcast_join_gives_the_same_in_the_order_of_the_left(how, left, right, cut):
    """The records are those of the shuffled join, sorted as the left input is and cut as it came."""
    batches = [make_batch(*map(list, zip(*right[n : n + 7], strict=True))) for n in range(0, len(right), 7)]
    sink = Kept()
    joining = BroadcastSink(Join(how, broadcast=True), context(), sink, ["left", "right"])
    joining.join_to(Table(batches, Loaded()), counted=False)
    for start in range(0, len(left), cut):
        batch = make_batch(*map(list, zip(*left[start : start + cut], strict=True)))
        joining.add(batch)
    written = joining.finish()
    found = encoded(sink.batches)
    assert written.records_out == len(found)
    assert found == list(chain.from_iterable(definition(how, [record], of_key(record[0], right)) for record in left))


def of_key(key, pairs):
    """The pairs that have this key."""
    return [pair for pair in pairs if encode_key(normalise_key(pair[0])) == encode_key(normalise_key(key))]


def test_one_task_accounts_for_the_loading():
    """Counters, warnings and records of the broadcast input are counted by one task, however many processes load it."""
    loaded = Loaded(3, 40, {"users": 3}, ("odd",))
    for counted in (True, False):
        ctx = context()
        joining = BroadcastSink(Join(broadcast=True), ctx, Kept(), ["left", "right"])
        joining.join_to(Table([], loaded), counted=counted)
        joining.add_keys(["a", "b"])
        written = joining.finish()
        assert (written.records_in, written.bytes_in) == ((3, 40) if counted else (0, 0))
        assert (ctx.counters, ctx.warnings) == (({"users": 3}, ("odd",)) if counted else ({}, ()))


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize(("key", "warned"), [(7, True), (7.0, True), ("7", False), (None, False)])
def test_keys_of_different_types_are_warned_of(broadcast, key, warned, tmp_path):
    """An int from one input never meets a str from the other, so a join without a match says why."""
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("y")
    inputs = {"visits": Input(lambda line: [(key, line)]), "users": Input(lambda line: [("7", line)])}
    job = Job(inputs=inputs, reducer=Join("left", broadcast=broadcast))
    result = mapreduce.run(job, {"visits": tmp_path / "a", "users": tmp_path / "b"}, runner="inline")
    told = [warning for warning in result.warnings if "the keys of the joined inputs" in warning]
    assert len(told) == warned
    assert all(f"(visits: {type(key).__name__}; users: str), so none has a match" in warning for warning in told)
