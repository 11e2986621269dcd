"""What is kept of jobs: written whole, read back as it was, swept, and never a reason for a second failure."""

import dataclasses
import json
import logging
import os
import re
import stat
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.aggregators import Count
from mapreduce.errors import JobFailed
from mapreduce.failed import history
from mapreduce.failed.advice import advice
from mapreduce.job import Job
from mapreduce.plan import RESUMED_JOBS, Failure, FailureKind
from mapreduce.planner import plan
from mapreduce.protocol.messages import JobStatus
from mapreduce.request import Request

JOB = Job(keys=str.split, reducer=Count(), name="words")
FAILURE = Failure(
    FailureKind.USER,
    "ValueError: no\udc80",
    traceback='Traceback\n  File "/é.py", line 1',
    key="'a'",
    task="reduce 0",
    path="in.txt",
    offset=3,
)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A function that plans and keeps a job, in a history of this test's own; it gives what was planned."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "in.txt").write_text("to be\n")
    (tmp_path / "side.txt").write_text("beside")

    def keep(name="words", failure=FAILURE, inputs=None, runner="local", job=None, **options):
        job = job or Job(keys=str.split, reducer=Count(), name=name)
        options = {"output": str(tmp_path / name), "overwrite": True, **options}
        request = Request(job, inputs or (str(tmp_path / "in.txt"),), **options)
        planned = plan(request)
        history.save(planned, request, runner=runner, failure=failure)
        return planned

    return keep


def age(job, days):
    """Make an entry look so many days old."""
    then = time.time() - days * 86400
    os.utime(history.folder() / job / history.SPEC, (then, then))


def test_an_entry_says_what_was_asked_for_and_gives_what_travelled(kept, tmp_path):
    """The request's own words, the spec, the failure and all blobs come back as they were."""
    side = str(tmp_path / "side.txt")
    planned = kept(reducers=3, split_size="1MB", files={"side.txt": side})
    entry = history.find(planned.spec.job)
    assert entry.spec == planned.spec
    assert entry.failure == FAILURE
    assert {sha256: entry.blob(sha256) for sha256 in entry.spec.blobs} == planned.blobs
    asked = entry.asked
    assert (asked.target, asked.inputs, asked.output) == ("", (str(tmp_path / "in.txt"),), str(tmp_path / "words"))
    assert asked.options == {"reducers": 3, "split_size": "1MB", "overwrite": True, "files": {"side.txt": side}}
    assert (asked.unsaid, asked.runner, asked.coordinator, asked.gone) == ((), "local", "", "")
    assert asked.cwd == str(Path.cwd())


def test_nobody_else_can_look_into_an_entry(kept):
    """The folders are for their owner alone, since data and code lie in them."""
    job = kept().spec.job
    for folder in (history.folder(), history.folder() / job):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in history.folder().iterdir()] == [job]


def test_an_entry_is_found_by_its_beginning_or_as_the_last(kept):
    """A unique beginning will do, `last` is the newest; what is unknown or ambiguous lists what there is."""
    old, new = kept("old").spec.job, kept("new").spec.job
    age(old, 1)
    assert history.find("old").job == old
    assert history.find("last").job == history.find(new).job == new
    with pytest.raises(history.HistoryError, match=f"'absent'.*{new}, {old}"):
        history.find("absent")
    twin = kept("older").spec.job
    with pytest.raises(history.HistoryError, match=f"several ids: .*{twin}"):
        history.find("old")


def of_another_version(job):
    path = history.folder() / job / history.REQUEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": history.VERSION + 1}))


def test_the_last_entry_of_another_version_is_named_and_not_passed_over(kept):
    """`last` stays the newest: if another version wrote it, that is said, with the ids that can be named instead."""
    readable, foreign, newest = (kept(name).spec.job for name in ("readable", "foreign", "newest"))
    for days, job in enumerate((newest, foreign, readable)):
        age(job, days)
    of_another_version(foreign)
    assert history.find("last").job == newest
    of_another_version(newest)
    with pytest.raises(history.HistoryError) as told:
        history.find("last")
    assert f"the job {newest} was kept by another version of the engine" in str(told.value)
    assert str(told.value).endswith(f"name another job in place of `last`: {readable}")
    history.remove(readable)
    with pytest.raises(history.HistoryError, match="no other job is kept"):
        history.find()


def test_an_empty_history_says_so(kept):
    """Without any entry the answer names the folder where they would be."""
    with pytest.raises(history.HistoryError, match=f"no failed job is kept in {history.folder()}"):
        history.find()
    with pytest.raises(history.HistoryError, match="none is kept"):
        history.find("words")
    assert kept().spec.job == history.find().job


def read_all(job):
    entry = history.find(job)
    return [entry.blob(sha256) for sha256 in entry.spec.blobs]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(next((folder / "blobs").iterdir())), "has other bytes than were written"),
        (lambda folder: next((folder / "blobs").iterdir()).unlink(), "cannot be read"),
        (lambda folder: (folder / "spec").write_bytes(b"\x91"), "spec: "),
        (lambda folder: (folder / "spec").unlink(), "spec cannot be read"),
        (lambda folder: (folder / "request.json").write_bytes(b'{"version": 1, "targ'), "is no JSON"),
        (lambda folder: (folder / "request.json").write_bytes(b"\xff"), "is no JSON"),
        (lambda folder: (folder / "request.json").write_text("[" * 100_000), "is no JSON"),
        (lambda folder: (folder / "request.json").write_text("[1]"), "not as this version writes it"),
        (lambda folder: (folder / "request.json").write_text('{"version": 99}'), "another version .* layout 99"),
    ],
)
def test_damage_is_told_by_its_name(kept, damage, said):
    """A damaged entry is an error that says which file, and what to do; it harms no other entry."""
    good, bad = kept("good").spec.job, kept("bad").spec.job
    damage(history.folder() / bad)
    with pytest.raises(history.HistoryError, match=said) as told:
        read_all(bad)
    assert f"rm -r {history.folder() / bad}" in str(told.value)
    assert history.find(good).failure == FAILURE


@given(st.binary(max_size=60))
def test_no_bytes_in_place_of_a_request_do_more_than_that(data):
    """Whatever lies in request.json, reading it gives an entry or a HistoryError."""
    with pytest.MonkeyPatch.context() as patch:
        folder = history.folder() / "some-job"
        folder.mkdir(parents=True, exist_ok=True)
        patch.chdir(folder)
        (folder / "request.json").write_bytes(data)
        (folder / "spec").write_bytes(b"\x90")
        with pytest.raises(history.HistoryError):
            history.find("some-job")
    history.remove("some-job")


def test_what_others_can_write_is_not_run(kept):
    """An entry that its group or anybody may write is refused, since what is in it runs as code."""
    job = kept().spec.job
    (history.folder() / job).chmod(0o770)
    with pytest.raises(history.HistoryError, match="runs as code"):
        history.find(job)


def test_entries_older_than_a_week_are_swept(kept):
    """A new entry sweeps what is older than seven days, what was never finished too, and nothing younger."""
    old, young = kept("old").spec.job, kept("young").spec.job
    age(old, 7.1)
    age(young, 6.9)
    for days, name in ((7.1, "dead"), (1, "alive")):
        unfinished = history.folder() / f".new-{name}"
        unfinished.mkdir()
        os.utime(unfinished, (time.time() - days * 86400,) * 2)
    new = kept("new").spec.job
    assert {path.name for path in history.folder().iterdir()} == {young, new, ".new-alive"}


def test_entries_are_bounded_in_number_and_size(kept, monkeypatch):
    """Of too many entries, or too large ones, the oldest go; the newest stays whatever its size."""
    jobs = [kept(f"job{number}").spec.job for number in range(4)]
    for number, job in enumerate(jobs):
        age(job, 1 - number / 10)
    monkeypatch.setattr(history, "MOST_ENTRIES", 2)
    history.sweep()
    assert {path.name for path in history.folder().iterdir()} == set(jobs[2:])
    monkeypatch.setattr(history, "MOST_BYTES", 1)
    history.sweep()
    assert {path.name for path in history.folder().iterdir()} == {jobs[3]}


@pytest.mark.parametrize("state", ["done", "kept", "cancelled"])
def test_a_job_that_needs_no_replay_is_forgotten(kept, state):
    """A submitted job is kept until its client hears that it ended well or was cancelled."""
    job = kept(failure=None, runner="cluster").spec.job
    history.note(JobStatus(job, "words", "running"))
    assert history.find(job).failure is None
    history.note(JobStatus(job, "words", state))
    assert not history.has_entry(job)
    history.note(JobStatus(job, "words", state))
    history.note(JobStatus("../../etc", "words", state))


def test_how_a_submitted_job_failed_is_noted(kept):
    """The first failure that a client hears of is in the entry from then on, with all else as it was."""
    planned = kept(failure=None, runner="cluster")
    job = planned.spec.job
    before = history.find(job)
    assert advice(job) == ""
    history.note(JobStatus(job, "words", "failed", failure=FAILURE, saved_maps=3))
    assert history.find(job) == dataclasses.replace(before, failure=dataclasses.replace(FAILURE, saved_maps=3))
    assert advice(job) == f"  run that task again, here:  mapreduce replay {job} --pdb"


def test_what_was_resumed_goes_with_the_success(kept):
    """All jobs of a chain are forgotten when the last one is done; whoever asks for one is told by which job."""
    first = kept("first").spec.job
    second = kept("second", resumes=(first,)).spec.job
    assert history.find(second).chain == (second, first)
    third = kept("third", failure=None, runner="cluster", resumes=history.find(second).chain).spec.job
    history.note(JobStatus(third, "third", "failed", resumes=second))
    assert history.has_entry(first)
    history.note(JobStatus(third, "third", "done", resumes=second))
    assert list(history.folder().iterdir()) == []
    for job in (first, second):
        with pytest.raises(history.HistoryError, match=f"{job} was resumed as {third}, which is done"):
            history.find(job)
    notes = history.folder().with_name("resumed")
    os.utime(notes / first, (time.time() - 7.1 * 86400,) * 2)
    kept("another")
    assert [path.name for path in notes.iterdir()] == [second]


def test_a_chain_is_bounded(kept):
    """A job goes on with so many others at most, the newest of them."""
    others = tuple(f"job-{number}" for number in range(RESUMED_JOBS))
    job = kept(resumes=others).spec.job
    assert history.find(job).chain == (job, *others[:-1])


@pytest.mark.parametrize(("coordinator", "ended"), [("", "failed"), ("tcp://127.0.0.1:5", "was submitted")])
def test_an_entry_says_which_job_it_is(kept, coordinator, ended):
    """Its id and name, when it was run, and in which folder: one that says `last` may mean another."""
    entry = history.find(kept().spec.job)
    asked = dataclasses.replace(entry.asked, when="2026-11-22T05:15:00+00:00", coordinator=coordinator)
    when = datetime.fromisoformat(asked.when).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    named = dataclasses.replace(entry, asked=asked).named
    assert named == f"{entry.job} (words), which {ended} at {when} in {Path.cwd()}"


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({}, {}, "run that task again, here:  mapreduce replay ID --pdb"),
        ({"kind": FailureKind.DIED, "traceback": ""}, {}, "run that task again, here:  mapreduce replay ID"),
        ({"traceback": ""}, {}, "put such records aside, up to so many:  mapreduce resume ID --max-bad N"),
        ({"traceback": ""}, {"max_bad": 2}, "once that is mended:  mapreduce resume ID"),
        ({"traceback": "", "offset": None}, {}, "once that is mended:  mapreduce resume ID"),
        ({"traceback": "", "kind": FailureKind.FATAL}, {}, "once that is mended:  mapreduce resume ID"),
        ({"traceback": "", "kind": FailureKind.FATAL, "saved_maps": 2}, {}, ""),
        ({"traceback": f'  File "{history.__file__}", line 1'}, {}, "put such records aside.*ID --max-bad N"),
    ],
)
def test_the_advice_is_what_helps(kept, change, options, told):
    """A debugger for a line of the user's; else to put records aside where that can be, or to mend and resume."""
    job = kept(failure=dataclasses.replace(FAILURE, **change), **options).spec.job
    assert re.fullmatch(told, advice(job).strip().replace(job, "ID"))


def test_advice_is_given_only_where_it_helps(kept):
    """No command is named for a failure of no task, nor for inputs that are gone, nor for a job that is not kept."""
    nowhere = dataclasses.replace(FAILURE, task=None)
    assert advice(kept(failure=nowhere).spec.job) == ""
    commit = dataclasses.replace(FAILURE, task="the job commit")
    assert advice(kept(failure=commit).spec.job) == ""
    assert "standard input went with the run" in advice(kept(passing="standard input").spec.job)
    assert advice("unknown-job") == ""
    job = kept().spec.job
    (history.folder() / job / "spec").write_bytes(b"")
    assert "is damaged" in advice(job)


def test_a_job_whose_map_results_nobody_can_judge_is_told_so(kept, tmp_path):
    """The line names the function and what it is that makes its results be of no use to another job."""
    source = "STREAM = (number for number in (1, 2))\ndef mapper(line):\n    yield line, next(STREAM)\n"
    (tmp_path / "unjudged_job.py").write_text(source + "def reducer(key, values):\n    yield key, sum(values)\n")
    job = kept(job=str(tmp_path / "unjudged_job.py")).spec.job
    first, second = advice(job).split("\n")
    assert first == (
        "  no map results are kept, since nobody can tell what they depend on: "
        "mapper: an object of the type builtins.generator (TypeError)"
    )
    assert second.startswith("  run that task again, here:")


def test_a_job_that_cannot_be_kept_fails_no_worse(kept, tmp_path, caplog):
    """Where the history cannot be written, that is a warning beside the failure and leaves nothing half-written."""
    planned = kept()
    request = Request(JOB, (str(tmp_path / "in.txt"),), output=str(tmp_path / "words"))
    error = JobFailed(planned.spec.job, FAILURE)
    with caplog.at_level(logging.WARNING):
        history.save_failed(planned, request, error, "local")  # an entry of this id is there already
    assert f"{planned.spec.job} cannot be kept for a replay" in caplog.text
    assert [path.name for path in history.folder().iterdir()] == [planned.spec.job]
    caplog.clear()
    history.save_failed(planned, request, KeyboardInterrupt(), "local")
    assert caplog.text == ""


def test_a_user_without_a_home_has_no_history(kept, monkeypatch):
    """With neither a home nor XDG_STATE_HOME nothing is kept, and asking says what to set."""
    planned = kept()

    def nowhere():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.setenv("XDG_STATE_HOME", "relative/paths/do/not/count")
    monkeypatch.setattr(history.Path, "home", staticmethod(nowhere))
    assert not history.has_entry(planned.spec.job)
    assert advice(planned.spec.job) == ""
    history.note(JobStatus(planned.spec.job, "words", "done"))
    with pytest.raises(history.HistoryError, match="set XDG_STATE_HOME"):
        history.find()
