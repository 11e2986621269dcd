"""`python -P -m mapreduce.coordinator --listen ADDRESS --state DIR`: a coordinator as a process."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from mapreduce.config import DEFAULT_LISTEN
from mapreduce.coordinator.server import CoordinatorServer
from mapreduce.errors import JournalError, UsageError

# Python would look at all that is alive again and again while a job grows: a quarter of a second at a time with a
# hundred thousand tasks. State has no cycles; what little garbage has some is young, and is found soon enough.
GC_THRESHOLDS = (50_000, 20, 1_000)
DEFAULT_STATE = "mapreduce-state"  # in the current folder


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT, or the end of the life pipe; give the exit code."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    server = CoordinatorServer(options.listen, options.state)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        server.start()
    except (UsageError, JournalError) as error:
        print(f"mapreduce coordinator: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.request_stop())
    if options.life_fd is not None:
        threading.Thread(target=_watch_life, args=(options.life_fd, server), daemon=True).start()
    print(f"listening on {server.address}", file=sys.stderr, flush=True)  # noqa: T201 - this is a command
    server.wait()
    server.stop()
    return 1 if server.failure is not None else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mapreduce coordinator", description="The coordinator of a cluster.")
    parser.add_argument("--listen", default=DEFAULT_LISTEN, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--state", default=DEFAULT_STATE, type=Path, metavar="DIR", help="journal and code of jobs")
    parser.add_argument("--life-fd", type=int, metavar="N", help="end when this inherited pipe closes")
    return parser.parse_args(arguments)


def _watch_life(descriptor: int, server: CoordinatorServer) -> None:
    while os.read(descriptor, 1):
        pass
    server.request_stop()


if __name__ == "__main__":
    sys.exit(main())
