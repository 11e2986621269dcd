"""Jobs on a real agent, whose user code makes marks that tests wait for."""

from cluster import wait_for
from fake_coordinator import plan_job, process_alive

PRELUDE = """
import os, pathlib, subprocess, sys, time
HERE = pathlib.Path({here!r})

def mark(name):
    (HERE / name).write_text(str(os.getpid()))

def mapper(line):
    {body}
    yield line, 1

def reducer(key, values):
    yield key, sum(values)
"""


def write_job(folder, body):
    """Write a job whose mapper does `body` for each line."""
    path = folder / "user_job.py"
    path.write_text(PRELUDE.format(here=str(folder), body=body), encoding="utf-8")
    return str(path)


def marked(folder, name):
    """Wait for a mark that user code makes; gives the process id in it."""
    path = folder / name
    return int(wait_for(lambda: path.exists() and path.read_text(), f"the mark {name}"))


def gone(pids, deadline_s=5):
    wait_for(lambda: not any(map(process_alive, pids)), f"the end of {pids}", deadline_s)


def started(coordinator, tmp_path, body, texts=("one\ntwo\n",), **options):
    """Start an agent and have a job prepared on it."""
    agent, process = coordinator.start_agent(**options)
    planned = plan_job(tmp_path, write_job(tmp_path, body), list(texts))
    assert agent.prepare(planned).problem is None
    return agent, process, planned
