"""The commands for a cluster as a user meets them: coordinator and worker as processes on loopback, jobs submitted."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import run_text

TIMEOUT_S = 60
COMMAND = [sys.executable, "-m", "mapreduce"]
TEXT = "to be or not to be\n"
SLOW = """
import time


def mapper(line):
    print("mapping", flush=True)
    time.sleep(120)
    yield line, 1
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(*arguments):
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A coordinator on loopback; MAPREDUCE_COORDINATOR names it."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("slow.py").write_text(SLOW)
    address = f"tcp://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MAPREDUCE_COORDINATOR", address)
    with running("coordinator", "--listen", address, "--state", str(tmp_path / "state")):
        yield address


@pytest.fixture
def worker(address, tmp_path):
    """A worker with two slots."""
    with running("worker", "--slots", "2", "--scratch", str(tmp_path / "scratch")) as process:
        wait_until(lambda: ask("workers"))
        yield process


def mapreduce(*arguments):
    return run_text(*arguments, env=dict(os.environ), timeout=TIMEOUT_S)


def ask(*arguments):
    answer = mapreduce(*arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def wait_until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return result


def test_a_job_is_submitted_and_waited_for(worker):
    """`submit` ends when the job does, with its summary; jobs, status and workers tell of it."""
    done = mapreduce("submit", "@word_count", "text.txt", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "word_count: done in" in done.stderr
    (part,) = Path("out").glob("part-*")
    counts = {key: int(value) for key, value in (line.split("\t") for line in part.read_text().splitlines())}
    assert counts == dict(collections.Counter(TEXT.split()))
    (job,) = ask("jobs")
    assert (job["state"], job["name"], job["output"]) == ("done", "word_count", str(Path("out").absolute()))
    assert ask("status", "last")["job"] == job["job"]
    assert ask("status", job["job"][:12])["job"] == job["job"]
    assert job["job"] in mapreduce("jobs").stdout
    assert "done" in mapreduce("status", "last").stdout
    (known,) = ask("workers")
    assert known["slots"] == 2
    assert known["name"] in mapreduce("workers").stdout


def test_a_detached_job_is_found_logged_and_cancelled(worker):
    """`--detach` prints the id; logs show what its functions print; cancel stops it and removes its output."""
    detached = mapreduce("submit", "slow.py", "text.txt", "-o", "out", "--detach")
    assert detached.returncode == 0, detached.stderr
    job = detached.stdout.strip()
    entries = wait_until(lambda: ask("logs", job))
    assert (entries[0]["task"], entries[0]["text"]) == ("map 0", "mapping\n")
    assert mapreduce("logs", "last").stdout == "mapping\n"
    assert ask("status", job)["state"] == "running"
    cancelled = mapreduce("cancel", "last")
    assert (cancelled.returncode, cancelled.stdout) == (0, f"{job}: cancelled\n")
    assert mapreduce("cancel", "last").stdout == f"{job}: had ended already (cancelled)\n"
    assert ask("status", job)["state"] == "cancelled"
    wait_until(lambda: not Path("out").exists())
    assert mapreduce("status", "last", "--wait").returncode == 1


def test_an_interrupt_detaches_and_says_how_to_come_back(worker):
    """Ctrl-C on submit leaves the job running."""
    process = subprocess.Popen(
        [*COMMAND, "submit", "slow.py", "text.txt", "-o", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    job = process.stderr.readline().removeprefix("submitted ").strip()
    wait_until(lambda: ask("status", job)["state"] == "running")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert f"mapreduce status {job} --wait" in errors
    assert f"mapreduce cancel {job}" in errors
    assert ask("status", job)["state"] == "running"
    following = subprocess.Popen([*COMMAND, "status", job, "--wait"], stderr=subprocess.PIPE, text=True)
    assert following.stderr.readline() == "mapping\n"
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=TIMEOUT_S)
    assert following.returncode == 130
    assert errors.startswith(f"detached: {job} runs on.\n")
    assert ask("cancel", job)["state"] == "cancelled"


def test_a_failed_job_is_told_as_in_run(worker):
    """Exit code 1, the user's traceback, and nothing left of the output."""
    Path("failing.py").write_text("def mapper(line):\n    raise ValueError('no')\n    yield\n")
    failed = mapreduce("submit", "failing.py", "text.txt", "-o", "out")
    assert failed.returncode == 1
    assert "raise ValueError('no')" in failed.stderr
    assert not Path("out").exists()
    assert "ValueError: no" in mapreduce("status", "last").stdout


def test_without_workers_the_client_says_what_it_waits_for(address):
    """A job that cannot start is not silent."""
    process = subprocess.Popen(
        [*COMMAND, "submit", "@word_count", "text.txt", "-o", "out"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith("submitted word_count-")
    assert "waiting for a worker" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert ask("cancel", "last")["state"] == "cancelled"


def test_no_coordinator_is_told_within_seconds(tmp_path, monkeypatch):
    """Every command names the address and how to start a coordinator, and exits with 2; nothing is left."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    address = f"tcp://127.0.0.1:{free_port()}"
    started_s = time.monotonic()
    refused = mapreduce("submit", "@word_count", "text.txt", "-o", "out", "--coordinator", address)
    assert time.monotonic() - started_s < 10
    assert refused.returncode == 2
    assert f"mapreduce coordinator --listen {address}" in refused.stderr
    assert not Path("out").exists()
    assert mapreduce("jobs", "--coordinator", address).returncode == 2


def test_unknown_jobs_and_bad_addresses_are_usage_errors(address):
    """One message, exit code 2."""
    for arguments, text in (
        (["status", "nonsense"], "nonsense"),
        (["status", "last"], ""),
        (["jobs", "--coordinator", "nonsense"], "tcp://HOST:PORT"),
        (["submit", "@word_count", "-", "-o", "out"], "standard input"),
        (["submit", "@word_count", "text.txt", "-o", ""], "name a folder"),
        (["submit", "@word_count", "text.txt", "-o", "out", "--priority", "9" * 30], "priority"),
    ):
        refused = mapreduce(*arguments)
        assert refused.returncode == 2, arguments
        assert text in refused.stderr
        assert "Traceback" not in refused.stderr


def test_empty_lists_say_so(address):
    """Without jobs or workers there is a sentence on stderr, with what to do, and no bare heading."""
    listed = mapreduce("jobs")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "no jobs yet" in listed.stderr
    assert f"mapreduce worker --coordinator {address}" in mapreduce("workers").stderr
    assert (ask("jobs"), ask("workers")) == ([], [])


def test_run_ignores_the_coordinators_address(address, monkeypatch):
    """`run` is this machine's alone, whatever MAPREDUCE_COORDINATOR says."""
    assert os.environ["MAPREDUCE_COORDINATOR"] == address
    assert mapreduce("run", "@word_count", "text.txt", "-o", "out").returncode == 0
    assert ask("jobs") == []
