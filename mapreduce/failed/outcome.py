"""What came of resuming a job, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapreduce.plan import UNJUDGED

if TYPE_CHECKING:
    from mapreduce.protocol.messages import JobStatus

FUNCTIONS = ("mapper", "combiner", "partitioner", "sort_values", "aggregator", "reducer", "keys", "records")
NONE_LEFT = "had left no result"


def told(status: JobStatus) -> str:
    """What came of resuming: "reducer edited: 40 of 40 maps kept"."""
    maps = status.steps[0].shape.maps if status.steps else 0
    unknown = [name.removesuffix(UNJUDGED) for name in status.changed if name.endswith(UNJUDGED)]
    known = [name for name in status.changed if not name.endswith(UNJUDGED)]
    edited = [name for name in known if name.partition(" of ")[0] in FUNCTIONS]
    other = [name for name in known if name not in edited]
    groups = ((edited, "edited"), (other, "changed"), (unknown, UNJUDGED.strip(" ()")))
    what = [f"{', '.join(names)} {verb}" for names, verb in groups if names]
    begin = ", ".join(what) or "nothing edited"
    kept, runs = status.reused_maps, [(count, why) for count, why in _runs(status, maps) if count]
    if kept or not runs:
        return f"{begin}: " + ", ".join([f"{kept} of {maps} maps kept", *(f"{count} {why}" for count, why in runs)])
    (first, why), *others = runs
    texts = [f"{first} map{'' if first == 1 else 's'} {why}", *(f"{count} {why}" for count, why in others)]
    return f"{begin}: {', '.join(texts)}"


def _runs(status: JobStatus, maps: int) -> list[tuple[int, str]]:
    """How many of the maps had to run, and why."""
    left = maps - status.reused_maps
    if any(map(_is_of_maps, status.changed)):
        return [(left, "run again")]
    if status.former_maps is None:
        return [(left, f"run, which {NONE_LEFT} or whose input has changed")]
    gone = min(left, max(0, status.former_maps - status.reused_maps))
    why = "run again, whose input has changed or whose results are gone"
    return [(gone, why), (left - gone, f"run, which {NONE_LEFT}")]


def _is_of_maps(name: str) -> bool:
    """Whether what is called so in `changed` is something that results of the first step's maps depend on."""
    return " of step " not in name and not name.startswith(("reducer", "parameters of the reducer"))
