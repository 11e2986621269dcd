"""What the coordinator does for an event does not grow with its job or its cluster: steps are counted, not timed."""

import sys

import pytest
from core_driver import Driver, spec

from benchmarks.coordinator_scale import Case, run_case
from mapreduce.config import AHEAD_PER_SLOT, RESULTS_PER_MESSAGE, TAKE_BACK_S
from mapreduce.coordinator.core import EFFORT
from mapreduce.coordinator.events import Proceed
from mapreduce.plan import Failure, FailureKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Encoder, Envelope, decode, encode, together

SLACK = 1.3  # a heap grows by a step for each doubling


def steps_of(act):
    """How many calls, lines and returns of Python an action takes."""
    count = 0

    def trace(_frame, _event, _argument):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def go_on(driver):
    """Hand over what an event has left to the next."""
    while driver.effects.unfinished:
        driver.take(driver.core.handle(Proceed(), driver.now))


def busy(tasks, workers, reduces=0):
    """A job of many tasks on workers that are all busy, in the middle of it."""
    driver = Driver()
    for n in range(workers):
        driver.join(f"w{n}")
    driver.submit(spec("j", (tasks, reduces)), *(f"w{n}" for n in range(workers)))
    go_on(driver)
    driver.status()
    driver.tick(0.0)
    for _ in range(3):
        driver.now += 0.9  # long enough that no attempt waits for a slot
        driver.finish("w0")
    return driver


def fail(driver):
    """An attempt of another worker than the one that has finished some fails."""
    driver.agent("w1", m.AttemptFailed(driver.running("w1")[-1], Failure(FailureKind.DISK, "full")))


ACTS = {
    "commit": lambda driver: driver.finish("w0"),
    "failure": fail,
    "heartbeat": lambda driver: driver.put("w1", Envelope(driver.sessions["w1"], 0, m.Heartbeat(1, 1))),
    "status": lambda driver: driver.status(),
    "watch": lambda driver: driver.ask(m.Watch("j")),
    "progress": lambda driver: driver.agent("w1", m.Progress(((driver.running("w1")[-1], 1, 1),))),
}


@pytest.mark.parametrize("reduces", [0, 5])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_an_event_takes_as_many_steps_in_a_job_and_cluster_of_any_size(act, reduces):
    """Sixteen times the tasks and four times the workers make no event dearer."""
    few, many = busy(400, 25, reduces), busy(6400, 100, reduces)
    act(busy(400, 25, reduces))  # first uses are dearer
    assert steps_of(lambda: act(many)) < SLACK * steps_of(lambda: act(few))


def test_a_tick_looks_at_those_workers_alone_that_are_due():
    """Between their heartbeats a tick passes all workers by."""
    few, many = busy(400, 25), busy(6400, 100)
    for driver in (few, many):
        driver.tick(driver.now)
    assert steps_of(lambda: many.tick(many.now + 0.25)) < SLACK * steps_of(lambda: few.tick(few.now + 0.25))


def test_what_is_too_much_for_one_event_is_left_to_the_next():
    """A start of a thousand attempts takes several events, each with a bounded number of messages."""
    driver = Driver()
    driver.join("a", slots=1000)
    driver.submit(spec("j", (1000, 1)), "a")
    assert driver.effects.unfinished
    assert len(driver.effects.messages) <= EFFORT + 1
    go_on(driver)
    assert len(driver.running("a")) == 1000


def test_a_job_of_many_parts_is_told_to_its_commit_over_several_events():
    """Where thousands of parts lie is told page by page, and the attempt begins after the last."""
    driver = Driver()
    driver.join("a", slots=4000)
    driver.submit(spec("j", (4000, 0)), "a")
    go_on(driver)
    for attempt in driver.running("a"):
        driver.finish("a", attempt)
    assert driver.effects.unfinished
    assert len(driver.running("a")) == 4000
    go_on(driver)
    told = [
        source.attempt.task.index for one in driver.told["a"] if isinstance(one, m.Results) for source in one.sources
    ]
    assert sorted(told) == list(range(4000))
    assert isinstance(driver.told["a"][-1], m.RunAttempt)


def test_workers_are_told_the_same_pages_and_these_are_written_once():
    """The messages with a stage's results are the same objects for all workers, and so are their bytes."""
    maps, driver = 2 * RESULTS_PER_MESSAGE, Driver()
    driver.join("a", slots=maps)
    driver.join("b", slots=1)
    driver.submit(spec("j", (maps, maps + 2)), "a", "b")
    for worker in ("a", "b"):
        for attempt in driver.running(worker):
            driver.finish(worker, attempt)
    go_on(driver)
    pages = {peer: [one for one in driver.told[peer] if isinstance(one, m.Results)] for peer in ("a", "b")}
    assert list(map(id, pages["a"])) == list(map(id, pages["b"]))
    assert len(pages["a"]) == 2
    encoder = Encoder()
    for number, page in enumerate(pages["a"] * 2):
        envelope = Envelope("1-1", number, page)
        assert encoder.encode(envelope) == encode(envelope)
        assert decode(encoder.encode(envelope)) == envelope


def test_frames_are_sent_together_up_to_a_control_frame():
    """Frames keep their order; what goes together holds up a heartbeat no longer than one large frame would."""
    frames = [bytes([n]) * 100_000 for n in range(7)] + [b"x"] * 500
    cut = list(together(frames))
    assert [frame for some in cut for frame in some] == frames
    assert [len(some) for some in cut] == [2, 2, 2, 200, 200, 101]


# ---- attempts that wait for a slot


def test_short_attempts_are_given_ahead_and_long_ones_are_not():
    """A worker has some attempts more than slots where these take a moment, and none more where they take long."""
    for took_s, given in ((0.001, 1 + AHEAD_PER_SLOT), (0.02, 3), (1.0, 1)):
        driver = Driver()
        driver.join("a")
        driver.submit(spec("j", (100, 1)), "a")
        driver.now += took_s
        driver.finish("a")
        assert len(driver.running("a")) - 1 == given


def test_what_waits_behind_a_long_attempt_goes_to_others():
    """Attempts that have waited for long are cancelled there, without blame, and are given to who is free."""
    driver = Driver()
    driver.join("a")
    driver.submit(spec("j", (10, 1)), "a")
    driver.finish("a")
    assert len(driver.running("a")) == 10
    driver.join("b", slots=20)
    driver.agent("b", m.Prepared("j"))
    assert driver.running("b") == []
    driver.tick(TAKE_BACK_S)
    cancelled = {one.attempt.task for one in driver.told["a"] if isinstance(one, m.CancelAttempt)}
    assert cancelled == {attempt.task for attempt in driver.running("a")[2:]}
    assert {attempt.task for attempt in driver.running("b")} == cancelled
    assert driver.status().attempts_failed == 0


def test_the_benchmark_runs():
    """The simulated cluster ends its jobs, with tasks that take time and such that take none."""
    found = run_case(Case("small", 300, 5, 20, work_s=0.5))
    assert found["tasks"] == 306
    assert run_case(Case("small", 300, 0, 20, slots=2))["tasks"] == 301
