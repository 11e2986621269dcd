"""Runs a job as a program does, and writes down what the engine says of it.

python benchmarks/run_job.py JOB INPUT OUTPUT TOLD.json --slots N [--reducers N] [--split-size BYTES] [--cluster FOLDER]

With `--cluster` it runs on a coordinator and a worker, processes of their own that are started first and ended last:
such a coordinator keeps its journal in that folder, on the disk. `seconds` is then what the run takes on workers that
wait for it.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import mapreduce

COMMAND = [sys.executable, "-P", "-m", "mapreduce"]
LISTENING = "listening on "
READY_S = 30.0  # for a worker to register
ASK_S = 0.05  # between two questions whether it has


def parse():
    parser = argparse.ArgumentParser(description="Run a job, and write down what the engine says of it.")
    parser.add_argument("job")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("told", type=Path)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--reducers", type=int)
    parser.add_argument("--split-size", type=int)
    parser.add_argument("--cluster", type=Path)
    return parser.parse_args()


@contextlib.contextmanager
def running(folder, name, *options):
    """A command of the engine as a process; it gives the process, and the file of what it says."""
    log = folder / f"{name}.log"
    with log.open("wb") as file, subprocess.Popen([*COMMAND, name, *map(str, options)], stderr=file) as process:
        try:
            yield process, log
        finally:
            process.terminate()


@contextlib.contextmanager
def ending_with(process, log):
    """End the program, with what this process has said, if it ends before the block does: a client would wait on."""
    over, found = threading.Event(), []

    def watch():
        process.wait()
        if not over.is_set():
            found.append(f"run_job.py: {process.args[4]} has ended: {log.read_text(errors='replace')}")
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if found:
            sys.exit(found[0])
        raise
    finally:
        over.set()


def awaited(process, log, ask):
    """The first answer that is not empty. Ends the program if the process ends, or READY_S have passed."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        if answer := ask():
            return answer
        time.sleep(ASK_S)
    sys.exit(f"run_job.py: {process.args[4]} is not ready: {log.read_text(errors='replace')}")


def address_in(log):
    """Where the coordinator says that it listens, or ""."""
    lines = log.read_text(errors="replace").splitlines()
    return next((line.removeprefix(LISTENING) for line in lines if line.startswith(LISTENING)), "")


def has_worker(address):
    """Whether a worker has registered."""
    asked = [*COMMAND, "workers", "--coordinator", address, "--json"]
    return bool(json.loads(subprocess.run(asked, capture_output=True, check=True).stdout))


@contextlib.contextmanager
def cluster(folder, slots):
    """A coordinator with its journal in a folder, and a worker that is ready; it gives the address."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        listen = ("--listen", "tcp://127.0.0.1:0", "--state", place / "state")
        with running(place, "coordinator", *listen) as (process, log):
            address = awaited(process, log, lambda: address_in(log))
            work = ("--coordinator", address, "--slots", slots, "--scratch", place / "scratch")
            with ending_with(process, log), running(place, "worker", *work) as (worker, worker_log):
                awaited(worker, worker_log, lambda: has_worker(address))
                yield address


def run(asked):
    """Run the job; what is told of it."""
    given = (asked.job, [asked.input], asked.output)
    options = {"reducers": asked.reducers, "split_size": asked.split_size, "progress": False}
    with contextlib.ExitStack() as stack:
        if asked.cluster:
            address = stack.enter_context(cluster(asked.cluster, asked.slots))
            workers = stack.enter_context(mapreduce.Cluster(coordinator=address))
        else:
            workers = stack.enter_context(mapreduce.Cluster(asked.slots))
        begin = time.monotonic()
        status = workers.run(*given, **options).status
        seconds = time.monotonic() - begin
    shape = status.steps[0].shape
    return {
        "seconds": seconds,
        "maps": shape.maps,
        "reduces": shape.reduces,
        "records_in": status.records_in,
        "shuffle_bytes": status.shuffle_bytes,
    }


def main():
    asked = parse()
    asked.told.write_text(json.dumps(run(asked)))


if __name__ == "__main__":
    main()
