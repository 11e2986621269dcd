"""The Python functions with real coordinators and workers, and the private folders that they live in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import mapreduce
from mapreduce import Context, Count, Job, JobFailed, Sum
from mapreduce.client import Connection, SilentListener
from mapreduce.coordinator.server import CoordinatorServer
from mapreduce.errors import CoordinatorUnreachable, JobCancelled, UsageError
from mapreduce.protocol.messages import Jobs, ListJobs
from mapreduce.request import Request
from mapreduce.runners import private
from mapreduce.runners.local import LocalCluster, run_local
from mapreduce.runners.private import PrivateFolder

JOB = Job(keys=str.split, reducer=Count())
COUNTS = {"to": 2, "be": 2, "or": 1, "not": 1}


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A small text; temporary files go to a folder of the test."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be\n")
    return path


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A coordinator on loopback and a worker process; gives the address."""
    server = CoordinatorServer("tcp://127.0.0.1:*", tmp_path / "state")
    server.start()
    command = [sys.executable, "-P", "-m", "workers.agent", "--coordinator", server.address, "--slots", "1"]
    agent = subprocess.Popen([*command, "--scratch", str(tmp_path / "scratch")], start_new_session=True)
    monkeypatch.setenv("MAPREDUCE_COORDINATOR", server.address)
    yield server.address
    agent.terminate()
    agent.wait(30)
    server.stop()


def wait_until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_a_result_without_output_keeps_exact_types_and_goes_away(text, tmp_path):
    """Records are typed, the frame too; nothing stays on disk after the result."""
    result = mapreduce.run(JOB, text, slots=1)
    assert dict(result) == COUNTS
    assert result.output is None
    assert sorted(result.to_polars().rows()) == sorted(COUNTS.items())
    del result
    assert list((tmp_path / "tmp").iterdir()) == []


def test_parameters_keep_their_types_and_counters_come_back(text, tmp_path):
    """What is given as params arrives as it is; counters and the output folder are in the result."""

    def mapper(line: str, *, weights: dict[str, float], ctx: Context) -> object:
        for word in line.split():
            ctx.counters["words"] += 1
            yield word, weights.get(word, 0.5)

    job = Job(mapper, reducer=Sum())
    result = mapreduce.run(job, [text], tmp_path / "out", params={"weights": {"to": 2.25}}, slots=1)
    assert dict(result) == {"to": 4.5, "be": 1.0, "or": 0.5, "not": 0.5}
    assert result.counters == {"words": 6}
    assert result.output == tmp_path / "out"


def test_a_failure_is_an_exception_with_the_users_story(text):
    """JobFailed has the traceback, the record and the task."""

    def mapper(line: str) -> object:
        raise LookupError(line)
        yield

    for runner in ("local", "inline"):
        with pytest.raises(JobFailed) as caught:
            mapreduce.run(Job(mapper), text, runner=runner, slots=1)
        assert "raise LookupError(line)" in caught.value.traceback
        assert caught.value.record == "'to be or not to be'"
        assert caught.value.task == "map 0"


def test_jobs_run_from_several_threads_at_once(text):
    """Each run has a cluster of its own."""
    results = {}

    def run(number):
        results[number] = dict(mapreduce.run(JOB, text, slots=1))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {0: COUNTS, 1: COUNTS}


def test_what_makes_no_sense_is_refused(text):
    """Unknown runners, no slots, a cluster without an output folder."""
    with pytest.raises(UsageError, match="local, inline, cluster"):
        mapreduce.run(JOB, text, runner="spark")
    with pytest.raises(UsageError, match="slots"):
        mapreduce.run(JOB, text, slots=0)
    with pytest.raises(UsageError, match="output"):
        mapreduce.run(JOB, text, runner="cluster")


def test_a_handle_waits_tells_and_gives_the_result(cluster, text, tmp_path):
    """`submit` returns at once; the handle has status and result."""
    handle = mapreduce.submit(JOB, text, tmp_path / "out")
    result = handle.wait(timeout_s=60)
    assert dict(result) == COUNTS
    assert handle.status().state == "done"
    assert result.id == handle.id
    assert dict(mapreduce.run(JOB, text, tmp_path / "out2", runner="cluster")) == COUNTS


def test_a_handle_cancels(cluster, text, tmp_path):
    """A cancelled job leaves no output, and waiting for it says so; a wait can be limited."""

    def mapper(line: str) -> object:
        time.sleep(120)
        yield line, 1

    handle = mapreduce.submit(Job(mapper), text, tmp_path / "out")
    with pytest.raises(TimeoutError):
        handle.wait(timeout_s=0.2)
    assert handle.cancel().state == "cancelled"
    with pytest.raises(JobCancelled):
        handle.wait(timeout_s=30)
    wait_until(lambda: not (tmp_path / "out").exists())


def test_nobody_at_the_address_is_an_error_that_says_what_to_do(text, tmp_path):
    """The first contact is given up, and the output folder is gone again."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(CoordinatorUnreachable, match="mapreduce coordinator --listen"):
            mapreduce.submit(JOB, text, tmp_path / "out", coordinator=address)
    assert not (tmp_path / "out").exists()


def test_a_killed_agent_is_replaced(text, tmp_path):
    """The local runner starts another one, and the job ends with the right result."""
    cluster = LocalCluster(slots=1)
    with cluster:
        first = cluster.agent_pid
        os.kill(first, signal.SIGKILL)

        def replaced() -> bool:
            cluster.check()
            return cluster.agent_pid != first

        wait_until(replaced)
        with Connection(cluster.address) as connection:
            assert connection.ask(ListJobs(), Jobs) == Jobs(())


def test_sockets_have_short_paths_even_where_tmpdir_is_long(text, tmp_path, monkeypatch):
    """A TMPDIR beyond the limit of socket paths still works."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    status = run_local(Request(JOB, (str(text),), str(tmp_path / "out"), slots=1), SilentListener())
    assert status.state == "done"
    assert list(long.iterdir()) == []


def test_folders_of_dead_owners_are_swept_and_living_ones_kept(text, tmp_path, monkeypatch):
    """What a killed client left is removed by the next one; a folder in use is not."""
    monkeypatch.setattr(private, "SWEEP_AGE_S", -1.0)
    code = (
        "import os\n"
        "from mapreduce.runners.private import PrivateFolder\n"
        "folder = PrivateFolder()\n"
        "(folder.path / 'data').write_text('x')\n"
        "print(folder.path, flush=True)\n"
        "os._exit(1)\n"
    )
    dead = Path(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    )
    assert (dead / "data").exists()
    with PrivateFolder() as living, PrivateFolder():
        assert not dead.exists()
        assert living.path.exists()
        assert living.path.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "tmp").iterdir()) == []
