"""The agent's pure machine hands processes several attempts that take a moment each, and takes back what waits."""

import pytest
from agent_driver import Driver
from agent_outcomes import BROKEN, DONE, attempt

from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, CancelAttempt, ForgetJob, LogLines, RunAttempt
from workers.agent_events import (
    DeleteAttempt,
    KillProcess,
    ProcessAt,
    ProcessEnded,
    ProcessPrinted,
    ProcessSaid,
    TakeBack,
    TakenBack,
    Tell,
)
from workers.agent_line import BEHIND_S, HANDED
from workers.task_messages import Run, RunEach, TaskDone, TaskFailed, TasksDone

SLOTS = 2


def orders(driver):
    """What the last effects have processes run, by process."""
    return {tell.process: tell.message for tell in driver.of(Tell) if isinstance(tell.message, Run | RunEach)}


def done(*attempts):
    return tuple(TaskDone(one, DONE) for one in attempts)


@pytest.fixture
def handed(ready: Driver):
    """An agent that has handed a process several attempts; `ready.process` has `ready.attempts`, from `ready.first`."""
    for index in range(SLOTS + HANDED * SLOTS):
        ready.tell(RunAttempt(attempt(index)))
    ready.do(ProcessSaid(1, TaskDone(attempt(0), DONE)))
    ((ready.process, order),) = orders(ready).items()
    ready.first, ready.attempts = order.first, order.attempts
    return ready


def test_short_attempts_are_handed_together(handed):
    """Once attempts are known to take a moment a process is handed as many as HANDED, in their order."""
    assert handed.attempts == tuple(attempt(index) for index in range(SLOTS, SLOTS + HANDED))
    handed.do(ProcessSaid(handed.process, TasksDone(done(*handed.attempts))))
    assert [message.attempt for message in handed.messages(AttemptDone)] == list(handed.attempts)
    assert len(orders(handed)) == 1, "it is handed more at once"


def test_attempts_that_take_long_go_one_by_one(ready):
    """Attempts of which two take longer than may be handed at a time are handed alone."""
    for index in range(10):
        ready.tell(RunAttempt(attempt(index)))
    ready.now_s += 5.0
    ready.do(ProcessSaid(1, TaskDone(attempt(0), DONE)))
    assert orders(ready) == {1: Run(attempt(2), ())}


def test_what_waits_is_shared_among_the_slots(ready):
    """A process is handed no more than its share of what waits."""
    for index in range(SLOTS + 3):
        ready.tell(RunAttempt(attempt(index)))
    ready.do(ProcessSaid(1, TaskDone(attempt(0), DONE)))
    assert [order.attempts for order in orders(ready).values()] == [(attempt(2), attempt(3))]


def test_what_waits_behind_a_long_attempt_is_taken_back(handed):
    """After BEHIND_S a process' turns are taken back; what it has not begun goes to the next slot that is free."""
    assert TakeBack(handed.process) not in handed.after(BEHIND_S / 2)
    assert TakeBack(handed.process) in handed.after(BEHIND_S)
    handed.do(TakenBack(handed.process, handed.first + 1, handed.first))
    assert handed.effects == []
    handed.do(ProcessSaid(2, TaskDone(attempt(1), DONE)))
    assert orders(handed)[2] == Run(handed.attempts[1], ())


def test_a_process_that_had_begun_none_takes_others(handed):
    """Where all turns are taken back the process is free: it is handed the same again, with new turns."""
    handed.do(TakenBack(handed.process, handed.first, 0))
    ((process, order),) = orders(handed).items()
    assert (process, order.attempts) == (handed.process, handed.attempts)
    assert order.first == handed.first + HANDED


def test_cancelled_before_its_turn(handed):
    """An attempt that is cancelled before its turn has stopped at once; that at hand goes on, the others wait again."""
    handed.tell(CancelAttempt(handed.attempts[2]))
    assert handed.effects == [TakeBack(handed.process)]
    handed.do(TakenBack(handed.process, handed.first + 1, handed.first))
    assert [message.attempt for message in handed.messages(AttemptFailed)] == [handed.attempts[2]]
    assert handed.of(KillProcess) == []


def test_cancelled_while_at_hand(handed):
    """The process that is at work on a cancelled attempt is killed; what it may have begun is started again."""
    handed.tell(CancelAttempt(handed.attempts[1]))
    handed.do(TakenBack(handed.process, handed.first + 2, handed.first + 1))
    assert handed.of(KillProcess) == [KillProcess(handed.process)]
    handed.do(ProcessEnded(handed.process, "signal SIGKILL"))
    assert [message.attempt for message in handed.messages(AttemptFailed)] == [handed.attempts[1]]
    assert handed.of(DeleteAttempt) == [DeleteAttempt(handed.attempts[1], "/out")]
    (order,) = orders(handed).values()
    assert order == Run(handed.attempts[0], (), again=True), "it was not told of, so it is run again, alone"


def test_cancelled_when_it_is_through(handed):
    """An attempt that is cancelled between its end and the report of it is dropped when it is told of."""
    handed.tell(CancelAttempt(handed.attempts[0]))
    handed.do(TakenBack(handed.process, handed.first + 2, handed.first + 1))
    assert handed.of(KillProcess) == []
    handed.do(ProcessSaid(handed.process, TasksDone(done(*handed.attempts[:2]))))
    assert [message.attempt for message in handed.messages(AttemptFailed)] == [handed.attempts[0]]
    assert [message.attempt for message in handed.messages(AttemptDone)] == [handed.attempts[1]]
    assert handed.of(DeleteAttempt) == [DeleteAttempt(handed.attempts[0], "/out")]


def test_a_death_is_of_the_attempt_at_hand(handed):
    """The attempt that a process was at work on fails; those before and behind it are run again, alone."""
    handed.do(ProcessAt(handed.process, handed.first + 1))
    handed.do(ProcessEnded(handed.process, "signal SIGSEGV"))
    (failed,) = handed.messages(AttemptFailed)
    assert (failed.attempt, failed.failure.kind) == (handed.attempts[1], FailureKind.DIED)
    (order,) = orders(handed).values()
    assert order == Run(handed.attempts[0], (), again=True)


def test_a_failure_ends_the_process(handed):
    """After a failed attempt the process is killed, and what was behind it runs in others."""
    handed.do(ProcessSaid(handed.process, TasksDone(done(handed.attempts[0]))))
    handed.do(ProcessSaid(handed.process, TaskFailed(handed.attempts[1], BROKEN)))
    assert handed.of(KillProcess) == [KillProcess(handed.process)]
    handed.do(ProcessEnded(handed.process, "signal SIGKILL"))
    handed.do(ProcessSaid(2, TaskDone(attempt(1), DONE)))
    assert orders(handed) == {2: Run(handed.attempts[2], (), again=True)}


def test_output_is_of_the_attempt_at_hand(handed):
    """What is printed is that of the attempt whose turn it was; from then on the job's attempts go one by one."""
    handed.do(ProcessAt(handed.process, handed.first + 1))
    handed.do(ProcessPrinted(handed.process, "hello\n"))
    handed.do(ProcessSaid(handed.process, TasksDone(done(*handed.attempts[:2]), printed=True)))
    assert handed.messages(LogLines) == [LogLines(handed.attempts[1], "hello\n")]
    assert orders(handed) == {handed.process: Run(handed.attempts[2], ())}


def test_a_job_ends_while_attempts_wait_for_their_turn(handed):
    """All that a process was handed has stopped when it is dead, and the coordinator hears of each."""
    handed.tell(ForgetJob("job-1"))
    said = {message.attempt for message in handed.messages(AttemptFailed)}
    for process in (1, 2):
        handed.do(ProcessEnded(process, "signal SIGKILL"))
        said |= {message.attempt for message in handed.messages(AttemptFailed)}
    assert said == {attempt(index) for index in range(1, SLOTS + HANDED * SLOTS)}
