"""One whole process measured, with all that it starts: wall time, processor time, bytes written, peak of memory.

python benchmarks/measure.py RESULT.json LIMIT_S [--sample] -- COMMAND...

A program of its own, so that what it has reaped is the command's tree and nothing else. It is the subreaper of that
tree: a daemon that detaches itself becomes its child, and is counted. When its own parent dies it ends, and the tree
with it. Needs Linux, for prctl and /proc.
"""

import ctypes
import dataclasses
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

SAMPLE_S = 0.1  # between two looks at the memory: a look at a tree of 30 processes takes some 10 ms
LEFT_S = 15.0  # for what still runs when the command has ended: Ray's daemons need a few seconds to see it
LOOK_S = 0.05  # between two looks whether a process has ended, once the command's time has been taken
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h

ENDS = (signal.SIGINT, signal.SIGTERM)  # of the terminal, and of a parent that is gone


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one run cost. `left` are the processes that outlived the command by `LEFT_S`, and were killed.

    `code` is that of the command, negative for a signal, None if the time was up. `peak_bytes` is the largest sum of
    the proportional set sizes (PSS) of all processes at one time, None unless it was sampled.
    """

    code: int | None
    seconds: float
    cpu_s: float
    written_bytes: int
    peak_bytes: int | None
    left: list[str]


def measured(command, *, limit_s, sample=False, cwd, stdout, stderr):
    """Measure a command in a process of its own, from the spawn to the exit; its output goes to two files."""
    result = Path(f"{stderr}.json")
    options = ["--sample"] if sample else []
    call = [sys.executable, __file__, result, limit_s, *options, "--", *command]
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        subprocess.run([*map(str, call)], check=True, cwd=cwd, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    return Measured(**json.loads(result.read_text()))


def descendants(pid):
    """All processes below one, by its id."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except FileNotFoundError:  # it has ended since
            continue
        for thread in threads:
            try:
                children = Path(f"/proc/{parent}/task/{thread}/children").read_text().split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += map(int, children)
            waiting += map(int, children)
    return found


def pss_bytes(pid):
    """The proportional set size of a process; 0 of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:")), 0)


class Sampler(threading.Thread):
    """Looks at the memory of all processes below this one until `over` is set; `peak` is the most seen, in bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.peak = 0

    def run(self):
        while not self.over.wait(SAMPLE_S):
            self.peak = max(self.peak, sum(map(pss_bytes, descendants(os.getpid()))))


def told(pid):
    """A process as its command line, for a message."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        words = ""
    return f"{pid} {words[:200].strip()}"


def reap():
    """Take note of all children that have ended; whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def wait_for_others(limit_s):
    """Wait until nothing is left below this process, and kill what is after so many seconds; give what it was."""
    until = time.monotonic() + limit_s
    while reap() and time.monotonic() < until:
        time.sleep(LOOK_S)
    left = {}
    while reap():  # again and again: killing a parent makes its children ours
        for pid in descendants(os.getpid()):
            left.setdefault(pid, told(pid))
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(LOOK_S)
    return list(left.values())


def written_bytes():
    """What this process, its threads and all reaped children have given to be written to disks."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def waited(child, limit_s):
    """The exit code of a child, None if the time was up. Told at once: `wait` with a limit looks every 50 ms."""
    ended = os.pidfd_open(child.pid)
    try:
        return child.wait() if select.select([ended], [], [], limit_s)[0] else None
    finally:
        os.close(ended)


def stop(_number, _frame):
    """End, once: what comes after must not disturb the cleaning up."""
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def measure(command, *, limit_s, sample):
    """Run a command and wait for all that it starts."""
    for number in ENDS:
        signal.signal(number, stop)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl({option})")
    sampler = Sampler()
    if sample:
        sampler.start()
    before = written_bytes()
    begin = time.monotonic()
    child = subprocess.Popen(command, start_new_session=True)
    try:
        code = waited(child, limit_s)
        seconds = time.monotonic() - begin
        sampler.over.set()
        left = wait_for_others(0 if code is None else LEFT_S)
    except KeyboardInterrupt:
        wait_for_others(0)  # the command has a session of its own, so the terminal told it nothing
        raise
    if sample:
        sampler.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = sampler.peak if sample else None
    return Measured(code, seconds, used.ru_utime + used.ru_stime, written_bytes() - before, peak, left)


def main():
    """Measure the command after `--`."""
    split = sys.argv.index("--")
    result, limit_s, *options = sys.argv[1:split]
    found = measure(sys.argv[split + 1 :], limit_s=float(limit_s), sample="--sample" in options)
    Path(result).write_text(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
