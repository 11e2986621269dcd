"""Where copies of files of stores are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Where copies of files of stores are made; None for the system's own place for temporary files.
copies_folder: ContextVar[Path | None] = ContextVar("copies_folder", default=None)


@contextmanager
def copies_below(folder: Path) -> Iterator[None]:
    """Have copies of files made below a folder that goes away with the job, should this process be killed."""
    token = copies_folder.set(folder)
    try:
        yield
    finally:
        copies_folder.reset(token)
