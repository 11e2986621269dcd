"""Turns are taken by the process or taken back by its agent, each by one of both."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.errors import WireError
from workers.turns import Turns, TurnTaker

STEPS = st.lists(st.sampled_from(["take", "take back", "hand"]), max_size=40)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 8))
def test_each_turn_has_one_owner(steps, size):
    """Whatever the order, an attempt begins or is taken back, never both, and none is lost."""
    turns = Turns()
    taker = TurnTaker(turns.reading)
    last, begun, back = 0, set(), set()
    pending = []  # what the process was told of, and has not looked at
    for step in [*steps, *["take"] * len(steps) * size]:
        if step == "hand":
            given_now = range(last + 1, last + 1 + size)
            last += size
            turns.give(given_now)
            pending.extend(given_now)
        elif step == "take back":
            first = turns.take_back()
            back |= set(range(first, last + 1)) if first else set()
        elif pending:
            turn = pending.pop(0)
            begun |= {turn} if taker.take(turn) else set()
    while pending:
        turn = pending.pop(0)
        begun |= {turn} if taker.take(turn) else set()
    turns.close()
    assert begun | back == set(range(1, last + 1))
    assert not begun & back


def test_a_pipe_that_user_code_has_closed_is_said_to_be():
    """A process whose user code has closed what it did not open says so."""
    turns = Turns()
    taker = TurnTaker(os.dup(turns.reading))
    os.close(taker._fd)
    with pytest.raises(WireError, match="closed a descriptor"):
        taker.take(1)
    turns.close()
