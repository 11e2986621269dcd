"""What a user asked for, in words that JSON and a shell can say."""

import dataclasses
import json
import math
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.aggregators import Count
from mapreduce.failed import history
from mapreduce.failed.asked import COMMAND_CHARS, asked_from, asked_of, run_command
from mapreduce.job import Job
from mapreduce.request import KeptInput, Request, ResultFolders

JOB = Job(keys=str.split, reducer=Count(), name="words")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_options_come_back_equal_or_are_named_as_unsaid(params):
    """What JSON can say of the options is there word for word; the rest is named, never bent."""
    request = Request(JOB, ("in.txt",), params=params)
    asked = asked_from(json.loads(json.dumps(told_of(request))))
    if "params" in asked.unsaid:
        assert asked.options == {}
        assert not all(map(plain_json, params.values()))
    else:
        assert asked.options.get("params", {}) == params
        assert repr(asked.options.get("params", {})) == repr(params)


def told_of(request):
    facts = dataclasses.asdict(asked_of(request, "/out", "local", ""))
    return {"version": history.VERSION, **facts, "failure": None}


def plain_json(value):
    """Whether a value is one of JSON's, read the strict way."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(plain_json, value.values()))
    if isinstance(value, list):
        return all(map(plain_json, value))
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("inputs", "options", "gone"),
    [
        (("a.txt",), {}, ""),
        (("/tmp/stdin",), {"passing": "standard input"}, "standard input"),
        (ResultFolders(("/tmp/x",)), {}, "a result without an output folder"),
        ({"a": ("a",), "b": KeptInput("other-job", 2, 9)}, {}, "the kept results of other-job"),
    ],
)
def test_inputs_that_do_not_last_are_named(inputs, options, gone):
    """Standard input, results in memory and kept results go with the run, and an entry says which of them."""
    assert asked_of(Request(JOB, inputs, **options), "", "local", "").gone == gone


SAYABLE = {
    "params": {"word": "it's", "least": "3"},
    "files": {"stop.txt": "/data/stop.txt", "model": "m.bin"},
    "input_format": ("csv:separator=;",),
    "columns": ("a,b",),
    "reducers": 3,
    "split_size": "1MB",
    "max_bad": "1%",
    "output": "/out",
    "output_format": "parquet",
    "overwrite": True,
}


@pytest.mark.parametrize(
    ("job", "inputs", "options", "words"),
    [
        ("job.py:main", ("in.txt", "logs/*.gz"), {}, ["job.py:main", "in.txt", "logs/*.gz"]),
        ("@join", ("a=x y.csv", "b=z"), {}, ["@join", "a=x y.csv", "b=z"]),
        (
            "@join",
            {"a": ("x",), "b": ("y", "z")},
            {"input_format": {"a": "csv"}},
            "@join a=x b=y b=z --input-format a=csv",
        ),
        (
            "job.py",
            ("in",),
            SAYABLE,
            """job.py in -p word="it's" -p least=3 --file /data/stop.txt --file model=m.bin
            --input-format 'csv:separator=;' --columns a,b --reducers 3 --split-size 1MB --max-bad 1%""",
        ),
        (JOB, ("in.txt",), {}, None),
        ("job.py", ResultFolders(("/tmp/x",)), {}, None),
        ("job.py", ("/tmp/stdin",), {"passing": "standard input"}, None),
        ("job.py", ("in",), {"params": {"least": 3}}, None),
        ("job.py", ("-x",), {}, None),
        ("job.py", ("s3://me:secret@bucket/in",), {}, None),
        ("job.py", ("a\nb",), {}, None),
        ("job.py", tuple(f"part-{number:05}" for number in range(COMMAND_CHARS // 10)), {}, None),
    ],
)
def test_a_command_runs_what_was_asked_for_or_has_placeholders(job, inputs, options, words):
    """Quoted for a shell, without the output; what a command line cannot say, or cannot say shortly, is left open."""
    told = run_command(Request(job, inputs, **options))
    wanted = shlex.split(words) if isinstance(words, str) else words
    assert shlex.split(told) == ["mapreduce", "run", *(wanted or ["JOB", "INPUT..."])]
