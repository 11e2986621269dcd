"""`mapreduce run` that fails or cannot start: exit codes, what is told, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from run_command import COMMAND, COUNTS, FAILING, TEXT, TIMEOUT_S, leftovers, mapreduce, parse

STRANGE = os.fsdecode(b"strange\xff")


def test_a_failing_job_shows_the_users_line_and_leaves_nothing(here):
    """Exit code 1; the user's traceback with its source line first, then function, place and record."""
    failed = mapreduce("run", "failing.py", "text.txt", "-o", "out")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert 'raise ValueError("no questions, please")' in failed.stderr
    assert "function: mapper (failing.py:2)" in failed.stderr
    assert "text.txt, byte 19" in failed.stderr
    assert "record: 'that is the question'" in failed.stderr
    assert "mapreduce/" not in failed.stderr.partition("ValueError: no questions")[0]
    assert not Path("out").exists()
    assert leftovers(here) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py", "text.txt"], "missing.py does not exist in "),
        (["faling.py", "text.txt"], "did you mean failing.py?"),
        (["failing.py", ""], "an input is empty"),
        (["@word_cuont", "text.txt"], "did you mean @word_count?"),
        (["failing.py", "nowhere.txt"], "no such input: nowhere.txt"),
        (["failing.py", "*.nothing"], "no input matches"),
        (["failing.py", "text.txt", "-p", "badd=1"], "did you mean 'bad'?"),
        (["failing.py", "text.txt", "-p", "bad"], "-p NAME=VALUE"),
        (["failing.py", "text.txt", "-p", "bad=1", "-p", "bad=2"], "given twice"),
        (["failing.py", "text.txt", "--split-size", "16 parsecs"], "--split-size is '16 parsecs', which is not a size"),
        (["failing.py", "text.txt", "--max-bad", "few"], "--max-bad is 'few'; it is a number"),
        (["failing.py", "text.txt", "-o", "full"], "precious.txt): name another folder"),
        (["failing.py", "text.txt", "-o", ""], "name a folder"),
        (["failing.py", "text.txt", "--reducers", "10001"], "--reducers must be a whole number from 1 to 10,000"),
        (["failing.py", "text.txt", "full", "-o", "full"], "outside of the inputs"),
        (["failing.py", "-", "-"], "once only"),
        (["failing.py"], "INPUT"),
        (["failing.py", "text.txt", "-j", "0"], "--slots"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_to_do(here, arguments, message):
    """What cannot be started is told in one message, without a traceback, and nothing is left."""
    Path("full").mkdir()
    Path("full/precious.txt").write_text("mine")
    refused = mapreduce("run", *arguments)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert Path("full/precious.txt").read_text() == "mine"
    assert leftovers(here) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["failing.py", "text.txt", "-o", STRANGE], "rename the output folder, or choose another one"),
        ([f"{STRANGE}/job.py", "text.txt"], "rename the file, or the folder that it lies in"),
        (["failing.py", f"{STRANGE}/text.txt"], "rename the file"),
    ],
)
def test_names_that_are_no_utf8_are_refused(here, arguments, what):
    """Output folders, jobs and inputs alike, in one message and before anything is written."""
    (here / STRANGE).mkdir()
    (here / STRANGE / "job.py").write_text(FAILING)
    (here / STRANGE / "text.txt").write_text(TEXT)
    refused = mapreduce("run", *arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"the name of '{here}/strange\\udcff")
    assert refused.stderr.endswith(f" is no UTF-8: {what}\n")
    assert leftovers(here) == []


def test_the_debugger_opens_at_the_users_line(here):
    """--pdb stands in the user's function, with its variables."""
    stopped = mapreduce("run", "failing.py", "text.txt", "--pdb", stdin="p 'line is ' + line\nq\n")
    assert stopped.returncode == 1
    assert '-> raise ValueError("no questions, please")' in stopped.stdout
    assert "'line is that is the question'" in stopped.stdout
    assert stopped.stderr.count("no questions, please") == 2  # source line and exception: told once


def test_a_full_disk_behind_stdout_is_told(here):
    """Results that cannot be written end the command with 1 and one line, not a traceback."""
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run(
            [*COMMAND, "run", "@word_count", "text.txt"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    told = [line for line in failed.stderr.splitlines() if "waiting for worker" not in line]  # as slow machines do
    assert (failed.returncode, told) == (1, ["standard output cannot be written: No space left on device"])
    assert leftovers(here) == []


@pytest.mark.parametrize(
    ("closed", "code", "message"),
    [("<&-", 2, "standard input cannot be"), (">&-", 1, "standard output cannot be written"), ("2>&-", 0, "")],
)
def test_closed_standard_streams_are_no_accident(here, closed, code, message):
    """A stream that is closed is told where it is needed, and missed nowhere else; no socket takes its number."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *COMMAND, "run", "@word_count", "-"],
        capture_output=True,
        text=True,
        input=TEXT,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "" if code else parse(done.stdout) == COUNTS
    assert leftovers(here) == []


def test_an_output_inside_the_input_is_not_read_as_input(here):
    """Replacing an output below the input folder is refused, for it would count the former results as text."""
    Path("texts").mkdir()
    Path("texts/text.txt").write_text(TEXT)
    assert mapreduce("run", "@word_count", "texts", "-o", "texts/out").returncode == 0
    again = mapreduce("run", "@word_count", "texts", "-o", "texts/out", "--overwrite")
    assert again.returncode == 2
    assert "part-00000 lies in the output folder" in again.stderr
