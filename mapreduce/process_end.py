"""Waiting for the end of a process that this one has started. Light: it is imported before all else."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from typing import Protocol

    class Forked(Protocol):
        """A child on Linux that was not started by `subprocess`."""

        pid: int
        returncode: int | None


def has_ended(process: subprocess.Popen[bytes] | Forked, timeout_s: float) -> bool:
    """Wait for the end of a process without reaping it, where the system can tell; at once when it ends."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "pidfd_open"):
        import subprocess  # noqa: PLC0415 - who has such a process has imported it

        assert isinstance(process, subprocess.Popen), "others are of systems that can tell"
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True
    handle = os.pidfd_open(process.pid)
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)
