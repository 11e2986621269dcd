"""Records that kill real task processes: what the agent learns of them, and how it goes on."""

import os
import signal

import pytest
from cluster import wait_for
from fake_coordinator import FakeCoordinator, attempt, plan_job, results

from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, RunAttempt

SOURCE = """
import ctypes, os, signal, time
def mapper(line, *, ctx):
    with open("seen", "a") as file:
        print(os.getpid(), ctx.attempt, line, file=file)
    if line == "crash": ctypes.string_at(0)
    if line == "exit": os._exit(7)
    if line == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if line == "hang":
        while not os.path.exists("go"): time.sleep(0.01)
    yield line, 1
def reducer(key, values):
    if key == "group": ctypes.string_at(0)
    yield key, sum(values)
"""


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator at an ipc address, whose agents end with the test."""
    with_address = FakeCoordinator(f"ipc://{tmp_path}/c", tmp_path)
    yield with_address
    with_address.close()


class Prepared:
    """One agent that is prepared for a job over some lines. Its functions note the records that they see."""

    def __init__(self, coordinator, folder, lines, **options):
        self.folder = folder
        path = folder / "user_job.py"
        path.write_text(SOURCE.replace('"seen"', repr(str(folder / "seen"))).replace('"go"', repr(str(folder / "go"))))
        self.agent, self.process = coordinator.start_agent(slots=1)
        text = "".join(f"{line}\n" for line in lines)
        self.planned = plan_job(folder, str(path), [text], reducers=1, **options)
        self.agent.prepare(self.planned)
        self.input = str(folder / "input0.txt")

    def tell(self, kind="map", number=1, **care):
        which = attempt(self.planned, kind, 0, number)
        self.agent.tell(RunAttempt(which, careful=True, **care))
        return which

    def run(self, kind="map", number=1, **care):
        which = self.tell(kind, number, **care)
        return self.agent.expect((AttemptDone, AttemptFailed), lambda m: m.attempt == which)

    def seen(self):
        """Who saw which record: (process, attempt, line), in order."""
        path = self.folder / "seen"
        return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("way", "how"), [("crash", "signal SIGSEGV"), ("exit", "exit code 7"), ("kill", "signal SIGKILL (out of memory?)")]
)
def test_the_failure_names_the_record_exactly(coordinator, tmp_path, way, how):
    """However the process dies: the ordinal, the function, the file and byte, the record itself."""
    cluster = Prepared(coordinator, tmp_path, ["one", "two", way, "four"])
    failure = cluster.run().failure
    assert failure.kind is FailureKind.DIED
    assert failure.message == f"the task process died: {how}, at work on record 3 of the task"
    assert (failure.path, failure.offset, failure.record) == (cluster.input, 8, repr(way))
    assert failure.function == "mapper (user_job.py:3)"


def test_the_agent_puts_killing_records_aside(coordinator, tmp_path):
    """Other processes go on with the same attempt, which succeeds without them, and counts them."""
    cluster = Prepared(coordinator, tmp_path, ["one", "crash", "two", "kill", "three"], max_bad=5)
    outcome = cluster.run(puts_aside=True)
    assert isinstance(outcome, AttemptDone)
    assert outcome.done.bad == {"killed the process: SIGSEGV": 1, "killed the process: SIGKILL": 1}
    assert (outcome.done.records_in, outcome.done.records_out) == (5, 3)
    seen = cluster.seen()
    assert [line for _, _, line in seen].count("crash") == 2
    assert [line for _, _, line in seen].count("kill") == 3
    assert {number for _, number, _ in seen} == {"1"}
    assert [line for _, _, line in seen][-3:] == ["one", "two", "three"]


def test_somebodys_kill_puts_nothing_aside(coordinator, tmp_path):
    """A process that is killed from outside while a record is at work costs nothing but time."""
    cluster = Prepared(coordinator, tmp_path, ["one", "hang", "two"], max_bad=5)
    which = cluster.tell(puts_aside=True)
    wait_for(lambda: [line for _, _, line in cluster.seen()] == ["one", "hang"], "the record that hangs")
    os.kill(int(cluster.seen()[-1][0]), signal.SIGKILL)
    (tmp_path / "go").touch()
    outcome = cluster.agent.expect((AttemptDone, AttemptFailed), lambda m: m.attempt == which)
    assert (outcome.done.bad, outcome.done.records_out) == ({}, 3)
    assert len({pid for pid, _, _ in cluster.seen()}) == 2


def test_a_group_that_kills_is_named_by_its_key(coordinator, tmp_path):
    """The reducer's group is the record: its key, its number, its first values; put aside if that may be."""
    cluster = Prepared(coordinator, tmp_path, ["a", "group", "z", "group"], max_bad=1)
    mapped = cluster.run()
    cluster.agent.tell(results(cluster.planned, [cluster.agent.source(mapped)]))
    failure = cluster.run("reduce", 2).failure
    assert failure.message == "the task process died: signal SIGSEGV, at work on group 2 of the task"
    assert (failure.key, failure.record, failure.path) == ("'group'", "[1, 1]", None)
    done = cluster.run("reduce", 3, puts_aside=True).done
    assert (done.bad, done.records_out) == ({"killed the process: SIGSEGV": 1}, 2)


def test_a_process_that_dies_after_its_records_blames_none(coordinator, tmp_path):
    """The note of an attempt that is over is gone: a later death in the same process is of the next attempt."""
    cluster = Prepared(coordinator, tmp_path, ["one"], max_bad=1)
    assert isinstance(cluster.run(), AttemptDone)
    (tmp_path / "input0.txt").unlink()
    failure = cluster.run(number=2, puts_aside=True).failure
    assert failure.kind is FailureKind.FATAL
    assert failure.record is None
