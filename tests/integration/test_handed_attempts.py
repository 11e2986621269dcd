"""A real agent hands real task processes several short attempts at a time; what comes of each is as if it ran alone."""

import pytest
from fake_coordinator import FakeCoordinator, attempt, plan_job

from mapreduce.plan import FailureKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, CancelAttempt, Granted, RunAttempt

MAPS = 60  # some run alone first: until the agent knows that they take a moment each
OUTCOMES = (AttemptDone, AttemptFailed)


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator at an ipc address, whose agents end with the test."""
    with_address = FakeCoordinator(f"ipc://{tmp_path}/c", tmp_path)
    yield with_address
    with_address.close()


def prepared(coordinator, folder, source):
    """An agent of one slot, and a job of MAPS map attempts, each of the line with its number."""
    path = folder / "user_job.py"
    path.write_text(source, encoding="utf-8")
    agent, _ = coordinator.start_agent(slots=1)
    lines = [f"{index:07}\n" for index in range(MAPS)]
    planned = plan_job(folder, str(path), ["".join(lines)], split_size=len(lines[0]))
    assert planned.spec.steps[0].maps == MAPS
    assert agent.prepare(planned).problem is None
    return agent, [attempt(planned, "map", index) for index in range(MAPS)]


def run_all(agent, attempts):
    """Give all attempts at once; gives their outcomes."""
    for one in attempts:
        agent.tell(RunAttempt(one))
    found = {}
    while len(found) < len(attempts):
        outcome = agent.expect(OUTCOMES)
        assert outcome.attempt not in found
        found[outcome.attempt] = outcome
        if isinstance(outcome, AttemptDone):
            agent.tell(Granted(outcome.attempt))
    return found


def test_results_are_those_of_attempts_alone(coordinator, tmp_path):
    """Each of many attempts gives what it gives when it runs alone, and reads its own line."""
    source = "def mapper(line, *, ctx):\n    ctx.counters['line'] += int(line)\n    yield line, 1\n"
    agent, attempts = prepared(coordinator, tmp_path, source)
    alone = {one: agent.run(one) for one in attempts[:5]}
    found = alone | run_all(agent, attempts[5:])
    assert [found[one].done.counters["line"] for one in attempts] == list(range(MAPS))
    assert {(found[one].done.records_in, found[one].done.records_out) for one in attempts} == {(1, 1)}


def test_output_is_told_apart(coordinator, tmp_path):
    """What one of many attempts prints, in Python or past it, is in its own log and no other."""
    source = (
        "import os\n"
        "def mapper(line):\n"
        "    if int(line) % 7 == 3:\n"
        "        print('printed by', int(line))\n"
        "    if int(line) % 7 == 5:\n"
        "        os.write(2, f'written by {int(line)}\\n'.encode())\n"
        "    return []\n"
    )
    agent, attempts = prepared(coordinator, tmp_path, source)
    run_all(agent, attempts)
    words = {3: "printed by", 5: "written by"}
    wanted = {one: f"{words[n % 7]} {n}\n" for n, one in enumerate(attempts) if n % 7 in words}
    assert agent.log == wanted


@pytest.mark.parametrize(
    ("death", "kind"),
    [("os.kill(os.getpid(), 9)", FailureKind.DIED), ("raise ValueError(line)", FailureKind.USER)],
    ids=["death", "exception"],
)
def test_one_that_fails_takes_none_with_it(coordinator, tmp_path, death, kind):
    """A process that dies, or an exception, costs the attempt at hand alone: all others are done."""
    source = f"import os\ndef mapper(line):\n    if int(line) == 30:\n        {death}\n    return []\n"
    agent, attempts = prepared(coordinator, tmp_path, source)
    found = run_all(agent, attempts)
    failed = {one: outcome for one, outcome in found.items() if isinstance(outcome, AttemptFailed)}
    assert list(failed) == [attempts[30]]
    assert failed[attempts[30]].failure.kind is kind


def test_what_waits_behind_a_long_one_can_be_cancelled(coordinator, tmp_path):
    """Attempts that wait behind one that does not end are cancelled at once; it goes on until it is cancelled too."""
    source = "import time\ndef mapper(line):\n    while int(line) == 30:\n        time.sleep(0.01)\n    return []\n"
    agent, attempts = prepared(coordinator, tmp_path, source)
    for one in attempts:
        agent.tell(RunAttempt(one))
    agent.expect(AttemptDone, lambda message: message.attempt == attempts[22])
    for one in attempts[31:]:
        agent.tell(CancelAttempt(one))
    stopped = set()
    while len(stopped) < len(attempts[31:]):
        stopped.add(agent.expect(AttemptFailed).attempt)
    assert stopped == set(attempts[31:])
    agent.tell(CancelAttempt(attempts[30]))
    assert agent.expect(AttemptFailed).attempt == attempts[30]
