"""The agent: a machine's worker. It talks to the coordinator, runs task processes, and never runs user code.

    python -P -m workers.agent --coordinator ADDRESS --slots N --scratch DIR [--listen ADDRESS] [--name NAME]
                               [--saved DIR] [--life-fd N]
    python -P -m workers.agent --told-by N

The second way is that of an embedded cluster: the options come as the first line of JSON through the life pipe N.

Exit codes: 0 after SIGTERM or when the life pipe closed, 130 after Ctrl-C, 1 for a defect, 2 where it was refused or
cannot be set up. This module is light: the fork server is started before anything dear is imported.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workers.start import Process, fork_fork_server, start_fork_server, wait_or_kill

if TYPE_CHECKING:
    from workers.options import Options

TOLD_BY = "--told-by"


def parse(arguments: list[str]) -> Options:
    """Read the command line; exits with 2 where it makes no sense."""
    import argparse  # noqa: PLC0415 - an agent that is told its options has none on its command line

    from workers.options import Options  # noqa: PLC0415 - not before the fork server is started

    parser = argparse.ArgumentParser(prog="workers.agent", description="A worker of the MapReduce engine.")
    parser.add_argument("--coordinator", required=True, help="the coordinator's address, such as tcp://10.0.0.1:5555")
    parser.add_argument("--slots", type=int, required=True, help="how many tasks run at a time")
    parser.add_argument("--scratch", help="folder for intermediate data (default: below the temporary folder)")
    parser.add_argument("--listen", help="address to serve intermediate data at (default: this machine's address)")
    parser.add_argument("--name", default=socket.gethostname(), help="how people know this worker")
    parser.add_argument("--saved", help="folder for map results of failed jobs (default: saved/ in the scratch folder)")
    parser.add_argument("--life-fd", type=int, help="a descriptor whose closing ends the agent")
    found = parser.parse_args(arguments)
    if found.slots < 1:
        parser.error("--slots must be 1 or more")
    return Options(**vars(found))


def main(arguments: list[str]) -> int:
    """Run an agent; give the exit code."""
    if arguments[:1] == [TOLD_BY]:
        return _run_told(int(arguments[1]))
    options = parse(arguments)
    if options.life_fd is not None:
        _keep_to_itself(options.life_fd)
    worker = _new_worker()
    server, control = start_fork_server(worker, options.name)
    try:
        return _import_agent()(options, worker, server, control)
    finally:
        control.close()
        wait_or_kill(server, 0.1)  # it is gone already, but where the set-up failed


def _run_told(life_fd: int) -> int:
    """Run an agent whose options come through its life pipe, while it imports what it needs."""
    _keep_to_itself(life_fd)
    worker, name = _new_worker(), socket.gethostname()
    gc.disable()
    importlib.import_module("workers.task_link")  # what the fork server needs too, which is a copy of this process
    server, control = fork_fork_server(worker, name, life_fd)
    try:
        from workers.options import Options  # noqa: PLC0415 - as above

        run_agent = _import_agent()
        told = _told_options(life_fd)
        if told is None:
            return 0
        options = Options(**told, listen=None, name=name, life_fd=life_fd)
        return run_agent(options, worker, server, control)
    finally:
        control.close()
        wait_or_kill(server, 0.0)  # as above; nobody has asked it for anything


def _told_options(life_fd: int) -> dict[str, Any] | None:
    """Some fields of Options, None where the other end has closed the pipe: there is nothing to do."""
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(life_fd, 1)  # no more than the line: what follows is for the shell
        if not read:
            return None
        line += read
    import json  # noqa: PLC0415 - as above

    told: dict[str, Any] = json.loads(line)
    return told


def _new_worker() -> str:
    return os.urandom(8).hex()  # names this life of the agent, and no other


def _keep_to_itself(life_fd: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever holds the life pipe
    os.set_inheritable(life_fd, False)


def _import_agent() -> Callable[[Options, str, Process, socket.socket], int]:
    # Imported only now, while the fork server does its own imports; all of it stays, so that collecting is idle work.
    gc.disable()
    from workers.agent_main import run_agent  # noqa: PLC0415 - see above

    gc.freeze()
    gc.enable()
    return run_agent


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # all is closed: tearing the interpreter down would only keep whoever waits
