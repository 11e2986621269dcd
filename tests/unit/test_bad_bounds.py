"""How many bad records a job may have, what cannot be put aside, and what becomes of the folder of bad records."""

from __future__ import annotations

from pathlib import Path

import pytest
from putting_aside import number, run, written

import mapreduce
from mapreduce import (
    Count,
    Job,
    JobFailed,
)
from mapreduce.dataflow.bad import care as bad_care
from mapreduce.dataflow.tasks import named_outputs
from mapreduce.errors import UsageError


def listed(line):
    return [(line[:1], [number(line)]), (line[-1:], (1, 2.5))]


def words(line):
    return [line[:1], line[-1:]] if number(line) >= 0 else None


def noting(line, *, ctx):
    ctx.outputs["seen"].write(line[:1], line)
    yield line[:1], number(line)


def everything(key, values):
    yield key, list(values)


LISTED = Job(listed, reducer=everything)
WORDS = Job(records=words)
NOTING = Job(noting, outputs={"seen": "jsonl"})


def test_more_bad_records_than_allowed_fail_the_job(tmp_path):
    """The last one's story comes first, then all kinds with a place, and what to do; nothing is left behind."""
    path = written(tmp_path, ["1", "x", "2", "y"])
    with pytest.raises(JobFailed) as caught:
        run(LISTED, path, tmp_path / "out", max_bad=1)
    failure = caught.value.failure
    text = str(caught.value)
    assert text.startswith("Traceback (most recent call last):\n")
    assert failure.message.endswith("base 10: 'y'")
    assert text.count("base 10: 'y'") == 1
    assert "\n2 bad records: --max-bad allows 1\n" in text
    assert (failure.path, failure.offset, failure.record) == (str(path), 6, "'y'")
    assert f"  2 ValueError in mapper, as in {path}, byte 2" in text
    assert "allow more with --max-bad" in text
    assert isinstance(caught.value.__cause__, ValueError)
    assert not (tmp_path / "out").exists()


def test_the_bound_is_the_whole_jobs(tmp_path):
    """Tasks of any step add up: two that are within the bound can be too much together."""
    path = written(tmp_path, ["1", "x", "2", "y"])
    with pytest.raises(JobFailed, match="2 bad records: --max-bad allows 1"):
        run(LISTED, path, tmp_path / "out", max_bad=1, split_size=4)
    assert len(list(run(LISTED, path, tmp_path / "out", max_bad=2, split_size=4).bad)) == 2


def test_a_share_of_the_records(tmp_path):
    """P% is judged over all records that were read, once they are: 2 of 100 are 2%."""
    path = written(tmp_path, ["x", "y", *map(str, range(98))])
    assert run(LISTED, path, tmp_path / "out", max_bad="2%", split_size=50).status.bad == {"ValueError in mapper": 2}
    with pytest.raises(JobFailed, match=r"2 bad records: --max-bad allows 1\.9% of 100"):
        run(LISTED, path, tmp_path / "none", max_bad="1.9%")


def test_none_may_be_bad(tmp_path):
    """max_bad=0 fails at the first bad record, and names it."""
    with pytest.raises(JobFailed, match="1 bad record: --max-bad allows 0"):
        run(LISTED, written(tmp_path, ["1", "x"]), tmp_path / "out", max_bad=0)


@pytest.mark.parametrize("given", [-1, "x", "101%", "1.5", True, 1.5, ""])
def test_a_bound_that_is_none_is_refused(given, tmp_path):
    """A number of records or a share of them; anything else is named."""
    with pytest.raises(UsageError, match="max_bad= is"):
        run(LISTED, written(tmp_path, ["1"]), tmp_path / "out", max_bad=given)


def test_too_many_kinds_are_counted_together(tmp_path):
    """Beyond twenty kinds a task counts the rest as others."""

    def mapper(line):
        raise type(f"Error{line}", (Exception,), {})(line)

    result = run(Job(mapper, reducer=Count()), written(tmp_path, range(25)), tmp_path / "out", max_bad=25)
    assert result.status.bad["others"] == 5
    assert len(result.status.bad) == 21


def test_what_cannot_be_taken_back_fails_the_job(tmp_path, monkeypatch):
    """A record that has emitted more than is held goes on; if it fails then, the attempt does, and says why."""
    monkeypatch.setattr(bad_care, "HELD_BYTES", 100)

    def mapper(line):
        yield from [(line, "v" * 20)] * 10
        yield line, number(line)

    job = Job(mapper, reducer=Count())
    with pytest.raises(JobFailed, match="cannot be taken back"):
        run(job, written(tmp_path, ["1", "x"]), tmp_path / "out", max_bad=1)
    result = run(job, written(tmp_path / "good", ["1", "2"]), tmp_path / "good-out", max_bad=1)
    assert dict(result) == {"1": 11, "2": 11}


def test_named_outputs_that_are_too_much_cannot_be_taken_back(tmp_path, monkeypatch):
    """What a record writes to a named output is held within the same bound."""
    monkeypatch.setattr(named_outputs, "HELD_BYTES", 5)
    with pytest.raises(JobFailed, match="cannot be taken back"):
        run(NOTING, written(tmp_path, ["1", "xxxxx"]), tmp_path / "out", max_bad=1)


def test_what_is_no_record_fails_the_job_as_ever(tmp_path):
    """finish() of a mapper class has no record to put aside."""

    class Mapper:
        def __call__(self, line):
            yield line, 1

        def finish(self):
            raise LookupError("at the end")

    with pytest.raises(JobFailed, match="at the end"):
        run(Job(Mapper, reducer=Count()), written(tmp_path, ["1"]), tmp_path / "out", max_bad=9)


def test_another_job_passes_the_bad_records_by(tmp_path):
    """The output of a job with bad records is input as any other; an overwriting job removes them."""
    path = written(tmp_path, ["1", "x", "2"])
    first = run(WORDS, path, tmp_path / "out", max_bad=1)
    assert run(Job(keys=lambda line: [line], reducer=Count()), first.output, tmp_path / "next").status.records_in == 4
    again = run(WORDS, path, tmp_path / "out", max_bad=1, overwrite=True)
    assert len(list(again.bad)) == 1
    assert len(list((tmp_path / "out" / "_bad").iterdir())) == 1
    run(WORDS, written(tmp_path, ["1"]), tmp_path / "out", overwrite=True)
    assert not Path(tmp_path / "out" / "_bad").exists()


def test_without_a_folder_they_live_as_long_as_the_result(tmp_path):
    """The bad records of a result in memory can be read from it."""
    result = mapreduce.run(LISTED, written(tmp_path, ["1", "x"]), runner="inline", max_bad=1)
    assert [bad["content"] for bad in result.bad] == ["x"]
