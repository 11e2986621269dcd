"""Task processes of a real agent that die or are killed: what is told, and what goes with them."""

import os
import signal
import time
from pathlib import Path

from agent_jobs import gone, marked, started, write_job
from cluster import wait_for
from fake_coordinator import attempt, descendants, parent_of, plan_job, process_alive, results

from mapreduce.file_names import run_file_name
from mapreduce.plan import FailureKind, Limits
from mapreduce.protocol.messages import (
    AttemptFailed,
    CancelAttempt,
    RunAttempt,
)


def test_death_of_a_task_process(coordinator, tmp_path):
    """A killed task process is reported at once: signal, input, last lines; another takes the next attempt."""
    agent, _, planned = started(coordinator, tmp_path, "print('last words', flush=True); mark(line); time.sleep(3600)")
    agent.tell(RunAttempt(attempt(planned, "map", 0)))
    pid = marked(tmp_path, "one")
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    failure = agent.expect(AttemptFailed).failure
    assert time.monotonic() - killed_s < 2, "0.2 s on an idle machine"
    assert failure.kind is FailureKind.DIED
    assert "signal SIGKILL" in failure.message
    assert failure.stderr == "last words"
    assert (failure.path, failure.offset) == (str(tmp_path / "input0.txt"), 0)
    (tmp_path / "one").unlink()
    agent.tell(RunAttempt(attempt(planned, "map", 0, 2)))
    assert marked(tmp_path, "one") != pid


def test_exit_code_of_a_task_process(coordinator, tmp_path):
    """os._exit in user code is a death with that exit code."""
    agent, _, planned = started(coordinator, tmp_path, "os._exit(7)")
    failure = agent.run(attempt(planned, "map", 0)).failure
    assert failure.kind is FailureKind.DIED
    assert "exit code 7" in failure.message


def test_death_of_the_fork_server(coordinator, tmp_path):
    """When the fork server is killed, its tasks die with what they started, and a new one serves on."""
    body = "subprocess.Popen(['sleep', '3600']); mark(line); time.sleep(3600 if line == 'one' else 0)"
    agent, process, planned = started(coordinator, tmp_path, body, ["one\n", "two\n"])
    agent.tell(RunAttempt(attempt(planned, "map", 0)))
    marked(tmp_path, "one")
    below = descendants(process.pid)
    (server,) = [pid for pid in below if parent_of(pid) == process.pid]
    os.kill(server, signal.SIGKILL)
    assert agent.expect(AttemptFailed).failure.kind is FailureKind.DIED
    gone(below)
    (tmp_path / "one").unlink()
    agent.tell(RunAttempt(attempt(planned, "map", 0, 2)))
    assert marked(tmp_path, "one") not in below


def test_users_exception_changes_the_process(coordinator, tmp_path):
    """After an exception the next attempt runs in another process; after a success in the same."""
    body = "print(os.getpid())\n    if line == 'bad': raise ValueError(line)"
    agent, _, planned = started(coordinator, tmp_path, body, ["bad\n"], slots=1)
    first, second = (attempt(planned, "map", 0, number) for number in (1, 2))
    failure = agent.run(first).failure
    assert failure.kind is FailureKind.USER
    assert "ValueError: bad" in failure.message
    assert "raise ValueError(line)" in failure.traceback
    assert failure.worker == "tester"
    agent.run(second)
    assert agent.log[first] != agent.log[second]


def test_cancelled_attempt_stops_and_leaves_no_files(coordinator, tmp_path):
    """A cancelled attempt is killed with what it started, its files are deleted, and the agent says that it stopped."""
    body = "subprocess.Popen(['sleep', '3600']); mark('here'); time.sleep(3600)"
    agent, process, planned = started(coordinator, tmp_path, body)
    which = attempt(planned, "map", 0)
    agent.tell(RunAttempt(which))
    pid = marked(tmp_path, "here")
    below = descendants(pid)
    assert below
    (folder,) = (tmp_path / "scratch").glob(f"agent-*/jobs/{planned.spec.job}")
    (folder / run_file_name(which, 0)).write_bytes(b"half a run")
    agent.tell(CancelAttempt(which))
    assert agent.expect(AttemptFailed).attempt == which
    gone({pid, *below})
    wait_for(lambda: not (folder / run_file_name(which, 0)).exists(), "the half run to go")
    assert process.poll() is None


def test_a_killed_reduce_leaves_nothing_of_its_merge(coordinator, tmp_path):
    """The folder of a reduce attempt's merge goes when the attempt is cancelled, and not only with the job."""
    path = Path(write_job(tmp_path, "pass"))
    path.write_text(path.read_text().replace("yield key, sum(values)", "mark('here'); time.sleep(3600)"))
    agent, _ = coordinator.start_agent()
    texts = ["".join(f"line {number * step}\n" for number in range(200)) for step in range(1, 6)]
    limits = Limits(sort_buffer=8000, block=500, merge=2000)  # more runs than are merged at once
    planned = plan_job(tmp_path, str(path), texts, limits=limits, split_size=2000)
    assert agent.prepare(planned).problem is None
    maps = range(planned.spec.steps[0].maps)
    agent.tell(results(planned, [agent.source(agent.run(attempt(planned, "map", index))) for index in maps]))
    which = [attempt(planned, "reduce", index) for index in range(2)]
    for one in which:
        agent.tell(RunAttempt(one))
    marked(tmp_path, "here")
    (folder,) = (tmp_path / "scratch").glob(f"agent-*/jobs/{planned.spec.job}")
    assert list(folder.glob("merge-*/merge-*/*"))
    for one in which:
        agent.tell(CancelAttempt(one))
    wait_for(lambda: not list(folder.glob("merge-*")), "the merge's files to go")


def test_what_a_living_attempt_left_in_the_background_lives(coordinator, tmp_path):
    """A server that an attempt started through a shell outlives the end of other task processes, but not its own's."""
    body = "os.system(f'sleep 3600 & echo $! > {HERE}/server') if line == 'one' else None; mark(line)"
    agent, _ = coordinator.start_agent(slots=2)
    job = write_job(tmp_path, body + "; time.sleep(3600)")
    planned = plan_job(tmp_path, job, ["one\n" * 5, "two\n" * 5], split_size=20)
    assert agent.prepare(planned).problem is None
    maps = [attempt(planned, "map", index) for index in range(planned.spec.steps[0].maps)]
    assert len(maps) == 2
    for one in maps:
        agent.tell(RunAttempt(one))
    marked(tmp_path, "one")
    os.kill(marked(tmp_path, "two"), signal.SIGKILL)
    assert agent.expect(AttemptFailed).attempt == maps[1]
    server = int((tmp_path / "server").read_text())
    assert process_alive(server)
    agent.tell(CancelAttempt(maps[0]))
    assert agent.expect(AttemptFailed).attempt == maps[0]
    gone({server})
