"""The reducer's loops: groups and their values, second passes, combiners, folds over batches."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path

import pytest

from mapreduce.dataflow.columns.batches import Batch, make_batch, records_of, regroup, sort_by_key
from mapreduce.dataflow.columns.segments import CHUNK_VALUES, by_hash, by_neighbours, chunks
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.shuffle.merge import OneGroup, merged_chunks
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.dataflow.tasks.combine import ALWAYS_COMBINED, Combiner
from mapreduce.dataflow.tasks.emit import Values
from mapreduce.dataflow.tasks.reduce_task import ReduceLoop
from mapreduce.errors import CorruptBlockError, KeyTypeError, RecordError, SecondPassError
from mapreduce.plan import Limits
from mapreduce.signatures import read_call

SMALL = Limits(flush_records=7, sort_buffer=1 << 12, block=256, merge=1 << 12)


def slices(tmp_path, pairs, limits=SMALL):
    """Write pairs as runs of one partition."""
    buffer = SortBuffer(tmp_path, lambda n: f"run-{n}", partitions=1, limits=limits)
    for start in range(0, len(pairs), 100):
        part = pairs[start : start + 100]
        buffer.add(make_batch([k for k, _ in part], [v for _, v in part]))
    return [open_slice(tmp_path / f"run-{n}", 0) for n in range(buffer.finish().count)]


def reduce(tmp_path, function, pairs, limits=SMALL, seen=None):
    """Run a reducer over pairs, through real runs. Gives what it emitted."""
    out: list[Batch] = []
    site = Site()
    loop = ReduceLoop(read_call(function, "reducer"), function, out.append, site, limits)
    try:
        for chunk in merged_chunks(slices(tmp_path, pairs, limits), limits, tmp_path):
            if seen is not None:
                seen.append(type(chunk))
            loop.run(chunk)
        loop.finish()
    except BaseException as error:
        error.site = site
        raise
    assert loop.emitted == sum(batch.rows() for batch in out)
    return list(chain.from_iterable(map(records_of, out)))


PAIRS = [(f"k{n % 17:02}", n) for n in range(1000)]


def test_groups_come_whole_and_in_order(tmp_path):
    """Each key once, ascending, with its values in the order of emission."""

    def reducer(key, values):
        yield key, list(values)

    wanted = [(f"k{k:02}", list(range(k, 1000, 17))) for k in range(17)]
    assert reduce(tmp_path, reducer, PAIRS) == wanted


@pytest.mark.parametrize(
    "reducer",
    [
        lambda key, values: [(key, sum(values))],
        lambda key, values: iter([(key, sum(values))]),
        lambda key, values: [(key, next(values) + sum(values))],
    ],
    ids=["list", "iterator", "next first"],
)
def test_what_reducers_may_return(reducer, tmp_path):
    """A reducer may return a list or an iterator of pairs, and take the first value with next()."""
    assert reduce(tmp_path, reducer, PAIRS)[3] == ("k03", sum(range(3, 1000, 17)))


def test_values_may_be_left(tmp_path):
    """A reducer that stops early loses nothing of the next keys."""

    def reducer(key, values):
        for value in values:
            yield key, value
            return

    assert reduce(tmp_path, reducer, PAIRS) == [(f"k{k:02}", k) for k in range(17)]


def test_stop_iteration_of_a_reducer_is_an_error(tmp_path):
    """A next() beyond a key's last value fails the key: it must not end the keys without a word."""
    with pytest.raises(RecordError, match="raised StopIteration") as caught:
        reduce(tmp_path, lambda key, values: [(key, next(values), next(values))], [("a", 1), ("b", 1), ("b", 2)])
    assert caught.value.site.key == "'a'"


def test_blocks_that_cannot_be_read_are_not_the_reducers(tmp_path):
    """A reducer that catches all does not get away with the values that came before a damaged block."""

    def reducer(key, values):
        found = []
        with suppress(Exception):
            found.extend(values)
        yield key, len(found)

    (part,) = slices(tmp_path, [("k", n) for n in range(1000)], Limits(block=256))
    data = bytearray(Path(part.path).read_bytes())
    data[part.blocks[-1].offset + part.blocks[-1].length // 2] ^= 1
    Path(part.path).write_bytes(data)
    loop = ReduceLoop(read_call(reducer, "reducer"), reducer, lambda batch: None, Site(), SMALL)

    def go_through():
        for chunk in merged_chunks([part], SMALL, tmp_path):
            assert type(chunk) is OneGroup
            loop.run(chunk)

    with pytest.raises(CorruptBlockError, match="checksum"):
        go_through()


@pytest.mark.parametrize("pairs", [PAIRS, [("k", n) for n in range(5000)]], ids=["small groups", "one large group"])
@pytest.mark.parametrize(
    "twice",
    [
        lambda values: (sum(values), len(list(values))),
        lambda values: [(a, b) for a in values for b in values],
        lambda values: list(zip(values, values, strict=True)),
    ],
    ids=["one after the other", "nested", "side by side"],
)
def test_second_pass_raises(twice, pairs, tmp_path):
    """Values gone through twice are an error that says list(values), and the key is named."""

    def reducer(key, values):
        yield key, twice(values)

    with pytest.raises(SecondPassError, match=r"values = list\(values\)") as caught:
        reduce(tmp_path, reducer, pairs)
    assert caught.value.site.key == repr(pairs[0][0])
    assert caught.value.site.function.startswith("test_second_pass_raises")


def test_an_empty_second_pass_raises_too():
    """A first pass that took everything counts, whatever it was."""
    values = Values([1])
    assert list(values) == [1]
    with pytest.raises(SecondPassError):
        iter(values)


def test_large_groups_stream(tmp_path):
    """A key with more values than a block arrives as a stream, and is the same for the reducer."""
    seen = []
    pairs = [("a", 1), *[("b", n) for n in range(6_000)], ("c", 2)]
    counted = reduce(tmp_path, lambda key, values: [(key, sum(1 for _ in values))], pairs, seen=seen)
    assert counted == [("a", 1), ("b", 6_000), ("c", 1)]
    assert OneGroup in seen


@pytest.mark.parametrize("at", ["k00", "k05", "k16"])
def test_failure_names_the_key(at, tmp_path):
    """What a reducer raises passes unchanged, with its key."""

    def reducer(key, values):
        if key == at:
            raise ZeroDivisionError
        return [(key, 1)]

    with pytest.raises(ZeroDivisionError) as caught:
        reduce(tmp_path, reducer, PAIRS)
    assert (caught.value.site.key, caught.value.site.users) == (repr(at), True)


@pytest.mark.parametrize(
    ("reducer", "said"),
    [
        (lambda key, values: (key, sum(values)), "a tuple; one pair is returned as"),
        (lambda key, values: sum(values), "an int; it must yield pairs"),
        (lambda key, values: [key], "emitted 'k00', a str"),
    ],
)
def test_reducer_mistakes_are_refused(reducer, said, tmp_path):
    """A reducer follows the same rules as a mapper."""
    with pytest.raises(RecordError, match=said):
        reduce(tmp_path, reducer, PAIRS)


def test_unsupported_key_of_a_reducer(tmp_path):
    """A key that a reducer emits is checked like a mapper's."""
    with pytest.raises(KeyTypeError, match=r"reducer.*list"):
        reduce(tmp_path, lambda key, values: [([key], 1)], PAIRS)


# ------------------------------------------------------------------------------------------------------- combiners


def combined(function, pairs, *, grouped=False):
    batch = make_batch([k for k, _ in pairs], [v for _, v in pairs])
    combiner = Combiner(read_call(function, "combiner"), function, Site(), Limits())
    return combiner(sort_by_key(regroup(batch)) if grouped else batch)


@pytest.mark.parametrize("grouped", [False, True])
def test_combiner_combines(grouped):
    """A combiner may emit one value, several or none for its key; rows come back ungrouped."""

    def combiner(key, values):
        total = sum(values)
        if key == "k01":
            return
        yield key, total
        if key == "k02":
            yield key, 0

    result = combined(combiner, PAIRS, grouped=grouped)
    assert not result.grouped
    pairs = list(records_of(result))
    assert len(pairs) == 17
    assert dict(pairs)["k03"] == sum(range(3, 1000, 17))
    assert "k01" not in dict(pairs)


@pytest.mark.parametrize(
    ("key", "other"),
    [("k", "k!"), (1, 1.0), (1, True), (0.5, "0.5"), ("a", ["a"]), ((1, "a"), (True, "a"))],
    ids=str,
)
def test_combiner_keeps_its_key(key, other):
    """Another key, or one of another type, is an error that names both."""
    with pytest.raises(RecordError) as caught:
        combined(lambda key, values: [(other, sum(values))], [(key, 1), (key, 2)])
    assert caught.match("combiner may emit its own key only")
    assert repr(key) in str(caught.value)
    assert repr(other) in str(caught.value)


def test_combiner_may_make_its_key_anew():
    """An equal key that is another object is the same key."""
    result = combined(lambda key, values: [("".join(key), sum(values))], [("ab", 1), ("ab", 2)])
    assert list(records_of(result)) == [("ab", 3)]


def test_combiner_may_change_what_it_emitted():
    """What a combiner changes after it has emitted it was emitted as it was then."""
    shared: list[int] = []

    def combiner(key, values):
        for value in values:
            shared.append(value)
            yield key, shared
        shared.clear()

    assert list(records_of(combined(combiner, [("a", 1), ("a", 2), ("b", 3)]))) == [
        ("a", [1]),
        ("a", [1, 2]),
        ("b", [3]),
    ]


def test_combiner_is_left_out_where_keys_are_distinct():
    """Where keys hardly repeat, rows pass: calling the function would cost more than it saves."""

    def combiner(key, values):
        raise AssertionError

    pairs = [(n, n) for n in range(ALWAYS_COMBINED + 1)]
    assert list(records_of(combined(combiner, pairs))) == pairs


def test_combiner_that_drops_everything():
    """A combiner may emit nothing at all."""
    assert combined(lambda key, values: None, PAIRS).rows() == 0


# -------------------------------------------------------------------------------------------------------- segments


def test_chunks_hold_all_values_in_order():
    """Keys come with their values whatever the sizes of groups; a very large one comes alone and lazily."""
    sizes = [1, 3, CHUNK_VALUES - 5, 2, 3 * CHUNK_VALUES, 1, CHUNK_VALUES, 7]
    keys = [key for key, size in enumerate(sizes) for _ in range(size)]
    batch = make_batch(keys, list(range(len(keys))))
    for part in (by_neighbours(batch), by_hash(batch), by_neighbours(regroup(batch))):
        found = {}
        for chunk_keys, groups in chunks(part):
            assert len(chunk_keys) == len(groups)
            for key, values in zip(chunk_keys, groups, strict=True):
                assert isinstance(values, list) == (sizes[key] <= CHUNK_VALUES)
                found[key] = list(values)
        assert [len(values) for values in found.values()] == sizes
        assert list(chain.from_iterable(found.values())) == list(range(len(keys)))
        assert all(a < b for a, b in pairwise(found))
