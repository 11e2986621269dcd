"""A real agent begins and ends: life pipe, signals, options, sessions; nothing outlives it."""

import os
import re
import signal
import subprocess
import sys

import pytest
from agent_jobs import gone, marked, started
from cluster import wait_for
from fake_coordinator import attempt, descendants, process_alive

from mapreduce.protocol.messages import (
    AttemptDone,
    ForgetJob,
    Granted,
    Heartbeat,
    Inventory,
    Leave,
    Refused,
    RunAttempt,
    SessionEnded,
)


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
