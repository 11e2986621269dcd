"""Secondary sort: composite keys sort as (key, order), and come back as groups of plain keys with ordered values."""

from __future__ import annotations

import random
import tempfile
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Lane, concat, key_series, keys_list, make_batch, values_list
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.shuffle.composite import compose, elements, key_elements, key_encodings
from mapreduce.dataflow.shuffle.merge import OneGroup
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.dataflow.tasks.ordering import ValueOrder, ordered_chunks
from mapreduce.errors import RecordError, SecondPassError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call

TEXT = st.text(st.characters(codec=None, categories=None), max_size=3)
SCALAR = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 1.0, -0.0, float("nan"), "", "a", "a\x00", "a\x00\xff", b"", b"\x00\xff"]
    ),
    st.sampled_from([2**70, -(2**70), 2**63, -(2**63)]),
    TEXT,
    st.binary(max_size=3),
    st.integers(-3, 300),
)
KEY = st.one_of(SCALAR, st.lists(SCALAR, max_size=2).map(tuple), st.just(((1, "a"), ())))
COLUMNS = st.sampled_from(
    [
        st.sampled_from(["a", "ab", "a\x05", ""]),
        st.sampled_from([b"", b"\x00", b"a"]),
        st.integers(-2, 2),
        st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("-inf")]),
        st.booleans(),
        st.tuples(st.text(max_size=2)),
        KEY,
    ]
)


def encoded(key):
    return encode_key(normalise_key(key))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_composites_sort_by_key_and_then_by_order(data):
    """Comparing composites is comparing (key, order), in every lane, also where one key is the beginning of another."""
    keys = data.draw(st.lists(data.draw(COLUMNS), max_size=12))
    orders = [data.draw(data.draw(COLUMNS)) for _ in keys]
    composites = compose(*key_series(keys), *key_series(orders))
    found = sorted(range(len(keys)), key=composites.to_list().__getitem__)
    assert found == sorted(range(len(keys)), key=lambda i: (encoded(keys[i]), encoded(orders[i])))
    parts = key_elements(composites)
    assert parts.to_list() == elements(*key_series(keys)).to_list()
    assert key_encodings(parts).to_list() == list(map(encoded, keys))
    assert len(set(composites.to_list())) == len({(encoded(k), encoded(o)) for k, o in zip(keys, orders, strict=True)})


def groups_of(chunks) -> list:
    groups = []
    for chunk in chunks:
        if isinstance(chunk, OneGroup):
            groups.append((chunk.key, [v for column in chunk.values for v in values_list(column, chunk.value_lane)]))
            continue
        values, start = values_list(chunk.values, chunk.value_lane), 0
        for key, end in zip(keys_list(chunk.keys, chunk.key_lane), chunk.ends.tolist(), strict=True):
            groups.append((key, values[start:end]))
            start = end
    return groups


def shuffled(folder: Path, maps, limits, order, *, partitions=1, **options):
    """Write so many map tasks' pairs through the sort buffer. Gives the slices of each partition."""
    paths = []
    for number, pairs in enumerate(maps):
        (folder / str(number)).mkdir()
        buffer = SortBuffer(folder / str(number), str, partitions=partitions, limits=limits, composite=True, **options)
        for start in range(0, len(pairs), 5):
            some = pairs[start : start + 5]
            buffer.add(order(make_batch([key for key, _ in some], [value for _, value in some])))
        paths += [folder / str(number) / str(spill) for spill in range(buffer.finish().count)]
    return [[open_slice(path, partition) for path in paths] for partition in range(partitions)]


def bound(function) -> ValueOrder:
    return ValueOrder(read_call(function, "sort_values"), function, Site())


ITSELF = ValueOrder(None, None, Site())


def second(value):
    return value[1]


LIMITS = st.builds(
    Limits,
    sort_buffer=st.sampled_from([1, 500, 1 << 20]),
    block=st.sampled_from([1, 30, 300, 1 << 20]),
    merge=st.sampled_from([1, 3000, 1 << 20]),
)
PAIRS = COLUMNS.flatmap(lambda keys: COLUMNS.flatmap(lambda orders: st.lists(st.tuples(keys, orders), max_size=40)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PAIRS, max_size=3), LIMITS, st.booleans(), st.integers(1, 3))
def test_values_come_sorted_and_equal_ones_in_their_order(maps, limits, by_function, partitions):
    """Whatever keys, values and limits: each key once, its values sorted, equal ones in the order of emission."""
    number = iter(range(10**6))
    pairs = [[(key, (next(number), order) if by_function else order) for key, order in some] for some in maps]
    order = bound(second) if by_function else ITSELF
    wanted: dict = {}
    for key, value in (pair for some in pairs for pair in some):
        wanted.setdefault(encoded(key), []).append(value)
    for values in wanted.values():
        values.sort(key=lambda value: encoded(second(value) if by_function else value))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = []
        for slices in shuffled(folder, pairs, limits, order, partitions=partitions):
            groups = groups_of(ordered_chunks(slices, limits, folder))
            keys = [encoded(key) for key, _ in groups]
            assert keys == sorted(set(keys))
            found += groups
    assert {encoded(key): list(map(encode_value, values)) for key, values in found} == {
        key: list(map(encode_value, values)) for key, values in wanted.items()
    }
    assert len(found) == len(wanted)


def test_a_partitioner_sees_plain_keys(tmp_path):
    """The key alone says where a row goes: a function gets it as it was emitted, once for each key."""
    seen = []

    def by_length(key, partitions):
        seen.append(key)
        return len(key) % partitions

    maps = [[("a", 3), ("bb", 2), ("a", 1), ("ccc", 0), ("bb", 1)]]
    first, other = shuffled(tmp_path, maps, Limits(), ITSELF, partitions=2, partitioner=by_length)
    assert groups_of(ordered_chunks(first, Limits(), tmp_path)) == [("bb", [1, 2])]
    assert groups_of(ordered_chunks(other, Limits(), tmp_path)) == [("a", [1, 3]), ("ccc", [0])]
    assert seen == ["a", "bb", "ccc"]


def test_a_large_group_streams(tmp_path):
    """A key with many values comes as a stream of small columns, sorted, and what is not read of it is skipped."""
    noise = random.Random(3)
    pairs = [("big", noise.randrange(10**6)) for _ in range(1200)] + [("after", 1), ("zzz", 2)]
    limits = Limits(sort_buffer=20_000, block=1000, merge=20_000)
    (slices,) = shuffled(tmp_path, [pairs[::2], pairs[1::2]], limits, ITSELF)
    chunks = ordered_chunks(slices, limits, tmp_path)
    keys = []
    for chunk in chunks:
        if isinstance(chunk, OneGroup):
            columns = list(chunk.values)
            assert len(columns) > 4
            assert max(map(len, columns)) < 300
            assert [v for column in columns for v in column] == sorted(v for k, v in pairs if k == "big")
            keys.append(chunk.key)
        else:
            keys += keys_list(chunk.keys, chunk.key_lane)
    assert keys == ["after", "big", "zzz"]

    kept = None
    for chunk in ordered_chunks(slices, limits, tmp_path):
        if isinstance(chunk, OneGroup):
            kept = chunk
            next(chunk.values)
    assert kept is not None
    with pytest.raises(SecondPassError, match="'big'"):
        next(kept.values)


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, (1, [2])])
def test_a_value_without_an_order_is_refused(value):
    """Values that no key can be are named with their key, and what to write is said."""
    with pytest.raises(
        RecordError, match=r"cannot order the value .* of the key 'k2'.*sort_values=lambda value"
    ) as got:
        ITSELF(make_batch(["k1", "k2"], [1, value]))
    assert repr(value) in str(got.value)


def test_what_a_function_gives_must_be_a_key():
    """A function's result by which nothing can be ordered is an error that names function, value and key."""
    with pytest.raises(RecordError, match=r"function listed .*gave \['x'\] for the value \(1, 'x'\) of the key 7"):
        bound(listed)(make_batch([7], [(1, "x")]))


def listed(value):
    return [value[1]]


def test_what_a_function_raises_is_its_own():
    """The failure names the function and the key of the value that it was called with."""
    site = Site()
    order = ValueOrder(read_call(itemgetter_of_none, "sort_values"), itemgetter_of_none, site)
    with pytest.raises(TypeError):
        order(make_batch(["a", "b"], [(1, 2), None]))
    assert (site.users, site.key) == (True, "'b'")
    assert site.function is not None
    assert site.function.startswith("itemgetter_of_none")


def itemgetter_of_none(value):
    return itemgetter(0)(value)


def test_an_empty_batch_stays_empty():
    """No rows have no order, and do not decide any lane."""
    empty = make_batch([], [])
    assert ITSELF(empty).rows() == 0
    assert concat([ITSELF(empty), ITSELF(make_batch(["a"], [1]))]).key_lane is Lane.ENCODED
