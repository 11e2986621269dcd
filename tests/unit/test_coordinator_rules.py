"""The coordinator's core: scheduling, counters, bounds, and what clients are told."""

import dataclasses

import msgpack
import pytest
from core_driver import VERSIONS, Driver, spec

from mapreduce.config import (
    CONTROL_FRAME_BYTES,
    COUNTERS,
    FAILURE_TEXT_CHARS,
    JOBS_REMEMBERED,
    LEASE_S,
    LOG_BYTES_PER_ATTEMPT,
    STATUS_EVERY_S,
    WARNINGS,
    WATCH_LEASE_S,
)
from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.entries import Committed, JobSubmitted, Revoked
from mapreduce.coordinator.events import Received
from mapreduce.errors import IllegalTransition
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, PartInfo, TaskId, TaskKind
from mapreduce.protocol import messages as m
from mapreduce.protocol.wire import Envelope, encode


@pytest.fixture
def driver():
    return Driver()


def test_tasks_go_to_the_least_loaded_worker_in_order_of_index(driver):
    """Load is the share of slots: three tasks over workers of two slots and one."""
    driver.join("a", 2)
    driver.join("b", 1)
    driver.submit(spec("j", (3, 0)), "a", "b")
    assert [attempt.task.index for attempt in driver.running("a")] == [0, 2]
    assert [attempt.task.index for attempt in driver.running("b")] == [1]


def test_a_later_map_goes_to_where_its_input_lies(driver):
    """The second step's maps run on the workers that made their parts."""
    driver.join("a")
    driver.join("b")
    driver.submit(spec("j", (2, 0), (2, 0)), "a", "b")
    first = {worker: driver.running(worker)[0].task.index for worker in "ab"}
    driver.finish("b", part=PartInfo(1, 1, "b"))
    driver.finish("a", part=PartInfo(1, 1, "a"))
    second = {worker: driver.running(worker)[1].task for worker in "ab"}
    assert {worker: task.index for worker, task in second.items()} == first
    assert {task.step for task in second.values()} == {1}


def test_a_job_waits_until_every_worker_is_prepared(driver):
    """One worker that cannot fails the job, naming itself and why; later ones are left out with a warning."""
    driver.join("a")
    driver.join("b")
    driver.submit(spec("j"), "a")
    assert driver.running("a") == []
    assert driver.status().waiting_for == "worker b to prepare the job"
    driver.agent("b", m.Prepared("j", Failure(FailureKind.FATAL, "no such input: /x")))
    assert (driver.status().state, driver.status().failure.worker) == ("failed", "b")
    driver.submit(spec("k"), "a", "b")
    driver.join("c")
    driver.agent("c", m.Prepared("k", Failure(FailureKind.FATAL, "no such input: /x")))
    assert driver.status("k").state == "running"
    assert driver.status("k").warnings == ("worker c is left out: no such input: /x",)
    assert driver.running("c") == []


def test_without_workers_a_job_says_what_it_waits_for(driver):
    """No worker, a worker that is away, workers that cannot: each is told apart."""
    driver.submit(spec("j"))
    assert driver.status().waiting_for == "a worker: no workers are connected"
    driver.join("a")
    driver.agent("a", m.Prepared("j"))
    assert driver.status().waiting_for == ""
    driver.agent("a", m.Leave())
    assert driver.status().waiting_for == "a worker: no workers are connected"
    driver.join("b")
    driver.agent("b", m.Prepared("j", Failure(FailureKind.FATAL, "too old")))
    assert driver.status().waiting_for == "a worker that can run the job: worker b cannot (too old)"


def test_counters_are_those_of_current_commits(driver):
    """A revoked commit's counters are taken off, name and all; its task's next commit counts."""
    driver.join("a")
    driver.join("b")
    driver.submit(spec("j", (2, 1)), "a", "b")
    driver.finish("a", counters={"lines": 5, "only": 1}, records_in=5)
    assert driver.status().counters == {"lines": 5, "only": 1}
    driver.agent("a", m.Leave())
    assert (driver.status().counters, driver.status().records_in) == ({}, 0)
    driver.finish("b", counters={"lines": 7})
    driver.finish("b", counters={"lines": 5})
    assert driver.status().counters == {"lines": 12}


def test_too_many_counter_names_fail_the_job(driver):
    """Counters are bounded over all tasks, and the message says what to do."""
    driver.join("a")
    driver.submit(spec("j"), "a")
    driver.finish("a", counters={f"n{n}": 1 for n in range(COUNTERS)})
    assert driver.status().state == "running"
    driver.finish("a", counters={"one more": 1})
    assert f"more than {COUNTERS} names" in driver.status().failure.message


@pytest.mark.parametrize("value", [2**62, -(2**62)])
def test_a_counter_that_outgrows_64_bits_fails_the_job(driver, value):
    """The job fails and names the counter; neither the journal's snapshot nor a message meets what has no bytes."""
    driver.join("a")
    driver.submit(spec("j", (1, 1), (1, 1)), "a")
    driver.finish("a", counters={"nanoseconds": value})
    driver.finish("a", counters={"nanoseconds": 2**62 - 1})
    assert driver.status().state == "running"
    driver.finish("a", counters={"nanoseconds": 1}, part=PartInfo(1, 1, "x"))
    status = driver.status()
    assert status.state == "failed"
    assert "the job's counter 'nanoseconds' grows beyond 64 bits" in status.failure.message
    msgpack.packb(driver.core.snapshot())


def test_an_attempt_that_was_away_with_old_bytes_is_not_adopted(driver):
    """Its input was made again, with other bytes, in a life of the coordinator that did not know of it yet."""
    for worker in "abc":
        driver.join(worker)
    driver.submit(spec("j", (2, 1)), *"abc")
    kept = driver.finish("a", digests=b"the same")
    driver.finish("b", digests=b"old made")
    reduce = driver.running("a")[-1]
    driver.agent("b", m.Leave())
    (again,) = driver.running("c")
    driver.restart()
    driver.join("c", running=(again,), prepared=("j",))
    driver.finish("c", again, digests=b"new made")
    driver.join("a", running=(reduce,), kept=(kept,), prepared=("j",))
    assert m.CancelAttempt(reduce) in driver.told["a"]
    assert driver.status().warnings[0].startswith("map 1 made other records when it ran again")


def test_a_worker_that_missed_a_jobs_end_is_told_when_it_speaks_of_it(driver):
    """A job that it was still fetching is in no inventory: its answer to PrepareJob is what shows that it holds it."""
    driver.join("a")
    driver.submit(spec("j"))
    driver.put("a", Envelope("", 0, m.Register("a", "a", 1, VERSIONS, "tcp://x")))
    session = driver.effects.messages[-1].envelope.session
    driver.ask(m.Cancel("j"))
    driver.sessions["a"], driver.sent["a"] = session, 0
    driver.agent("a", m.Inventory())
    driver.agent("a", m.Prepared("j", Failure(FailureKind.FATAL, "the coordinator does not have the job's code")))
    assert driver.told["a"][-1] == m.ForgetJob("j", "/out/j")


def test_a_cancelled_attempt_keeps_its_slot_until_it_has_stopped(driver):
    """Slots are never given out twice: the next job's task waits for the agent's word."""
    driver.join("a")
    driver.submit(spec("j"), "a")
    driver.submit(spec("k"), "a")
    assert driver.ask(m.Cancel("j")) == m.Accepted("j")
    (first,) = driver.running("a")
    driver.agent("a", m.AttemptFailed(first, Failure(FailureKind.LOST, "stopped")))
    assert driver.running("a")[-1].task.job == "k"


def test_an_output_folder_is_for_one_job_at_a_time(driver):
    """The other job is named; after its end the folder is free."""
    driver.submit(spec("j", output="/out/x"))
    rejected = driver.ask(m.Submit(spec("k", output="/out/./x/")))
    assert isinstance(rejected, m.Rejected)
    assert "job j is writing to" in rejected.reason
    driver.ask(m.Cancel("j"))
    driver.submit(spec("k", output="/out/x"))


def test_a_job_is_taken_on_once_and_another_with_its_id_is_refused(driver):
    """A client that has not heard asks again, also of a coordinator that began anew; a stranger is never told yes."""
    driver.submit(spec("j", output="/out/x", resumes=("before",)))
    journalled = list(driver.entries)
    assert driver.ask(m.Submit(spec("j", output="/out/x", resumes=("before",)))) == m.Accepted("j")
    assert "another job has the id j" in driver.ask(m.Submit(spec("j", output="/out/y"))).reason
    assert driver.entries == journalled
    driver.restart()
    assert driver.ask(m.Submit(spec("j", output="/out/x", resumes=("before",)))) == m.Accepted("j")
    assert isinstance(driver.ask(m.Submit(spec("j", output="/out/y"))), m.Rejected)


def test_missing_blobs_are_asked_for_once_the_job_is_acceptable(driver):
    """A known job is accepted whatever is missing; a new one names what it needs."""
    missing = Received(b"client", Envelope("", 1, m.Submit(spec("j"))), ("a" * 64,))
    driver.take(driver.core.handle(missing, 0.0))
    assert driver.told["client"] == [m.NeedBlobs(("a" * 64,))]
    driver.submit(spec("j"))
    driver.take(driver.core.handle(missing, 0.0))
    assert driver.told["client"][-1] == m.Accepted("j")


@pytest.mark.parametrize(
    "bad",
    [
        dataclasses.replace(spec(), steps=()),
        spec("j", (-1, 1)),
        spec("j", (2, 3), (2, 1)),
        spec("last"),
        spec("x" * 100),
        spec(".."),
        spec("a/b"),
        spec("j\n"),
        spec("j", (1, 100_000)),
        spec("j", user_attempts=10**9),
        spec("j", user_attempts=0),
        dataclasses.replace(spec(), code="short"),
        dataclasses.replace(spec(), name="x" * 10_000),
    ],
)
def test_a_spec_that_makes_no_sense_is_rejected(driver, bad):
    """Nothing of it is journalled."""
    assert isinstance(driver.ask(m.Submit(bad)), m.Rejected)
    assert driver.entries == []


def test_ids_may_be_short_if_unique(driver):
    """`last`, beginnings, ambiguity and strangers each get their answer."""
    assert "no last job" in driver.status("last").reason
    driver.submit(spec("alpha1"))
    driver.submit(spec("alpha2"))
    assert driver.status("last").job == "alpha2"
    assert driver.status("alpha1").job == "alpha1"
    assert driver.status("alpha").reason == "2 jobs begin with 'alpha': alpha1, alpha2; give more of the id"
    assert "no job is called 'beta'" in driver.status("beta").reason


def test_watchers_see_ends_at_once_and_changes_at_a_bounded_rate(driver):
    """Many changes within STATUS_EVERY_S are one message; a watcher that does not renew gets no more."""
    driver.join("a")
    driver.submit(spec("j", (5, 0)), "a")
    driver.put("watcher", Envelope("", 9, m.Watch("j")))
    for _ in range(3):
        driver.finish("a")
    assert len(driver.told["watcher"]) == 1
    driver.tick(STATUS_EVERY_S)
    assert len(driver.told["watcher"]) == 2
    driver.tick(WATCH_LEASE_S)
    driver.finish("a")
    driver.tick(WATCH_LEASE_S + 1)
    assert len(driver.told["watcher"]) == 2
    driver.put("watcher", Envelope("", 9, m.Watch("j")))
    driver.ask(m.Cancel("j"))
    assert driver.told["watcher"][-1].state == "cancelled"


def test_the_largest_status_fits_a_frame(driver):
    """Every text, warning and counter at its bound, in characters of four bytes."""
    driver.join("a")
    wide = "\U0001f600"
    shapes = [(1, 1)] * 40
    driver.submit(dataclasses.replace(spec("j", *shapes), name=wide * 1000, submitter=wide * 1000), "a")
    warnings = tuple(f"{n}{wide * 500}" for n in range(WARNINGS + 5))
    driver.finish("a", counters={f"{n:0100}": n for n in range(400)}, warnings=warnings)
    texts = dict.fromkeys(["traceback", "stderr", "path", "record", "key", "function"], wide * FAILURE_TEXT_CHARS)
    driver.agent("a", m.AttemptFailed(driver.running("a")[-1], Failure(FailureKind.FATAL, wide * 5000, **texts)))
    status = driver.status()
    assert status.state == "failed"
    assert len(status.warnings) == WARNINGS + 1
    assert len(encode(Envelope("", 1, status))) < CONTROL_FRAME_BYTES
    assert len(encode(Envelope("", 1, driver.ask(m.ListJobs())))) < CONTROL_FRAME_BYTES


def test_pages_of_jobs_and_workers_go_on_where_the_last_ended(driver):
    """All are listed once, oldest first; `more` is true for all pages but the last."""
    for n in range(70):
        driver.submit(spec(f"j{n}"))
        driver.join(f"w{n:02}")
    for ask, items in ((m.ListJobs, "jobs"), (m.ListWorkers, "workers")):
        found, page = [], ask(0)
        while True:
            answer = driver.ask(page)
            found += getattr(answer, items)
            if not answer.more:
                break
            page = ask(len(found))
        assert len(found) == 70


def test_old_jobs_are_forgotten(driver):
    """Only JOBS_REMEMBERED ended jobs are kept, the oldest go first."""
    for n in range(JOBS_REMEMBERED + 2):
        driver.submit(spec(f"j{n}"))
        driver.ask(m.Cancel(f"j{n}"))
    assert next(iter(driver.core.core.durable.jobs)) == "j2"
    assert isinstance(driver.status("j0"), m.Rejected)


def test_logs_are_bounded_per_attempt(driver):
    """What is beyond the bound is dropped, and the last entry says so."""
    driver.join("a")
    driver.submit(spec("j"), "a")
    (attempt,) = driver.running("a")
    for _ in range(5):
        driver.agent("a", m.LogLines(attempt, "x" * 50_000))
    logs = driver.core.core.log_sizes["j"]
    assert logs.size == LOG_BYTES_PER_ATTEMPT
    assert driver.status().log_entries == logs.entries == 3


def test_a_coordinator_that_was_away_does_not_judge(driver):
    """After a pause of its own the workers get the time back; real silence still ends a lease."""
    driver.join("a")
    driver.tick(0.25)
    driver.tick(3 * LEASE_S)
    assert driver.core.knows_session(b"a", driver.sessions["a"])
    now = 3 * LEASE_S
    while now < 4 * LEASE_S + 1:
        now += 0.25
        driver.tick(now)
    assert not driver.core.knows_session(b"a", driver.sessions["a"])


def test_another_peer_cannot_speak_for_a_session(driver):
    """A session belongs to the routing identity that opened it."""
    driver.join("a")
    driver.put("thief", Envelope(driver.sessions["a"], 2, m.Leave()))
    assert isinstance(driver.told["thief"][-1], m.SessionEnded)
    assert driver.core.knows_session(b"a", driver.sessions["a"])


def test_a_message_for_others_is_complained_about(driver):
    """What a coordinator never receives is dropped, and the operator told."""
    driver.put("x", Envelope("", 0, m.SessionEnded("boo")))
    assert "SessionEnded" in driver.effects.complaints[0]


def test_results_of_the_lost_that_nobody_needs_are_not_made_again(driver):
    """A first step's map whose reader is committed keeps its commit and counters when its worker goes."""
    driver.join("a")
    driver.join("b")
    driver.submit(spec("j", (2, 0), (2, 0)), "a", "b")
    for worker in "ab":
        driver.finish(worker, counters={"first": 1}, part=PartInfo(1, 1, worker))
    for worker in "ab":
        driver.finish(worker, part=PartInfo(1, 1, worker))
    before = len(driver.entries)
    driver.agent("a", m.Leave())
    assert not [entry for entry in driver.entries[before:] if isinstance(entry, Revoked)]
    assert driver.status().counters == {"first": 2}


def test_measures_of_keys_are_told_in_frames_that_hold_them(driver):
    """Workers are told the bounds of all map tasks, however large together: each message fits a control frame."""
    driver.join("a", 60)
    driver.join("b")
    driver.submit(spec("j", (60, 2)), "a", "b")
    bounds = {}
    for worker in "ab":
        for attempt in driver.running(worker):
            bounds[attempt.task.index] = bytes([attempt.task.index]) * (12 << 10)
            driver.finish(worker, attempt, runs=1, digests=bytes(16), bounds=bounds[attempt.task.index])
    told = [source for message in driver.told["b"] if isinstance(message, m.Results) for source in message.sources]
    assert {source.attempt.task.index: source.done.bounds for source in told} == bounds
    assert len(bounds) == 60


def test_two_commits_of_a_task_are_an_illegal_transition():
    """The table stops what would break the promise, in recovery as well."""
    durable = Durable()
    durable.apply(JobSubmitted(spec("j")))
    task = TaskId("j", 0, TaskKind.MAP, 0)
    durable.apply(Committed(AttemptId(task, 1), "a", Done()))
    with pytest.raises(IllegalTransition, match="already is"):
        durable.apply(Committed(AttemptId(task, 2), "b", Done()))
    durable.apply(Revoked(AttemptId(task, 1), "lost"))
    with pytest.raises(IllegalTransition, match="fenced off"):
        durable.apply(Committed(AttemptId(task, 1), "a", Done()))
    with pytest.raises(IllegalTransition, match="not its task's commit"):
        durable.apply(Revoked(AttemptId(task, 1), "lost"))
