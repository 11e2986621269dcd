"""Starting our own helper processes: the fork server and the shuffle server. Light: it runs before all else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

DROPPED_ENV = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME")  # must not change what our processes import
TASK_ENV = {
    "PYTHONHASHSEED": "0",  # user code may iterate over sets of words: the order must be the same everywhere
    # The slots are the parallelism; and sums in native code may depend on how many threads share them.
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def start_process(module: str, arguments: Sequence[str], fds: Sequence[int], stdout: int | None) -> Process:
    """Start one of our modules, with a safe path, in a session of its own: Ctrl-C and group kills pass it by."""
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED_ENV} | TASK_ENV
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env=environment,
        pass_fds=fds,
        start_new_session=True,
    )


def start_fork_server(worker: str, name: str) -> tuple[Process, socket.socket]:
    """Start the fork server; give it and the agent's end of its control socket, whose closing ends it."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        return start_process("workers.fork_main", [str(fd), worker, name], [fd], None), ours


def wait_or_kill(process: Process, patience_s: float) -> int:
    """Wait for a process that has been told to end, and kill it after `patience_s`. Give its return code."""
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


Process = subprocess.Popen[bytes]
