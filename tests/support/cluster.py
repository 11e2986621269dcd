"""A real cluster of processes on loopback, for tests: started, killed, stopped and waited for by id."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from commands import run_text

from mapreduce.runners.cluster import get_status, list_jobs, list_workers

DEADLINE_S = 60  # for any one event: generous, since a loaded machine of two cores stalls for seconds
POLL_S = 0.05


def wait_for(condition, what, deadline_s=DEADLINE_S):
    """Poll until `condition()` is true and return its value; fail with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    pause = time.sleep
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        pause(POLL_S)
    return value


def environment(**extra):
    """The environment of a user's shell: nothing of the test run leaks in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAPREDUCE", "POLARS", "PYTEST"))}
    return kept | extra


def mapreduce(*arguments, cwd=None, check=True, timeout=DEADLINE_S, stdin=None, **env):
    """Run the command line as a user would; returns the completed process with text output."""
    done = run_text(*arguments, cwd=cwd, env=environment(**env), stdin=stdin, timeout=timeout)
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def children_of(pid):
    """The ids of all living descendants of a process, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Cluster:
    """A coordinator and workers as processes on loopback, in a folder of their own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.coordinator = None
        self.workers = []
        self.address = None
        self._serial = 0

    def __enter__(self):
        self.start_coordinator()
        return self

    def __exit__(self, *exc):
        for process in [*self.workers, self.coordinator]:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in [*self.workers, self.coordinator]:
            if process is not None:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(20)
                    raise

    def _start(self, name, *arguments, cwd=None, **env):
        self._serial += 1
        log = self.folder / f"{name}-{self._serial}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mapreduce", *map(str, arguments)],
                env=environment(**env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        process.log = log
        return process

    def start_coordinator(self):
        """Start it, or start it again at the same address on the same state."""
        listen = self.address or "tcp://127.0.0.1:*"
        self.coordinator = self._start(
            "coordinator", "coordinator", "--listen", listen, "--state", self.folder / "state"
        )

        def listening():
            text = self.coordinator.log.read_text()
            assert self.coordinator.poll() is None, text
            return re.search(r"listening on (tcp://127\.0\.0\.1:\d+)", text)

        self.address = wait_for(listening, "the coordinator listens").group(1)

    def start_worker(self, slots=2, wait=True, cwd=None, **env):
        """Start a worker and wait until it is registered."""
        known = {worker["worker"] for worker in self.status_of_workers()} if wait else set()
        process = self._start(
            "worker",
            "worker",
            "--coordinator",
            self.address,
            "-j",
            slots,
            "--scratch",
            self.folder / "scratch",
            cwd=cwd,
            **env,
        )
        self.workers.append(process)
        if wait:

            def registered():
                assert process.poll() is None, process.log.read_text()
                return {worker["worker"] for worker in self.status_of_workers()} - known

            (process.worker_id,) = wait_for(registered, "the worker registers")
        return process

    def run(self, *arguments, check=True, **env):
        """A command of the client against this cluster."""
        return mapreduce(*arguments, check=check, MAPREDUCE_COORDINATOR=self.address, **env)

    def json(self, *arguments):
        """A command with --json, decoded."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def status_of_workers(self):
        """What `mapreduce workers --json` lists, asked from here."""
        return [dataclasses.asdict(worker) for worker in list_workers(self.address)]

    def status(self, job="last"):
        """What the coordinator says of a job."""
        return get_status(self.address, job)

    def states(self):
        """The states of all jobs by their ids."""
        return {job.job: job.state for job in list_jobs(self.address)}
