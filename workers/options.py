"""What an agent's command line says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The command line. `life_fd` is a descriptor whose closing ends the agent; no `saved` is one in the scratch."""

    coordinator: str
    slots: int
    scratch: str | None
    listen: str | None
    name: str
    life_fd: int | None
    saved: str | None = None
