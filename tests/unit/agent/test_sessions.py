"""The agent's pure machine and its sessions: made, kept alive, lost and made anew; no process, socket or clock."""

import pytest
from agent_driver import REGISTER
from agent_outcomes import BROKEN, DONE, attempt

from mapreduce.config import HEARTBEAT_S, REGISTER_RETRY_S
from mapreduce.protocol import wire
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    ForgetJob,
    Granted,
    Heartbeat,
    Inventory,
    Leave,
    Refused,
    Register,
    RunAttempt,
    SessionEnded,
    Welcome,
)
from workers.agent_events import Exit, LineBlocked, LineOpen, ProcessSaid, Received, StopAsked, Tick
from workers.task_messages import TaskDone, TaskFailed


def test_registers_until_welcomed(driver):
    """An agent asks for a session at once, and again every REGISTER_RETRY_S, until it has one."""
    assert [effect.process for effect in driver.effects] == [1, 2]
    driver.do(Tick())
    assert driver.messages() == [REGISTER]
    driver.after(REGISTER_RETRY_S / 2)
    assert driver.messages() == []
    driver.after(REGISTER_RETRY_S)
    assert driver.messages() == [REGISTER]
    driver.welcome()
    assert driver.messages() == [Inventory()]
    assert driver.numbers() == [1]
    driver.after(REGISTER_RETRY_S)
    assert driver.messages(Register) == []


def test_refused_agent_stops(driver):
    """A refused agent stops with exit code 2 and the coordinator's reason."""
    driver.do(Tick())
    driver.tell_raw(0, Refused("versions differ"), session="")
    assert driver.effects == [Exit(2, "versions differ")]


def test_heartbeats_tell_both_counts(joined):
    """Heartbeats come every heartbeat_s, unnumbered, with what was sent and what arrived."""
    joined.ready()
    joined.after(HEARTBEAT_S)
    assert Heartbeat(2, 1) in joined.messages()  # sent: Inventory and Prepared; received: PrepareJob
    assert 0 in joined.numbers()


@pytest.mark.parametrize(
    "message", [(3, ForgetJob("x")), (0, Heartbeat(1, 0)), (0, SessionEnded("lease over"))], ids=["gap", "beat", "end"]
)
def test_broken_session_is_made_anew(joined, message):
    """A gap in the numbers, a heartbeat that tells of more, or the session's end: the agent registers anew."""
    joined.now_s += REGISTER_RETRY_S
    joined.tell_raw(*message)
    assert joined.messages() == [REGISTER]
    joined.welcome("1-2")
    assert joined.messages(Inventory) == [Inventory()]


def test_old_and_repeated_messages_are_ignored(ready):
    """A message of another session, or with a number seen before, changes nothing."""
    ready.tell_raw(1, RunAttempt(attempt()))
    assert ready.effects == []
    ready.tell_raw(2, RunAttempt(attempt()), session="0-9")
    assert ready.effects == []
    ready.tell_raw(1, Welcome(1, 8.0, 1.0))
    assert ready.effects == []


def test_blocked_line(joined):
    """A numbered message that the socket does not take ends the session; a heartbeat does not."""
    joined.do(LineBlocked(numbered=False))
    assert joined.effects == []
    joined.do(LineBlocked(numbered=True))
    joined.do(LineOpen())
    assert joined.messages() == [REGISTER]


def test_leaves_with_a_word(joined):
    """An agent that is asked to stop tells the coordinator so, and exits with 0."""
    joined.do(StopAsked("SIGTERM"))
    assert joined.messages() == [Leave("SIGTERM")]
    assert joined.effects[-1] == Exit(0, "SIGTERM")


def test_new_session_is_told_all_that_is_held(ready):
    """Inventory names running, finished, kept and prepared; outcomes that were not answered are sent again."""
    first = ready.run(attempt(0))
    ready.do(ProcessSaid(first, TaskDone(attempt(0), DONE)))
    ready.tell(Granted(attempt(0)))
    second = ready.run(attempt(1))
    third = ready.run(attempt(2))
    ready.do(ProcessSaid(second, TaskDone(attempt(1), DONE)))
    ready.tell_raw(0, SessionEnded("gone"))
    ready.do(ProcessSaid(third, TaskFailed(attempt(2), BROKEN)))
    assert ready.messages() == []
    ready.welcome("1-2")
    inventory = ready.messages(Inventory)[0]
    assert inventory == Inventory((), (attempt(1), attempt(2)), (attempt(0),), ("job-1",))
    assert ready.messages(AttemptDone) == [AttemptDone(attempt(1), DONE)]
    assert [message.attempt for message in ready.messages(AttemptFailed)] == [attempt(2)]
    assert ready.numbers() == [1, 2, 3]


def test_failures_are_forgotten_once_received(ready):
    """A failure is told again in a new session only while the coordinator has not said that it received it."""
    process = ready.run(attempt())
    ready.do(ProcessSaid(process, TaskFailed(attempt(), BROKEN)))
    number = ready.numbers()[0]
    ready.tell_raw(0, Heartbeat(ready.sent, number))
    ready.tell_raw(0, SessionEnded("gone"))
    ready.welcome("1-2")
    assert ready.messages(AttemptFailed) == []


def test_long_inventories_come_in_parts(joined):
    """An inventory too long for a frame comes in several messages, of which the last says so."""
    joined.ready()
    held = [attempt(index, 1_000_000_000) for index in range(1000)]
    for which in held:
        process = joined.run(which)
        joined.do(ProcessSaid(process, TaskDone(which, DONE)))
        joined.tell(Granted(which))
    joined.tell_raw(0, SessionEnded("gone"))
    joined.welcome("1-2")
    inventories = joined.messages(Inventory)
    assert [which for inventory in inventories for which in inventory.kept] == held
    assert [inventory.last for inventory in inventories] == [False] * (len(inventories) - 1) + [True]


def test_a_welcome_for_another_life_is_ignored(driver):
    """A Welcome names the worker that it is for: a forerunner's opens no session."""
    driver.do(Tick())
    driver.do(Received(wire.Envelope("1-9", 0, Welcome(1, 8.0, HEARTBEAT_S, "its forerunner"))))
    assert driver.effects == []
    driver.do(Received(wire.Envelope("1-10", 0, Welcome(1, 8.0, HEARTBEAT_S, REGISTER.worker))))
    assert driver.messages() == [Inventory()]
