"""Several inputs met by key: every key once, in order, with the values of each input."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sides import TINY, side_by_side, write_side

from mapreduce.dataflow.columns.batches import Batch, records_of
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.cogroup import LargeGroup, side_limits, sides_of
from mapreduce.dataflow.tasks.reduce_task import ReduceLoop
from mapreduce.errors import RecordError, SecondPassError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call

KEYS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([None, True, 1, 1.0, "a", "b", ("a", 1), b"a", float("nan"), -0.0, 0.0, 2**70]),
)
VALUES = st.one_of(st.integers(), st.text(max_size=2), st.lists(st.integers(0, 3), max_size=2))
SIDES = st.lists(
    st.one_of(
        st.lists(st.tuples(KEYS, VALUES), max_size=60),
        st.lists(st.tuples(st.integers(0, 5), st.integers()), max_size=60),
        st.lists(st.tuples(st.floats(), st.just("x")), max_size=10),
    ),
    min_size=1,
    max_size=3,
)


def reference(sides):
    """The records of all sides by key, in key order, as encodings: [(key, [values of each side])]."""
    found = defaultdict(lambda: [[] for _ in sides])
    for number, pairs in enumerate(sides):
        for key, value in pairs:
            found[encode_key(normalise_key(key))][number].append(encode_value(value))
    return sorted(found.items())


def cogroup(folder, sides, function, limits=TINY):
    """What a reducer over several sides emits, and the chunks that it got."""
    out: list[Batch] = []
    seen = []
    site = Site()
    loop = ReduceLoop(read_call(function, "reducer", inputs=("a", "b", "c")), function, out.append, site, limits)

    def use(groups):
        seen.append(type(groups))
        loop.run_sides(groups)

    try:
        side_by_side(Path(folder), sides, use, limits)
        loop.finish()
    except BaseException as error:
        error.site = site
        raise
    return list(chain.from_iterable(map(records_of, out))), seen


def all_of_three(key, a, b, c):
    """Emit what came, with the key as it is."""
    yield key, (list(a), list(b), list(c))


@settings(max_examples=30, deadline=None)
@given(SIDES, st.sampled_from([TINY, Limits(), Limits(block=1 << 10, merge=1 << 12, sort_buffer=1 << 12)]))
def test_every_key_once_with_the_values_of_each_side(sides, limits):
    """Whatever the types, sizes and limits: keys ascend, values keep their order, a side without a key has none."""
    sides += [[]] * (3 - len(sides))
    with tempfile.TemporaryDirectory() as folder:
        found, _ = cogroup(folder, sides, all_of_three, limits)
    given_ = [(encode_key(key), [list(map(encode_value, side)) for side in values]) for key, values in found]
    assert given_ == reference(sides)


@pytest.mark.parametrize("large", [0, 1, 2])
def test_large_groups_stream_on_each_side(large, tmp_path):
    """A key with more values than a chunk comes as a stream, on whichever side it is large."""
    sides = [[(k, (n, k)) for k in (1, 5, 9) for n in range(3)] for _ in range(3)]
    sides[large] = [(5, (n, 5)) for n in range(200)] + [(7, (0, 7))]
    found, seen = cogroup(tmp_path, sides, all_of_three)
    assert LargeGroup in seen
    assert [(encode_key(key), [list(map(encode_value, side)) for side in values]) for key, values in found] == (
        reference(sides)
    )


def test_values_may_be_left(tmp_path):
    """A reducer that reads one input alone, or a part of one, loses nothing of the next keys."""

    def reducer(key, a, b, c):
        yield key, (next(b, None), sum(1 for _ in c))

    sides = [[(k, n) for k in range(5) for n in range(50)] for _ in range(3)]
    found, _ = cogroup(tmp_path, sides, reducer)
    assert found == [(k, (0, 50)) for k in range(5)]


def test_a_second_pass_raises_on_each_input(tmp_path):
    """The values of each input can be gone through once, and the error names the key."""

    def reducer(key, a, b, c):
        yield key, (list(b), list(b))

    with pytest.raises(SecondPassError) as caught:
        cogroup(tmp_path, [[(1, 1)], [(1, 2)], []], reducer)
    assert caught.value.site.key == "1"


def test_errors_name_function_and_key(tmp_path):
    """What a reducer over several inputs raises is its own, with the key at hand."""

    def reducer(key, a, b, c):
        return [(key, 1 // (key - 7))]

    with pytest.raises(ZeroDivisionError) as caught:
        cogroup(tmp_path, [[(k, 1) for k in range(20)], [], []], reducer)
    assert caught.value.site.key == "7"
    with pytest.raises(RecordError, match="it has 3 elements"):
        cogroup(tmp_path, [[(1, 1)], [], []], lambda key, a, b, c: [(key, 1, 2)])


def test_slices_belong_to_the_input_of_their_map_task(tmp_path):
    """Map tasks are numbered input after input; an input without tasks has no slices."""
    slices = [write_side(tmp_path, index, [(index, 1)])[0] for index in range(4)]
    assert sides_of(slices, (1, 0, 3)) == [slices[:1], [], slices[1:]]


def test_merges_at_once_share_the_memory_of_one():
    """Each of two merges gets half of what one may hold."""
    assert side_limits(Limits(), 2).merge == Limits().merge // 2
