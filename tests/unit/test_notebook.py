"""What differs at a prompt or in a notebook: output that is replaced, errors as cells show them."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

import mapreduce
from mapreduce import Count, Job
from mapreduce.dataflow.manifest.file import JOB_FILE
from mapreduce.errors import InputError, JobFailed, OutputError
from mapreduce.notebook import notebook_path, replaced_job
from mapreduce.notebook_errors import cell_traceback, name_cells, show_errors


@pytest.fixture
def prompt(monkeypatch):
    """Be a Python with a prompt."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


@pytest.fixture
def run(tmp_path):
    """Count words into tmp_path/out, inline."""
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be\n")

    def run(output="out", name="words", **options):
        job = Job(keys=str.split, reducer=Count(), name=name)
        return mapreduce.run(job, text, tmp_path / output, runner="inline", **options)

    return run


@pytest.mark.usefixtures("prompt")
def test_a_line_at_a_prompt_runs_again_over_its_own_output(run, tmp_path):
    """The second run replaces the first one's output, without a warning about that; so does a third."""
    first = run()
    for _ in range(2):
        again = run()
        assert dict(again) == {"be": 2, "not": 1, "or": 1, "to": 2}
        assert again.id != first.id
        assert not any("replaces" in warning for warning in again.warnings)
    assert json.loads((tmp_path / "out" / JOB_FILE).read_text())["job"] == again.id
    assert len(list((tmp_path / "out").glob("part-*"))) == 1


@pytest.mark.usefixtures("prompt")
def test_another_jobs_output_of_this_process_is_replaced_with_a_warning(run):
    """A cell that was copied and not given a folder of its own says what it does to the other's output."""
    first = run()
    (warning,) = (text for text in run(name="other").warnings if "replaces" in text)
    assert first.id in warning


def test_a_program_never_replaces_an_output_unasked(run, tmp_path):
    """Without a prompt the second run is refused, the advice has both spellings, and no origin is noted."""
    run()
    with pytest.raises(OutputError, match=r"--overwrite \(from Python: overwrite=True\)"):
        run()
    assert "origin" not in json.loads((tmp_path / "out" / JOB_FILE).read_text())
    run(overwrite=True)


@pytest.mark.usefixtures("prompt")
def test_a_copy_or_a_moved_output_is_not_replaced(run, tmp_path):
    """An output that somebody has put elsewhere is kept for a reason."""
    run()
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    (tmp_path / "out").rename(tmp_path / "moved")
    for name in ("copy", "moved"):
        with pytest.raises(OutputError, match="another job's output"):
            run(name)
    run()


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts | {"origin": facts["origin"] | {"client": "another process"}},
        lambda facts: {name: value for name, value in facts.items() if name != "origin"},
        lambda facts: facts | {"origin": "text"},
        lambda facts: [facts],
    ],
)
def test_what_another_process_committed_is_not_replaced(run, tmp_path, change):
    """Whoever wrote over our output since, or wrote something else into its facts, keeps it."""
    run()
    facts = tmp_path / "out" / JOB_FILE
    facts.write_text(json.dumps(change(json.loads(facts.read_text()))))
    with pytest.raises(OutputError, match="another job's output"):
        run()
    facts.write_bytes(b"\xff{")
    assert replaced_job(str(tmp_path / "out"), "words") is None


def test_a_program_that_a_notebook_starts_is_not_the_notebook(monkeypatch):
    """The kernel's environment alone makes no notebook."""
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/work.ipynb")
    assert notebook_path() == ""
    assert name_cells('File "x.py", line 1') == 'File "x.py", line 1'


def failure(call):
    """What a call raises, as a cell shows it."""
    with pytest.raises(Exception) as info:  # noqa: PT011 - whatever it is
        call()
    return info.value, "\n".join(cell_traceback(info.value))


def divide(line):
    """A mapper that fails."""
    yield line, 1 / 0


def test_a_failed_job_shows_its_own_traceback_first(tmp_path):
    """The task's traceback leads, the message follows, and the line that ran the job comes last; no engine frames."""
    (tmp_path / "a.txt").write_text("x\n")
    error, text = failure(lambda: mapreduce.run(Job(divide), tmp_path / "a.txt", runner="inline"))
    assert isinstance(error, JobFailed)
    first, _, last = text.partition("The job was run here:")
    assert "yield line, 1 / 0" in first
    assert "record: 'x'" in first
    assert 'runner="inline"' in last
    assert "api.py" not in text


def test_other_errors_show_the_users_line_and_the_message(tmp_path):
    """A wrong argument is shown where it was given, and the cause of an error before it."""
    _, text = failure(lambda: mapreduce.run(Job(divide), tmp_path / "no.txt", runner="inline"))
    assert "no.txt" in text.split("\n")[-1]
    assert text.split("\n")[-1].startswith("InputError: ")
    assert 'tmp_path / "no.txt"' in text
    assert "planner.py" not in text

    def caused():
        try:
            int("x")
        except ValueError as error:
            raise InputError("no number") from error

    _, text = failure(caused)
    assert text.index("ValueError") < text.index("InputError: no number")


def test_ipython_gets_the_lines_from_the_error_itself(monkeypatch):
    """The hook that IPython looks for gives what a cell shows."""
    monkeypatch.setattr(mapreduce.MapReduceError, "_render_traceback_", None, raising=False)
    show_errors()
    assert InputError("no such file")._render_traceback_() == ["InputError: no such file"]
