"""What makes our processes end when they should: death signals, life pipes, process groups, signal handlers.

Owns the few system calls for it. The rule: whoever starts a process holds the write end of a pipe (or a socket) of
which the process has the other end; when that closes, by whatever death, the process ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36

log = logging.getLogger("mapreduce.worker")


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {value}): {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux). `parent` is the pid that it should have."""
    if not LINUX:
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies (Linux), so that `kill_orphans` finds them."""
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_orphans(known: Iterable[int]) -> None:
    """Kill the children of this process that it did not fork: what user code started and left behind (Linux).

    Those in the session of one of `known` are spared: it lives, and may need what it started (`server &` in a shell).
    """
    if not LINUX:
        return
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: process groups have to do
        return
    forked = set(known)
    for pid in {int(word) for word in text.split()} - forked:
        try:
            session = os.getsid(pid)
        except ProcessLookupError:
            log.debug("process %d is gone already", pid)
            continue
        if session not in forked:
            kill_group(pid)


def kill_group(pid: int) -> None:
    """Kill a child that has not been waited for, and its process group, with SIGKILL."""
    kill_rest_of_group(pid)
    try:
        os.kill(pid, signal.SIGKILL)  # alone as well: it may not lead its group yet
    except ProcessLookupError:
        log.debug("process %d is gone already", pid)


def kill_rest_of_group(pid: int) -> None:
    """Kill what is left of the process group of a child that has just been waited for."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process group %d is gone already", pid)
    except PermissionError:
        log.debug("process group %d holds only what cannot be killed", pid)  # macOS says so for zombies


def watch_life(fd: int, *, group: bool) -> None:
    """Start a thread that kills this process (and its group, if `group`) once the pipe `fd` closes."""
    thread = threading.Thread(target=_wait_for_end, args=(fd, group), name="life", daemon=True)
    thread.start()


def _wait_for_end(fd: int, group: bool) -> None:
    while os.read(fd, 1):
        pass  # nothing is ever written: only the end counts
    kill_group(os.getpid()) if group else os._exit(1)


def describe_end(status: int) -> str:
    """Say how a process ended: "signal SIGKILL" or "exit code 3". `status` is a wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def default_signals() -> None:
    """Give user code the handlers that a fresh Python has, but for SIGINT: Ctrl-C is the client's to handle."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
