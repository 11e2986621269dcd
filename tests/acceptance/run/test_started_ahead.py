"""The agent that `mapreduce run` starts before it has read its command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from run_command import COMMAND, COUNTS, TIMEOUT_S, leftovers, mapreduce, parse, processes_of


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-j", "0"], ["-o", ""], ["--reducers", "many"]])
def test_a_command_line_that_makes_no_sense_leaves_no_process(here, arguments):
    """Exit code 2, and the agent that was started for it is gone."""
    refused = mapreduce("run", "failing.py", "text.txt", *arguments)
    assert refused.returncode == 2
    assert processes_of(here) == []
    assert leftovers(here) == []


def test_a_run_leaves_no_process(here):
    """When the command has ended, so have agent, fork server and task processes."""
    done = mapreduce("run", "failing.py", "text.txt", "-p", "bad=nothing", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert processes_of(here) == []
    assert leftovers(here) == []


def test_a_run_with_closed_standard_streams(here):
    """A command without standard streams starts nothing ahead, and does its work."""
    command = " ".join([*COMMAND, "run", "@word_count", "text.txt", "-o", "out"])
    subprocess.run(["/bin/sh", "-c", f"exec {command} <&- >&- 2>&-"], check=True, timeout=TIMEOUT_S)
    assert parse(Path("out/part-00000").read_text()) == COUNTS
    assert leftovers(here) == []


def test_the_users_own_seed_does_not_change_results(here, monkeypatch):
    """Task processes hash with a seed of their own, whatever the command was started with."""
    Path("seeded.py").write_text("def mapper(_line):\n    yield hash('word'), 1\n")
    found = set()
    for seed in ("1", "random"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        assert mapreduce("run", "seeded.py", "text.txt", "-o", "out", "--overwrite").returncode == 0
        found.add(next(Path("out").glob("part-*")).read_text())
    assert len(found) == 1
