"""Whatever dies on the way, the output is byte-identical and nothing is left running."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import gated
import gated_ranges
import pytest
from cluster import Cluster, alive, children_of, environment, mapreduce, wait_for
from reference import bytes_of

OPTIONS = ("--reducers", 3, "--split-size", "5KB")


@pytest.fixture(scope="module")
def undisturbed():
    """The bytes of undisturbed runs by their jobs, each of which runs once: the texts are always the same."""
    return {}


@pytest.fixture
def expected(gated_job, gated_texts, gate, tmp_path, undisturbed):
    """The bytes of an undisturbed run."""
    if gated_job not in undisturbed:
        output = tmp_path / "undisturbed"
        mapreduce("run", gated_job, gated_texts, "-o", output, "-p", f"gate={gate.folder}", *OPTIONS, "-r", "inline")
        for mark in gate.folder.iterdir():
            mark.unlink()
        undisturbed[gated_job] = bytes_of(output)
    return undisturbed[gated_job]


@pytest.fixture
def cluster(tmp_path):
    """A cluster of its own, since each of these tests breaks it."""
    with Cluster(tmp_path) as running:
        yield running


class Submission:
    """`mapreduce submit` in the background."""

    def __init__(self, cluster, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mapreduce", "submit", *map(str, arguments)],
            env=environment(MAPREDUCE_COORDINATOR=cluster.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )

    def finish(self):
        text, _ = self.process.communicate(timeout=100)
        assert self.process.returncode == 0, text
        return text


@pytest.fixture
def submit(cluster, gated_job, gated_texts, gate, tmp_path):
    """Start the gated job on the cluster; gives the submission and its output folder."""
    started = []

    def start():
        output = tmp_path / "output"
        submission = Submission(cluster, gated_job, gated_texts, "-o", output, "-p", f"gate={gate.folder}", *OPTIONS)
        started.append(submission.process)
        return submission, output

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(20)
        process.stdout.close()


def agent_of(cluster, task_process):
    """The worker among whose descendants a task process is."""
    (owner,) = [worker for worker in cluster.workers if task_process in children_of(worker.pid)]
    return owner


def test_a_killed_task_process_is_replaced(cluster, submit, gate, expected):
    """SIGKILL to a task process in its map task: the task runs again elsewhere, the output is the same."""
    cluster.start_worker()
    gate.hold("map2")
    submission, output = submit()
    victim = gate.arrived("map2")
    os.kill(victim, signal.SIGKILL)
    gate.arrived("map2", others={victim})
    gate.release("map2")
    submission.finish()
    assert bytes_of(output) == expected
    assert cluster.status().attempts_failed == 1


def test_a_killed_agent_in_the_map_phase(cluster, submit, gate, expected):
    """SIGKILL to an agent that runs a map task and holds runs: all of it is done again by the other."""
    cluster.start_worker(slots=1)
    cluster.start_worker(slots=1)
    gate.hold("map5")
    submission, output = submit()
    at_gate = gate.arrived("map5")
    owner = agent_of(cluster, at_gate)
    processes = children_of(owner.pid)
    owner.kill()
    wait_for(lambda: not any(map(alive, processes)), "the dead agent's processes end")
    gate.arrived("map5", others={at_gate})
    gate.release("map5")
    submission.finish()
    assert bytes_of(output) == expected


@pytest.mark.parametrize("gated_job", [gated.__file__, gated_ranges.__file__], ids=["hash", "ranges"])
def test_a_killed_agent_in_the_reduce_phase_with_its_runs(cluster, submit, gate, expected):
    """SIGKILL to an agent whose runs are being reduced: its map tasks run again, the reduces after them.

    With ranges that are measured, the runs that are made again must have the same boundaries.
    """
    cluster.start_worker(slots=1)
    cluster.start_worker(slots=1)
    gate.hold("reduce")
    submission, output = submit()
    at_gate = gate.arrived("reduce")
    owner = agent_of(cluster, at_gate)
    owner.kill()
    gate.arrived("reduce", others={at_gate})
    gate.release("reduce")
    submission.finish()
    assert bytes_of(output) == expected


def test_a_stopped_agent_that_comes_back_commits_nothing(cluster, submit, gate, gated_texts, expected):
    """SIGSTOP past the lease and SIGCONT while the job runs: what the old session finished late is not taken."""
    cluster.start_worker(slots=1)
    cluster.start_worker(slots=1)
    gate.hold("map5")
    gate.hold("reduce")
    submission, output = submit()
    at_gate = gate.arrived("map5")
    owner = agent_of(cluster, at_gate)
    os.kill(owner.pid, signal.SIGSTOP)
    gate.arrived("map5", others={at_gate})
    gate.release("map5")  # the stopped agent's task process goes on, too: its outcome waits for the agent
    gate.arrived("reduce")
    os.kill(owner.pid, signal.SIGCONT)
    wait_for(lambda: len(cluster.status_of_workers()) == 2, "the stopped worker is back")
    gate.release("reduce")
    submission.finish()
    assert bytes_of(output) == expected
    status = cluster.json("status", "last")
    lines = sum(len(path.read_text().split("\n")) for path in gated_texts.iterdir())
    assert (status["attempts_failed"], status["counters"]) == (1, {"lines": lines})


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_coordinator_goes_on_where_it_was(seed, cluster, submit, gate, expected):
    """SIGKILL to the coordinator at a random moment, restart on its journal: the client sees the job through."""
    cluster.start_worker()
    cluster.start_worker()
    stage = random.Random(seed).choice(["map0", "map3", "map5", "reduce"])
    gate.hold(stage)
    submission, output = submit()
    gate.arrived(stage)
    if seed % 2:
        gate.release(stage)
    cluster.coordinator.kill()
    cluster.coordinator.wait(10)
    cluster.start_coordinator()
    if not seed % 2:
        gate.release(stage)
    submission.finish()
    assert bytes_of(output) == expected


def test_a_killed_client_of_submit_leaves_its_job_running(cluster, submit, gate, expected):
    """SIGKILL to the submitting client: the job ends all the same."""
    cluster.start_worker()
    gate.hold("map1")
    submission, output = submit()
    gate.arrived("map1")
    submission.process.kill()
    gate.release("map1")
    wait_for(lambda: cluster.status().state == "done", "the job is done")
    assert bytes_of(output) == expected


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_leaves_nothing(how, gated_job, gated_texts, gate, tmp_path):
    """A local run that is killed or interrupted leaves no process and no half-written output."""
    gate.hold("map1")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    output = tmp_path / "output"
    command = [sys.executable, "-P", "-m", "mapreduce", "run", gated_job, gated_texts, "-o", output]
    process = subprocess.Popen(
        [*map(str, command), "-p", f"gate={gate.folder}", *map(str, OPTIONS)],
        env=environment(TMPDIR=str(temporary)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        gate.arrived("map1")
        family = children_of(process.pid)
        assert len(family) >= 3
        begin = time.monotonic()
        process.send_signal(how)
        wait_for(lambda: not any(map(alive, family)) and process.poll() is not None, "everything ends", 10)
        took = time.monotonic() - begin
        process.stderr.read()
    wait_for(lambda: not output.exists(), "the output is cleaned", 10)
    if how is not signal.SIGKILL:
        assert took < 2, f"{took:.1f} s"
        assert process.returncode == (130 if how is signal.SIGINT else -signal.SIGTERM) or process.returncode == 143
        assert not list(temporary.iterdir())


def test_workers_of_a_dead_coordinator_keep_their_tasks(cluster, submit, gate, expected):
    """A task that runs while the coordinator is down is not started a second time after the restart."""
    cluster.start_worker(slots=1)
    gate.hold("map3")
    submission, output = submit()
    at_gate = gate.arrived("map3")
    cluster.coordinator.kill()
    cluster.coordinator.wait(10)
    cluster.start_coordinator()
    wait_for(cluster.status_of_workers, "the worker registers again")
    gate.release("map3")
    submission.finish()
    assert gate.marks("map3") == {at_gate}
    assert bytes_of(output) == expected
    status = cluster.json("status", "last")
    assert json.dumps(status)
    assert status["attempts_failed"] == 0
