"""The figures of `mapreduce check` as a user meets them: true of small inputs, soon there for slow jobs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checked import write_job, write_lines

import mapreduce
from mapreduce.check import budget, measuring
from mapreduce.check.report import Level, Sure
from mapreduce.cli.app import run_cli

TIMEOUT_S = 120
COMMAND = [sys.executable, "-m", "mapreduce"]

SLOW = """
    import time
    from mapreduce import Job, Sum

    def mapper(line, *, seconds: float):
        time.sleep(seconds)
        yield int(line) % 7, 1

    job = Job(mapper, reducer=Sum())
"""
WORDS = """
    from mapreduce import Job, Sum

    def mapper(line):
        for word in line.split():
            yield word, 1

    job = Job(mapper, reducer=Sum())
"""
WHOLE_NUMBERS = """
    from mapreduce import Job, Sum

    def mapper(line):
        yield int(line) % 3, int(line)

    job = Job(mapper, reducer=Sum())
"""


def figures(report):
    return {one.name: one for one in report.estimates}


def test_a_slow_job_is_checked_on_less(tmp_path):
    """The report says of how many records and why, and does not make more keys of seven."""
    path = write_job(tmp_path, SLOW, name="slow")
    inputs = write_lines(tmp_path, [str(number) for number in range(1000)])
    report = mapreduce.check_job(path, inputs, params={"seconds": 0.02})
    assert report.is_good, str(report)
    assert 10 <= report.sampled.records <= 60
    assert "files: no more, since each takes about " in report.sampled.line()
    found = figures(report)
    assert found["keys"].value < 20
    assert 10 < found["time"].value < 60  # 20 s of work
    assert "largest key" in found


def test_of_a_very_slow_job_it_is_said_what_was_left_out(tmp_path):
    """One record shows that it runs, and what takes several is not claimed."""
    path = write_job(tmp_path, SLOW, name="very_slow")
    inputs = write_lines(tmp_path, [str(number) for number in range(1000)])
    report = mapreduce.check_job(path, inputs, params={"seconds": 2.5})
    (left_out,) = report.of_kind("left-out")
    assert (report.is_good, report.sampled.records, left_out.level) == (True, 1, Level.NOTE)
    assert "so these were left out: " in left_out.title
    assert {"split-borders", "input-order", "reducers"}.isdisjoint(one.kind for one in report.findings)
    assert {"failure", "steady"} <= {one.kind for one in report.findings}


def test_the_sizes_of_a_small_input_are_true(tmp_path):
    """All bytes of all files are counted, and the shuffle is what the run says that it was."""
    path = write_job(tmp_path, WORDS, name="words")
    inputs = write_lines(tmp_path, ["the cat sat on a mat", "the end"] * 3)
    arguments = [*COMMAND, "check", path, inputs, "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    report = json.loads(done.stdout)
    sampled = report["sampled"]
    assert (sampled["size"], sampled["all_size"], sampled["records"], sampled["whole"]) == (87, 87, 6, True)
    (shuffle,) = [one for one in report["estimates"] if one["name"] == "shuffle"]
    result = mapreduce.run(path, inputs, runner="inline")
    assert (shuffle["value"], shuffle["sure"]) == (result.status.shuffle_bytes, Sure.MEASURED)


@pytest.fixture
def all_the_time(monkeypatch):
    """A check in this process that leaves out nothing and makes its samples large, on a busy machine too."""
    monkeypatch.setattr(budget, "BUDGET_S", 1e6)
    monkeypatch.setattr(measuring, "TIMING_S", 1e6)


@pytest.mark.usefixtures("all_the_time")
@pytest.mark.parametrize("max_bad", [3, 2])
def test_bad_records_are_told_wherever_they_are_met(tmp_path, max_bad):
    """With max_bad they are put aside as in a run, also those of the larger sample; more than allowed is a warning."""
    path = write_job(tmp_path, WHOLE_NUMBERS, name=f"whole_numbers_{max_bad}")
    lines = ["bad" if number in {500, 1400, 2100} else str(number) for number in range(3000)]
    report = mapreduce.check_job(path, write_lines(tmp_path, lines), records=500, max_bad=max_bad)
    (found,) = report.of_kind("bad")
    assert report.is_good
    assert found.level is (Level.NOTE if max_bad == 3 else Level.WARNING)
    assert found.title == "3 bad records would be put aside: 3 ValueError in mapper"


@pytest.mark.usefixtures("all_the_time")
def test_a_failure_of_the_larger_sample_has_its_command_too(tmp_path, monkeypatch, capsys):
    """A bad line behind the sample is found by the one that times are told from, with the command of the debugger."""
    write_job(tmp_path, WHOLE_NUMBERS, name="whole_numbers")
    write_lines(tmp_path, ["bad" if number == 500 else str(number) for number in range(3000)])
    monkeypatch.chdir(tmp_path)
    assert run_cli(["check", "whole_numbers.py", "input", "--records", "500"]) == 1
    printed = capsys.readouterr().out
    assert "problem  the job fails on another sample, of " in printed
    assert "\n             mapreduce run whole_numbers.py input --pdb\n" in printed


def test_no_debugger_is_named_where_it_cannot_stop(tmp_path):
    """What a function gave is wrong, and no line of it failed: the report says so, without a command."""
    path = write_job(tmp_path, "def mapper(line):\n    return line\n", name="returns")
    report = mapreduce.check_job(path, write_lines(tmp_path), records=20)
    (found,) = report.problems
    assert found.kind == "failure"
    assert "--pdb" not in "\n".join(found.details)


def test_the_number_of_reducers_is_no_fault_of_the_mapper(tmp_path):
    """Where a later step collects values, which come part by part, the report names what collects them."""
    source = """
        from mapreduce import Collect, Job, Step, Sum

        def pairs(line):
            for word in line.split():
                yield word, 1

        def turned(word, number):
            yield number, word

        job = Job(steps=[Step(pairs, reducer=Sum()), Step(turned, reducer=Collect())])
    """
    inputs = write_lines(tmp_path, [" ".join(f"w{number % 40}" for number in range(n, n + 9)) for n in range(100)])
    report = mapreduce.check_job(write_job(tmp_path, source, name="collects"), inputs, records=100)
    (found,) = report.of_kind("reducers")
    assert found.title.endswith("through Collect() of step 2")
    assert "part by part" in found.details[-1]
