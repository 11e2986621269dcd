"""Jobs on a real agent with real task processes: whole ones, and those that cannot start."""

import time

from agent_jobs import marked, started, write_job
from cluster import wait_for
from fake_coordinator import attempt, plan_job, results

from mapreduce.file_names import run_file_name
from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import (
    AttemptDone,
    AttemptFailed,
    CancelAttempt,
    ForgetJob,
    Heartbeat,
    Prepared,
    RunAttempt,
)


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


def test_dropped_result_is_deleted(coordinator, tmp_path):
    """A committed run stays until the coordinator drops it."""
    agent, _, planned = started(coordinator, tmp_path, "pass")
    which = attempt(planned, "map", 0)
    agent.run(which)
    (folder,) = (tmp_path / "scratch").glob(f"agent-*/jobs/{planned.spec.job}")
    assert (folder / run_file_name(which, 0)).exists()
    agent.tell(CancelAttempt(which))
    wait_for(lambda: not (folder / run_file_name(which, 0)).exists(), "the run to go")


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
