"""The agent's side of its shuffle server: where it listens, starting it, and starting it again when it dies."""

from __future__ import annotations

import ipaddress
import logging
import os
import select
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from mapreduce.errors import MapReduceError, UsageError
from workers.start import start_process, wait_or_kill

START_S = 20.0  # for its first line: a busy machine takes seconds to import what it needs
RESTARTS = 5  # it runs no user code, so that more deaths mean that the machine is in trouble
EXIT_S = 0.3

log = logging.getLogger("mapreduce.worker")


def listen_address(coordinator: str, listen: str | None) -> str | None:
    """Where to serve intermediate data: as told, or at this machine's address on the way to the coordinator.

    None for a coordinator on this machine only (ipc), where nothing is served. Raises UsageError.
    """
    if listen is not None:
        return listen if "://" in listen else f"tcp://{listen}"
    if not coordinator.startswith("tcp://"):
        return None
    return f"tcp://{_bracketed(_route(coordinator))}:*"


def public_address(bound: str, coordinator: str) -> str:
    """The address that other workers use: a wildcard is replaced by this machine's address towards the coordinator."""
    parts = urlsplit(bound)
    if parts.scheme != "tcp" or parts.hostname is None or not ipaddress.ip_address(parts.hostname).is_unspecified:
        return bound
    host = _route(coordinator) if coordinator.startswith("tcp://") else "127.0.0.1"
    return f"tcp://{_bracketed(host)}:{parts.port}"


def _route(coordinator: str) -> str:
    parts = urlsplit(coordinator)
    try:
        if parts.hostname is None or parts.port is None:
            msg = f"coordinator address {coordinator!r}: it looks like tcp://HOST:PORT"
            raise UsageError(msg)
        family, kind, protocol, _, where = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(where)  # sends nothing: only asks the system for the route
            host: str = probe.getsockname()[0]
    except ValueError as error:
        msg = f"coordinator address {coordinator!r}: {error}; it looks like tcp://HOST:PORT"
        raise UsageError(msg) from error
    except OSError as error:
        msg = f"no route to the coordinator {coordinator}: {error.strerror}; give this machine's address with --listen"
        raise UsageError(msg) from error
    return host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class ShuffleProcess:
    """A running shuffle server; `address` is where it is bound."""

    def __init__(self, listen: str, folder: Path) -> None:
        """Start it and wait until it listens. Raises UsageError where it cannot."""
        self._folder = folder
        self._restarts = 0
        self.address = listen
        self._start()
        self.address = self._first_line()

    def fileno(self) -> int:
        """Readable when it has said something, or is gone."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def died(self) -> None:
        """See whether it is gone, and start another at the same address. Raises MapReduceError if it keeps dying."""
        if os.read(self.fileno(), 4096):
            return  # the first line of a restarted one
        code = self._end()
        self._restarts += 1
        if self._restarts > RESTARTS:
            msg = f"the shuffle server died {self._restarts} times, the last time with code {code}; see its last output"
            raise MapReduceError(msg)
        log.warning("the shuffle server died (code %d): starting another at %s", code, self.address)
        self._start()

    def stop(self) -> None:
        """End it."""
        self._end()

    def _start(self) -> None:
        read_end, self._life = os.pipe()
        try:
            arguments = ["--listen", self.address, "--folder", str(self._folder), "--life-fd", str(read_end)]
            self._process = start_process("workers.shuffle_server", arguments, [read_end], subprocess.PIPE)
        finally:
            os.close(read_end)

    def _end(self) -> int:
        os.close(self._life)
        code = wait_or_kill(self._process, EXIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def _first_line(self) -> str:
        deadline_s = time.monotonic() + START_S
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.fileno()], [], [], max(0.0, deadline_s - time.monotonic()))
            data = os.read(self.fileno(), 4096) if ready else b""
            if not data:
                self._end()
                msg = f"cannot serve intermediate data at {self.address}: give another address with --listen"
                raise UsageError(msg)
            line += data
        return line.decode().strip()
