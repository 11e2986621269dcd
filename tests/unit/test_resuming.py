"""What is said of a resumed job."""

from __future__ import annotations

import pytest

from mapreduce.failed.outcome import told
from mapreduce.plan import StepShape
from mapreduce.protocol.messages import JobStatus, StepStatus


@pytest.mark.parametrize(
    ("maps", "reused", "changed", "text"),
    [
        (40, 40, ("reducer",), "reducer edited: 40 of 40 maps kept"),
        (40, 0, ("mapper",), "mapper edited: 40 maps run again"),
        (1, 0, ("mapper",), "mapper edited: 1 map run again"),
    ],
)
def test_what_came_of_resuming_is_told_in_a_line(maps, reused, changed, text):
    """What was edited, and how many of the map results were used."""
    steps = (StepStatus(StepShape(maps, 1), maps_done=maps),)
    status = JobStatus(job="j", name="j", state="succeeded", steps=steps, reused_maps=reused, changed=changed)
    assert told(status) == text
