"""Results that become JSON where they are emitted: text outputs say of them what they say of encoded ones."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_run import Run

from mapreduce import Job
from mapreduce.dataflow.columns.batches import Lane
from mapreduce.dataflow.columns.column_codec import encode_value_list
from mapreduce.dataflow.columns.said import SAID_MARK, said_value
from mapreduce.dataflow.columns.values import VALUE_DEPTH
from mapreduce.dataflow.outputs import jsonl, tsv
from mapreduce.dataflow.tasks.sinks import PartSink
from mapreduce.errors import ValueTypeError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    st.text(st.characters(), max_size=5),
    st.sampled_from(["\ud800", "\ud83d\ude00", 'a"\\\t\n', 1 << 70, b"\xff"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inside, max_size=3),
        st.dictionaries(st.integers(0, 9), inside, max_size=2),
        st.sets(st.integers(), max_size=2),
    ),
    max_leaves=8,
)


def text_of(module, encodings):
    try:
        texts, types = module.column_text(encodings, Lane.ENCODED, key=False)
    except ValueTypeError as error:
        return str(error)
    return texts.to_list(), types


@pytest.mark.parametrize("module", [tsv, jsonl])
@given(st.lists(VALUES, min_size=1, max_size=6))
def test_texts_and_types_are_those_of_encoded_values(module, values):
    """In columns of both kinds, with the same refusals for what JSON cannot say."""
    said = pl.Series([said_value(value) for value in values], dtype=pl.Binary)
    assert text_of(module, said) == text_of(module, encode_value_list(values))


def nested(levels):
    value = [1]
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([["a", 1], ["b", 2]], True),
        ([("a", 1)], True),
        ((1, 2), True),
        ({"a": [None]}, True),
        ([10**5000], True),
        ([b"bytes"], True),
        (nested(VALUE_DEPTH - 1), True),
        (nested(VALUE_DEPTH), False),
        (nested(VALUE_DEPTH + 5), False),
        ({1: 2}, False),
        ([{1, 2}], False),
        ("text", False),
        (1.5, False),
    ],
)
def test_containers_that_json_can_say_are_said(value, expected):
    """All others are encoded as anywhere, and so are containers deeper than values are."""
    assert said_value(value).startswith(SAID_MARK) is expected


def mapper(line):
    yield line, len(line)


def reducer(line, lengths):
    yield line, [[length, line] for length in lengths]


def mapper_alone(line):
    yield line, {"line": [line]}


@pytest.mark.parametrize("job", [Job(mapper, reducer=reducer), Job(mapper_alone)])
@pytest.mark.parametrize(("output_format", "said"), [("tsv", True), ("jsonl.zst", True), ("msgpack", False)])
def test_results_come_to_text_outputs_as_json(tmp_path, monkeypatch, job, output_format, said):
    """From reducers, and from mappers of jobs without; other formats get the values."""
    columns = []
    add = PartSink.add

    def spy(sink, batch):
        columns.append(batch.frame["value"])
        add(sink, batch)

    monkeypatch.setattr(PartSink, "add", spy)
    source = tmp_path / "in.txt"
    source.write_text("to\nbe\n")
    Run(job, source, tmp_path / "out", output_format=output_format)
    assert pl.concat(columns).bin.starts_with(SAID_MARK).to_list() == [said] * 2
