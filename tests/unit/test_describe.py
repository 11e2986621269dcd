"""What `mapreduce describe` says of joins, reducers over several inputs, and frames."""

from __future__ import annotations

import pytest

from mapreduce import Arrow, Count, Csv, FixedLength, Input, Job, Join, Msgpack, Text
from mapreduce.describe import describe_job


def pairs(line):
    """Give a pair."""
    yield line, 1


def frames(frame):
    """Give the frame."""
    return frame


INPUTS = {"clicks": Input(pairs), "users": Input(pairs)}


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (Job(inputs=INPUTS, reducer=Join("left")), "Join('left'): joins clicks and users by key\n"),
        (
            Job(inputs=INPUTS, reducer=Join("left", broadcast=True)),
            "joins clicks and users by key, without a shuffle: every task process loads users\n",
        ),
        (Job(inputs=INPUTS, reducer=lambda key, users, clicks: []), "takes (key, users, clicks)\n"),
        (Job(inputs=INPUTS, reducer=lambda users, clicks: None, frames=True), "takes (frames: users, clicks)\n"),
        (Job(frames, reducer=lambda frame: frame, combiner=frames, frames=True), "takes (frame)\n"),
    ],
)
def test_describe_says_what_reducers_take(job, line):
    """A join names its inputs; a reducer what it is called with."""
    assert line in describe_job(job).render()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (Text(), "input       text lines, utf-8 (strict)\n"),
        (
            Csv(separator=";", columns=["id", "name"]),
            "names the columns, of which id, name are read, ';'",
        ),
        (Csv(header=False, quoted_newlines=False), "CSV, no header, cut at lines, ',', utf-8 (strict)\n"),
        (Msgpack(), "input       msgpack objects\n"),
        (FixedLength(1000, skip=16), "input       records of 1,000 bytes each, behind 16 bytes of each file\n"),
        (Arrow(["a", "b"]), "input       Arrow IPC, a, b\n"),
    ],
)
def test_describe_says_what_is_read(given, line):
    """The format of the input with its options, in words."""
    assert line in describe_job(Job(pairs, input=given)).render()


def test_a_job_without_reduce_tasks_is_not_told_of_reducers():
    """Their number means nothing where there are none."""
    assert "\nreducers    from the size" in describe_job(Job(pairs, reducer=Count())).render()
    assert "\nreducers " not in describe_job(Job(pairs)).render()


def test_a_broadcast_join_is_map_only():
    """A step that needs no shuffle is shown as one."""
    assert "step 1 (map-only)" in describe_job(Job(inputs=INPUTS, reducer=Join(broadcast=True))).render()
