"""What a finished job gives back."""

from __future__ import annotations

import polars as pl
import pytest

from mapreduce import result as result_module
from mapreduce.dataflow.manifest.folder import Manifest
from mapreduce.protocol.messages import JobStatus
from mapreduce.result import JobHandle, Result
from mapreduce.runners.private import PrivateFolder

STATUS = JobStatus("wc-1", "wc", "done", counters={"docs": 2}, warnings=("odd",), records_out=2)


@pytest.fixture
def result_of(monkeypatch, tmp_path):
    """Make a result that holds these pairs."""

    def make(pairs):
        monkeypatch.setattr("mapreduce.dataflow.manifest.folder.read_output", lambda folder: iter(pairs))
        manifest = Manifest("records", (), ("any",), ("any",))
        monkeypatch.setattr("mapreduce.dataflow.manifest.folder.settled", lambda folder: (manifest, []))
        return Result(STATUS, tmp_path)

    return make


def test_a_result_is_pairs_that_can_be_read_again(result_of, tmp_path):
    """It iterates, as often as wanted, and makes a dict."""
    result = result_of([("a", 1), ("b", 2)])
    assert dict(result) == {"a": 1, "b": 2}
    assert list(result) == list(result)
    assert (result.id, result.counters, result.warnings, result.output) == ("wc-1", {"docs": 2}, ["odd"], tmp_path)
    assert "wc-1" in repr(result)


@pytest.mark.parametrize(
    ("items", "dtype"),
    [
        (["a", "ö"], pl.String),
        ([1, None], pl.Int64),
        ([1.5, 2.0], pl.Float64),
        ([True, False], pl.Boolean),
        ([b"a"], pl.Binary),
        ([None, None], pl.Null),
        ([], pl.Null),
        ([1, True], pl.Object),
        ([1, 2.5], pl.Object),
        ([1 << 70], pl.Object),
        (["\ud800"], pl.Object),
        ([("a", 1)], pl.Object),
    ],
)
def test_columns_of_a_frame_hold_exactly_the_values(result_of, items, dtype):
    """One plain type gives its column; anything else stays Python objects, so that nothing is rounded or mixed up."""
    frame = result_of([(item, item) for item in items]).to_polars()
    assert frame.columns == ["key", "value"]
    assert frame.schema["key"] == dtype
    got = frame["value"].to_list()
    assert got == items
    assert [type(item) for item in got] == [type(item) for item in items]


def test_a_temporary_result_lives_as_long_as_its_object():
    """The folder goes with the last reference, not before."""
    private = PrivateFolder()
    result = Result(STATUS, private.path, private)
    del private
    folder = result._folder
    assert folder.exists()
    assert result.output is None
    del result
    assert not folder.exists()


def test_a_handle_shows_what_it_stands_for():
    """Its repr makes it again."""
    handle = JobHandle("wc-1", "tcp://127.0.0.1:5555")
    assert eval(repr(handle), vars(result_module)).id == "wc-1"
