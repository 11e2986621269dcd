"""The coordinator's rules about kept results: who may read them, where they are read, and when they end."""

import pytest
from core_driver import Driver, spec

from mapreduce.config import HEARTBEAT_S, KEPT_IDLE_S
from mapreduce.coordinator.entries import Fenced, Restarted
from mapreduce.plan import EVERY_PART, Failure, FailureKind, PartInfo
from mapreduce.protocol import messages as m


def part(text):
    """A part whose bytes have this checksum."""
    return PartInfo(1, 10, text)


def keeping(job="k", *shapes, **more):
    """A job that keeps its results."""
    return spec(job, *(shapes or [(2, 0)]), output="", keep=True, **more)


def reading(job, kept, *shapes, at=(0,), **more):
    """A job that reads kept ones."""
    return spec(job, *(shapes or [(2, 1)]), reads=(kept,), reads_at=at, **more)


def later(driver, seconds, *workers):
    """Time passes, and the workers live on."""
    end = driver.now + seconds
    while driver.now < end:
        driver.tick(min(end, driver.now + HEARTBEAT_S))
        for worker in workers:
            driver.agent(worker, m.Progress(()))


def last(driver, worker, job):
    """The last attempt of a job that a worker was told to run."""
    return [attempt for attempt in driver.running(worker) if attempt.task.job == job][-1]


@pytest.fixture
def driver():
    """Two workers, of which each keeps one of the two parts of the job k."""
    driver = Driver()
    driver.join("a", 3)
    driver.join("b", 3)
    driver.submit(keeping(), "a", "b")
    driver.finish("a", part=part("1"))
    driver.finish("b", part=part("2"))
    return driver


def test_a_kept_job_shows_its_results(driver):
    """Its state, the size of its parts, and that it waits for nothing; its clock stands."""
    status = driver.status("k")
    assert (status.state, status.kept_bytes, status.waiting_for) == ("kept", 20, "")
    later(driver, 5, "a", "b")
    assert driver.status("k").elapsed_s == status.elapsed_s


def test_who_follows_a_job_is_told_at_once_that_its_results_are_kept():
    """As of an end, and not when the next status would be due."""
    driver = Driver()
    driver.join("a")
    driver.submit(keeping("k", (1, 0)), "a")
    driver.ask(m.Watch("k"))
    driver.finish("a", part=part("1"))
    assert driver.told["client"][-1].state == "kept"


def test_tasks_go_to_where_the_parts_lie(driver):
    """Map task i reads part i, so it runs there."""
    first = {worker: driver.running(worker)[0].task.index for worker in "ab"}
    driver.submit(reading("j", "k"), "a", "b")
    assert {worker: driver.running(worker)[1].task.index for worker in "ab"} == first
    sources = [message for message in driver.told["a"] if isinstance(message, m.Results)]
    assert [(found.job, found.step, len(found.sources)) for found in sources] == [("j", -1, 2)]


def test_it_ends_when_nobody_has_read_it_for_long(driver):
    """Reading counts as use; while a job reads it, it stays however long that takes."""
    later(driver, KEPT_IDLE_S - 10, "a", "b")
    driver.submit(reading("j", "k", (2, 0)), "a", "b")
    later(driver, 20, "a", "b")
    assert driver.status("k").state == "kept"
    later(driver, KEPT_IDLE_S, "a", "b")
    assert driver.status("k").state == "kept"
    assert isinstance(driver.ask(m.Cancel("j")), m.Accepted)
    later(driver, KEPT_IDLE_S - 10, "a", "b")
    assert driver.status("k").state == "kept"
    later(driver, 20, "a", "b")
    assert driver.status("k").state == "done"
    assert m.ForgetJob("k") in driver.told["a"]
    assert "dropped, or not used for long" in driver.ask(m.Submit(reading("l", "k"))).reason


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (reading("j", "x"), "no result of a job x is kept here"),
        (reading("j", "plain"), "no result of a job plain is kept here"),
        (reading("j", "k", at=()), "each from one of its map tasks on"),
        (reading("j", "k", (1, 1)), "too few map tasks to read the parts of k"),
        (reading("j", "k", at=(1,)), "too few map tasks to read the parts of k"),
        (reading("j", "k", at=(-2,)), "too few map tasks to read the parts of k"),
        (spec("j", keep=True), "has no output folder"),
    ],
)
def test_jobs_that_cannot_read_or_keep_are_refused(driver, wrong, why):
    """With the reason, before any work."""
    driver.submit(spec("plain"))
    assert why in driver.ask(m.Submit(wrong)).reason


def test_who_reads_what_cannot_be_made_again_fails_with_it(driver):
    """It says which job failed and why; who has read all that it needs goes on."""
    driver.submit(reading("j", "k", (2, 0)), "a", "b")
    driver.submit(keeping("l", (2, 0), reads=("k",), reads_at=(0,)), "a", "b")
    for job in "jl":
        for worker in "ab":
            driver.finish(worker, last(driver, worker, job), part=part("3"))
    assert (driver.status("j").state, driver.status("l").state) == ("committing", "kept")
    driver.submit(reading("n", "k", at=(EVERY_PART,)), "a", "b")
    driver.agent("b", m.Leave())
    assert (driver.status("l").state, driver.status("n").state) == ("running", "running")
    driver.agent("a", m.AttemptFailed(last(driver, "a", "k"), Failure(FailureKind.FATAL, "the input has changed")))
    for job in "ln":
        assert driver.status(job).failure.message == (
            "the kept result of k, which this job reads, is gone: that job failed: the input has changed"
        )
    assert driver.status("j").state == "committing"


def test_what_no_worker_can_make_again_fails_with_all_who_wait_for_it(driver):
    """Where those that are left cannot see its inputs, say; one that is away may be able, and is waited for."""
    driver.submit(reading("j", "k"), "a", "b")
    driver.join("c")
    driver.agent("c", m.Prepared("k", Failure(FailureKind.FATAL, "no input here")))
    driver.agent("b", m.Leave())
    assert driver.status("k").state == "running"
    driver.agent("a", m.Leave())
    reason = "what it keeps cannot be made (again), since no worker that is left can run it: no input here"
    assert driver.status("k").failure.message == reason
    assert driver.status("j").failure.message.endswith(reason)
    assert (driver.status("k").state, driver.status("j").state) == ("failed", "failed")


def test_the_last_worker_that_comes_and_cannot_make_it_again_fails_it(driver):
    """The one that was away is waited for as long as its lease."""
    for worker in "ab":
        driver.agent(worker, m.Leave())
    driver.join("c")
    assert driver.status("k").state == "running"
    driver.agent("c", m.Prepared("k", Failure(FailureKind.FATAL, "no input here")))
    assert driver.status("k").state == "failed"


def test_a_kept_part_that_changes_between_its_readers_is_told(driver):
    """Whoever has read it is over, so nothing runs again; but the next job has other input."""
    driver.agent("b", m.Leave())
    index = last(driver, "a", "k").task.index
    driver.finish("a", part=part("3"))
    assert driver.status("k").state == "kept"
    assert driver.status("k").warnings == (
        f"map {index} made other records when it ran again: jobs that are over may have read the earlier ones",
    )


def test_a_strange_id_is_not_said_again_at_full_length(driver):
    """The answer fits a frame whatever was asked for."""
    wrong = reading("j", "x" * 200_000)
    assert len(driver.ask(m.Submit(wrong)).reason) < 500


def test_all_who_read_a_part_run_again_when_it_has_other_bytes(driver):
    """Those of every job, and each map task where all read all; a second time fails the kept job."""
    driver.submit(reading("j", "k"), "a", "b")
    driver.submit(reading("n", "k", at=(EVERY_PART,)), "a", "b")
    index = last(driver, "a", "k").task.index
    driver.finish("a", last(driver, "a", "j"), digests=b"12345678")
    for job, checksum, states in (("j", "4", ["kept", "running"]), ("n", "5", ["failed", "failed"])):
        lost = max(
            (a for worker in "ab" for a in driver.running(worker) if (a.task.job, a.task.index) == ("k", index)),
            key=lambda attempt: attempt.number,
        )
        driver.agent("b", m.AttemptFailed(last(driver, "b", job), Failure(FailureKind.INPUT_LOST, "", producer=lost)))
        worker = max("ab", key=lambda worker: last(driver, worker, "k").number)
        driver.finish(worker, last(driver, worker, "k"), part=part(checksum))
        assert [driver.status(job).state for job in "kn"] == states
    assert [entry.producer.index for entry in driver.entries if isinstance(entry, Restarted)] == [index]
    fenced = [(task.job, task.index) for entry in driver.entries if isinstance(entry, Fenced) for task in entry.tasks]
    assert fenced == [("j", index), ("n", 0), ("n", 1)]
    assert driver.status("j").warnings == (
        f"map {index} of job k made other records when it ran again; tasks that had read the earlier ones run again: 1",
    )
    assert "the mapper of step 1 is not deterministic" in driver.status("k").failure.message
