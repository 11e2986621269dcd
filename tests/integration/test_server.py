"""The coordinator's server over real sockets: fake agents and clients that speak the wire."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
import zmq

from mapreduce.config import BLOB_PIECE_BYTES
from mapreduce.coordinator.server import CoordinatorServer
from mapreduce.errors import JournalError, UsageError
from mapreduce.plan import AttemptId, Done, JobSpec, PartInfo, StepShape, TaskId, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import FRAMES_TOGETHER, Envelope, decode, encode
from mapreduce.versions import own_versions

DEADLINE_S = 30.0
BLOBS = {hashlib.sha256(data).hexdigest(): data for data in (b"code", b"setup", b"p" * (BLOB_PIECE_BYTES + 10), b"")}


class Peer:
    """A DEALER socket that speaks envelopes."""

    def __init__(self, address):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self.session, self.sent, self.requests = "", 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
        self.context.term()

    def put(self, envelope):
        self.socket.send(encode(envelope))

    def get(self, kind):
        """The next message of this type; others are passed over."""
        end = time.monotonic() + DEADLINE_S
        while (left := end - time.monotonic()) > 0:
            if self.socket.poll(int(left * 1000)):
                envelope = decode(self.socket.recv())
                if isinstance(envelope.message, kind):
                    return envelope
        raise AssertionError(f"no {kind} within {DEADLINE_S} s")

    def ask(self, message, kind):
        self.requests += 1
        self.put(Envelope("", self.requests, message))
        while True:
            answer = self.get(kind)
            if answer.number == self.requests:
                return answer.message

    def tell(self, message):
        self.sent += 1
        self.put(Envelope(self.session, self.sent, message))

    def join(self, worker, inventory=None):
        """Register and hand in an inventory."""
        self.put(Envelope("", 0, m.Register(worker, worker, 2, own_versions(), "tcp://127.0.0.1:1", "/f")))
        self.session, self.sent = self.get(m.Welcome).session, 0
        self.tell(inventory or m.Inventory())

    def work(self, job):
        """Do all of a job's tasks until told to forget it; gives the kinds in order."""
        kinds = []
        while True:
            message = self.get(m.PrepareJob | m.RunAttempt | m.ForgetJob).message
            match message:
                case m.PrepareJob():
                    for sha256 in (message.code, message.setup, message.plan, message.probe):
                        assert self.fetch(sha256) == BLOBS[sha256]
                    self.tell(m.Prepared(job))
                case m.RunAttempt(attempt):
                    kinds.append(attempt.task.kind)
                    self.tell(m.LogLines(attempt, f"{attempt.task}\n"))
                    self.tell(m.AttemptDone(attempt, done_for(attempt)))
                case m.ForgetJob():
                    return kinds

    def fetch(self, sha256):
        data, total = b"", 1
        while len(data) < total:
            self.put(Envelope(self.session, 0, m.GetBlob(sha256, len(data))))
            piece = self.get(m.BlobData).message
            data, total = data + piece.data, piece.total
        return data


def done_for(attempt):
    """What a worker makes of an attempt."""
    if attempt.task.kind is TaskKind.MAP:
        return Done(records_in=3, records_out=3, runs=1, digests=b"12345678" * 2, counters={"lines": 3})
    return Done(records_in=3, records_out=2, part=PartInfo(2, 20, "00ff"))


def spec(job="job1", output="/out"):
    return JobSpec(job, "name", (StepShape(3, 2),), *BLOBS, output, 10)


def submit(client, job):
    """Submit, with the blobs that are asked for."""
    answer = client.ask(m.Submit(job), m.Accepted | m.NeedBlobs | m.Rejected)
    while isinstance(answer, m.NeedBlobs):
        for sha256 in answer.sha256s:
            data, stored = BLOBS[sha256], -1
            while stored < len(data):
                start = max(0, stored)
                piece = m.BlobData(sha256, start, len(data), data[start : start + BLOB_PIECE_BYTES])
                stored = client.ask(piece, m.BlobStored).stored
        answer = client.ask(m.Submit(job), m.Accepted | m.NeedBlobs | m.Rejected)
    return answer


@pytest.fixture
def server(tmp_path):
    server = CoordinatorServer(f"ipc://{tmp_path}/c", tmp_path / "state")
    server.start()
    yield server
    server.stop()
    assert server.failure is None


def test_a_job_from_submit_to_done(server):
    """A client stores blobs, submits and watches; an agent prepares and works; status, counters and logs are exact."""
    with Peer(server.address) as agent, Peer(server.address) as client:
        agent.join("w1")
        assert submit(client, spec()) == m.Accepted("job1")
        assert submit(client, spec()) == m.Accepted("job1")
        client.put(Envelope("", 77, m.Watch("job1")))
        kinds = agent.work("job1")
        assert kinds == [TaskKind.MAP] * 3 + [TaskKind.REDUCE] * 2 + [TaskKind.COMMIT]
        while (pushed := client.get(m.JobStatus)).message.state != "done":
            assert pushed.number == 77
        status = client.ask(m.GetStatus("last"), m.JobStatus)
        assert (status.state, status.counters, status.records_in, status.records_out) == ("done", {"lines": 9}, 9, 4)
        logs = client.ask(m.GetLogs("job1"), m.Logs)
        assert [entry.text for entry in logs.entries][:2] == ["map 0\n", "map 1\n"]
        assert logs.total == status.log_entries == 6
        (worker,) = client.ask(m.ListWorkers(), m.Workers).workers
        assert (worker.worker, worker.running) == ("w1", ())


def test_bad_frames_are_dropped_and_nothing_else_suffers(server, caplog):
    """Garbage, frames too large, wrong part counts and unknown types are logged; the next request is answered."""
    with Peer(server.address) as peer:
        peer.socket.send(b"\xff garbage")
        peer.socket.send(b"x" * 300_000)
        peer.socket.send_multipart([b"many"] * (FRAMES_TOGETHER + 1))
        peer.put(Envelope("", 0, m.Granted(AttemptId(TaskId("j", 0, TaskKind.MAP, 0), 1))))
        assert peer.ask(m.ListJobs(), m.Jobs) == m.Jobs(())
    assert len([record for record in caplog.records if "dropped" in record.message]) == 4


def test_a_blob_with_another_sum_is_refused(server):
    """What arrives is checked against its name; the client is told, and may send it again."""
    with Peer(server.address) as client:
        name = hashlib.sha256(b"right").hexdigest()
        assert "send it again" in client.ask(m.BlobData(name, 0, 5, b"wrong"), m.Rejected).reason
        assert client.ask(m.BlobData(name, 0, 5, b"right"), m.BlobStored).stored == 5
        assert client.ask(m.BlobData("../../etc", 0, 5, b"right"), m.Rejected)


def test_a_message_of_no_session_is_told_so(server):
    """An agent that names a session of another life learns that it is over."""
    with Peer(server.address) as agent:
        agent.put(Envelope("99-1", 0, m.Heartbeat(1, 1)))
        assert agent.get(m.SessionEnded).session == "99-1"
        agent.put(Envelope("99-1", 0, m.GetBlob("a" * 64, 0)))
        assert agent.get(m.SessionEnded).session == "99-1"


def test_a_free_port_is_named_and_a_taken_one_refused(tmp_path):
    """`*` takes a free port, `address` says which; a second server there fails with advice."""
    first = CoordinatorServer("tcp://127.0.0.1:*", tmp_path / "a", durable=False)
    first.start()
    try:
        assert int(first.address.rsplit(":", 1)[1]) > 0
        with pytest.raises(UsageError, match="another coordinator"):
            CoordinatorServer(first.address, tmp_path / "b").start()
        with pytest.raises(JournalError, match="another coordinator is using"):
            CoordinatorServer("tcp://127.0.0.1:*", tmp_path / "a").start()
    finally:
        first.stop()


def start_process(address, state, **more):
    """The coordinator as a process; gives it and its address, as printed."""
    command = [sys.executable, "-P", "-m", "mapreduce.coordinator", "--listen", address, "--state", str(state)]
    process = subprocess.Popen([*command, *more.pop("options", [])], stderr=subprocess.PIPE, text=True, **more)
    line = process.stderr.readline()
    assert line.startswith("listening on "), line + process.stderr.read()
    return process, line.split()[-1]


def finish(process, number):
    """Signal the process and give its exit code."""
    if number:
        process.send_signal(number)
    process.stderr.read()
    process.stderr.close()
    return process.wait(DEADLINE_S)


def test_kill_9_in_the_middle_of_a_job_loses_no_commit(tmp_path):
    """A killed coordinator, started again at its address and on its state, goes on; committed maps do not run again."""
    process, address = start_process("tcp://127.0.0.1:*", tmp_path / "state")
    with Peer(address) as agent, Peer(address) as client:
        agent.join("w1")
        submit(client, spec())
        agent.get(m.PrepareJob)
        agent.tell(m.Prepared("job1"))
        first = agent.get(m.RunAttempt).message.attempt
        agent.tell(m.AttemptDone(first, done_for(first)))
        assert agent.get(m.Granted).message.attempt == first
        assert finish(process, signal.SIGKILL) == -signal.SIGKILL
        process, again = start_process(address, tmp_path / "state")
        assert again == address
        agent.put(Envelope(agent.session, 0, m.Heartbeat(agent.sent, 9)))
        agent.get(m.SessionEnded)
        agent.join("w1", m.Inventory(kept=(first,), prepared=("job1",)))
        kinds = agent.work("job1")
        assert kinds == [TaskKind.MAP] * 2 + [TaskKind.REDUCE] * 2 + [TaskKind.COMMIT]
        assert client.ask(m.GetStatus("job1"), m.JobStatus).counters == {"lines": 9}
    assert finish(process, signal.SIGTERM) == 0


def test_the_process_ends_with_its_life_pipe(tmp_path):
    """When whoever started the coordinator is gone, so is the coordinator."""
    read_end, write_end = os.pipe()
    process, _ = start_process(
        "tcp://127.0.0.1:*", tmp_path / "state", options=["--life-fd", str(read_end)], pass_fds=(read_end,)
    )
    os.close(read_end)
    os.close(write_end)
    assert finish(process, 0) == 0
