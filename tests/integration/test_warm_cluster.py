"""`mapreduce.Cluster`: workers that stay between runs, in a program's hands."""

import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import gated
import pytest
from cluster import DEADLINE_S, children_of, environment, wait_for

import mapreduce
from mapreduce import Job, JobFailed, UsageError, client_state
from mapreduce.coordinator.server import _Loop
from mapreduce.runners import warm
from mapreduce.runners.local import LocalCluster

PROGRAM = """
import functools, sys
import mapreduce
from mapreduce import Job

@functools.cache
def dear():
    print("loaded")
    return 10

class Mapper:
    def __call__(self, line, *, n: int):
        yield line, n * dear()

def reducer(key, values):
    yield key, sum(values)

cluster = mapreduce.Cluster(slots=1)
job = Job(Mapper, reducer=reducer)
for n in range(3):
    print(dict(cluster.run(job, ["in.txt"], params={"n": n})), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def job(tmp_path):
    """A job whose mapper tells its process and how many tasks that has seen, and raises where asked to."""
    path = tmp_path / "counting.py"
    path.write_text(
        "import os\nseen = []\n"
        "def mapper(line, *, fail: bool = False):\n"
        "    seen.append(1)\n    if fail: raise ValueError('no good')\n"
        "    yield line, (os.getpid(), len(seen))\n"
    )
    return str(path)


@pytest.fixture
def text(tmp_path):
    """An input of one line."""
    path = tmp_path / "text.txt"
    path.write_text("line\n")
    return path


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one slot for those tests that leave it alive."""
    with mapreduce.Cluster(slots=1) as running:
        yield running


@pytest.fixture
def local(cluster):
    """The embedded cluster behind it, started."""
    return cluster._runner._started()


def test_a_run_finds_what_the_one_before_has_loaded(cluster, job, text, tmp_path):
    """The same process, with its globals, for other parameters and inputs, into folders too; each Result stays."""
    other = tmp_path / "other.txt"
    other.write_text("first\n")
    first = cluster.run(job, text)
    second = cluster.run(job, [other], tmp_path / "out", params={"fail": False}, split_size="1MB")
    assert [key for key, _ in second] == ["first"]
    assert second.output == tmp_path / "out"
    ((_, (process, seen)),) = first
    assert [value for _, value in second] == [(process, seen + 1)]
    assert list(first) == [("line", (process, seen))]


def test_it_goes_on_after_a_failed_job(cluster, job, text):
    """A job that fails costs the process of its failed task, no more; nothing of it is left."""
    ((_, (process, _)),) = cluster.run(job, text)
    with pytest.raises(JobFailed, match="no good"):
        cluster.run(job, text, params={"fail": True})
    ((_, (other, _)),) = cluster.run(job, text)
    assert other != process


def test_code_that_changes_is_loaded_anew(cluster, job, text):
    """A function that is edited between two runs, or a global that it uses, is what runs."""
    ((_, (process, _)),) = cluster.run(job, text)
    Path(job).write_text(Path(job).read_text() + "# edited\n")
    ((_, (other, seen)),) = cluster.run(job, text)
    assert other != process
    assert seen == 1


def test_an_agent_that_was_killed_between_runs_is_replaced(cluster, local, job, text):
    """The next run starts another, with a coordinator that knows nothing of the dead one."""
    os.kill(local.agent_pid, signal.SIGKILL)
    wait_for(lambda: not local.renew(), "the agent's death")
    assert len(dict(cluster.run(job, text))) == 1


def test_kept_results_outlive_the_agent(cluster, local, job, text):
    """Where one was killed that held kept results, another makes them again for the next run."""
    kept = cluster.run(job, text, keep=True)
    os.kill(local.agent_pid, signal.SIGKILL)
    wait_for(lambda: not local.renew(), "the agent's death")
    assert list(cluster.run(Job(lambda line, _: [(line, 1)]), kept)) == [("line", 1)]


def test_one_thread_at_a_time(cluster, gate, text):
    """A second thread is told so, and so is who would close it meanwhile; the first one's job is not disturbed."""
    (text.parent / "gated.txt").write_text("gate map0\nword\n")
    gate.hold("map0")
    results = []

    def run():
        params = {"gate": str(gate.folder)}
        results.append(dict(cluster.run(gated.__file__, text.parent / "gated.txt", params=params)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        gate.arrived("map0")
        with pytest.raises(UsageError, match="busy with a job of another thread"):
            cluster.run(gated.__file__, text)
        with pytest.raises(UsageError, match="busy with a job of another thread"):
            cluster.close()
    finally:
        gate.release("map0")
        thread.join()
    assert len(results) == 1


def test_an_interrupted_job_is_cancelled_and_the_workers_stay(cluster, local, gate, job, text, monkeypatch):
    """Ctrl-C ends the job and leaves nothing of it; the next one runs on the same workers."""
    (text.parent / "gated.txt").write_text("gate map0\nword\n")
    gate.hold("map0")
    agent, interrupted = local.agent_pid, []

    def interrupt():
        if gate.marks("map0") and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalCluster, "check", lambda _self: interrupt())
        params = {"gate": str(gate.folder)}
        with pytest.raises(KeyboardInterrupt):
            cluster.run(gated.__file__, text.parent / "gated.txt", text.parent / "out", params=params)
    assert not (text.parent / "out").exists()
    assert len(dict(cluster.run(job, text))) == 1
    assert local.agent_pid == agent


def test_nothing_starts_before_the_first_run_and_nothing_stays_after_the_last(job, text):
    """Making one is free; close ends all that was started, may be repeated, and a closed one says so."""
    before = children_of(os.getpid())
    cluster = mapreduce.Cluster(slots=1)
    assert children_of(os.getpid()) == before
    assert repr(cluster) == "<Cluster: slots=1, not started yet>"
    cluster.run(job, text)
    assert repr(cluster) == "<Cluster: slots=1>"
    assert children_of(os.getpid()) != before
    cluster.close()
    cluster.close()
    assert children_of(os.getpid()) == before
    with pytest.raises(UsageError, match="this Cluster is closed"):
        cluster.run(job, text)


def test_a_lost_cluster_stops(job, text):
    """One that nobody refers to any more ends its workers."""
    before = children_of(os.getpid())
    cluster = mapreduce.Cluster(slots=1)
    cluster.run(job, text)
    del cluster
    assert children_of(os.getpid()) == before


class Cycle:
    """An object that only the garbage collector frees."""

    def __init__(self, *held):
        self.me, self.held = self, held


def collected_by_the_coordinator(monkeypatch):
    """Have its thread collect what is garbage now."""
    done, tick = threading.Event(), _Loop._tick

    def collecting(loop):
        if not done.is_set():
            gc.collect()
            done.set()
        tick(loop)

    monkeypatch.setattr(_Loop, "_tick", collecting)
    assert done.wait(DEADLINE_S)


def test_the_coordinators_thread_may_collect_kept_results(cluster, job, text, monkeypatch):
    """The garbage collector runs in any thread: that one cannot wait for itself, and the results are dropped still."""
    monkeypatch.setattr(client_state, "CLIENT_CONNECT_S", 600.0)  # who waits for itself does so for long
    before = list(cluster._runner._held)
    gc.disable()
    try:
        Cycle(cluster.run(job, text, keep=True))
        collected_by_the_coordinator(monkeypatch)
    finally:
        gc.enable()
    wait_for(lambda: list(cluster._runner._held) == before, "the end of the kept results")


def test_the_coordinators_thread_may_collect_the_cluster(job, text, monkeypatch):
    """As above: the workers end, and the thread too."""
    before = children_of(os.getpid())
    gc.disable()
    try:
        lost = mapreduce.Cluster(slots=1)
        lost.run(job, text)
        Cycle(lost)
        del lost
        collected_by_the_coordinator(monkeypatch)
    finally:
        gc.enable()
    wait_for(lambda: children_of(os.getpid()) == before, "the end of the workers")


def test_dropping_in_another_thread_is_no_job(cluster, job, text, monkeypatch):
    """Who runs a job meanwhile waits for it, and is not told that the Cluster is busy."""
    kept = cluster.run(job, text, keep=True)
    begun, drop, refused = threading.Event(), warm._drop, []

    def slow(connection, name):
        begun.set()
        with cluster._runner._alone():
            refused.append(name)
        return drop(connection, name)

    monkeypatch.setattr(warm, "_drop", slow)
    thread = threading.Thread(target=kept.drop)
    thread.start()
    assert begun.wait(DEADLINE_S)
    thread.join()
    assert refused == [kept.id]
    assert not cluster._runner.holds(kept.id)


def test_a_program_may_end_while_a_thread_runs_a_job(cluster, job, text):
    """What is called at its exit says nothing, since nobody could do anything about it."""
    with cluster._runner._alone():
        cluster._runner.abandon()
    assert len(dict(cluster.run(job, text))) == 1


def test_a_coordinator_that_is_gone_does_not_keep_a_cluster_from_closing(monkeypatch, caplog):
    """What was kept there is left to it, with a word in the log."""
    monkeypatch.setattr(client_state, "CLIENT_CONNECT_S", 0.0)
    cluster = mapreduce.Cluster(coordinator="ipc:///nobody/listens/here")
    cluster._runner._held["k"] = warm._Held(())
    cluster.close()
    assert "the kept results of k are not dropped yet" in caplog.text
    assert repr(cluster) == "<Cluster: closed>"


@pytest.mark.parametrize("how", ["end", signal.SIGKILL], ids=["end", "kill"])
def test_a_program_without_main_guard_or_close(tmp_path, how):
    """Its own functions and classes are loaded once for all runs; its workers end with it, however that ends."""
    (tmp_path / "in.txt").write_text("a line\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    workers = children_of(process.pid)
    assert len(workers) >= 3
    if how == "end":
        _, errors = process.communicate("\n", timeout=60)
        assert errors.split() == ["loaded"]
        assert process.returncode == 0
    else:
        process.send_signal(how)
        process.communicate(timeout=60)
    assert lines == [f"{{'a line': {10 * n}}}\n" for n in range(3)]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of the workers")


def test_a_fork_of_the_program_cannot_use_it(cluster, local, job, text):
    """A child process is told so, and its end leaves the workers alone."""
    pid = os.fork()
    if pid == 0:
        try:
            cluster.run(job, text)
        except UsageError as error:
            cluster.close()
            os._exit(7 if "belongs to another process" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert local.renew()


def test_it_takes_what_run_takes():
    """Its run has the arguments of mapreduce.run, without those that say where, and `keep`; wrong ones are refused."""
    there = inspect.signature(mapreduce.run).parameters
    here = inspect.signature(mapreduce.Cluster.run).parameters
    where, own = {"runner", "slots", "coordinator"}, {"self", "keep"}
    assert {n: p for n, p in here.items() if n not in own} == {n: p for n, p in there.items() if n not in where}
    for wrong in ({"slots": 0}, {"slots": 2, "coordinator": "tcp://127.0.0.1:1"}):
        with pytest.raises(UsageError):
            mapreduce.Cluster(**wrong)
    with pytest.raises(UsageError, match="needs an output folder"):
        mapreduce.Cluster(coordinator="tcp://127.0.0.1:1").run("@word_count", "x")
