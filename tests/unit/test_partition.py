from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Lane, key_series, make_batch, with_lanes
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.shuffle.key_hash import AT_ONCE, LEAST, MOST, hashes_of
from mapreduce.dataflow.shuffle.partition import partition_of
from mapreduce.errors import RecordError

GOLDEN = [133, 966, 831, 309, 759, 901, 715, 819, 315, 913]


@pytest.mark.parametrize(
    "keys",
    [["", "a", "ü", "long " * 100], [b"", b"\xff"], [-1, 0, 2**63 - 1], [0.0, 1.5, float("inf")], [True, False], [()]],
)
def test_the_partition_is_the_hash_of_the_encoding(keys):
    """Whatever a key's lane, its partition is the xxh3_64 of its encoding modulo the number of partitions."""
    series, lane = key_series(keys)
    expected = [xxhash.xxh3_64_intdigest(encode_key(key)) % 7 for key in keys]
    assert partition_of(series, lane, 7).tolist() == expected
    encoded = with_lanes(make_batch(keys, keys), Lane.ENCODED, Lane.ENCODED)
    assert partition_of(encoded.frame["key"], Lane.ENCODED, 7).tolist() == expected


@given(st.lists(st.binary(max_size=40) | st.binary(min_size=LEAST - 1, max_size=MOST + 1), max_size=60), st.booleans())
@example([bytes(range(size)) for size in range(40)], False)
@example([b"\xff" * size for size in range(40)], False)
def test_hashes_are_those_of_xxhash(strings, many):
    """Of any bytes, of all sizes, short and long ones mixed; also of more than are hashed at once."""
    strings = strings * (AT_ONCE // 20 + 1) if many else strings
    found = hashes_of(b"".join(strings), np.array([len(string) for string in strings], dtype=np.int64))
    assert found.tolist() == [xxhash.xxh3_64_intdigest(string) for string in strings]


def test_partitions_stay_what_they_are_for_ever():
    """A golden sample: a key's partition never changes from one version to the next."""
    keys = ["", "the", b"the", 1, 1.0, True, None, (1, "a"), 2**70, "\ud800"]
    series, lane = key_series(keys)
    assert partition_of(series, lane, 1000).tolist() == GOLDEN


def test_one_partition_takes_everything():
    """With one partition nothing is hashed."""
    assert partition_of(pl.Series(["a", "b"]), Lane.STR, 1).tolist() == [0, 0]


def test_a_partitioner_gets_the_key_and_the_number_of_partitions():
    """A partitioner sees Python's own objects, and NumPy's integers are as good an answer as Python's."""
    seen = []

    def by_parity(key, partitions):
        seen.append((key, partitions))
        return np.int64(key % partitions)

    series, lane = key_series([4, 5, 7])
    assert partition_of(series, lane, 2, by_parity).tolist() == [0, 1, 1]
    assert seen == [(4, 2), (5, 2), (7, 2)]


@pytest.mark.parametrize("answer", [-1, 3, 1.0, "1", None, True, 2**80])
def test_an_answer_that_is_no_partition_is_refused(answer):
    """What is not an int in range(partitions) is an error that names the key, the answer and what to return."""
    with pytest.raises(RecordError, match=r"for the key 'some key': it must return an int from 0 to 2") as caught:
        partition_of(pl.Series(["some key"]), Lane.STR, 3, lambda _key, _partitions: answer)
    assert repr(answer) in str(caught.value)
