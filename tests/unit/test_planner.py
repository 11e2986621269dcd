"""From a request to what is submitted."""

from __future__ import annotations

import hashlib
import importlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mapreduce.aggregators import Count
from mapreduce.dataflow.inputs.split_file import split_at, split_count
from mapreduce.errors import InputError, JobDefinitionError, OutputError, UsageError
from mapreduce.job import Job, Step
from mapreduce.plan import JOB_ID, Probe, Split
from mapreduce.planner import new_job_id, plan, shapes_of
from mapreduce.protocol import plain
from mapreduce.request import Request

JOB = Job(keys=str.split, reducer=Count())


@pytest.fixture
def request_for(tmp_path):
    """Make a request over a small text, into a folder that does not exist yet."""
    (tmp_path / "text.txt").write_text("to be or not to be\n")

    def make(job=JOB, inputs=None, **options):
        inputs = inputs or (str(tmp_path / "text.txt"),)
        return Request(job, inputs, **{"output": str(tmp_path / "out"), **options})

    return make


def test_an_id_is_readable_and_safe_in_file_names():
    """Name, time, chance; whatever is no letter becomes an underscore."""
    when = datetime(2026, 11, 22, 5, 15, 0, tzinfo=UTC)
    assert new_job_id("word_count", when, "3fa90c51") == "word_count-20261122-051500-3fa90c51"
    assert new_job_id("../ö x", when, "3fa90c51") == "x-20261122-051500-3fa90c51"
    assert new_job_id("§", when, "3fa90c51") == "job-20261122-051500-3fa90c51"
    assert JOB_ID.fullmatch(new_job_id("x" * 500, when, "3fa90c51"))


def test_later_steps_have_a_map_task_for_each_part_before():
    """A step with reducers yields one part each; a map-only step as many as it has maps."""

    def pairs(key, value):
        yield key, value

    def values(line):
        yield line, 1

    job = Job(steps=[Step(values, reducer=Count()), Step(pairs), Step(pairs, reducer=Count())])
    shapes = shapes_of(job, 7, 3)
    assert [(shape.maps, shape.reduces) for shape in shapes] == [(7, 3), (3, 0), (3, 3)]


@pytest.mark.parametrize(
    "options",
    [{"reducers": 0}, {"reducers": "2"}, {"reducers": 10_001}, {"encoding_errors": "ignore"}, {"priority": 1 << 70}],
)
def test_options_that_no_job_can_have_are_refused(request_for, tmp_path, options):
    """They are found before anything starts, and leave nothing behind."""
    with pytest.raises(UsageError):
        plan(request_for(**options))
    assert not (tmp_path / "out").exists()


def test_the_blobs_are_named_by_their_content(request_for):
    """Code, splits and probe are there under their SHA-256, and are what they should be."""
    planned = plan(request_for())
    assert set(planned.blobs) == set(planned.spec.blobs)
    for name, blob in planned.blobs.items():
        assert hashlib.sha256(blob).hexdigest() == name
    assert split_count(planned.blobs[planned.spec.plan]) == planned.spec.steps[0].maps == 1
    probe = plain.unpack(Probe, planned.blobs[planned.spec.probe])
    assert Path(probe.token_path).read_text() == probe.token
    assert planned.spec.input_bytes == 19


def test_the_request_wins_over_the_job_and_the_job_over_defaults(request_for):
    """Reducers and encodings come from the nearest place that names them."""
    job = Job(keys=str.split, reducer=Count(), reducers=5, encoding="latin-1")
    by_job = plan(request_for(job))
    assert (by_job.spec.steps[0].reduces, by_job.options.encoding) == (5, "iso8859-1")
    by_job.discard()
    by_request = plan(request_for(job, reducers=2, encoding="utf-8", split_size="1KB"))
    assert (by_request.spec.steps[0].reduces, by_request.options.encoding) == (2, "utf-8")


def test_an_empty_folder_still_has_a_task(request_for, tmp_path):
    """The job then runs its course, and its output exists."""
    (tmp_path / "empty").mkdir()
    planned = plan(request_for(inputs=(str(tmp_path / "empty"),)))
    assert planned.spec.steps[0].maps == 1
    assert split_at(planned.blobs[planned.spec.plan], 0) == Split(())


def test_a_module_is_a_job(request_for, tmp_path, monkeypatch):
    """A module object with a mapper can be handed over; the job has its name."""
    (tmp_path / "counting_lines.py").write_text("def mapper(line):\n    yield line, 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    planned = plan(request_for(importlib.import_module("counting_lines")))
    assert planned.spec.name == "counting_lines"
    assert planned.spec.steps[0].reduces == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inputs": ("/nowhere/at-all.txt",)}, InputError, "/nowhere/at-all.txt"),
        ({"params": {"top": 3}}, JobDefinitionError, "top"),
        ({"split_size": "much"}, JobDefinitionError, "16MB"),
        ({"job": 17}, UsageError, "not int"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_made(request_for, tmp_path, options, error, message):
    """No output folder appears for a request that cannot be planned."""
    with pytest.raises(error, match=message):
        plan(request_for(**options))
    assert not (tmp_path / "out").exists()


def test_an_occupied_output_is_refused_and_untouched(request_for, tmp_path):
    """Somebody's files stay; the message says what to do."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="name another folder"):
        plan(request_for())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_discarding_a_plan_removes_the_folder_that_it_made(request_for, tmp_path):
    """After a failure nothing is left."""
    planned = plan(request_for())
    assert (tmp_path / "out").is_dir()
    planned.discard()
    assert not (tmp_path / "out").exists()
