"""Reducers that fetch from other workers: real agents and shuffle servers on loopback, damage and deaths."""

import os
import signal
from pathlib import Path

import pytest
import zmq
from cluster import wait_for
from fake_coordinator import SMALL, FakeCoordinator, attempt, descendants, plan_job, results

from mapreduce.config import FETCH_PIECE_BYTES
from mapreduce.file_names import run_file_name
from mapreduce.plan import AttemptId, FailureKind, TaskId, TaskKind
from mapreduce.protocol.messages import AttemptDone
from workers.shuffle_messages import PART, BytesRequest, Gone, SliceReply, SliceRequest, decode, encode
from workers.shuffle_process import listen_address, public_address

SOURCE = """
def mapper(line):
    for word in line.split():
        yield word, 1
def reducer(word, counts):
    yield word, sum(counts)
"""


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator on loopback, whose agents end with the test."""
    with_address = FakeCoordinator("tcp://127.0.0.1:*", tmp_path)
    yield with_address
    with_address.close()


class Pair:
    """Two agents that are ready for a job; the first has run all of its maps."""

    def __init__(self, coordinator, folder, texts, **options):
        (folder / "user_job.py").write_text(SOURCE, encoding="utf-8")
        self.planned = plan_job(folder, str(folder / "user_job.py"), texts, **options)
        self.maker, self.process = coordinator.start_agent(slots=1)
        self.reader, _ = coordinator.start_agent(slots=1)
        for agent in (self.maker, self.reader):
            assert agent.prepare(self.planned).problem is None
        self.done = [self.maker.run(self.map(index)) for index in range(self.planned.spec.steps[0].maps)]
        (self.folder,) = (folder / "scratch").glob(f"agent-{self.maker.worker}/jobs/{self.planned.spec.job}")
        self.reader.tell(results(self.planned, [self.maker.source(done) for done in self.done]))

    def map(self, index):
        return attempt(self.planned, "map", index)

    def reduce(self, index, number=1):
        return self.reader.run(attempt(self.planned, "reduce", index, number))

    def run_file(self, index, spill=0):
        return self.folder / run_file_name(self.map(index), spill)


TEXTS = ["".join(f"word{i * number % 2503} common\n" for i in range(9000)) for number in range(1, 4)]


def test_fetched_reduces_give_the_same_bytes(coordinator, tmp_path):
    """Reduces that fetch every slice make the same part, to the checksum, as those that read their own files."""
    pair = Pair(coordinator, tmp_path, TEXTS, split_size=50_000, limits=SMALL)
    assert len(pair.done) > 1
    assert max(done.done.runs for done in pair.done) > 1
    pair.maker.tell(results(pair.planned, [pair.maker.source(done) for done in pair.done]))
    for index in range(2):
        fetched = pair.reduce(index)
        assert isinstance(fetched, AttemptDone), fetched.failure.describe()
        own = pair.maker.run(attempt(pair.planned, "reduce", index, 2))
        assert own.done.part == fetched.done.part
        assert own.done.records_in == fetched.done.records_in
    theirs = next((tmp_path / "scratch").glob(f"agent-{pair.reader.worker}/jobs/{pair.planned.spec.job}"))
    assert not list(theirs.glob("fetch-*")), "what was fetched is deleted after the attempt"


def test_corrupt_run_is_lost_input(coordinator, tmp_path):
    """One flipped bit in a run: the reduce fails with the producer's name, the run and the byte range."""
    pair = Pair(coordinator, tmp_path, ["a b c d e f\n"], reducers=1)
    data = bytearray(pair.run_file(0).read_bytes())
    data[40] ^= 1
    pair.run_file(0).write_bytes(data)
    failure = pair.reduce(0).failure
    assert failure.kind is FailureKind.INPUT_LOST
    assert failure.producer == pair.map(0)
    assert "its run 0" in failure.message
    assert "checksum differs" in failure.message


def test_missing_run_is_lost_input(coordinator, tmp_path):
    """A run that is gone loses the input at once; after its producer ran again, the reduce reads the new one."""
    pair = Pair(coordinator, tmp_path, ["a b a\n"], reducers=1)
    pair.run_file(0).unlink()
    failure = pair.reduce(0).failure
    assert failure.kind is FailureKind.INPUT_LOST
    assert "the file is not there" in failure.message
    again = pair.maker.run(attempt(pair.planned, "map", 0, 2))
    pair.reader.tell(results(pair.planned, [pair.maker.source(again)]))
    assert pair.reduce(0, 2).done.records_out == 2


def test_shuffle_server_is_restarted(coordinator, tmp_path):
    """A killed shuffle server comes back at the same address, and fetches that began meanwhile succeed."""
    pair = Pair(coordinator, tmp_path, ["a b a\n"], reducers=1)
    os.kill(shuffle_server(pair.process), signal.SIGKILL)
    assert isinstance(pair.reduce(0), AttemptDone)
    wait_for(lambda: "the shuffle server died" in (tmp_path / "agent.log").read_text(), "a word in the log")


def test_own_and_fetched_slices_mix(coordinator, tmp_path):
    """A reduce reads its own worker's runs itself and fetches the others; values arrive in the order of map tasks."""
    pair = Pair(coordinator, tmp_path, TEXTS, split_size=20_000, reducers=1)
    mixed = []
    for index, done in enumerate(pair.done):
        own = index % 2
        outcome = pair.reader.run(attempt(pair.planned, "map", index, 2)) if own else done
        mixed.append((pair.reader if own else pair.maker).source(outcome))
    before = pair.reduce(0).done.part
    pair.reader.tell(results(pair.planned, mixed))
    assert pair.reduce(0, 2).done.part == before


def shuffle_server(process):
    """The process id of an agent's shuffle server."""
    for pid in descendants(process.pid):
        if b"workers.shuffle_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("the agent has no shuffle server")


# ------------------------------------------------------------------------------------------------ the server alone


@pytest.fixture
def asker(coordinator, tmp_path):
    """A way to ask the shuffle server of an agent that holds one run; gives an ask function and the pair."""
    pair = Pair(coordinator, tmp_path, ["a b a\n"], reducers=1)
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.linger = 0
        sock.connect(pair.maker.register.shuffle_address)

        def ask(request):
            sock.send(request if isinstance(request, bytes) else encode(request))
            assert sock.poll(20_000), "no answer"
            return decode(sock.recv())

        yield ask, pair


def test_requests_beyond_a_jobs_folder_are_refused(asker, tmp_path):
    """No request can name a file outside of the jobs' folders, nor an endless piece, nor a partition that is none."""
    ask, pair = asker
    evil = AttemptId(TaskId("../../..", 0, TaskKind.MAP, 0), 1)
    assert isinstance(ask(SliceRequest(1, evil, 0, 0)), Gone)
    assert isinstance(ask(SliceRequest(2, pair.map(0), PART, 0)), Gone)
    assert isinstance(ask(SliceRequest(3, pair.map(0), 0, 9)), Gone)
    assert isinstance(ask(SliceRequest(4, pair.map(0), 0, -2)), Gone)
    assert isinstance(ask(BytesRequest(5, pair.map(0), 0, 0, FETCH_PIECE_BYTES + 1)), Gone)
    assert isinstance(ask(BytesRequest(6, pair.map(0), 0, -1, 10)), Gone)
    assert isinstance(ask(BytesRequest(7, pair.map(0), 0, 1 << 40, 10)), Gone)
    found = ask(SliceRequest(8, pair.map(0), 0, 0))
    assert isinstance(found, SliceReply)
    assert str(tmp_path) not in repr(found), "paths are nobody else's business"


def test_malformed_requests_are_dropped(asker, tmp_path):
    """What is no request gets no answer and a log line; the server lives on."""
    ask, pair = asker
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.linger = 0
        sock.connect(pair.maker.register.shuffle_address)
        for frames in ([b"junk"], [b""], [b"a", b"b"], [os.urandom(500)]):
            sock.send_multipart(frames)
        wait_for(lambda: (tmp_path / "agent.log").read_text().count("dropped a frame") == 4, "four log lines")
    assert isinstance(ask(SliceRequest(1, pair.map(0), 0, 0)), SliceReply)


# ------------------------------------------------------------------------------------------------ addresses


def test_where_a_worker_listens():
    """Nothing is served for an ipc coordinator; else at the local address of the route, loopback for loopback."""
    assert listen_address("ipc:///tmp/x", None) is None
    assert listen_address("tcp://127.0.0.1:5555", None) == "tcp://127.0.0.1:*"
    assert listen_address("tcp://localhost:5555", None) in {"tcp://127.0.0.1:*", "tcp://[::1]:*"}
    assert listen_address("ipc:///tmp/x", "tcp://10.0.0.1:7000") == "tcp://10.0.0.1:7000"
    assert listen_address("ipc:///tmp/x", "10.0.0.1:7000") == "tcp://10.0.0.1:7000"


def test_what_a_worker_tells_others():
    """A wildcard address is told as the address towards the coordinator; any other as it is."""
    assert public_address("tcp://10.0.0.1:7000", "tcp://127.0.0.1:5555") == "tcp://10.0.0.1:7000"
    assert public_address("tcp://0.0.0.0:7000", "tcp://127.0.0.1:5555") == "tcp://127.0.0.1:7000"
    assert public_address("tcp://[::]:7000", "ipc:///tmp/x") == "tcp://127.0.0.1:7000"
