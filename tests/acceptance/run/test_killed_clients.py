"""A client that is killed with -9: what its job has written is removed, on disk and in a store."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import wait_for
from run_command import COMMAND, TIMEOUT_S, processes_of

HALF_DONE = """
import time
import mapreduce


def mapper(line):
    if line == "slow":
        time.sleep(120)
    yield line, 1


job = mapreduce.Job(mapper)
"""
KILLED_EARLY = """
import os
import signal
import sys
from mapreduce.planner import plan
from mapreduce.request import Request
from mapreduce.runners.local import LocalCluster

cluster = LocalCluster(1)
cluster.start()
plan(Request("half_done.py", ("quick.txt",), sys.argv[1]), will_write=cluster.will_write)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=["disk", "s3"])
def place(request):
    """Where the output goes, and what gives the names of all that is there; a job and its inputs are beside us."""
    # First of all: the server is not to have this user's environment, by which processes are found.
    s3 = request.getfixturevalue("s3") if request.param == "s3" else None
    here = request.getfixturevalue("here")
    (here / "half_done.py").write_text(HALF_DONE)
    (here / "quick.txt").write_text("quick\n")
    (here / "slow.txt").write_text("slow\n")
    if s3 is None:
        out = here / "out"
        return f"{out}/below", lambda: [out, *out.rglob("*")] if out.exists() else []
    name = f"killed/{request.node.originalname}/"
    return s3.url(name), lambda: s3.names(name)


def test_in_the_middle_of_the_job(place, here):
    """Parts of tasks that are done, the note that reserves the folder and the processes: all go."""
    output, names = place
    options = ["-o", output, "--split-size", "1", "-j", "2"]
    process = subprocess.Popen(
        [*COMMAND, "run", "half_done.py", "quick.txt", "slow.txt", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(
        lambda: any(Path(one).name.startswith(("map-00000", "part-00000")) for one in names()), "the first task's part"
    )
    process.kill()
    process.wait(TIMEOUT_S)
    wait_for(lambda: names() == [], "an empty folder")
    wait_for(lambda: processes_of(here) == [], "the end of all processes")


def test_before_the_job_is_submitted(place, here):
    """The agent, which is starting up yet, knows of the folder before that is reserved."""
    output, names = place
    done = subprocess.run([sys.executable, "-c", KILLED_EARLY, output], check=False, timeout=TIMEOUT_S)
    assert done.returncode == -signal.SIGKILL
    assert names() != []
    wait_for(lambda: names() == [], "an empty folder")
    wait_for(lambda: processes_of(here) == [], "the end of all processes")
