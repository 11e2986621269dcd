"""Both sides of the control plane on jobs that resume a failed one: what agents say and do, and who gets which task."""

import pytest
from agent_driver import REGISTER
from agent_driver import Driver as Agent
from core_driver import Driver, spec

from mapreduce.plan import RESUMED_JOBS, Failure, FailureKind
from mapreduce.protocol import messages as m
from workers.agent_events import BlobStored, DeleteJob, KillProcess, ProcessEnded, ProcessSaid, Tell
from workers.agent_state import AgentState
from workers.task_messages import JobProbed, LoadJob, ProbeJob


@pytest.fixture
def agent():
    """An agent in a session."""
    driver = Agent()
    driver.welcome()
    return driver


def prepare(agent, saved):
    """Have a job prepared whose process finds these results saved."""
    agent.tell(m.PrepareJob("job-1", "words", "c" * 64, "c" * 64, "c" * 64, "c" * 64))
    agent.tell_raw(0, m.BlobData("c" * 64, 0, 1, b"c"))
    for role in ("code", "setup", "plan", "probe"):
        agent.do(BlobStored("job-1", role, "c" * 64))
    (probe,) = [tell.process for tell in agent.of(Tell) if isinstance(tell.message, ProbeJob)]
    agent.do(ProcessSaid(probe, JobProbed("job-1", "/out", saved=saved)))


def test_an_agent_says_what_it_has_saved_and_says_it_again(agent):
    """What its process found goes out with Prepared, and again in every new session: a coordinator may be a new one."""
    prepare(agent, b"\x05")
    assert agent.messages() == [m.Prepared("job-1", saved=b"\x05")]
    agent.tell_raw(1, m.SessionEnded("lost"))
    agent.welcome("1-2")
    assert m.Prepared("job-1", saved=b"\x05") in agent.messages()


def test_an_agent_saves_or_drops_when_a_job_is_over(agent):
    """ForgetJob says whether results are saved, and which are not needed: both happen once the processes are dead."""
    agent.ready()
    agent.tell(m.ForgetJob("job-1", "/out", save=True, drop=("job-0",)))
    assert agent.of(DeleteJob) == []
    for effect in agent.of(KillProcess):
        agent.do(ProcessEnded(effect.process, "signal SIGKILL"))
    assert agent.of(DeleteJob) == [DeleteJob("job-1", "/out", save=True, drop=("job-0",))]


def test_processes_are_told_where_saved_results_are():
    """The folder of the agent's command line reaches the processes that load jobs."""
    agent = Agent()
    agent.state = AgentState(REGISTER, "/scratch/jobs", "/scratch/shared", "/saved")
    agent.state.start()
    agent.welcome()
    prepare_only = m.PrepareJob("job-1", "words", "c" * 64, "s" * 64, "p" * 64, "q" * 64)
    agent.tell(prepare_only)
    loads = []
    for role, letter in zip(("code", "setup", "plan", "probe"), "cspq", strict=True):
        agent.tell_raw(0, m.BlobData(letter * 64, 0, 1, b"x"))
        agent.do(BlobStored("job-1", role, letter * 64))
        loads += [tell.message for tell in agent.of(Tell) if isinstance(tell.message, LoadJob)]
    assert {load.saved for load in loads} == {"/saved"}


def saving(core, job, **prepared):
    """Submit a job of four maps that resumes another; workers say what they have."""
    core.ask(m.Submit(spec(job, (4, 1), resumes=("before",))))
    for worker, saved in prepared.items():
        core.agent(worker, m.Prepared(job, saved=saved))


def maps(core, worker):
    return [attempt.task.index for attempt in core.running(worker)]


def test_a_saved_map_goes_to_a_worker_that_has_it_alone():
    """Whoever is free first: a task whose result some worker has waits for that worker, others take the rest."""
    core = Driver()
    core.join("a", slots=4)
    core.join("b", slots=4)
    saving(core, "j", a=b"\x03", b=b"")
    assert sorted(maps(core, "a") + maps(core, "b")) == [0, 1, 2, 3]
    assert {0, 1} <= set(maps(core, "a"))
    core = Driver()
    core.join("a", slots=1)
    core.join("b", slots=4)
    saving(core, "j", b=b"", a=b"\x0b")
    assert maps(core, "b") == [2]
    assert maps(core, "a") == [0]
    core.finish("a", reused=True)
    assert maps(core, "a")[:2] == [0, 1]
    assert core.status("j").reused_maps == 1
    assert core.status("j").resumes == "before"


def test_tasks_of_a_lost_worker_go_to_others():
    """With its worker, what is saved is gone: its tasks are run like any other."""
    core = Driver()
    core.join("a", slots=1)
    core.join("b", slots=4)
    saving(core, "j", b=b"", a=b"\x0f")
    assert maps(core, "b") == []
    core.agent("a", m.Leave("bye"))
    assert sorted(maps(core, "b")) == [0, 1, 2, 3]


def test_a_task_that_was_tried_is_for_anybody():
    """A result that could not be taken does not keep its task with the worker."""
    core = Driver()
    core.join("a", slots=1)
    core.join("b", slots=4)
    saving(core, "j", b=b"", a=b"\x0f")
    attempt = core.running("a")[-1]
    core.agent("a", m.AttemptFailed(attempt, Failure(FailureKind.DISK, "full")))
    assert maps(core, "b") == [0]


def test_a_restarted_coordinator_hears_of_it_again():
    """What is saved is in no journal: after a restart the agents say it anew, with tasks on their way left alone."""
    core = Driver()
    core.join("a", slots=1)
    core.join("b", slots=1)
    saving(core, "j", b=b"", a=b"\x0e")
    running = {worker: core.running(worker)[-1] for worker in "ab"}
    core.restart()
    for worker in "ab":
        core.join(worker, running=(running[worker],), prepared=("j",))
    core.agent("a", m.Prepared("j", saved=b"\x0e"))
    core.finish("b", running["b"])
    assert maps(core, "b") == [0]


def test_only_failed_jobs_leave_results():
    """A job that fails says how many results are saved, of which size; one that is cancelled or done leaves none."""
    core = Driver()
    core.join("a", slots=2)
    core.submit(spec("j", user_attempts=1), "a")
    for attempt in core.running("a"):
        core.finish("a", attempt, shuffle_bytes=100, bad={"x": 1} if attempt.task.index else {})
    core.agent("a", m.AttemptFailed(core.running("a")[-1], Failure(FailureKind.USER, "a bug")))
    assert core.told["a"][-1] == m.ForgetJob("j", "/out/j", save=True)
    status = core.status("j")
    assert (status.state, status.saved_maps, status.saved_bytes) == ("failed", 1, 100)
    core.submit(spec("k"), "a")
    core.finish("a", core.running("a")[-1])
    core.ask(m.Cancel("k"))
    assert m.ForgetJob("k", "/out/k") in core.told["a"]
    assert core.status("k").saved_maps == 0


def test_too_long_a_chain_is_refused():
    """A job names so many failed ones at most, as every worker looks through what each has left."""
    core = Driver()
    chain = tuple(f"j{number}" for number in range(RESUMED_JOBS + 1))
    assert f"at most {RESUMED_JOBS} failed ones" in core.ask(m.Submit(spec("j", resumes=chain))).reason
    core.ask(m.Submit(spec("j", resumes=chain[1:], former_maps=3)))
    assert (core.status("j").resumes, core.status("j").former_maps) == ("j1", 3)


@pytest.mark.parametrize("resumes", ["../x", "a" * 65])
def test_what_is_no_id_cannot_be_resumed(resumes):
    """The id names a folder on the workers: a strange one is refused."""
    core = Driver()
    assert "to resume" in core.ask(m.Submit(spec("j", resumes=(resumes,)))).reason
