"""What came of resuming a job, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapreduce.plan import UNJUDGED

if TYPE_CHECKING:
    from mapreduce.protocol.messages import JobStatus

FUNCTIONS = ("mapper", "combiner", "partitioner", "sort_values", "aggregator", "reducer", "keys", "records")


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
    reused = status.reused_maps
    lost = "" if any(map(_is_of_maps, status.changed)) else ", whose input has changed or whose results are gone"
    if not reused:
        return f"{begin}: {maps} map{'' if maps == 1 else 's'} run again{lost}"
    again = f", {maps - reused} run again{lost}" if reused < maps else ""
    return f"{begin}: {reused} of {maps} maps kept{again}"


def _is_of_maps(name: str) -> bool:
    """Whether what is called so in `changed` is something that results of the first step's maps depend on."""
    return " of step " not in name and not name.startswith(("reducer", "parameters of the reducer"))
