"""`mapreduce check` as a user meets it: what it finds before the long run, and that what is right passes."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from checked import LINES, write_job, write_lines
from cluster import alive, environment, wait_for
from commands import run_text
from everywhere import run_everywhere
from mapreduce.demos.terasort import generate

import mapreduce
from mapreduce import Job
from mapreduce.check.report import Level

TIMEOUT_S = 120
COMMAND = [sys.executable, "-m", "mapreduce"]

MEAN = """
def mapper(line):
    for word in line.split():
        yield word, len(line)


def combiner(word, lengths):
    held = list(lengths)
    yield word, sum(held) / len(held)


def reducer(word, lengths):
    held = list(lengths)
    yield word, sum(held) / len(held)
"""
UNSTEADY = {
    "state": """
        seen = set()

        def mapper(line):
            for word in line.split():
                if word not in seen:
                    seen.add(word)
                    yield word, 1
        """,
    "random": """
        import random

        def mapper(line):
            if random.random() < 0.5:
                yield line, 1
        """,
    "clock": """
        import time

        def mapper(line):
            yield line, time.time()
        """,
    "hash-order": """
        def mapper(line):
            yield len(line), ",".join(set(line))

        def reducer(length, texts):
            yield length, list(texts)
        """,
}
LOOK_AT = {
    "state": "if word not in seen:",
    "random": "if random.random() < 0.5:",
    "clock": "yield line, time.time()",
    "hash-order": 'yield len(line), ",".join(set(line))',
}


def command(*arguments, folder):
    return run_text("check", *arguments, cwd=folder, env=dict(os.environ), timeout=TIMEOUT_S)


@pytest.mark.parametrize("kind", UNSTEADY)
def test_results_that_are_not_the_same_every_time_are_found(tmp_path, kind):
    """State between records, random numbers, the clock, the order of a set: each with its cause and the user's line."""
    path = write_job(tmp_path, UNSTEADY[kind], name=f"unsteady_{kind.replace('-', '_')}")
    report = mapreduce.check_job(path, write_lines(tmp_path), records=100)
    (found,) = report.problems
    assert found.kind == kind
    assert "the mapper" in found.title
    assert any(LOOK_AT[kind] in line for line in found.code), found.code
    assert not report.is_good


def _records(folder):
    generate(str(folder / "records.txt"), 1000)
    return folder / "records.txt"


def _log(folder):
    lines = [
        f"10.0.0.{n % 7} - - [17/May/2015:{10 + n // 100:02}:{n % 60:02}:00 +0000] "
        f'"GET /{n % 5} HTTP/1.1" {404 if n % 3 else 200} {n}'
        for n in range(600)
    ]
    return write_lines(folder, lines)


@pytest.mark.parametrize(
    ("target", "make"),
    [
        ("@word_count", write_lines),
        ("@inverted_index", write_lines),
        ("@feature_extraction:hashed_tfidf", write_lines),
        ("@terasort", _records),
        ("@log_sessions", _log),
    ],
)
def test_the_demos_pass(tmp_path, target, make):
    """No problem and no warning in any of them: aggregators, reducers, steps, frames, sorted values, named outputs."""
    report = mapreduce.check_job(target, make(tmp_path), records=200)
    assert [one for one in report.findings if one.level in {Level.PROBLEM, Level.WARNING}] == [], str(report)
    assert report.estimates


def test_a_report_for_people_says_what_is_wrong_and_where(tmp_path):
    """On stdout, with exit code 1: the finding, an example that can be checked by hand, the lines, and the estimate."""
    write_job(tmp_path, MEAN, name="means")
    write_lines(tmp_path, ["a bb", "a bbb", "a b c d e f"] * 30)
    done = command("means.py", "input", "-o", "out", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.split("\n")
    assert lines[0].startswith("means: 1 problem, ")
    shown = "\n".join(lines)
    assert "  means  " in shown
    assert "sample  all of the input: 90 records, " in shown
    assert "problem  the combiner (means.py:7) is not associative" in shown
    assert "at means.py:7: def combiner(word, lengths):" in shown
    assert "estimate of the whole run" in shown
    assert "with the" in next(line for line in lines if line.startswith("  time"))
    assert not (tmp_path / "out").exists()


def test_a_report_for_programs_is_json(tmp_path):
    """With --json, all of it; exit code 0 without a problem; what functions print goes to stderr, once."""
    write_job(tmp_path, "def mapper(line):\n    print('seen', line)\n    yield line, 1\n", name="printing")
    write_lines(tmp_path, ["only line"])
    done = command("printing.py", "input", "--json", "-j", "3", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["good"] is True
    assert report["sampled"]["records"] == 1
    assert {one["kind"]: one["level"] for one in report["findings"]}["steady"] == "ok"
    assert report["travelling"]["modules"][0][0] == "printing"
    assert {one["name"] for one in report["estimates"]} >= {"time", "memory", "output"}
    assert done.stderr.count("seen only line") == 1


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("def mapper(line):\n    yield line, 1 / 0\n", "failure", "ZeroDivisionError: division by zero"),
        ("def mapper(a, b, c):\n    yield a, b\n", "definition", "takes (a, b, c)"),
        ("import not_installed_anywhere\n", "definition", "No module named 'not_installed_anywhere'"),
        ("def mapper(line)\n", "definition", "SyntaxError"),
        ("class A:\n    pass\ndef mapper(line):\n    yield line, A()\n", "failure", "can only be pickled"),
        (
            "from mapreduce import Job, JsonLines\njob = Job(lambda value: [(1, 1)], input=JsonLines())\n",
            "record",
            "no JSON",
        ),
        (
            "from mapreduce import Job\njob = Job(lambda line: [(1, 1 << 80)], output='parquet')\n",
            "output",
            "cannot be written as parquet",
        ),
    ],
    ids=["raises", "signature", "import", "syntax", "value", "record", "output"],
)
def test_what_keeps_a_job_from_running_is_a_problem(tmp_path, source, kind, told):
    """A function that raises, a signature, an import, a value or a record that cannot be: each is in the report."""
    report = mapreduce.check_job(write_job(tmp_path, source, name="broken"), write_lines(tmp_path), records=20)
    (found,) = report.problems
    assert found.kind == kind
    assert told in "\n".join(found.lines())


def test_the_command_of_a_failure_opens_the_debugger_there(tmp_path):
    """What fails on the sample comes with the command that stops at the line: the user's own words, to be copied."""
    source = "def mapper(line, *, least: int = 0):\n    yield line, len(line) // least\n"
    write_job(tmp_path, source, name="fails")
    Path(write_lines(tmp_path)).rename(tmp_path / "my lines")
    done = command("fails.py", "my lines", "-p", "least=0", "--records", "9", folder=tmp_path)
    (line,) = [line.strip() for line in done.stdout.split("\n") if line.endswith("--pdb")]
    assert line == "mapreduce run fails.py 'my lines' -p least=0 --pdb"
    again = subprocess.run(
        [*COMMAND, *shlex.split(line)[1:]],
        cwd=tmp_path,
        input="p line\nq\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (again.returncode, "(Pdb)" in again.stdout) == (1, True), again.stderr


def test_what_cannot_travel_is_named(tmp_path):
    """A job from a program that holds a lock cannot be sent to a worker: the variable is in the report."""
    guard = threading.Lock()

    def mapper(line):
        with guard:
            yield line, 1

    report = mapreduce.check_job(Job(mapper), write_lines(tmp_path))
    (found,) = report.problems
    assert found.kind == "travel"
    assert "guard" in "\n".join(found.details)


def test_a_wrong_command_is_no_finding(tmp_path):
    """A job or file that is not there, an unknown parameter, standard input: exit code 2, and nothing on stdout."""
    write_job(tmp_path, MEAN, name="means")
    write_lines(tmp_path)
    for arguments in (
        ["nothing.py", "input"],
        ["means.py:typo", "input"],
        ["@typo", "input"],
        ["means.py", "nowhere"],
        ["means.py", "input", "-p", "x=1"],
        ["means.py", "-"],
    ):
        done = command(*arguments, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), arguments
    with pytest.raises(mapreduce.UsageError, match="a sample has from 1 to"):
        mapreduce.check_job(str(tmp_path / "means.py"), tmp_path / "input", records=0)
    with pytest.raises(mapreduce.UsageError, match="no option 'colour'"):
        mapreduce.check_job(str(tmp_path / "means.py"), tmp_path / "input", colour="red")


def test_what_only_this_process_has_is_found(tmp_path, monkeypatch):
    """A mapper that shows a variable of this process's environment gives something else on a worker."""
    source = """
        import os

        HOME = os.environ.get("PYTHONPATH", "")

        def mapper(line):
            yield line, HOME
    """
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    report = mapreduce.check_job(write_job(tmp_path, source, name="at_home"), write_lines(tmp_path), records=20)
    (found,) = report.problems
    assert found.kind == "process"


def test_what_kills_a_process_does_not_kill_the_check(tmp_path):
    """A crash of the user's code happens elsewhere first: the report names the signal and the line."""
    source = """
        import ctypes

        def mapper(line):
            ctypes.string_at(0)
            yield line, 1
    """
    report = mapreduce.check_job(write_job(tmp_path, source, name="crashing"), write_lines(tmp_path), records=20)
    (found,) = report.problems
    assert found.kind == "died"
    assert "SIGSEGV" in found.title
    assert 'crashing.py", line 5 in mapper' in found.details[0]


def test_what_each_machine_has_for_itself_is_noted(tmp_path, monkeypatch):
    """A file of the current folder is there for all trials, and not for a worker elsewhere: the line is shown."""
    source = """
        def mapper(line):
            with open("stop.txt") as file:
                yield line, file.read()
    """
    (tmp_path / "stop.txt").write_text("the\n")
    monkeypatch.chdir(tmp_path)
    report = mapreduce.check_job(write_job(tmp_path, source, name="reading"), write_lines(tmp_path), records=20)
    (found,) = report.of_kind("machine")
    assert (report.is_good, found.level) == (True, Level.NOTE)
    assert found.code == ('reading.py:3: with open("stop.txt") as file:',)


def test_a_terminal_gets_lines_that_fit(tmp_path):
    """On a terminal no line is longer than it is wide, and what is being done is shown, and wiped at the end."""
    write_job(tmp_path, MEAN, name="means")
    write_lines(tmp_path, ["a bb", "a bbb", "a b c d e f"] * 30)
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with subprocess.Popen(
        [*COMMAND, "check", "means.py", "input"], cwd=tmp_path, stdout=terminal, stderr=terminal, env=environment()
    ) as checking:
        os.close(terminal)
        seen = b""
        while piece := _read(controller):
            seen += piece
        assert checking.wait(TIMEOUT_S) == 1
    os.close(controller)
    doing, report = seen.decode().replace("\r\n", "\n").rsplit("\r\x1b[K", 1)
    assert "running the sample in other processes" in doing
    assert report.startswith("means: 1 problem, ")
    lines = report.split("\n")
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80  # a path is not cut
    start = next(number for number, line in enumerate(lines) if line.startswith("  problem"))
    assert lines[start + 1] == " " * 11 + "give another result than combined once"


def _read(controller):
    try:
        return os.read(controller, 65536)
    except OSError:  # the other side is closed: Linux's way of saying end of file
        return b""


def test_a_job_that_passes_gives_the_same_everywhere(tmp_path, cluster):
    """What a check calls good has the same bytes inline, locally and on a cluster, also with other splits."""
    source = """
        from mapreduce import Job, Mean

        def mapper(line, *, least: int = 2):
            for word in line.split():
                if len(word) >= least:
                    yield word, len(line)

        job = Job(mapper, reducer=Mean())
    """
    path, inputs = write_job(tmp_path, source, name="good"), write_lines(tmp_path)
    report = mapreduce.check_job(path, inputs, params={"least": 3})
    assert report.is_good, str(report)
    options = {"params": {"least": 3}, "reducers": 2}
    first = run_everywhere(path, inputs, tmp_path / "x", cluster.address, **options)
    other = mapreduce.run(path, inputs, tmp_path / "other", runner="inline", split_size=200, **options)
    assert dict(first) == dict(other)
    assert report.sampled.records == len(LINES)


def test_a_check_leaves_nothing_behind(tmp_path, monkeypatch):
    """Temporary folders are gone, and no output was made."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    inputs = write_lines(tmp_path)
    mapreduce.check_job(Job(keys=str.split), inputs, records=50)
    assert list(Path(tmp_path / "tmp").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"tmp", "input"}


def test_processes_of_a_check_end_with_it(tmp_path):
    """A check that is killed leaves no process behind, though their functions would go on for long."""
    source = """
        import os
        import time
        from pathlib import Path

        def mapper(line, *, where: str):
            Path(where, str(os.getpid())).touch()
            time.sleep(600)
            yield line, 1
    """
    path, inputs, seen = write_job(tmp_path, source, name="sleeping"), write_lines(tmp_path), tmp_path / "seen"
    seen.mkdir()
    arguments = [*COMMAND, "check", path, inputs, "-p", f"where={seen}"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as checking:
        wait_for(lambda: len(list(seen.iterdir())) == 2, "both processes at work")
        checking.kill()
    wait_for(lambda: not any(alive(int(name.name)) for name in seen.iterdir()), "the end of both processes")
