"""The fork server: imports what task processes need, once, and forks them on demand.

Owns its children: it alone can wait for them, so it reports how they ended, kills them when asked, and kills all of
them when the agent's socket closes. Runs nothing of Polars: its thread pool would not survive a fork.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from mapreduce.dataflow.tasks.task import begins_frozen
from mapreduce.errors import MapReduceError
from workers import life
from workers.task_link import FDS_PER_FRAME, FdLink
from workers.task_messages import Ended, Fork, Forked, ForkServerReady, Kill
from workers.task_process import run_task_process

POOL_THREAD = re.compile(r"polars-\d")  # how Polars calls the threads of its pool


class ForkServer:
    """Forks, kills and reaps task processes for one agent."""

    def __init__(self, control: socket.socket, arguments: list[str]) -> None:
        self._link = FdLink(control)
        self._control = control
        self._arguments = arguments  # of every task process: worker, name, scratch folder
        self._children: dict[int, int] = {}  # pid -> process
        self._life_read, self._life_write = os.pipe()  # children without death signals wait for its end
        self._wake_read, self._wake_write = os.pipe()

    def serve(self) -> None:
        """Work until the agent is gone, then leave no child behind."""
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write)
        self._link.send(ForkServerReady())
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while self._link.open:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._link.wants_write else 0)
                selector.modify(self._control, wanted)
                for key, ready in selector.select():
                    if key.fileobj is self._control:
                        self._talk(ready)
                    else:
                        os.read(self._wake_read, 4096)
                self._reap()
        self._kill_all()

    def _talk(self, ready: int) -> None:
        if ready & selectors.EVENT_WRITE:
            self._link.flush()
        if ready & selectors.EVENT_READ:
            for message in self._link.receive():
                if isinstance(message, Fork):
                    self._fork(message.process)
                elif isinstance(message, Kill):
                    for pid in [pid for pid, process in self._children.items() if process == message.process]:
                        life.kill_group(pid)

    def _fork(self, process: int) -> None:
        link, logs, marks, turns = (self._link.fds.pop(0) for _ in range(FDS_PER_FRAME))
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._link.send(Ended(process, 0, error=f"fork: {error.strerror}"))
        else:
            if pid == 0:
                self._become_task(server, link, logs, marks, turns)
            self._children[pid] = process
            self._link.send(Forked(process, pid))
        finally:
            for fd in (link, logs, marks, turns):
                os.close(fd)

    def _become_task(self, server: int, link: int, logs: int, marks: int, turns: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            life.die_with_parent(server)
            life.default_signals()
            self._control.close()
            for fd in (self._wake_read, self._wake_write, self._life_write):
                os.close(fd)
            if not life.LINUX:
                life.watch_life(self._life_read, group=True)
            code = run_task_process(link, logs, marks, turns, self._arguments)
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        except BaseException:  # noqa: BLE001 - a defect of ours: shown on the log pipe, the agent reports the death
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Report every child that has ended, and end what it started and left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._children.pop(pid, None)
            if process is not None:
                life.kill_rest_of_group(pid)
            life.kill_orphans(self._children)
            if process is not None:
                self._link.send(Ended(process, status))

    def _kill_all(self) -> None:
        for pid in self._children:
            life.kill_group(pid)
        while True:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            if self._children.pop(pid, None) is not None:
                life.kill_rest_of_group(pid)
            life.kill_orphans(self._children)


def _refuse_pool() -> None:
    """Refuse to fork with Polars' thread pool, whose locks would hang every task (Linux shows the threads' names)."""
    threads = Path("/proc/self/task")
    names = [name.read_text() for name in threads.glob("*/comm")] if life.LINUX else []
    if any(POOL_THREAD.match(name) for name in names):
        msg = "a module of the engine uses Polars while it is imported: task processes could not be forked"
        raise MapReduceError(msg)


def serve(arguments: list[str]) -> int:
    """Serve the socket whose descriptor is the first argument; the others are every task process's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Python 3.12 warns that forking with threads is unsafe. The threads are those that importing Polars starts
    # (its allocator's and a cleaner), and hold no lock of ours; the pool is not started before the fork.
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
    _refuse_pool()
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    life.adopt_orphans()
    begins_frozen()  # `fork_main` has seen to it: a child's collections neither visit nor copy what all share
    ForkServer(control, arguments[1:]).serve()
    return 0
