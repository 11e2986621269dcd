"""Starting our own helper processes: the fork server and the shuffle server. Light: it runs before all else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from mapreduce.process_end import has_ended
from mapreduce.process_memory import with_memory

DROPPED_ENV = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME")  # must not change what our processes import
TASK_ENV = {
    "PYTHONHASHSEED": "0",  # user code may iterate over sets of words: the order must be the same everywhere
    # The slots are the parallelism; and sums in native code may depend on how many threads share them.
    "POLARS_MAX_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def start_process(
    module: str, arguments: Sequence[str], fds: Sequence[int], stdout: int | None
) -> subprocess.Popen[bytes]:
    """Start one of our modules, with a safe path, in a session of its own: Ctrl-C and group kills pass it by."""
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED_ENV} | TASK_ENV
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        env=with_memory(environment),
        pass_fds=fds,
        start_new_session=True,
    )


def start_fork_server(worker: str, name: str) -> tuple[Process, socket.socket]:
    """Start the fork server; give it and the agent's end of its control socket, whose closing ends it."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        return start_process("workers.fork_main", [str(fd), worker, name], [fd], None), ours


def fork_fork_server(worker: str, name: str, life_fd: int) -> tuple[Process, socket.socket]:
    """Start the first fork server as a copy of this process, which has just begun itself: that saves another beginning.

    What both need is best imported before. Only where such a copy is like a new process: on Linux, without what may
    have changed our imports, and with the hash seed of task processes; else it is started as usual. The copy closes
    `life_fd`.
    """
    seeded = os.environ.get("PYTHONHASHSEED") == TASK_ENV["PYTHONHASHSEED"]
    if not sys.platform.startswith("linux") or not seeded or any(name in os.environ for name in DROPPED_ENV):
        return start_fork_server(worker, name)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return ForkedProcess(pid), ours
    code = 1
    try:
        os.setsid()
        ours.close()
        os.close(life_fd)
        os.environ.update(TASK_ENV)
        from workers.fork_main import TRANSPORT, main  # noqa: PLC0415 - for the copy alone

        code = main([str(theirs.detach()), worker, name], put_off=[TRANSPORT])  # nothing is fetched on one machine
    except BaseException:  # noqa: BLE001 - a defect of ours: shown in the log, and the agent reports the death
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_or_kill(process: Process, patience_s: float) -> int:
    """Wait for a process that has been told to end, and kill it after `patience_s`. Give its return code."""
    if not has_ended(process, patience_s):
        process.kill()
    return process.wait()


class ForkedProcess:
    """As much of `subprocess.Popen` as is needed here, for a process that was forked (on Linux)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        """Kill it, unless it has been waited for."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; its return code, negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


Process = subprocess.Popen[bytes] | ForkedProcess
