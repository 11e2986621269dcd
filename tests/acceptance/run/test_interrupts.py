"""`mapreduce run` that is interrupted or killed: nothing is left."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from run_command import COMMAND, SLOW, TIMEOUT_S, leftovers, mapreduce, processes_of

from mapreduce.cli.run import _tell_stopped
from mapreduce.failed import history
from mapreduce.request import Request


def wait_until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def start_slow(*options):
    return start("run", "slow.py", "text.txt", *options)


def start(*arguments):
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = iter(process.stderr.readline, "")
    assert "mapping\n" in said  # not always the first line: a slow machine says what it waits for
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_everything_within_two_seconds(here, number, code):
    """Ctrl-C leaves no process, no socket, no temporary folder and no half-written output."""
    process = start_slow("-o", "out")
    assert Path("out").exists()
    started_s = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert time.monotonic() - started_s < 2.5
    assert process.returncode == code
    assert "Traceback" not in errors
    told = "stopped: nothing was written to out, and nothing is kept to resume\n"
    assert errors.endswith(told) is (number == signal.SIGINT)
    assert not Path("out").exists()
    assert leftovers(here) == []
    wait_until(lambda: processes_of(here) == [])


def test_an_interrupted_resumption_leaves_what_it_goes_on_with(here):
    """Ctrl-C of `resume` says so, and the failed job can be resumed again."""
    Path("slow.py").write_text(
        "def mapper(line):\n    yield line, 1\n\ndef reducer(line, ones):\n    yield line, 1 / 0\n"
    )
    failed = mapreduce("run", "slow.py", "text.txt")
    (job,) = re.findall("mapreduce resume (.*)", failed.stderr)
    Path("slow.py").write_text(SLOW)
    process = start("resume", "last", "-o", "out")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert errors.endswith(f"stopped: nothing was written to {here}/out, and what {job} has left is still kept\n")
    assert history.find().job == job
    assert not Path("out").exists()


def test_an_interrupt_when_all_is_done_says_where_the_output_is(here, capsys):
    """What this very job has committed stays, and nobody is told that nothing was written."""
    assert mapreduce("run", "failing.py", "text.txt", "-o", "out", "-p", "bad=none").returncode == 0
    job = json.loads(Path("out/_job.json").read_text())["job"]
    for output in ("out", f"file://{here}/out"):
        _tell_stopped(Request("failing.py", ("text.txt",), output), job, to_stdout=False)
        assert capsys.readouterr().err == f"stopped when all was done: the output is in {output}\n"
    for output, asked in (("out", "another"), ("nowhere", job)):
        _tell_stopped(Request("failing.py", ("text.txt",), output), asked, to_stdout=False)
        assert f"nothing was written to {output}, and" in capsys.readouterr().err
    Path("out/_job.json").write_text("[]")
    _tell_stopped(Request("failing.py", ("text.txt",), "out"), job, to_stdout=False)
    assert "nothing was written to out" in capsys.readouterr().err


def test_a_second_interrupt_does_not_break_the_cleaning(here):
    """Impatience leaves nothing behind either."""
    process = start_slow("-o", "out")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, "Traceback" in errors) == (130, False)
    assert not Path("out").exists()
    assert leftovers(here) == []


def test_a_killed_client_leaves_no_process(here):
    """Everything that it started notices its death and exits."""
    process = start_slow()
    assert len(processes_of(here)) > 1
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    wait_until(lambda: processes_of(here) == [])
