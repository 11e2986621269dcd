"""Whole jobs over random records, keys, values and tiny limits, against a dozen lines of plain Python."""

from __future__ import annotations

import itertools
import math
import tempfile
from pathlib import Path

import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.aggregators import Count, Max, Mean, Min, Sum
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import decode_value, encode_value
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.inputs.split_file import encode_splits
from mapreduce.dataflow.manifest.folder import prepare_output, read_output
from mapreduce.job import Job, Step
from mapreduce.plan import JobSpec, Limits, StepShape, TaskOptions
from mapreduce.runners.inline import run_inline
from mapreduce.travel.loader import LoadedJob

TEXT = st.text(st.characters(codec=None, categories=None), max_size=3)  # lone surrogates included
EDGES = st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**62, -1, 0, 1, 10**30])
NAN = float("nan")
SCALAR = st.one_of(
    st.sampled_from(
        ["", "a", "b", "\x00", "a\x00", b"", b"\x00", None, True, False, 0, 1, 1.0, 0.0, -0.0, NAN, math.inf]
    ),
    TEXT,
    EDGES,
)
KEYS = [
    st.sampled_from(["a", "b", "", "c\x00", "\ud800"]),
    st.sampled_from(["a", "b", "c", "dd"]),
    st.integers(-2, 3),
    EDGES,
    st.sampled_from([0.0, -0.0, NAN, -NAN, math.inf, -math.inf, 1.5]),
    SCALAR,
    st.lists(SCALAR, max_size=2).map(tuple),
    st.just(None),
    st.booleans(),
]
INTEGERS = st.one_of(st.booleans(), st.integers(-3, 3), EDGES)
FLOATS = st.sampled_from([0.5, -0.25, 3.0, math.inf, -math.inf, NAN, -0.0, 0.0, 1.0])
WHOLE = [st.integers(-3, 3), EDGES, INTEGERS, st.booleans()]
SMALL = [st.integers(-3, 3), st.booleans(), FLOATS, st.one_of(FLOATS, st.integers(-3, 3))]  # exact sums in any order
THINGS = [
    *WHOLE,
    *SMALL,
    st.text(max_size=3),
    SCALAR,
    st.lists(SCALAR, max_size=2),
    st.dictionaries(SCALAR, SCALAR, max_size=2),
    st.frozensets(st.integers(), max_size=3),
]


@st.composite
def records(draw, kinds):
    """What the mapper emits for each record: keys and values of one kind for a while, then of another."""
    emitted = []
    for _ in range(draw(st.integers(1, 4))):
        keys, values = draw(st.sampled_from(KEYS)), draw(st.sampled_from(kinds))
        emitted += draw(st.lists(st.lists(st.tuples(keys, values), max_size=6), max_size=8))
    return emitted


LIMITS = st.builds(
    Limits,
    flush_records=st.sampled_from([1, 2, 5, 131_072]),
    sort_buffer=st.sampled_from([1, 200, 2000, 1 << 20]),
    block=st.sampled_from([1, 60, 300, 1 << 20]),
    merge=st.sampled_from([1, 1500, 1 << 20]),
    read=st.sampled_from([1, 7, 1 << 20]),
)
SHAPES = st.tuples(LIMITS, st.integers(1, 5), st.integers(1, 40))
SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run(job, emitted, shape):
    """Run a job whose records are the numbers of `emitted`. Gives its records, parts in order, and its files."""
    limits, reducers, split = shape
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").write_text("".join(f"{n}\n" for n in range(len(emitted))))
        splits = plan_splits(find_inputs([str(folder / "in")]), split)
        shapes, maps = [], len(splits)
        for step in job.resolved:
            shapes.append(StepShape(maps, reducers if step.reducer is not None else 0))
            maps = shapes[-1].parts
        output = str(folder / "out")
        options = TaskOptions("job", output, output_format="records", steps=tuple(shapes), limits=limits)
        prepare_output(output, "job", overwrite=False)
        spec = JobSpec("job", "job", tuple(shapes), "", "", "", "", output, 0)
        outcome = run_inline(spec, LoadedJob(job, {}, options), encode_splits(splits), scratch=folder)
        found = list(read_output(output))
        assert outcome.records_out == len(found)
        assert outcome.records_in == len(emitted)
        return found


def partition(key, reducers):
    return xxhash.xxh3_64_intdigest(encode_key(normalise_key(key))) % reducers


def grouped(pairs, reducers):
    """Keys with their values, by partition and then in the order of keys."""
    groups = {}
    for key, value in pairs:
        normal = normalise_key(key)
        groups.setdefault((partition(normal, reducers), encode_key(normal)), (normal, []))[1].append(value)
    return [groups[place] for place in sorted(groups)]


def same(found, wanted):
    """Whether pairs are equal to the type and bit, NaN equal to itself."""
    return [encode_value(pair) for pair in found] == [encode_value(pair) for pair in wanted]


def copied(value):
    return decode_value(encode_value(value))


def _sum(values):
    return sum(values)


def _mean(values):
    return sum(values) / len(values)


def _first_of(values, better):
    best = values[0]
    for value in values:
        if value != value:  # NaN
            return value
        best = value if better(value, best) else best
    return best


AGGREGATORS = [
    (Count(), len),
    (Sum(), _sum),
    (Mean(), _mean),
    (Min(), lambda values: _first_of(values, lambda a, b: a < b)),
    (Max(), lambda values: _first_of(values, lambda a, b: a > b)),
]


def combined(key, values):
    yield key, list(itertools.chain.from_iterable(values))


@SETTINGS
@given(st.one_of(records(WHOLE), records(SMALL)), SHAPES, st.sampled_from(AGGREGATORS), st.booleans())
def test_aggregators(emitted, shape, aggregator, generates):
    """Count, Sum, Min, Max and Mean are exact for all mixes of numbers, wherever they fold."""
    reducer, plain = aggregator
    pairs = list(itertools.chain.from_iterable(emitted))

    def generator(line):
        yield from emitted[int(line)]

    def function(line):
        return emitted[int(line)]

    wanted = [(key, plain(values)) for key, values in grouped(pairs, shape[1])]
    found = run(Job(generator if generates else function, reducer=reducer), emitted, shape)
    assert [(repr(key), repr(value)) for key, value in found] == [(repr(key), repr(value)) for key, value in wanted]


@SETTINGS
@given(records(THINGS), SHAPES, st.booleans(), st.booleans())
def test_values_come_whole_and_in_order(emitted, shape, combines, generates):
    """Every value of every key reaches the reducer once, in order, to the type and bit; with a combiner or without."""
    pairs = [(key, [value]) for key, value in itertools.chain.from_iterable(emitted)]

    def mapper(line):
        for key, value in emitted[int(line)]:
            yield key, [value]

    def plain_mapper(line):
        return iter([(key, [value]) for key, value in emitted[int(line)]])

    def reducer(key, values):
        return [(key, list(itertools.chain.from_iterable(values)))]

    job = Job(mapper if generates else plain_mapper, reducer=reducer, combiner=combined if combines else None)
    wanted = [(key, [v for value in values for v in value]) for key, values in grouped(pairs, shape[1])]
    assert same(run(job, emitted, shape), wanted)


@SETTINGS
@given(records(THINGS), SHAPES, st.integers(0, 3))
def test_reducers_that_leave_values(emitted, shape, taken):
    """A reducer may take some values, or none, and emit what it likes: no other key's values come or go."""
    pairs = list(itertools.chain.from_iterable(emitted))

    def mapper(line):
        return emitted[int(line)]

    def reducer(key, values):
        found = list(itertools.islice(values, taken))
        return [((key, "other"), value) for value in found]

    wanted = [((key, "other"), value) for key, values in grouped(pairs, shape[1]) for value in values[:taken]]
    assert same(run(Job(mapper, reducer=reducer), emitted, shape), wanted)


@SETTINGS
@given(records(THINGS), SHAPES)
def test_steps(emitted, shape):
    """Steps in a row, one map-only, one of columns alone, with a partitioner: as if all were done in memory."""
    pairs = list(itertools.chain.from_iterable(emitted))
    reducers = shape[1]

    class Mapper:
        def __init__(self):
            self.seen = []

        def __call__(self, line):
            self.seen.append(int(line))

        def finish(self):
            return [pair for number in self.seen for pair in emitted[number]]

    def parts(key, partitions):
        return len(encode_key(key)) % partitions

    def again(key, value):
        yield key, value
        yield key, None

    def listed(key, values):
        yield key, list(values)

    job = Job(steps=[Step(Mapper), Step(reducer=listed, partitioner=parts), Step(again), Step(reducer=Count())])
    doubled = [(key, None) for key, _ in grouped(pairs, 1) for _ in range(2)]
    wanted = [(key, len(values)) for key, values in grouped(doubled, reducers)]
    assert same(run(job, emitted, shape), wanted)


@SETTINGS
@given(records(THINGS), SHAPES, st.booleans())
def test_map_only_and_keys(emitted, shape, generates):
    """A map-only job keeps the order of emission; `keys=` counts what it emits; `records=` keeps values alone."""
    pairs = list(itertools.chain.from_iterable(emitted))

    def keys(line):
        return [key for key, _ in emitted[int(line)]]

    def generated(line):
        yield from (key for key, _ in emitted[int(line)])

    def values(line):
        return (copied(value) for _, value in emitted[int(line)])

    assert same(run(Job(lambda line: emitted[int(line)]), emitted, shape), [(normalise_key(k), v) for k, v in pairs])
    assert same(run(Job(records=values), emitted, shape), [(None, v) for _, v in pairs])
    wanted = [(key, len(found)) for key, found in grouped(pairs, shape[1])]
    assert same(run(Job(keys=generated if generates else keys, reducer=Count()), emitted, shape), wanted)
