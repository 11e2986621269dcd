"""Whole jobs with order: sorted over all parts, by lists, with sorted values, in any step; against plain Python."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce.aggregators import Count, Sum
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.manifest.folder import read_output
from mapreduce.errors import JobFailed
from mapreduce.job import Input, Job, Step
from mapreduce.joins import Join
from mapreduce.partitioners import ListPartitioner, RangePartitioner
from mapreduce.plan import Limits
from mapreduce.planner import plan
from mapreduce.request import Request
from mapreduce.runners.inline import run_inline
from mapreduce.travel.loader import LoadedJob

LIMITS = st.builds(
    Limits,
    flush_records=st.sampled_from([1, 5, 131_072]),
    sort_buffer=st.sampled_from([1, 300, 1 << 20]),
    block=st.sampled_from([1, 100, 1 << 20]),
    merge=st.sampled_from([1, 1500, 1 << 20]),
)
KEYS = st.one_of(
    st.integers(-9, 9),
    st.sampled_from(["", "a", "ab", "a\x05", "b"]),
    st.sampled_from([1, 1.0, True, None, "1", b"1", (1,), (1, ""), 2**70, float("nan"), -0.0, 0.0]),
)
VALUES = st.one_of(st.integers(-9, 9), st.sampled_from(["x", "xy", "", None, 1.5, (1, 2)]))


def encoded(key):
    return encode_key(normalise_key(key))


def run(job, lines, *, limits=None, reducers=None, split=30):
    """Run a job inline. Gives the pairs of each part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not isinstance(lines, dict):
            lines = {"": lines}
        for number, some in enumerate(lines.values()):
            (folder / f"in{number}").write_text("".join(f"{line}\n" for line in some))
        paths = {name: (str(folder / f"in{number}"),) for number, name in enumerate(lines)}
        request = Request(
            job=job,
            inputs=paths if len(paths) > 1 else paths[""],
            output=str(folder / "out"),
            output_format="records",
            split_size=split,
            limits=limits,
            reducers=reducers,
        )
        planned = plan(request)
        loaded = LoadedJob(planned.job, planned.params, planned.options)
        run_inline(planned.spec, loaded, planned.blobs[planned.spec.plan], scratch=folder)
        found = iter(read_output(request.output))
        manifest = json.loads((folder / "out" / "_SUCCESS").read_text())
        return [list(itertools.islice(found, file["records"])) for file in manifest["files"]]


def gathered(key, values):
    yield key, list(values)


def concatenated(key, lists):
    yield key, list(itertools.chain(*lists))


SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
EMITTED = st.lists(st.lists(st.tuples(KEYS, VALUES), max_size=5), max_size=20)


@SETTINGS
@given(EMITTED, LIMITS, st.integers(1, 7), st.sampled_from(["reducer", "combiner", "count"]))
def test_total_order_over_all_parts(emitted, limits, reducers, kind):
    """Measured ranges sort the whole output, with functions, combiners and aggregators, whatever keys and limits."""

    def mapper(line):
        return emitted[int(line)]

    def singles(line):
        return [(key, [value]) for key, value in emitted[int(line)]]

    job = {
        "reducer": Job(mapper, reducer=gathered, partitioner=RangePartitioner()),
        "combiner": Job(singles, reducer=concatenated, combiner=concatenated, partitioner=RangePartitioner()),
        "count": Job(mapper, reducer=Count(), partitioner=RangePartitioner()),
    }[kind]
    parts = run(job, range(len(emitted)), limits=limits, reducers=reducers)
    assert len(parts) == reducers
    wanted: dict = {}
    for key, value in itertools.chain(*emitted):
        wanted.setdefault(encoded(key), (normalise_key(key), []))[1].append(value)
    in_order = [wanted[key] for key in sorted(wanted)]
    expected = [(key, len(values) if kind == "count" else values) for key, values in in_order]
    assert list(map(encode_value, itertools.chain(*parts))) == list(map(encode_value, expected))


def order_of(value):
    return (type(value).__name__, value is not None and value)


@SETTINGS
@given(
    EMITTED,
    LIMITS,
    st.integers(2, 4),
    st.sampled_from([None, RangePartitioner(), RangePartitioner([3]), ListPartitioner({"a": 1}, other=0)]),
    st.booleans(),
)
def test_sorted_values_with_every_partitioner(emitted, limits, reducers, partitioner, by_function):
    """The values of a key are sorted, by themselves or by a function, and its part is the one that it has without."""
    emitted = [[(key, (value,)) for key, value in some] for some in emitted]
    if partitioner == RangePartitioner([3]):
        reducers = 2

    def mapper(line):
        return emitted[int(line)]

    order = (lambda value: order_of(value[0])) if by_function else True
    job = Job(mapper, reducer=gathered, partitioner=partitioner, sort_values=order)
    parts = run(job, range(len(emitted)), limits=limits, reducers=reducers)
    plain = Job(mapper, reducer=gathered, partitioner=partitioner)
    unsorted_parts = run(plain, range(len(emitted)), limits=limits, reducers=reducers)
    order = (lambda value: encoded(order_of(value[0]))) if by_function else encoded
    wanted = [[(key, sorted(values, key=order)) for key, values in part] for part in unsorted_parts]
    if partitioner == RangePartitioner():  # where the boundaries lie may differ: values count by row there
        parts, wanted = [list(itertools.chain(*parts))], [list(itertools.chain(*wanted))]
    assert [list(map(encode_value, part)) for part in parts] == [list(map(encode_value, part)) for part in wanted]


def test_a_later_step_sorts_the_whole():
    """Word counts sorted by count: the second step's parts are one sorted sequence, cut about equally."""
    noise = random.Random(5)
    lines = [" ".join(f"w{int(noise.paretovariate(0.6)) % 997}" for _ in range(20)) for _ in range(150)]

    def by_count(word, count):
        yield (-count, word), None

    def first(key, _values):
        yield key[1], -key[0]

    job = Job(
        steps=[Step(keys=str.split, reducer=Count()), Step(by_count, reducer=first, partitioner=RangePartitioner())]
    )
    parts = run(job, lines, reducers=4, split=2000)
    counts: dict = {}
    for word in " ".join(lines).split():
        counts[word] = counts.get(word, 0) + 1
    wanted = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    assert list(itertools.chain(*parts)) == wanted
    assert min(map(len, parts)) > 0.8 * len(wanted) / 4


def test_boundaries_and_lists_place_keys_as_they_say():
    """Part by part: the keys that the boundaries, or the list, give to it; one that is not listed fails the job."""
    lines = ["de 1", "fr 2", "at 3", "de 4", "zz 5"]

    def mapper(line):
        country, value = line.split()
        yield country, int(value)

    ranged = Job(mapper, reducer=Sum(), partitioner=RangePartitioner(["b", "f"]))
    assert run(ranged, lines) == [[("at", 3)], [("de", 5)], [("fr", 2), ("zz", 5)]]
    listed = {"de": 0, "at": 0, "fr": 2}
    parts = run(Job(mapper, reducer=Sum(), partitioner=ListPartitioner(listed, other=1)), lines)
    assert parts == [[("at", 3), ("de", 5)], [("zz", 5)], [("fr", 2)]]
    with pytest.raises(JobFailed, match=r"the key 'zz' \(str\) is not in the mapping of ListPartitioner"):
        run(Job(mapper, reducer=Sum(), partitioner=ListPartitioner(listed)), lines)


def visits(user, clicks, profile):
    yield user, (list(clicks), list(profile))


def test_sides_of_several_inputs_are_sorted_each():
    """A reducer that takes its inputs one by one gets the values of each in order; ranges hold for all together."""
    numbers = [(i * 7) % 10 for i in range(30)]

    def of_clicks(line):
        yield f"u{int(line) % 3}", int(line)

    def of_profiles(line):
        yield f"u{int(line) % 5}", -int(line)

    job = Job(
        inputs={"clicks": Input(of_clicks), "profile": Input(of_profiles)},
        reducer=visits,
        sort_values=True,
        partitioner=RangePartitioner(),
    )
    parts = run(job, {"clicks": numbers, "profile": numbers}, reducers=3, limits=Limits(block=50, sort_buffer=200))
    wanted = [
        (f"u{u}", (sorted(n for n in numbers if n % 3 == u), sorted(-n for n in numbers if n % 5 == u)))
        for u in range(5)
    ]
    assert list(itertools.chain(*parts)) == wanted


@pytest.mark.parametrize("how", ["inner", "outer", "anti"])
def test_joins_are_sorted_over_all_parts(how):
    """A join reads the same range of keys of both sides."""

    def of_left(line):
        yield int(line) % 50, int(line)

    def of_right(line):
        yield int(line) % 70 + 20, -int(line)

    numbers = [(i * 37) % 101 for i in range(101)]
    job = Job(inputs={"l": Input(of_left), "r": Input(of_right)}, reducer=Join(how), partitioner=RangePartitioner())
    hashed = Job(inputs={"l": Input(of_left), "r": Input(of_right)}, reducer=Join(how))
    limits = Limits(block=60, sort_buffer=400, merge=2000)
    parts = run(job, {"l": numbers, "r": numbers}, reducers=5, limits=limits)
    wanted = itertools.chain(*run(hashed, {"l": numbers, "r": numbers}, reducers=1))
    assert list(itertools.chain(*parts)) == sorted(wanted, key=lambda pair: pair[0])
    assert sum(map(bool, parts)) > 1


def test_frames_are_sorted_over_all_parts():
    """A reducer over frames gets whole keys of its range."""

    def mapper(line):
        yield int(line) % 40, int(line)

    def totals(frame):
        return frame.group_by("key").agg(pl.col("value").sum()).sort("key")

    job = Job(
        steps=[Step(mapper), Step(reducer=totals, frames=True, partitioner=RangePartitioner())],
        reducers=3,
    )
    parts = run(job, range(200), limits=Limits(block=60, sort_buffer=400))
    assert list(itertools.chain(*parts)) == [(k, sum(range(k, 200, 40))) for k in range(40)]
    assert [12 <= len(part) <= 15 for part in parts] == [True] * 3, list(map(len, parts))


def test_a_value_without_an_order_fails_with_its_key():
    """The failure says which value cannot be ordered and what to write, and counts as the user's."""
    job = Job(lambda line: [("k", {"n": line})], reducer=gathered, sort_values=True)
    with pytest.raises(JobFailed, match=r"cannot order the value \{'n': 'x'\} \(dict\) of the key 'k': give a"):
        run(job, ["x"])


def test_a_partitioner_that_gives_no_part_is_named(tmp_path):
    """The message has the function with its place, what it returned and for which key."""

    def by_length(key, partitions):
        return len(key) + partitions

    (tmp_path / "in").write_text("four")
    job = Job(keys=str.split, reducer=Count(), partitioner=by_length)
    with pytest.raises(JobFailed, match=r"the partitioner .*by_length \(test_order_jobs.py:\d+\) returned 5 .*'four'"):
        mapreduce.run(job, tmp_path / "in", runner="inline")
