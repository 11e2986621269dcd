"""Records that kill their process: the note that outlives it, and the agent's hunt for them."""

import os
from contextlib import closing

import msgpack
import pytest
from agent_driver import Driver
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.bad.at_work import AtWork, Story
from mapreduce.dataflow.bad.series import COMBINING, FOLDING, TABLE
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, TaskId, TaskKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, CancelAttempt, ForgetJob, RunAttempt
from workers.agent_events import DeleteAttempt, Note, ProcessEnded, ProcessSaid, StartProcess, Tell, Tick
from workers.killers import DEATHS_ON_ONE, KILLS_ON_ONE, STARTS, Hunt, Mark
from workers.marks import PLACE_BYTES, SIZE, MarkWriter, parse_mark, read_mark, read_place, read_turn, shared_memory
from workers.task_messages import Run, TaskDone, TaskFailed

CRASH, KILL = "signal SIGSEGV", "signal SIGKILL"
FAILED = Failure(FailureKind.USER, "ValueError: no")
ATTEMPT = AttemptId(TaskId("job-1", 0, TaskKind.MAP, 0), 7)


# ------------------------------------------------------------------------------------------------ the note


@pytest.fixture
def memory():
    """The memory of one process's notes, and its writer."""
    fd = shared_memory()
    with closing(os.fdopen(fd, "rb")):
        yield fd, MarkWriter(fd)


def test_the_note_says_what_is_at_work_on_what(memory):
    """What was noted is read whole: place, key, record; then that it is through, and after the attempt nothing."""
    fd, mark = memory
    assert read_mark(fd) is None
    story = Story("mapper (a.py:1)", "mapper", "/in/\udcff", 480, "'k'", "a line")
    mark(AtWork(12, 1, lambda: story))
    told = {"function": "mapper (a.py:1)", "role": "mapper", "path": "/in/\udcff", "offset": 480, "key": "'k'"}
    assert read_mark(fd) == Mark(12, 1, through=False, record="'a line'", **told)
    mark(None)
    assert read_mark(fd) == Mark(12, 1, through=True, record="'a line'", **told)
    mark.clear()
    assert read_mark(fd) is None


def test_the_ordinal_is_noted_before_the_record_is_shown(memory):
    """A record whose repr kills is named as well, though nothing more is known of it."""
    fd, mark = memory
    mark(AtWork(0, 1, lambda: Story("mapper", "mapper", "/in", 0)))
    seen = []
    mark(AtWork(1, 5, lambda: seen.append(read_mark(fd)) or Story("mapper", "mapper", "/in", 7)))
    assert seen == [Mark(1, 5)]
    assert read_mark(fd).offset == 7


def test_a_copy_of_the_process_notes_nothing(memory):
    """What user code forks, and lets come back into our loops, does not speak for the process."""
    fd, mark = memory
    mark(AtWork(3, 1, lambda: Story("mapper", "mapper")))
    pid = os.fork()
    if pid == 0:
        mark(AtWork(4, 1, lambda: Story("mapper", "mapper")))
        os._exit(0)
    os.waitpid(pid, 0)
    assert read_mark(fd).ordinal == 3


def test_what_does_not_fit_is_left_out(memory):
    """Of an overlong note the ordinal is kept."""
    fd, mark = memory
    mark(AtWork(3, 1, lambda: Story("f" * SIZE, "mapper")))
    assert read_mark(fd) == Mark(3, 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 6), st.binary(max_size=60), st.sampled_from([b"\0", b"\x01", b"\xa1", b"\xff"]))
def test_a_note_that_was_written_over_is_no_note(state, start, rest):
    """Whatever user code writes there, it is a note or none, and never an error."""
    mark = parse_mark((bytes([state]) + bytes(7) + start).ljust(SIZE, rest))
    assert mark is None or mark.where()


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        (Mark(0, 1), "at work on record 1 of the task"),
        (Mark(8, 32), "at work on one of the records 9 to 40 of the task"),
        (Mark(4, 1, role="reducer"), "at work on group 5 of the task"),
        (Mark(4, 1, through=True), "after record 5 of the task, while none was being worked on"),
        (Mark(TABLE + 2, 1), "at work on record 3 of the joined input"),
        (Mark(COMBINING, 1, role="combiner"), "in the combiner, in its call 1"),
        (Mark(COMBINING, 1, through=True, role="combiner"), "after call 1 of the combiner"),
        (Mark(FOLDING + 9, 1, role="aggregator"), "while it folded the values of a key in a map task"),
        (Mark(FOLDING + 9, 1, through=True, role="aggregator"), "after it folded values"),
    ],
)
def test_where_a_process_died(mark, text):
    """Ordinals are told from 1 on, and whose they are."""
    assert mark.where() == text


# ------------------------------------------------------------------------------------------------ the hunt


@pytest.mark.parametrize(
    ("how", "needed"), [(CRASH, DEATHS_ON_ONE), ("exit code 7", DEATHS_ON_ONE), (KILL, KILLS_ON_ONE)]
)
def test_one_death_proves_nothing(how, needed):
    """A record is put aside only after several deaths on it: more where the signal may come from outside."""
    hunt = Hunt(aside=True)
    for _ in range(needed):
        assert hunt.skip == {}
        assert hunt.died(Mark(5, 1), how)
    assert list(hunt.skip) == [5]
    assert hunt.skip[5] == "killed the process: " + how.removeprefix("signal ")


def test_deaths_on_other_records_do_not_add_up():
    """Chance kills here and there put nothing aside."""
    hunt = Hunt(aside=True)
    assert all(hunt.died(Mark(ordinal, 1), CRASH) for ordinal in range(20))
    assert hunt.skip == {}


def test_a_batch_is_cut_until_one_record_is_left():
    """Each death names a smaller part; what was cut for the search is whole again once the record is known."""
    hunt = Hunt(aside=True)
    for mark in (Mark(0, 1000), Mark(32, 32)):
        assert hunt.died(mark, CRASH)
    assert hunt.alone == {(0, 1000), (32, 32)}
    for _ in range(DEATHS_ON_ONE):
        assert hunt.died(Mark(40, 1), CRASH)
    assert (list(hunt.skip), hunt.alone) == ([40], set())
    assert not hunt.died(Mark(0, 1000, through=True), CRASH), "between records nobody is to blame"
    assert not hunt.died(None, CRASH)


def test_without_bad_records_the_record_is_found_and_named_alone():
    """In a job that puts nothing aside batches are cut as well, and then the attempt fails."""
    hunt = Hunt(aside=False)
    assert hunt.died(Mark(0, 32), CRASH)
    assert not hunt.died(Mark(3, 1), CRASH)
    assert hunt.skip == {}


def test_what_no_record_is_to_blame_for_ends_the_hunt():
    """Values of many records meet in an aggregator: none of them can be put aside."""
    assert not Hunt(aside=True).died(Mark(FOLDING, 1), CRASH)


def test_a_part_that_cannot_be_cut_ends_the_hunt():
    """The same batch again, though it was to be cut: no reason to go on for ever."""
    hunt = Hunt(aside=True)
    assert hunt.died(Mark(0, 32), CRASH)
    assert not hunt.died(Mark(0, 32), CRASH)


def test_starts_are_bounded():
    """Whatever dies however, an attempt is started STARTS times at most."""
    hunt = Hunt(aside=True)
    starts = 1
    while hunt.died(Mark(starts, 1), CRASH):
        starts += 1
    assert starts == STARTS


def test_what_was_made_of_cut_batches_counts_for_nothing():
    """An attempt that survives the search is started again with its batches as they are."""
    hunt = Hunt(aside=True)
    assert not hunt.done()
    hunt.died(Mark(0, 32), KILL)
    assert hunt.done()
    assert (hunt.alone, hunt.again) == (set(), True)
    assert not hunt.done()


# ------------------------------------------------------------------------------------------------ in the agent


@pytest.fixture
def agent():
    """An agent that is ready for job-1."""
    driver = Driver()
    driver.do(Tick())
    driver.welcome()
    driver.ready()
    return driver


def runs(agent):
    """The orders among the last effects: (process, Run)."""
    return [(tell.process, tell.message) for tell in agent.of(Tell) if isinstance(tell.message, Run)]


def begin(agent, *, puts_aside=True):
    """Have the agent run an attempt with care; gives its process."""
    agent.tell(RunAttempt(ATTEMPT, ({"n": 1},), careful=True, puts_aside=puts_aside))
    ((process, order),) = runs(agent)
    assert order == Run(ATTEMPT, ({"n": 1},), careful=True)
    return process


def test_the_same_attempt_goes_on_in_another_process(agent):
    """Nothing is told or deleted meanwhile; the next process is told what is known, and to clear up first."""
    first = begin(agent)
    agent.do(ProcessEnded(first, CRASH, Mark(5, 1)))
    ((second, order),) = runs(agent)
    assert second != first
    assert order == Run(ATTEMPT, ({"n": 1},), careful=True, again=True)
    assert agent.messages() == []
    assert agent.of(DeleteAttempt) == []
    assert len(agent.of(Note)) == 1
    agent.do(ProcessEnded(second, CRASH, Mark(5, 1)))
    ((third, order),) = runs(agent)
    assert order.skip == {5: "killed the process: SIGSEGV"}
    agent.do(ProcessSaid(third, TaskDone(ATTEMPT, Done(bad={"killed the process: SIGSEGV": 1}))))
    assert [message.attempt for message in agent.messages(AttemptDone)] == [ATTEMPT]


def test_without_bad_records_the_failure_names_the_record(agent):
    """The attempt fails as DIED: function, path, offset, record and ordinal exactly; what it left is deleted."""
    process = begin(agent, puts_aside=False)
    mark = Mark(49, 1, False, "mapper (a.py:3)", "mapper", "/in/a.txt", 480, None, "'line'")
    agent.do(ProcessEnded(process, CRASH, mark))
    (failed,) = agent.messages(AttemptFailed)
    failure = failed.failure
    assert failure.kind is FailureKind.DIED
    assert failure.message == "the task process died: signal SIGSEGV, at work on record 50 of the task"
    told = (failure.function, failure.path, failure.offset, failure.key, failure.record)
    assert told == ("mapper (a.py:3)", "/in/a.txt", 480, None, "'line'")
    assert "--max-bad" in failure.notes[0]
    assert agent.of(DeleteAttempt) == [DeleteAttempt(ATTEMPT, "/out")]


def test_a_death_between_records_blames_none(agent):
    """Where no function was at work the last record is told for what it is, and the attempt fails."""
    process = begin(agent)
    agent.do(ProcessEnded(process, KILL, Mark(49, 1, True, "mapper", "mapper", "/in/a.txt", 480, None, "'line'")))
    (failed,) = agent.messages(AttemptFailed)
    assert failed.failure.message.endswith(
        "(out of memory?), after record 50 of the task, while none was being worked on"
    )
    assert (failed.failure.function, failed.failure.record) == (None, None)


def test_a_success_of_the_search_is_run_again(agent):
    """A process that had its batches cut may not commit: the attempt starts again in a process that is there."""
    first = begin(agent)
    agent.do(ProcessEnded(first, KILL, Mark(0, 32)))
    ((second, order),) = runs(agent)
    assert order.alone == ((0, 32),)
    agent.do(ProcessSaid(second, TaskDone(ATTEMPT, Done())))
    assert agent.messages() == []
    ((third, order),) = runs(agent)
    assert (third, order.alone, order.again) == (second, (), True)
    agent.do(ProcessSaid(third, TaskDone(ATTEMPT, Done())))
    assert [message.attempt for message in agent.messages(AttemptDone)] == [ATTEMPT]


@pytest.mark.parametrize("message", [CancelAttempt(ATTEMPT), ForgetJob("job-1")], ids=["cancelled", "forgotten"])
def test_what_is_cancelled_during_the_hunt_starts_no_more(agent, message):
    """The death of a process whose attempt nobody wants any more starts none for it."""
    agent.do(ProcessEnded(begin(agent), CRASH, Mark(5, 1)))
    ((second, _),) = runs(agent)
    agent.tell(message)
    agent.do(ProcessEnded(second, CRASH, Mark(5, 1)))
    assert runs(agent) == []


def test_an_exception_ends_the_hunt(agent):
    """A process that fails in good order fails the attempt, whatever died before."""
    agent.do(ProcessEnded(begin(agent), CRASH, Mark(5, 1)))
    ((second, _),) = runs(agent)
    broken = agent.do(ProcessSaid(second, TaskFailed(ATTEMPT, Hunt(aside=True).story(FAILED, None))))
    assert broken
    assert [message.failure.kind for message in agent.messages(AttemptFailed)] == [FailureKind.USER]


def test_a_careless_attempt_is_never_started_again(agent):
    """An attempt without care fails with its first death: the next is for the coordinator to give."""
    process = agent.run(ATTEMPT)
    agent.do(ProcessEnded(process, CRASH, None))
    assert [message.attempt for message in agent.messages(AttemptFailed)] == [ATTEMPT]
    assert len(agent.of(StartProcess)) == 1


@pytest.mark.parametrize("beyond", [-1, 0, 1, 4, 8])
def test_a_place_that_is_too_long_is_not_noted(beyond):
    """And overwrites nothing that lies behind it."""
    fd = shared_memory()
    writer = MarkWriter(os.dup(fd))
    writer.begin_turn(7)
    head = len(msgpack.packb(("x" * 1000, 5))) - 1000
    path = "x" * (PLACE_BYTES - 4 - head + beyond)
    writer.begin_at(path, 5)
    assert read_turn(fd) == 7
    assert read_place(fd) == ((path, 5) if beyond <= 0 else None)
    os.close(fd)
