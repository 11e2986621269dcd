"""The command line before anything runs: help, versions, descriptions, demos."""

from __future__ import annotations

import subprocess
import sys

import pytest

TIMEOUT_S = 60
COMMANDS = [
    "run",
    "demo",
    "new",
    "describe",
    "check",
    "cat",
    "replay",
    "resume",
    "submit",
    "jobs",
    "status",
    "logs",
    "cancel",
    "workers",
    "coordinator",
    "worker",
]


def mapreduce(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mapreduce", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_the_help_lists_every_command_in_the_order_of_use():
    """`mapreduce --help` names all commands, none of their descriptions cut off."""
    shown = mapreduce("--help")
    assert shown.returncode == 0
    listed = [line.split()[0] for line in shown.stdout.partition("Commands:\n")[2].splitlines() if line.strip()]
    assert [name for name in listed if name in COMMANDS] == COMMANDS
    assert "..." not in shown.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command):
    """Each help ends with lines that can be copied."""
    shown = mapreduce(command, "--help")
    assert shown.returncode == 0
    assert f"\n    mapreduce {command}" in shown.stdout.partition("Example")[2]


def test_an_unknown_command_is_a_usage_error():
    """A typing slip exits with 2 and without a traceback."""
    refused = mapreduce("rnu")
    assert refused.returncode == 2
    assert "rnu" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_describe_says_what_a_job_is(tmp_path):
    """Steps, parameters with types and defaults, and the modules that travel."""
    path = tmp_path / "wc.py"
    path.write_text("def mapper(line, *, min_len: int = 3):\n    yield line, 1\n")
    shown = mapreduce("describe", str(path))
    assert shown.returncode == 0, shown.stderr
    for text in ("mapper (wc.py:1)", "min_len", "int", "3", str(path)):
        assert text in shown.stdout


def test_the_demo_shows_the_most_frequent_words():
    """`mapreduce demo` needs nothing and shows ten counts, the largest first."""
    shown = mapreduce("demo")
    assert shown.returncode == 0, shown.stderr
    counts = [int(line.split("\t")[1]) for line in shown.stdout.splitlines()]
    assert len(counts) == 10
    assert counts == sorted(counts, reverse=True)


def test_importing_the_package_is_light():
    """`import mapreduce`, and the names that jobs use, load neither Polars nor sockets nor pickling nor click."""
    code = (
        "import sys, mapreduce; mapreduce.Job, mapreduce.Count, mapreduce.run; "
        "print(sorted({'polars', 'numpy', 'zmq', 'cloudpickle', 'click'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert shown.stdout == "[]\n"
