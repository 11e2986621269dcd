"""What is said of a resumed job."""

from __future__ import annotations

import pytest

from mapreduce.failed.outcome import told
from mapreduce.plan import StepShape
from mapreduce.protocol.messages import JobStatus, StepStatus

GONE = "run again, whose input has changed or whose results are gone"


@pytest.mark.parametrize(
    ("maps", "former", "reused", "changed", "text"),
    [
        (40, 40, 40, ("reducer",), "reducer edited: 40 of 40 maps kept"),
        (40, 40, 0, ("mapper",), "mapper edited: 40 maps run again"),
        (1, 1, 0, ("mapper",), "mapper edited: 1 map run again"),
        (14, 11, 11, (), "nothing edited: 11 of 14 maps kept, 3 run, which had left no result"),
        (1, 0, 0, (), "nothing edited: 1 map run, which had left no result"),
        (5, 5, 3, (), f"nothing edited: 3 of 5 maps kept, 2 {GONE}"),
        (6, 5, 3, (), f"nothing edited: 3 of 6 maps kept, 2 {GONE}, 1 run, which had left no result"),
        (6, 2, 0, (), f"nothing edited: 2 maps {GONE}, 4 run, which had left no result"),
        (2, 5, 1, (), f"nothing edited: 1 of 2 maps kept, 1 {GONE}"),
        (
            5,
            None,
            3,
            (),
            "nothing edited: 3 of 5 maps kept, 2 run, which had left no result or whose input has changed",
        ),
    ],
)
def test_what_came_of_resuming_is_told_in_a_line(maps, former, reused, changed, text):
    """What was edited, how many of the map results were used, and why the rest had to run."""
    steps = (StepStatus(StepShape(maps, 1), maps_done=maps),)
    facts = {"former_maps": former, "reused_maps": reused, "changed": changed}
    assert told(JobStatus(job="j", name="j", state="done", steps=steps, **facts)) == text
