"""A real agent with real task processes, a coordinator in the test that speaks the wire, real kills."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import wait_for
from fake_coordinator import FakeCoordinator, attempt, descendants, parent_of, plan_job, process_alive, results

from mapreduce.file_names import run_file_name
from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    CancelAttempt,
    ForgetJob,
    Granted,
    Heartbeat,
    Inventory,
    Leave,
    Prepared,
    Refused,
    RunAttempt,
    SessionEnded,
)

PRELUDE = """
import os, pathlib, subprocess, sys, time
HERE = pathlib.Path({here!r})

def mark(name):
    (HERE / name).write_text(str(os.getpid()))

def mapper(line):
    {body}
    yield line, 1

def reducer(key, values):
    yield key, sum(values)
"""


def write_job(folder, body):
    """Write a job whose mapper does `body` for each line."""
    path = folder / "user_job.py"
    path.write_text(PRELUDE.format(here=str(folder), body=body), encoding="utf-8")
    return str(path)


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator at an ipc address, whose agents end with the test."""
    with_address = FakeCoordinator(f"ipc://{tmp_path}/c", tmp_path)
    yield with_address
    with_address.close()


def marked(folder, name):
    """Wait for a mark that user code makes; gives the process id in it."""
    path = folder / name
    return int(wait_for(lambda: path.exists() and path.read_text(), f"the mark {name}"))


def gone(pids, deadline_s=5):
    wait_for(lambda: not any(map(process_alive, pids)), f"the end of {pids}", deadline_s)


def started(coordinator, tmp_path, body, texts=("one\ntwo\n",), **options):
    """Start an agent and have a job prepared on it."""
    agent, process = coordinator.start_agent(**options)
    planned = plan_job(tmp_path, write_job(tmp_path, body), list(texts))
    assert agent.prepare(planned).problem is None
    return agent, process, planned


# ------------------------------------------------------------------------------------------------ life


def test_agent_ends_with_its_life_pipe(coordinator, tmp_path):
    """When its life pipe closes, an agent tells the coordinator, exits with 0, and leaves no process and no file."""
    agent, process = coordinator.start_agent(slots=3)
    below = wait_for(lambda: len(descendants(process.pid)) == 4 and descendants(process.pid), "three task processes")
    coordinator.end_life(process)
    assert "life pipe" in agent.expect(Leave).reason
    assert process.wait(10) == 0
    gone(below)
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [".lock"]


def test_agent_ends_with_sigterm_and_ignores_ctrl_c(coordinator):
    """SIGTERM makes an agent leave with 0; SIGINT is for whoever holds its life pipe."""
    agent, process = coordinator.start_agent()
    process.send_signal(signal.SIGINT)
    agent.expect(Heartbeat)
    agent.expect(Heartbeat)
    process.send_signal(signal.SIGTERM)
    assert agent.expect(Leave).reason == "SIGTERM"
    assert process.wait(10) == 0


def test_agent_in_a_terminal_ends_with_ctrl_c(coordinator):
    """Without a life pipe, SIGINT makes an agent leave."""
    agent, process = coordinator.start_agent(life=False)
    process.send_signal(signal.SIGINT)
    assert agent.expect(Leave).reason == "SIGINT"
    assert process.wait(10) == 130


def test_refused_agent_exits_with_2(coordinator, tmp_path):
    """A refused agent says the coordinator's reason and exits with 2."""
    agent, process = coordinator.start_agent()
    agent.raw(0, Refused("versions differ: 1 there, 2 here"), session="")
    assert process.wait(10) == 2
    assert "versions differ: 1 there, 2 here" in (tmp_path / "agent.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--coordinator", "nonsense", "--slots", "1"], "tcp://HOST:PORT"),
        (["--coordinator", "tcp://127.0.0.1", "--slots", "1"], "tcp://HOST:PORT"),
        (["--coordinator", "tcp://127.0.0.1:1", "--slots", "0"], "--slots must be 1 or more"),
        (["--coordinator", "tcp://127.0.0.1:1", "--slots", "1", "--listen", "tcp://1.2.3.4:5"], "--listen"),
        (["--coordinator", "ipc:///tmp/none", "--slots", "1", "--scratch", "/dev/null/x"], "--scratch"),
    ],
)
def test_wrong_options_exit_with_2(tmp_path, arguments, words):
    """Options that cannot work end the agent with 2 and a message that says what to write instead."""
    command = [sys.executable, "-P", "-m", "workers.agent", "--scratch", str(tmp_path / "s"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr


HANGS = {
    "sleeping": "mark('here'); time.sleep(3600)",
    "busy": "mark('here')\n    while True: pass",
    "in C, holding the interpreter": "mark('here'); 10 ** 10 ** 9",
    "with a child": "subprocess.Popen(['sleep', '3600']); mark('here'); time.sleep(3600)",
    "with a daemon": "subprocess.Popen(['setsid', 'setsid', 'sleep', '3600'], start_new_session=True);"
    " time.sleep(0.2); mark('here'); time.sleep(3600)",
    "ignoring signals": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); mark('here'); time.sleep(3600)",
}


@pytest.mark.parametrize("how", ["kill", "life"])
@pytest.mark.parametrize("body", HANGS.values(), ids=HANGS.keys())
def test_nothing_outlives_the_agent(coordinator, tmp_path, body, how):
    """Whatever user code does, all processes are gone soon after the agent is killed or its life pipe closes."""
    agent, process, planned = started(coordinator, tmp_path, body)
    agent.tell(RunAttempt(attempt(planned, "map", 0)))
    marked(tmp_path, "here")
    below = descendants(process.pid)
    assert len(below) >= 3
    if how == "kill":
        coordinator.kill(process)
    else:
        coordinator.end_life(process)
        assert process.wait(10) == 0
        assert not (tmp_path / "out").exists(), "unfinished output is removed: nobody else is left to do it"
    gone(below)


def test_leftovers_of_a_killed_agent_are_swept(coordinator, tmp_path):
    """What a killed agent leaves in scratch is deleted by the next one."""
    _, process = coordinator.start_agent()
    scratch = tmp_path / "scratch"
    (old,) = scratch.glob("agent-*")
    coordinator.kill(process)
    assert old.exists()
    coordinator.start_agent()
    wait_for(lambda: len([p for p in scratch.iterdir() if p.is_dir()]) == 1, "the sweep")
    assert not old.exists()


# ------------------------------------------------------------------------------------------------ jobs


def test_a_whole_job(coordinator, tmp_path):
    """Maps, reduces and commit of a job run on one agent, which reads its own files; the output is right."""
    agent, _, planned = started(coordinator, tmp_path, "pass", ["b\na\nb\n", "c\na\n"])
    maps = [agent.run(attempt(planned, "map", index)) for index in range(planned.spec.steps[0].maps)]
    agent.tell(results(planned, [agent.source(done) for done in maps]))
    reduces = [agent.run(attempt(planned, "reduce", index)) for index in range(2)]
    agent.tell(results(planned, [agent.source(done) for done in reduces], of_maps=False))
    assert isinstance(agent.run(attempt(planned, "commit", 0)), AttemptDone)
    text = "".join(path.read_text() for path in sorted((tmp_path / "out").glob("part-*")))
    assert sorted(text.splitlines()) == ["a\t2", "b\t2", "c\t1"]
    agent.tell(ForgetJob(planned.spec.job))
    wait_for(lambda: not list((tmp_path / "scratch").glob("agent-*/jobs/*")), "the job's scratch to go")


def test_failed_jobs_output_is_cleaned(coordinator, tmp_path):
    """ForgetJob with an output folder removes what attempts left there, and the folder that was made for the job."""
    agent, _, planned = started(coordinator, tmp_path, "mark('here'); time.sleep(3600)")
    assert (tmp_path / "out").exists()
    agent.tell(RunAttempt(attempt(planned, "map", 0)))
    marked(tmp_path, "here")
    agent.tell(CancelAttempt(attempt(planned, "map", 0)))
    agent.tell(ForgetJob(planned.spec.job, planned.spec.output))
    wait_for(lambda: not (tmp_path / "out").exists(), "the output folder to go")
    wait_for(lambda: not list((tmp_path / "scratch").glob("agent-*/jobs/*")), "the job's scratch to go")


def test_input_that_is_not_seen(coordinator, tmp_path):
    """A worker that does not see an input says so before the job starts: worker and path are named."""
    agent, _ = coordinator.start_agent()
    planned = plan_job(tmp_path, write_job(tmp_path, "pass"), ["text\n"])
    (tmp_path / "input0.txt").unlink()
    problem = agent.prepare(planned).problem
    assert problem.kind is FailureKind.FATAL
    assert problem.worker == "tester"
    assert f"{tmp_path}/input0.txt is not seen here" in problem.message


def test_code_that_does_not_load(coordinator, tmp_path):
    """Code that fails to import on the worker only is refused with the user's own traceback; its last lines too."""
    agent, _ = coordinator.start_agent()
    path = tmp_path / "user_job.py"
    path.write_text(
        "import os\nif 'POLARS_MAX_THREADS' in os.environ:\n    {}['no such key']\ndef mapper(line): yield line, 1\n"
    )
    problem = agent.prepare(plan_job(tmp_path, str(path), ["text\n"])).problem
    assert problem.kind is FailureKind.FATAL
    assert "cannot be loaded on this worker" in problem.message
    assert "{}['no such key']" in problem.traceback
    path.write_text("import os\ndef mapper(line): yield line, 1\n")
    planned = plan_job(tmp_path, str(path), ["text\n"], overwrite=True)
    assert agent.prepare(planned).problem is None, "and the agent takes other jobs"


# ------------------------------------------------------------------------------------------------ deaths


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
    planned = plan_job(tmp_path, str(path), ["text\n"])
    assert agent.prepare(planned).problem is None
    agent.tell(results(planned, [agent.source(agent.run(attempt(planned, "map", 0)))]))
    which = [attempt(planned, "reduce", index) for index in range(2)]
    for one in which:
        agent.tell(RunAttempt(one))
    marked(tmp_path, "here")
    (folder,) = (tmp_path / "scratch").glob(f"agent-*/jobs/{planned.spec.job}")
    assert list(folder.glob("merge-*"))
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


def test_dropped_result_is_deleted(coordinator, tmp_path):
    """A committed run stays until the coordinator drops it."""
    agent, _, planned = started(coordinator, tmp_path, "pass")
    which = attempt(planned, "map", 0)
    agent.run(which)
    (folder,) = (tmp_path / "scratch").glob(f"agent-*/jobs/{planned.spec.job}")
    assert (folder / run_file_name(which, 0)).exists()
    agent.tell(CancelAttempt(which))
    wait_for(lambda: not (folder / run_file_name(which, 0)).exists(), "the run to go")


# ------------------------------------------------------------------------------------------------ sessions


def test_tasks_go_on_without_a_session(coordinator, tmp_path):
    """A lost session stops nothing: the agent registers anew with what runs, and the outcome comes in the new one."""
    body = "mark('here')\n    while not (HERE / 'go').exists(): time.sleep(0.01)"
    agent, _, planned = started(coordinator, tmp_path, body)
    which = attempt(planned, "map", 0)
    agent.tell(RunAttempt(which))
    pid = marked(tmp_path, "here")
    agent.raw(0, SessionEnded("lease over"))
    again = coordinator.welcome()
    assert again.worker == agent.worker
    assert again.inventory == Inventory((which,), (), (), (planned.spec.job,))
    (tmp_path / "go").touch()
    assert again.expect(AttemptDone).attempt == which
    assert process_alive(pid)
    again.tell(Granted(which))
    again.raw(again.sent + 2, ForgetJob("gap"))
    third = coordinator.welcome()
    assert third.inventory == Inventory((), (), (which,), (planned.spec.job,))


def test_malformed_frames_are_dropped(coordinator, tmp_path):
    """Frames that are none of ours get a log line; the session goes on."""
    agent, _, planned = started(coordinator, tmp_path, "pass")
    for frame in (b"", b"\xc1", b"\x93\x01\x02\x03", os.urandom(1000)):
        coordinator.socket.send_multipart([agent.identity, frame])
    assert isinstance(agent.run(attempt(planned, "map", 0)), AttemptDone)
    assert (tmp_path / "agent.log").read_text().count("dropped a frame") == 4


def test_chatty_tasks_do_not_delay_heartbeats(coordinator, tmp_path):
    """While tasks print without end, through pipes and children, heartbeats come on time and the log stays bounded."""
    body = "subprocess.Popen(['yes', 'x' * 100]); mark('here')\n    while True: print('y' * 100)"
    agent, _, planned = started(coordinator, tmp_path, body, ["one\n", "two\n"])
    which = attempt(planned, "map", 0)
    agent.tell(RunAttempt(which))
    marked(tmp_path, "here")
    gaps = []
    for _ in range(8):
        before_s = time.monotonic()
        agent.expect(Heartbeat)
        gaps.append(time.monotonic() - before_s)
    assert max(gaps) < 2, "0.2 s on an idle machine"
    agent.tell(CancelAttempt(which))
    agent.expect(AttemptFailed)
    assert len(agent.log[which]) < 70_000
    assert "more output left out" in agent.log[which]


def test_slots_run_side_by_side(coordinator, tmp_path):
    """As many attempts as there are slots run at the same time, each in a process of its own."""
    body = "mark(line)\n    while not (HERE / 'go').exists(): time.sleep(0.01)"
    agent, _ = coordinator.start_agent(slots=2)
    planned = plan_job(tmp_path, write_job(tmp_path, body), ["a\n" * 5, "b\n" * 5], split_size=8)
    assert planned.spec.steps[0].maps > 1
    assert agent.prepare(planned) == Prepared(planned.spec.job)
    first, last = (attempt(planned, "map", index) for index in (0, planned.spec.steps[0].maps - 1))
    agent.tell(RunAttempt(first))
    agent.tell(RunAttempt(last))
    assert marked(tmp_path, "a") != marked(tmp_path, "b")
    (tmp_path / "go").touch()
    assert {agent.expect(AttemptDone).attempt for _ in range(2)} == {first, last}


def test_agent_says_nothing_at_normal_work(coordinator, tmp_path):
    """The agent of a run says nothing unless something is wrong; one that a person started says what it does."""
    agent, process, planned = started(coordinator, tmp_path, "pass")
    agent.run(attempt(planned, "map", 0))
    coordinator.end_life(process)
    process.wait(10)
    assert (tmp_path / "agent.log").read_text() == ""
    _, process = coordinator.start_agent(life=False)
    process.terminate()
    process.wait(10)
    said = (tmp_path / "agent.log").read_text()
    assert re.search(f"worker tester: asking {coordinator.address} for work: 2 at a time", said)
    assert re.search("worker tester: joined the coordinator: session .* epoch 1", said)
