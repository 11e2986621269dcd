"""What a failed job leaves for `mapreduce resume`, in words; and where on this machine that is. Light."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mapreduce.config import SAVED, SAVED_DAYS
from mapreduce.plan import Failure
from mapreduce.runners.private import scratch_folder

ON_WORKERS = "on the workers"

_log = logging.getLogger(__name__)


def saved_folder() -> Path:
    """Where jobs that were run on this machine, and failed, leave their map results."""
    return scratch_folder() / SAVED


def forget_saved(jobs: Sequence[str]) -> None:
    """Remove the map results of jobs that have been resumed; that they cannot be is logged, since that is done."""
    if not jobs:
        return
    from mapreduce.dataflow.saved import drop_saved  # noqa: PLC0415 - for such jobs alone

    for job in jobs:
        try:
            drop_saved(saved_folder(), job)
        except OSError as error:
            _log.warning("the map results of %s cannot be removed: %s", job, error)


def with_saved(failure: Failure, job: str, saved: tuple[int, int], maps: int, place: str) -> Failure:
    """The failure of a job, ending with what is kept of its map results, and how to go on with it.

    `saved` is how many of its `maps` results are kept at `place`, and their bytes.
    """
    count, size = saved
    if not count:
        return failure
    from mapreduce.progress import amount  # noqa: PLC0415 - for failures alone

    results = "map result is" if maps == 1 else "map results are"
    kept = f"  {count} of {maps} {results} kept for {SAVED_DAYS} days ({amount(size)}, {place})"
    return replace(failure, saved_maps=count, notes=(*failure.notes, f"{kept}:  mapreduce resume {job}"))
