"""Frames cut out of sorted rows: the same as those that are laid out group by group."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import make_batch, records_of, sort_by_key
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.shuffle.merge import chunked
from mapreduce.dataflow.shuffle.sizes import slice_of
from mapreduce.dataflow.tasks import frame_stream
from mapreduce.dataflow.tasks.cogroup import cogrouped
from mapreduce.dataflow.tasks.frame_stream import FrameStream
from mapreduce.dataflow.tasks.frame_task import FrameLoop
from mapreduce.signatures import read_call

KEYS = st.sampled_from(
    [["a", "b", "cc", "d" * 40], [1, 2, 3, 4], [b"", b"\0", b"a"], [0.5, float("nan")], [True, False]]
)
VALUES = st.sampled_from([["x", "yy", ""], [7, -1], [None, "z", 3]])
PICKS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60)


def loop_of(kind, batch, frame_bytes):
    """A loop whose reducer gives frames back, and what it will have got and given."""
    seen, out = [], []

    def reducer(frame):
        seen.append((frame.schema, repr(frame.rows())))
        return frame

    call = read_call(reducer, "reducer", inputs=("in",), frames=True)
    lanes = batch.key_lane, [batch.value_lane]
    return kind(call, reducer, out.append, Site(), lanes=lanes, frame_bytes=frame_bytes), seen, out


@settings(max_examples=150, deadline=None)
@given(
    keys=KEYS,
    values=VALUES,
    picks=PICKS,
    cuts=st.lists(st.integers(1, 9), min_size=60, max_size=60),
    frame_bytes=st.integers(1, 400),
    look=st.integers(1, 4),
)
def test_frames_are_those_of_groups(keys, values, picks, cuts, frame_bytes, look):
    """However rows are cut on their way, a frame ends with the group that fills it, and has the same columns."""
    pairs = [(keys[key % len(keys)], values[value % len(values)]) for key, value in picks]
    batch = sort_by_key(make_batch(*map(list, zip(*pairs, strict=True))))
    stream, streamed, out = loop_of(FrameStream, batch, frame_bytes)
    start = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_stream, "LOOK_ROWS", look)
        for rows in cuts:
            if start < batch.rows():
                stream.run_rows(slice_of(batch, start, start + rows))
                start += rows
        stream.finish()
    groups, by_group, _ = loop_of(FrameLoop, batch, frame_bytes)
    for found in cogrouped([chunked(batch, 1 << 20)], batch.key_lane):
        groups.run(found)
    groups.finish()
    assert streamed == by_group
    assert repr([pair for one in out for pair in records_of(one)]) == repr(list(records_of(batch)))
    assert (stream.records, stream.emitted) == (groups.records, groups.emitted) == (len(pairs), len(pairs))
