"""Putting an agent together: scratch, shuffle server, socket, state, shell; and taking it apart."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from mapreduce.config import SAVED
from mapreduce.errors import MapReduceError, UsageError
from mapreduce.protocol.messages import Register
from mapreduce.versions import own_versions
from workers.agent_shell import AgentShell, connect
from workers.agent_state import AgentState
from workers.disk import Disk
from workers.processes import Processes
from workers.scratch import Scratch, default_parent
from workers.shuffle_process import ShuffleProcess, listen_address, public_address

if TYPE_CHECKING:
    from workers.options import Options
    from workers.start import Process

DISK_PATIENCE_S = 0.2  # for deletions under way when the agent leaves: its whole folder goes anyway

INTERRUPTED = 130  # as shells say it of a command that Ctrl-C ended

log = logging.getLogger("mapreduce.worker")


def run_agent(options: Options, worker: str, server: Process, control: socket.socket) -> int:
    """Run an agent whose fork server is starting; give the exit code."""
    # A worker that a person started says what happens; one that a run started only what is wrong.
    level = logging.INFO if options.life_fd is None else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format=f"worker {options.name}: %(message)s")
    try:
        with contextlib.ExitStack() as stack:
            return _run(options, worker, server, control, stack)
    except UsageError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return 2
    except MapReduceError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return 1


def _run(options: Options, worker: str, server: Process, control: socket.socket, stack: contextlib.ExitStack) -> int:
    scratch = Scratch(Path(options.scratch).absolute() if options.scratch else default_parent(), worker)
    stack.callback(scratch.remove)
    saved = Path(options.saved).absolute() if options.saved else scratch.parent / SAVED
    disk = Disk(scratch.jobs, scratch.shared, saved)
    stack.callback(disk.stop, DISK_PATIENCE_S)
    context = stack.enter_context(zmq.Context())
    sock = connect(context, options.coordinator)
    stack.callback(sock.close)
    listen = listen_address(options.coordinator, options.listen)
    shuffle = ShuffleProcess(listen, scratch.jobs) if listen is not None else None
    register = Register(
        worker,
        options.name,
        options.slots,
        own_versions(),
        public_address(shuffle.address, options.coordinator) if shuffle is not None else "",
        # Where nothing is served, other workers on this machine read the files themselves.
        "" if shuffle is not None else str(scratch.jobs),
    )
    embedded = options.life_fd is not None and options.coordinator.startswith("ipc://")
    shell = AgentShell(
        AgentState(register, str(scratch.jobs), str(scratch.shared), str(saved), one_job=options.one_job),
        sock,
        Processes(worker, options.name, server, control),
        disk,
        shuffle,
        life_fd=options.life_fd,
        clean_at_end=embedded,
    )
    stack.callback(shell.close)
    disk.sweep(scratch.leftovers)
    log.info("asking %s for work: %d at a time", options.coordinator, options.slots)
    code = shell.run()
    if code == 2:
        log.error("the coordinator refused this worker: %s", shell.exit_reason)
    return INTERRUPTED if shell.exit_reason == "SIGINT" else code
