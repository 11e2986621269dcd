"""The agent: a machine's worker. It talks to the coordinator, runs task processes, and never runs user code.

    python -P -m workers.agent --coordinator ADDRESS --slots N --scratch DIR [--listen ADDRESS] [--name NAME]
                               [--saved DIR] [--life-fd N]

Exit codes: 0 after SIGTERM or when the life pipe closed, 130 after Ctrl-C, 1 for a defect, 2 where it was refused or
cannot be set up. This module is light: the fork server is started before anything dear is imported.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys

from workers.options import Options
from workers.start import Process, start_fork_server, wait_or_kill


def parse(arguments: list[str]) -> Options:
    """Read the command line; exits with 2 where it makes no sense."""
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
    options = parse(arguments)
    if options.life_fd is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever holds the life pipe
        os.set_inheritable(options.life_fd, False)
    worker = os.urandom(8).hex()  # names this life of the agent, and no other
    server, control = start_fork_server(worker, options.name)
    try:
        return _run(options, worker, server, control)
    finally:
        control.close()
        wait_or_kill(server, 0.1)  # it is gone already, but where the set-up failed


def _run(options: Options, worker: str, server: Process, control: socket.socket) -> int:
    # Imported only now, while the fork server does its own imports; all of it stays, so that collecting is idle work.
    gc.disable()
    from workers.agent_main import run_agent  # noqa: PLC0415 - see above

    gc.enable()
    return run_agent(options, worker, server, control)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # all is closed: tearing the interpreter down would only keep whoever waits
