"""What a task process prints, and whose it is, as the agent's shell reads it."""

import os

import pytest

from workers import processes
from workers.agent_events import ProcessAt, ProcessPrinted
from workers.marks import MarkWriter, shared_memory
from workers.processes import Handle, Processes


@pytest.fixture
def printing(monkeypatch):
    """A process that is at turn 3, the end that it prints to, and what notes its turn; no process runs."""
    marks = shared_memory()
    writer = MarkWriter(os.dup(marks))
    writer.begin_turn(3)
    logs, prints = os.pipe()
    made = Processes.__new__(Processes)
    monkeypatch.setattr(made, "_handles", {1: Handle(1, None, logs, marks, None, [])}, raising=False)
    yield made, prints, writer
    for fd in (logs, prints, marks):
        os.close(fd)


def test_text_is_of_the_attempt_that_has_printed_it(printing, monkeypatch):
    """Not of the next one, which may begin as soon as the pipe has been emptied."""
    made, prints, writer = printing
    os.write(prints, b"of the third")
    read = os.read

    def emptied(fd, size):
        data = read(fd, size)
        writer.begin_turn(4)
        return data

    monkeypatch.setattr(processes.os, "read", emptied)
    assert made.read_log(1) == [ProcessAt(1, 3), ProcessPrinted(1, "of the third")]
    assert made.read_log(1) == []
