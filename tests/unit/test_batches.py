"""Batches and frames for mappers: how records are put together, and where they say a failure was."""

from itertools import chain

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.readers.records import Frame, Records, batched
from mapreduce.dataflow.tasks.map_task import FramesLoop, MapLoop
from mapreduce.errors import RecordError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call


class Kept:
    """A sink that keeps batches in memory."""

    def __init__(self):
        self.batches = []

    def add(self, batch):
        self.batches.append(batch)

    def add_keys(self, keys):
        self.add(make_batch(keys, [None] * len(keys)))

    @property
    def pairs(self):
        return list(chain.from_iterable(map(records_of, self.batches)))


def blocks_of(sizes, place=True):
    """Blocks of so many records each: the i-th record of all has the key -i and the value i, and lies at byte i."""
    found, start = [], 0
    for size in sizes:
        values = list(range(start, start + size))
        where = (lambda i, start=start: ("a.txt", start + i)) if place else None
        found.append(Records(values, lambda values=values: [-value for value in values], where))
        start += size
    return found


@given(sizes=st.lists(st.integers(0, 9), max_size=8), size=st.integers(1, 12))
def test_batches_do_not_depend_on_blocks(sizes, size):
    """Each batch has so many records, the last the rest, in order, with the keys and the place of its first record."""
    found = list(batched(iter(blocks_of(sizes)), size))
    values = [batch for records in found for batch in records.values]
    total = sum(sizes)
    assert values == [list(range(start, min(start + size, total))) for start in range(0, total, size)]
    assert [keys for records in found for keys in records.firsts()] == [[-v for v in batch] for batch in values]
    places = [records.place(i) for records in found for i in range(len(records.values))]
    assert places == [("a.txt", batch[0]) for batch in values]


def run(function, sizes, batch, role="mapper", place=True, first_step=True):
    call = read_call(function, role, first_step=first_step)
    sink, site = Kept(), Site()
    bound, finish = call.start({}, None)
    loop = MapLoop(call, bound, sink, site, Limits())
    try:
        for records in batched(iter(blocks_of(sizes, place)), batch):
            loop.run(records)
        loop.finish(finish)
    except BaseException as error:
        error.site = site
        raise
    return sink.pairs


def test_a_mapper_gets_lists():
    """Of values alone, or of keys and values; keys= and records= and a class with finish() likewise."""
    assert run(lambda values: [(len(values), values)], [3, 2], 2) == [(2, [0, 1]), (2, [2, 3]), (1, [4])]
    assert run(lambda keys, values: zip(keys, values, strict=True), [3], 2) == [(0, 0), (-1, 1), (-2, 2)]
    assert run(lambda values: values, [2, 1], 2, role="keys") == [(0, None), (1, None), (2, None)]
    assert run(lambda values: [sum(values)], [2, 2], 3, role="records") == [(None, 3), (None, 3)]

    class Totals:
        def __init__(self):
            self.batches = 0

        def __call__(self, values):
            self.batches += 1

        def finish(self):
            yield "batches", self.batches

    assert run(Totals, [4, 4], 3) == [("batches", 3)]


@pytest.mark.parametrize("generates", [True, False])
def test_a_failure_names_the_first_record_of_the_batch(generates):
    """Its file and byte, or in a later step its key; and how many records the batch has."""

    def generating(_keys, values):
        yield 1, 1 / (4 - values[0])

    def returning(_keys, values):
        return [(1, 1 / (4 - values[0]))]

    mapper = generating if generates else returning
    with pytest.raises(ZeroDivisionError) as caught:
        run(mapper, [3, 2, 3], 2)
    site = caught.value.site
    assert (site.path, site.offset, site.key, site.record) == ("a.txt", 4, None, "4, in a batch of 2")
    with pytest.raises(ZeroDivisionError) as caught:
        run(mapper, [3, 2, 3], 2, place=False, first_step=False)
    site = caught.value.site
    assert (site.path, site.offset, site.key, site.record) == (None, None, "-4", "4, in a batch of 2")


def frames_loop(function):
    call = read_call(function, "mapper", frames=True)
    sink, site = Kept(), Site()
    bound, finish = call.start({}, None)
    return FramesLoop(call, bound, sink, site), sink, site, finish


def test_a_mapper_of_frames_gives_frames():
    """One, several, or None for nothing; a class may give more in finish()."""

    class Rows:
        def __init__(self):
            self.rows = 0

        def __call__(self, frame):
            self.rows += frame.height
            if frame.height > 1:
                yield frame.select(key="a", value="b")
                yield frame.select(value="a", key="b")

        def finish(self):
            return pl.DataFrame({"key": ["rows"], "value": [self.rows]})

    loop, sink, _, finish = frames_loop(Rows)
    loop.run(Frame(pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})))
    loop.run(Frame(pl.DataFrame({"a": [3], "b": ["z"]})))
    loop.finish(finish)
    assert sink.pairs == [(1, "x"), (2, "y"), ("x", 1), ("y", 2), ("rows", 3)]
    assert loop.emitted == 5
    silent, sink, _, _ = frames_loop(lambda frame: None)
    silent.run(Frame(pl.DataFrame({"a": [1]})))
    assert sink.pairs == []


def test_a_failure_names_the_shape_of_the_frame():
    """And the place of its first row; a result that is no frame of keys and values is the mapper's fault."""
    loop, _, site, _ = frames_loop(lambda frame: frame.select(pl.col("nothing")))
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        loop.run(Frame(pl.DataFrame({"a": [1, 2], "b": [3, 4]}), ("t.csv", 17)))
    assert (site.path, site.offset, site.users) == ("t.csv", 17, True)
    assert site.record == "a frame of 2 rows, with the columns a, b"
    loop, _, site, _ = frames_loop(lambda frame: frame)
    with pytest.raises(RecordError, match="must have 'key' and 'value'"):
        loop.run(Frame(pl.DataFrame({"a": [1, 2]}), ("t.csv", None)))
    assert (site.path, site.record) == ("t.csv", "a frame of 2 rows, with the columns a")


def test_a_sink_that_fails_is_not_the_users_fault():
    """A full disk, say, is not blamed on the mapper."""
    loop, sink, site, _ = frames_loop(lambda frame: frame)
    sink.add = None
    with pytest.raises(TypeError):
        loop.run(Frame(pl.DataFrame({"key": [1], "value": [2]})))
    assert site.users is False
