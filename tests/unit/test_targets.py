"""A job is what its file says now, and what names no job is told from a job that is wrong."""

import os
import sys

import pytest

import mapreduce
from mapreduce.describe import describe_job
from mapreduce.errors import JobDefinitionError
from mapreduce.targets import UnknownTarget, load_job, misspelt


def test_an_edit_within_a_second_is_seen(tmp_path, monkeypatch):
    """A file that was edited without a change of size, in the same second, is not taken for the old one."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "edited_twice.py"
    found = []
    for number in (1, 2):
        path.write_text(f"FACTOR = {number}\ndef mapper(line):\n    yield line, FACTOR\n", encoding="utf-8")
        os.utime(path, (1_000_000, 1_000_000))
        found.append(list(load_job(str(path)).job.resolved[0].inputs[0].mapper.function("a")))
    assert found == [[("a", 1)], [("a", 2)]]
    assert not (tmp_path / "__pycache__").exists()


JOBS = "from mapreduce import Job\n\none = Job(keys=str.split)\ntwo = Job(keys=str.split)\nthree = 3\n"


@pytest.mark.parametrize(
    ("target", "unknown"),
    [
        ("several.py", True),
        ("several.py:four", True),
        ("several.py:three", True),
        ("several.py:1", True),
        ("several.py/", True),
        ("absent.py", True),
        ("absent", True),
        ("absent.absent", True),
        ("text.txt", True),
        ("./text.txt", True),
        ("no name", True),
        ("@absent", True),
        ("@word_count:absent", True),
        ("json", True),
        ("empty.py", False),
        ("json.py", False),
        ("needs.py", False),
        ("broken.py", False),
    ],
)
def test_a_wrong_name_is_told_from_a_wrong_job(tmp_path, monkeypatch, target, unknown):
    """What cannot be found is a matter of the command; a file that is there and cannot be the job is one of the job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    files = {"several.py": JOBS, "empty.py": "", "json.py": JOBS, "needs.py": "import absent\n", "broken.py": "(\n"}
    for name, text in {**files, "text.txt": "to be\n"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(JobDefinitionError) as told:
        load_job(target)
    assert isinstance(told.value, UnknownTarget) is unknown, told.value


def test_a_file_that_is_not_there_is_told_with_one_that_is_like_it(tmp_path, monkeypatch):
    """A misspelt name is answered with the file that is meant, where it was looked for; a wholly other one is not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "visits.py").write_text(JOBS, encoding="utf-8")
    for target, message in (
        ("visit.py", f"the job visit.py does not exist in {tmp_path}: did you mean visits.py?"),
        ("./Visits.py", f"the job ./Visits.py does not exist in {tmp_path}: did you mean ./visits.py?"),
        ("./visits", f"the job ./visits does not exist in {tmp_path}: did you mean ./visits.py?"),
        ("other.py", f"the job other.py does not exist in {tmp_path}"),
        ("jobs/visits.py", f"the job jobs/visits.py does not exist in {tmp_path / 'jobs'}"),
    ):
        with pytest.raises(UnknownTarget) as told:
            load_job(target)
        assert str(told.value) == message


HELPED = """
from functools import reduce as reducer_s

def mapper(line):
    return [(combine(line), 1)]

def combine(line):
    return line

def _reducer(key, values):
    yield key, 1

def maker(line):
    return line
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def mapper(line):\n    yield line, 1\n\ndef reducr(key, values):\n    yield key, 1\n", ["reducr"]),
        ("def mapper(line):\n    yield line, 1\n\ndef Reduce(key, values):\n    yield key, 1\n", ["Reduce"]),
        ("def mapper(line):\n    yield line, 1\n\nclass combine:\n    pass\n", ["combine"]),
        (HELPED, []),
        ("def mapper(a):\n    yield a, 1\n\ndef reducer(k, v):\n    yield k, 1\n\nreducers = mapper2 = reducer\n", []),
        ("from mapreduce import Job\n\ndef reduce(k, v):\n    yield k, 1\n\njob = Job(keys=str.split)\n", []),
    ],
)
def test_a_function_whose_name_is_nearly_one_that_makes_a_job_is_told(tmp_path, monkeypatch, text, found):
    """It would be left out without a word; a helper that the job calls, or is beside a Job, is not told of."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "nearly.py"
    path.write_text(text, encoding="utf-8")
    told = misspelt(load_job(str(path)).module)
    assert [note.split("`")[1] for note in told] == found
    (tmp_path / "in.txt").write_text("a\n")
    assert mapreduce.run(str(path), tmp_path / "in.txt", runner="inline").warnings[: len(told)] == list(told)
    assert ("note: nearly.py has `" in describe_job(load_job(str(path))).render()) is bool(found)


def test_the_jobs_of_a_module_are_counted(tmp_path, monkeypatch):
    """One job is not jobs."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "one.py").write_text("from mapreduce import Job\n\njob = Job(keys=str.split)\n", encoding="utf-8")
    with pytest.raises(UnknownTarget, match=r"one\.py has no 'other'; it has the job job$"):
        load_job(f"{tmp_path / 'one.py'}:other")
