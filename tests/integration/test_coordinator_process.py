"""A coordinator that is stopped for a while, and one that comes second: clients and users are told."""

import os
import signal
import time

import pytest
from background import Background
from cluster import Cluster, mapreduce
from reference import bytes_of

from mapreduce import config


@pytest.fixture
def cluster(tmp_path):
    """A cluster of its own."""
    with Cluster(tmp_path) as running:
        yield running


def test_a_silent_coordinator_is_told_and_outwaited(cluster, gated_job, gated_texts, gate, tmp_path):
    """A coordinator stopped by SIGSTOP in mid-job: the client says so, keeps trying, and gets its job."""
    command = [gated_job, gated_texts, "-p", f"gate={gate.folder}", "--reducers", 2]
    mapreduce("run", *command, "-r", "inline", "-o", tmp_path / "expected")
    for mark in gate.folder.iterdir():
        mark.unlink()
    cluster.start_worker(slots=1)
    gate.hold("map1")
    output = tmp_path / "out"
    with Background(
        tmp_path / "log", "submit", *command, "-o", output, MAPREDUCE_COORDINATOR=cluster.address
    ) as client:
        task = gate.arrived("map1")
        os.kill(cluster.coordinator.pid, signal.SIGSTOP)
        begin_s = time.monotonic()
        client.says(f"{cluster.address} has been silent for {config.CLIENT_SILENCE_S:.0f} s; still trying")
        assert time.monotonic() - begin_s > config.CLIENT_SILENCE_S - config.WATCH_RENEW_S - 1
        os.kill(cluster.coordinator.pid, signal.SIGCONT)
        gate.release("map1")
        said = client.finish()
    assert "answers again" in said
    assert bytes_of(output) == bytes_of(tmp_path / "expected")
    assert gate.marks("map1") == {task}, "the silence was the coordinator's own: no task ran twice"


def test_a_second_coordinator_on_the_same_state_is_refused(cluster):
    """It exits with 2 and names the folder; the first one is not disturbed, and its end frees the folder."""
    state = cluster.folder / "state"
    second = mapreduce("coordinator", "--listen", "tcp://127.0.0.1:*", "--state", state, check=False)
    assert second.returncode == 2
    assert str(state) in second.stderr
    assert "Traceback" not in second.stderr
    assert cluster.status_of_workers() == []
    cluster.coordinator.terminate()
    assert cluster.coordinator.wait(20) in {0, 128 + signal.SIGTERM}
    cluster.start_coordinator()
    assert cluster.status_of_workers() == []
