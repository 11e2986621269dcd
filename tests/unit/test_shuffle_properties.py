from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import keys_list, make_batch, records_of, values_list
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.shuffle.block_file import open_slice, read_index
from mapreduce.dataflow.shuffle.merge import OneGroup, merged_batches, merged_chunks
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.plan import Limits

TEXT = st.text(st.characters(codec=None, categories=None), max_size=6)  # all of Unicode, lone surrogates included
SCALARS = {
    "text": st.one_of(TEXT, st.sampled_from(["", "a", "\x00", "\ud800", "\U0010ffff"])),
    "bytes": st.binary(max_size=5),
    "int": st.one_of(st.integers(-3, 3), st.integers(), st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])),
    "float": st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf")])),
    "bool": st.booleans(),
    "none": st.none(),
}
SCALAR = st.one_of(*SCALARS.values())
TUPLE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
KEYS = [*SCALARS.values(), TUPLE]
ARRAYS = st.sampled_from(
    [
        np.arange(3),
        np.arange(3.0),
        np.array([[1, 2], [3, 4]], dtype=np.int8),
        np.array([]),
        np.float32(1.0),
        np.int64(1),
    ]
)
VALUE = st.one_of(
    SCALAR,
    st.sampled_from([1, 1.0, True, Decimal(1), Decimal("1.0"), 0.0, -0.0, "1", b"1", (1,), [1], [1.0], [True], {1}]),
    st.lists(SCALAR, max_size=3),
    st.sets(st.one_of(st.integers(), st.text(max_size=2)), max_size=4),
    st.frozensets(st.text(max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=3),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.binary(min_size=100, max_size=400),
    ARRAYS,
)
VALUES = [st.integers(-5, 5), st.text(max_size=3), st.floats(), VALUE]


@st.composite
def map_tasks(draw):
    """What each map task emits: lists of pairs, each with its own types of keys and values, few keys or many."""
    tasks = []
    for _ in range(draw(st.integers(1, 5))):
        pairs = []
        for _ in range(draw(st.integers(1, 3))):
            keys, values = draw(st.sampled_from(KEYS)), draw(st.sampled_from(VALUES))
            pool = draw(st.lists(keys, min_size=1, max_size=5))
            keys = draw(st.sampled_from([keys, st.sampled_from(pool)]))
            pairs += draw(st.lists(st.tuples(keys, values), max_size=25))
        tasks.append(pairs)
    return tasks


LIMITS = st.builds(
    Limits,
    sort_buffer=st.sampled_from([1, 300, 2000, 1 << 20]),
    block=st.sampled_from([1, 40, 200, 1 << 20]),
    merge=st.sampled_from([1, 1500, 1 << 20]),
)


def shuffle(folder, tasks, limits, partitions, size):
    """The engine's way: gives the slices of each partition, in (map task, spill) order."""
    slices: list = [[] for _ in range(partitions)]
    for number, pairs in enumerate(tasks):
        buffer = SortBuffer(
            folder,
            lambda spill, task=number: f"{task}-{spill}",
            partitions=partitions,
            limits=limits,
        )
        for start in range(0, len(pairs), size):
            cut = pairs[start : start + size]
            buffer.add(make_batch([key for key, _ in cut], [value for _, value in cut]))
        for spill in range(buffer.finish().count):
            index = read_index(folder / f"{number}-{spill}")
            assert open_slice(index.path, 0) == index.slice(0)
            for partition in range(partitions):
                slices[partition].append(index.slice(partition))
    return slices


def reference(tasks, partitions):
    """The plain way: a dict and a sort. Gives for each partition its keys' encodings with those of their values."""
    groups: dict = {}
    for pairs in tasks:
        for key, value in pairs:
            groups.setdefault(encode_key(normalise_key(key)), []).append(encode_value(value))
    result: list = [[] for _ in range(partitions)]
    for key in sorted(groups):
        result[xxhash.xxh3_64_intdigest(key) % partitions].append((key, groups[key]))
    return result


def groups_of(chunks):
    groups = []
    for chunk in chunks:
        if isinstance(chunk, OneGroup):
            values = [value for column in chunk.values for value in values_list(column, chunk.value_lane)]
            groups.append((encode_key(chunk.key), [encode_value(value) for value in values]))
            continue
        values = [encode_value(value) for value in values_list(chunk.values, chunk.value_lane)]
        start = 0
        for key, end in zip(keys_list(chunk.keys, chunk.key_lane), chunk.ends.tolist(), strict=True):
            groups.append((encode_key(key), values[start:end]))
            start = end
    return groups


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(map_tasks(), LIMITS, st.integers(1, 3), st.sampled_from([1, 7, 1000]))
def test_the_shuffle_is_a_dict_and_a_sort(tasks, limits, partitions, size):
    """Any keys and values, cut anywhere: the groups, the order of their values and all bytes are the plain ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slices = shuffle(folder, tasks, limits, partitions, size)
        expected = reference(tasks, partitions)
        for partition in range(partitions):
            assert groups_of(merged_chunks(slices[partition], limits, folder)) == expected[partition]
            rows = [
                (encode_key(key), encode_value(value))
                for batch in merged_batches(slices[partition], limits, folder)
                for key, value in records_of(batch)
            ]
            assert rows == [(key, value) for key, values in expected[partition] for value in values]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(map_tasks(), LIMITS, st.integers(1, 3))
def test_the_same_records_make_the_same_files(tasks, limits, partitions):
    """Runs are functions of records and limits: written twice, all their bytes are equal."""
    with tempfile.TemporaryDirectory() as name:
        written = []
        for copy in ("a", "b"):
            folder = Path(name) / copy
            folder.mkdir()
            shuffle(folder, tasks, limits, partitions, 10)
            written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert written[0] == written[1]
