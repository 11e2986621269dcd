"""Which processes an agent keeps for a client's next job, and what it need not fetch again."""

import pytest
from agent_driver import Driver

from mapreduce.plan import AttemptId, Done, Failure, FailureKind, TaskId, TaskKind
from mapreduce.protocol.messages import ForgetJob
from workers.agent_events import (
    BlobStored,
    DeleteJob,
    DeleteShared,
    KillProcess,
    ProcessEnded,
    ProcessSaid,
    StartProcess,
    Tell,
    Tick,
)
from workers.agent_pool import WARM_IDLE_S, Pool, Role
from workers.task_messages import AddSources, LoadJob, TaskDone, TaskFailed

CODE, FILES = "c" * 64, "f" * 64


def attempt(job, index=0):
    return AttemptId(TaskId(job, 0, TaskKind.MAP, index), 1)


@pytest.fixture
def agent():
    """An agent of two slots with a session."""
    driver = Driver()
    driver.do(Tick())
    driver.welcome()
    return driver


def run_job(agent, job, **more):
    """Run a job of one task to its end; gives the processes that probed it and ran its task."""
    probe = agent.ready(job, **more)
    process = agent.run(attempt(job))
    agent.do(ProcessSaid(process, TaskDone(attempt(job), Done())))
    agent.tell(ForgetJob(job))
    return probe, process


def test_processes_wait_for_the_next_job_of_their_client(agent):
    """All idle ones are kept; they are told of the next job, whose code is not asked for again, and run its tasks."""
    _, process = run_job(agent, "job-1", warm="t")
    assert agent.of(KillProcess) == agent.of(StartProcess) == agent.of(DeleteShared) == []
    assert agent.of(DeleteJob) == [DeleteJob("job-1", "")]
    probe = agent.ready("job-2", warm="t", setup="z" * 64)
    assert agent.asked == ["z" * 64, "p" * 64, "q" * 64]
    assert sorted(agent.loaded) == [1, 2]
    assert probe == process
    assert agent.run(attempt("job-2")) == process
    assert agent.of(StartProcess) == []
    told = [tell.message for tell in agent.of(Tell)]
    assert not any(isinstance(message, AddSources) for message in told)


def test_processes_of_a_job_that_keeps_its_results_serve_the_next(agent):
    """It lives on, but those that are idle are told of the next job with the same code, and of all its sources."""
    agent.ready("job-1", warm="t")
    process = agent.run(attempt("job-1"))
    agent.do(ProcessSaid(process, TaskDone(attempt("job-1"), Done())))
    assert agent.ready("job-2", warm="t", setup="z" * 64) == process
    assert agent.loaded == [process]
    assert agent.run(attempt("job-2")) == process
    assert agent.of(StartProcess) == agent.of(KillProcess) == []
    assert agent.ready("job-3", warm="u") != process


@pytest.mark.parametrize(
    ("first", "second"),
    [({"warm": ""}, {"warm": ""}), ({"warm": "t"}, {"warm": "u"}), ({"warm": "t"}, {"warm": "t", "code": "d" * 64})],
    ids=["no token", "another client", "other code"],
)
def test_other_jobs_get_fresh_processes(agent, first, second):
    """A process serves one client's one code for life."""
    run_job(agent, "job-1", **first)
    for kill in agent.of(KillProcess):
        agent.do(ProcessEnded(kill.process, "signal SIGKILL"))
    agent.do(Tick())
    probe = agent.ready("job-2", **second)
    assert probe > 2
    assert not {1, 2} & {probe, *agent.loaded, agent.run(attempt("job-2"))}


def test_warm_processes_make_room(agent):
    """With those of other jobs there are never more than slots and a spare one: the least recently used goes."""
    _, used = run_job(agent, "job-1", warm="t")
    agent.ready("job-2")
    first = agent.run(attempt("job-2"))
    agent.run(attempt("job-2", 1))
    killed = [kill.process for kill in agent.of(KillProcess)]
    assert used == 1
    assert first == 3
    assert killed == [2]


def test_what_failed_or_was_stopped_is_not_kept(agent):
    """A failed attempt's process is killed, and one at work when its job ends: its state is anybody's guess."""
    agent.ready("job-1", warm="t")
    failing, stopped = agent.run(attempt("job-1")), agent.run(attempt("job-1", 1))
    agent.do(ProcessSaid(failing, TaskFailed(attempt("job-1"), Failure(FailureKind.USER, "no"))))
    assert agent.of(KillProcess) == [KillProcess(failing)]
    agent.tell(ForgetJob("job-1", "/out"))
    assert agent.of(KillProcess) == [KillProcess(stopped)]
    for process in (failing, stopped):
        agent.do(ProcessEnded(process, "signal SIGKILL"))
    assert agent.of(DeleteJob) == [DeleteJob("job-1", "/out")]
    assert agent.of(DeleteShared) == [DeleteShared(CODE)]


def test_processes_of_a_job_that_did_not_load_are_not_kept(agent):
    """Code that was never shown to load is no use to the next job."""
    agent.tell_raw(0, ForgetJob("other"))
    agent.ready("job-1", warm="t", files=FILES)
    agent.state._jobs["job-1"].stage = "refused"
    agent.tell(ForgetJob("job-1"))
    assert {kill.process for kill in agent.of(KillProcess)} == {1, 2}


def test_nobody_keeps_processes_for_ever(agent):
    """Without a job for WARM_IDLE_S they are killed, others are started, and the code goes with the last of them."""
    run_job(agent, "job-1", warm="t", files=FILES)
    agent.do(Tick())
    agent.after(WARM_IDLE_S - 1)
    assert agent.of(KillProcess) == []
    agent.after(1)
    assert [kill.process for kill in agent.of(KillProcess)] == [2, 1]
    assert len(agent.of(StartProcess)) == 2
    agent.do(ProcessEnded(1, "signal SIGKILL"))
    assert agent.of(DeleteShared) == []
    agent.do(ProcessEnded(2, "signal SIGKILL"))
    assert {effect.sha256 for effect in agent.of(DeleteShared)} == {CODE, FILES}


def test_files_stay_as_long_as_processes_may_hold_them(agent):
    """Files are fetched once for all jobs that bring the same; those of a former run go when all have others."""
    run_job(agent, "job-1", warm="t", files=FILES)
    run_job(agent, "job-2", warm="t", files=FILES)
    assert FILES not in agent.asked
    run_job(agent, "job-3", warm="t", files="g" * 64)
    assert "g" * 64 in agent.asked
    assert agent.of(DeleteShared) == [DeleteShared(FILES)]


def test_a_shared_blob_that_comes_late_is_deleted(agent):
    """One that was stored when its job was over already is wanted by nobody."""
    agent.do(BlobStored("gone", "code", "e" * 64))
    assert agent.of(DeleteShared) == [DeleteShared("e" * 64)]


def test_a_process_that_serves_a_job_is_told_of_it_once(agent):
    """Loaded ahead, it only gets its task later."""
    agent.ready("job-1", warm="t")
    agent.run(attempt("job-1"))
    assert not [tell for tell in agent.of(Tell) if isinstance(tell.message, LoadJob)]


def test_an_agent_with_one_job_starts_nothing_after_it():
    """Its processes are killed when the job is over, and no others take their places."""
    pool = Pool(2, one_job=True)
    assert len(pool.fill()) == 2
    process, _ = pool.take(None, Role.RUNNING)
    process.job = "job-1"
    assert [type(effect) for effect in pool.leave("job-1", loads=True)] == [KillProcess]
    assert pool.fill() == []
