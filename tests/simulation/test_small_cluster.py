"""Seeded simulations of the coordinator's core with agents on a bad network: safety always, then an end.

Some runs have modelled agents, which check what they are told; others the real agents' state machine, with modelled
processes and disks.
"""

from collections import Counter

import pytest
from simulated import Simulation
from simulated_agent import FAULTS_S, Agent, RealAgent

from mapreduce.coordinator import job_run, kept, revocation, scheduling
from mapreduce.coordinator.job_run import JobRun
from mapreduce.protocol.messages import RunAttempt
from workers import killers
from workers.agent_events import TakenBack, Tell
from workers.agent_line import HANDED, Line
from workers.agent_outcomes import Outcomes
from workers.agent_pool import Pool, TaskProcess
from workers.agent_state import AgentState
from workers.agent_stopping import Stopping
from workers.killers import Hunt
from workers.task_messages import RunEach

SCHEDULES = 300


def run_all(seeds, agent_type):
    """Run a simulation of each seed; what it finds is raised with the seed."""
    for seed in seeds:
        try:
            Simulation(seed, agent_type).run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("agent_type", [Agent, RealAgent])
@pytest.mark.parametrize("block", range(10))
def test_jobs_finish_after_faults_and_nothing_is_committed_twice(block, agent_type):
    """Whatever is lost, doubled, killed, paused or restarted, jobs end right, and the journal tells the same story."""
    each = SCHEDULES // 10
    run_all(range(block * each, (block + 1) * each), agent_type)


@pytest.mark.parametrize("agent_type", [Agent, RealAgent])
def test_the_same_where_attempts_wait_for_slots(agent_type, monkeypatch):
    """Attempts that are given ahead, and taken back from behind long ones, break no rule either."""
    monkeypatch.setattr(job_run, "AHEAD_S", FAULTS_S)  # here everything takes long
    run_all(range(SCHEDULES // 3), agent_type)


def test_the_same_where_processes_are_handed_several_attempts(monkeypatch):
    """Attempts that a process is handed at once, and that are taken back or end with it, break no rule either."""
    hand_several(monkeypatch)
    found = Counter()
    handle = AgentState.handle

    def counted(state, event, now_s):
        effects = handle(state, event, now_s)
        found.update(type(effect.message) for effect in effects if isinstance(effect, Tell))
        found["taken back"] += isinstance(event, TakenBack) and event.first > 0
        return effects

    monkeypatch.setattr(AgentState, "handle", counted)
    run_all(range(SCHEDULES // 3), RealAgent)
    assert found[RunEach] > SCHEDULES // 6
    assert found["taken back"] > SCHEDULES // 30


def hand_several(monkeypatch):
    """Have attempts that take long, as all do here, wait for slots and be handed several at a time."""
    monkeypatch.setattr(job_run, "AHEAD_S", FAULTS_S)
    monkeypatch.setattr(Line, "_count", lambda _line, first, _slots: HANDED if first.is_plain else 1)


@pytest.mark.parametrize(
    ("owner", "rule", "broken"),
    [(Stopping, "wait_again", lambda *_: []), (TaskProcess, "take_back", lambda *_: [])],
    ids=["wait_again", "take_back"],
)
def test_a_planted_defect_of_handing_is_found(owner, rule, broken, monkeypatch):
    """Were attempts forgotten that a process has not begun or not told of, or had they two processes, a seed fails."""
    hand_several(monkeypatch)
    monkeypatch.setattr(owner, rule, broken)
    with pytest.raises((AssertionError, KeyError)):
        run_all(range(SCHEDULES // 3), RealAgent)


@pytest.mark.parametrize(
    ("owner", "rule", "broken"),
    [(Pool, "has_slot", True), (Outcomes, "say_stopped", lambda *_: [])],
    ids=["has_slot", "say_stopped"],
)
def test_a_planted_defect_of_the_line_is_found(owner, rule, broken, monkeypatch):
    """Were attempts begun without a slot, or those that wait dropped without a word, a seed fails."""
    monkeypatch.setattr(job_run, "AHEAD_S", FAULTS_S)
    monkeypatch.setattr(owner, rule, broken)
    with pytest.raises(AssertionError):
        run_all(range(SCHEDULES // 3), RealAgent)


@pytest.mark.parametrize(
    ("module", "rule", "broken"),
    [
        (revocation, "lose_results", None),
        (revocation, "compare", True),
        (kept, "missing", None),
        (kept, "are_there", True),
        (JobRun, "lose_saved", False),
    ],
    ids=["lose_results", "compare", "missing", "are_there", "lose_saved"],
)
def test_a_planted_defect_is_found(module, rule, broken, monkeypatch):
    """Without a rule (that lost results are taken back, say, or repeated ones are compared) a seed soon fails."""
    monkeypatch.setattr(module, rule, lambda *_: broken)
    with pytest.raises((AssertionError, KeyError)):
        run_all(range(SCHEDULES), Agent)


def careless(attempt, previous, **_care):
    """What a coordinator without memory of deaths would say."""
    return RunAttempt(attempt, previous)


@pytest.mark.parametrize(
    ("owner", "rule", "broken"),
    [(Hunt, "done", lambda _hunt: False), (killers, "KILLS_ON_ONE", 1), (scheduling, "RunAttempt", careless)],
    ids=["done", "KILLS_ON_ONE", "careful"],
)
def test_a_planted_defect_of_the_hunt_is_found(owner, rule, broken, monkeypatch):
    """Were the search's own results taken, one kill enough, or nobody careful, a seed with killing records fails."""
    monkeypatch.setattr(owner, rule, broken)
    with pytest.raises(AssertionError):
        run_all(range(1, SCHEDULES, 2), RealAgent)


def test_the_same_seed_gives_the_same_journal():
    """A simulation has no other source of chance than its seed."""
    first, second = Simulation(4), Simulation(4)
    first.run()
    second.run()
    assert first.entries == second.entries
