"""Nothing that is started can be reached from elsewhere, unless it was told so."""

import stat

from background import Background
from cluster import Cluster, children_of, mapreduce
from sockets import internet_sockets, unix_paths

from mapreduce import config


def test_a_local_run_has_no_internet_socket(gated_job, gated_texts, gate, tmp_path):
    """While a local run works, no process has a TCP or UDP socket; its own sockets lie in private folders."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    gate.hold("map1")
    gate.hold("reduce")
    command = ["run", gated_job, gated_texts, "-o", tmp_path / "out", "-p", f"gate={gate.folder}", "-j", 2]
    with Background(tmp_path / "log", *command, TMPDIR=str(temporary)) as run:
        gate.arrived("map1")
        family = {run.process.pid, *children_of(run.process.pid)}
        assert len(family) >= 4
        assert internet_sockets(family) == set()
        paths = unix_paths(family)
        assert paths
        assert {stat.S_IMODE(path.parent.stat().st_mode) for path in paths} == {0o700}
        gate.release("map1")
        gate.arrived("reduce")
        assert internet_sockets({run.process.pid, *children_of(run.process.pid)}) == set()
        gate.release("reduce")
        run.finish()
    assert list(temporary.iterdir()) == []


def test_a_cluster_listens_on_loopback_alone(gated_job, gated_texts, gate, tmp_path):
    """Coordinator, agents and shuffle servers listen on 127.0.0.1 and nowhere else, also while a job runs."""
    with Cluster(tmp_path) as cluster:
        cluster.start_worker(slots=1)
        cluster.start_worker(slots=1)
        gate.hold("reduce")
        command = ["submit", gated_job, gated_texts, "-o", tmp_path / "out", "-p", f"gate={gate.folder}"]
        with Background(tmp_path / "log", *command, MAPREDUCE_COORDINATOR=cluster.address) as client:
            gate.arrived("reduce")
            roots = [cluster.coordinator.pid, client.process.pid, *(worker.pid for worker in cluster.workers)]
            family = set(roots).union(*map(children_of, roots))
            listening = internet_sockets(family, listening=True)
            assert {address for _, address, _ in listening} == {"127.0.0.1"}
            assert len(listening) == 3, "the coordinator and one shuffle server for each worker"
            assert {address for _, address, _ in internet_sockets(family)} == {"127.0.0.1"}
            gate.release("reduce")
            client.finish()


def test_the_default_address_is_loopback():
    """Without --listen a coordinator, and without --coordinator a client, means this machine."""
    assert config.DEFAULT_LISTEN.startswith("tcp://127.0.0.1:")
    for command in ("coordinator", "submit", "worker", "jobs"):
        assert config.DEFAULT_LISTEN in mapreduce(command, "--help").stdout
