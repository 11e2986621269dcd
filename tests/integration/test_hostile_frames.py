"""What anybody may throw at the ports of a running cluster: logged and dropped, and the next job succeeds."""

import random
import socket

import msgpack
import pytest
import zmq
from cluster import Cluster, alive, children_of, wait_for
from sockets import internet_sockets

from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope, encode

HONEST = [
    Envelope("", 0, m.Register("w", "w", 2, {"python": "3.11"}, "tcp://127.0.0.1:1", "/f")),
    Envelope("", 1, m.Watch("a-job")),
    Envelope("", 2, m.GetStatus("last")),
    Envelope("", 3, m.BlobData("0" * 64, 0, 10, b"0123456789")),
    Envelope("a session", 4, m.GetBlob("0" * 64, 0)),
]
FOREIGN = [b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\xff" * 300, b"\x00" * 10]


def malformed(chance):
    """Single frames that are no message of ours: garbage, cut ones, wrong shapes, types, versions and sizes."""
    yield b""
    yield from FOREIGN
    yield from (chance.randbytes(chance.randint(1, 200)) for _ in range(100))
    for envelope in HONEST:
        frame = encode(envelope)
        yield from (frame[:cut] for cut in range(len(frame)))
        yield frame + b"\x00"
        fields = msgpack.unpackb(frame)
        for index in range(len(fields)):
            for wrong in (None, -1, 1 << 63, "?" * 50, b"\xff", [[]] * 3, {"a": {}}, 1.5):
                if wrong != fields[index]:
                    yield msgpack.packb([*fields[:index], wrong, *fields[index + 1 :]])
    deep = b"\x91" * 5000
    yield deep
    yield b"\xdd\xff\xff\xff\xff"  # an array that says it has four billion elements
    yield b"\xc6\xff\xff\xff\xff"  # as many bytes
    yield encode(HONEST[1]) * 3000  # larger than a control frame may be


def throw(address, frames):
    """Send frames over one connection, some of them in messages of several; wait until all have left."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.linger = 5000
        sock.sndhwm = 0
        sock.connect(address)
        for number, frame in enumerate(frames):
            sock.send_multipart([frame, b"more"] if number % 50 == 7 else [frame])
        sock.send_multipart([b"", b"", b""])


def talk_tcp(host, port, data):
    """Open a plain TCP connection, say something that is no ZMTP, and hang up."""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(data)


@pytest.fixture
def cluster(tmp_path):
    """A cluster of its own with two workers, so that jobs fetch from shuffle servers."""
    with Cluster(tmp_path) as running:
        running.start_worker(slots=1)
        running.start_worker(slots=1)
        yield running


def test_malformed_frames_harm_nobody(cluster, gated_job, gated_texts, gate, tmp_path):
    """Hundreds of bad frames and foreign protocols at every port: all processes live, a running and a new job end."""
    gate.hold("map1")
    command = ["submit", gated_job, gated_texts, "-p", f"gate={gate.folder}"]
    job = cluster.run(*command, "-o", tmp_path / "first", "--detach").stdout.strip()
    gate.arrived("map1")
    roots = [cluster.coordinator.pid, *(worker.pid for worker in cluster.workers)]
    family = set(roots).union(*map(children_of, roots))
    ports = sorted(internet_sockets(family, listening=True))
    assert len(ports) == 3
    chance = random.Random(7)
    for _, host, port in ports:
        for data in FOREIGN:
            talk_tcp(host, port, data)
        throw(f"tcp://{host}:{port}", malformed(chance))
    log = wait_for(lambda: text if "dropped" in (text := cluster.coordinator.log.read_text()) else "", "a log line")
    for worker in cluster.workers:
        wait_for(lambda log=worker.log: "dropped" in log.read_text(), "the shuffle server's log line")
    gate.release("map1")
    wait_for(lambda: cluster.status(job).state == "done", "the running job is done")
    cluster.run(*command, "-o", tmp_path / "second")
    assert all(alive(pid) for pid in roots)
    family = set(roots).union(*map(children_of, roots))
    assert sorted(internet_sockets(family, listening=True)) == ports, "no shuffle server was started again"
    assert "Traceback" not in log
    assert "Traceback" not in cluster.coordinator.log.read_text()
    assert {worker["worker"] for worker in cluster.status_of_workers()} == {w.worker_id for w in cluster.workers}
    assert cluster.status().attempts_failed == 0
