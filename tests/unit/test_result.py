"""What a finished job gives back."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

import mapreduce
from mapreduce import Job
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
        monkeypatch.setattr("mapreduce.dataflow.manifest.folder.read_manifest", lambda folder: manifest)
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


def test_results_and_bad_records_have_a_length_and_a_repr(tmp_path):
    """Both are known without reading a record; bad records can be gone through again, and keep their folder alive."""
    path = tmp_path / "in.txt"
    path.write_text("1\nx\n2\n3\ny\n")
    job = Job(lambda line: [(int(line), 1)])
    result = mapreduce.run(job, path, tmp_path / "out", max_bad=2, runner="inline")
    output = mapreduce.read(tmp_path / "out")
    assert len(result) == len(output) == 3
    assert repr(output) == f"<Output: 3 records, {tmp_path / 'out'}>"
    assert "<th" in output._repr_html_()
    bad = output.bad
    assert len(bad) == 2
    assert repr(bad) == f"<bad records: 2, {tmp_path / 'out' / '_bad'}>"
    assert [one["content"] for one in bad] == [one["content"] for one in bad] == ["x", "y"]
    held = mapreduce.run(job, path, max_bad=2, runner="inline").bad
    assert (repr(held), len(list(held))) == ("<bad records: 2, temporary>", 2)
    assert list(mapreduce.run(Job(keys=str.split), path, runner="inline").bad) == []
    shutil.rmtree(tmp_path / "out")
    assert "does not exist" in repr(output)
    assert "does not exist" in output._repr_html_()


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
