"""Which task a text or a failure names, and which of a job's files have changed since it ran."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.errors import UsageError
from mapreduce.failed.asked import Asked
from mapreduce.failed.history import Entry, HistoryError
from mapreduce.failed.replay import changed_files, failed_task, task_named
from mapreduce.plan import Failure, FailureKind, JobSpec, StepShape, TaskId, TaskKind
from mapreduce.travel.package import ModuleSource, Package

SPEC = JobSpec("a-job", "a", (StepShape(4, 2), StepShape(2, 0), StepShape(2, 3)), "", "", "", "", "", 0)
ASKED = Asked("", (), "", {}, (), "/", "local", "", "")


@st.composite
def tasks(draw):
    """A task of the job above."""
    step = draw(st.integers(0, 2))
    kind = draw(st.sampled_from([TaskKind.MAP] if step == 1 else [TaskKind.MAP, TaskKind.REDUCE]))
    shape = SPEC.steps[step]
    return TaskId(
        "a-job", step, kind, draw(st.integers(0, (shape.reduces if kind is TaskKind.REDUCE else shape.maps) - 1))
    )


@given(tasks(), st.sampled_from([" ", "-"]))
def test_a_task_is_named_as_failures_name_it(task, between):
    """The text of a task's id names that task, with hyphens too, which a shell takes for one word."""
    assert task_named(SPEC, str(task).replace(" ", between)) == task


@pytest.mark.parametrize("text", ["", "map", "map x", "map -1", "the job commit", "map 1 of step", "reduce 0 of 2"])
def test_what_names_no_task_is_refused_with_an_example(text):
    """A text of another form is answered with one that would do."""
    with pytest.raises(UsageError, match="such as map 3"):
        task_named(SPEC, text)


@pytest.mark.parametrize("text", ["map 4", "reduce 2", "reduce 0 of step 2", "map 0 of step 4", "map 0 of step 0"])
def test_a_task_that_the_job_has_not_is_refused_with_those_it_has(text):
    """Which tasks there are in each step is in the answer."""
    with pytest.raises(UsageError, match=re.escape("2 map tasks and 3 reduce tasks in step 3")):
        task_named(SPEC, text)
    with pytest.raises(
        UsageError, match=re.escape("from 0, 1 map task and 1 reduce task in step 1, 7 map tasks in step 2")
    ):
        task_named(replace(SPEC, steps=(StepShape(1, 1), StepShape(7, 0))), "map 9")


def test_the_failed_task_is_the_one_that_failure_names():
    """It is taken from the failure; without one, or one of no task, a task has to be named."""
    failure = Failure(FailureKind.USER, "ValueError", task="reduce 2 of step 3")
    assert failed_task(Entry(Path(), ASKED, SPEC, failure)) == TaskId("a-job", 2, TaskKind.REDUCE, 2)
    with pytest.raises(HistoryError, match="how a-job ended is not known here: name a task"):
        failed_task(Entry(Path(), ASKED, SPEC, None))
    with pytest.raises(HistoryError, match=r"outside of its tasks \(no room\)"):
        failed_task(Entry(Path(), ASKED, SPEC, Failure(FailureKind.DISK, "no room")))


def test_changed_files_are_those_that_differ_or_are_gone(tmp_path):
    """A file with the bytes that travelled is as it was; one with others, or none, has changed."""
    modules = []
    for name in ("same", "edited", "gone"):
        (tmp_path / f"{name}.py").write_text("x = 1\n")
        modules.append(ModuleSource(name, str(tmp_path / f"{name}.py"), b"x = 1\n", is_package=False))
    (tmp_path / "edited.py").write_text("x = 2\n")
    (tmp_path / "gone.py").unlink()
    package = Package("3.11", tuple(modules), None, b"", ())
    assert changed_files(package) == [str(tmp_path / "edited.py"), str(tmp_path / "gone.py")]
