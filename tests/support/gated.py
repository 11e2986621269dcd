"""A job that tests can hold: its tasks touch a mark and wait while a `hold-` file lies in the gate folder."""

import os
import time
from pathlib import Path

WAIT_S = 120


def pass_gate(gate, name):
    """Leave a mark with this process's id, then wait while `hold-NAME` exists."""
    folder = Path(gate)
    (folder / f"{name}.{os.getpid()}").touch()
    end = time.monotonic() + WAIT_S
    while (folder / f"hold-{name}").exists():
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.01)


def mapper(line, *, gate: str, ctx):
    """Yield words; a line "gate NAME" is a gate. Lines are counted."""
    ctx.counters["lines"] += 1
    if line.startswith("gate "):
        pass_gate(gate, line.split()[1])
    for word in line.split():
        yield word, 1


def reducer(word, counts, *, gate: str):
    """Sum; the word "gate" is a gate called reduce."""
    if word == "gate":
        pass_gate(gate, "reduce")
    yield word, sum(counts)
