"""What an agent's command line says."""

from __future__ import annotations

from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The command line. `life_fd` is a descriptor whose closing ends the agent; no `saved` is one in the scratch.

    With `one_job` whoever started the agent has one job for it.
    """

    coordinator: str
    slots: int
    scratch: str | None
    listen: str | None
    name: str
    life_fd: int | None
    saved: str | None = None
    one_job: bool = False
