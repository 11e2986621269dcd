"""Splits as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.inputs.split_file import encode_splits, split_at, split_count
from mapreduce.errors import WireError
from mapreduce.plan import Piece, Split

SIZES = st.integers(0, 2**62)
PIECES = st.builds(
    Piece, st.text(max_size=20).filter(lambda t: t.isprintable()), SIZES, SIZES, SIZES, SIZES, st.booleans()
)
SPLITS = st.lists(st.builds(Split, st.lists(PIECES, max_size=4).map(tuple)), max_size=6)


@given(splits=SPLITS)
def test_each_split_comes_back(splits):
    """Every split comes back by its index, and the bytes are a function of the splits."""
    blob = encode_splits(splits)
    assert split_count(blob) == len(splits)
    assert [split_at(blob, i) for i in range(len(splits))] == splits
    assert encode_splits(list(splits)) == blob


def test_one_split_is_read_alone():
    """A damaged split does not keep others from being read."""
    splits = [Split((Piece(f"/p{i}", 0, 1, 1, 1),)) for i in range(3)]
    blob = bytearray(encode_splits(splits))
    blob[-1] = 0xC1
    assert split_at(bytes(blob), 1) == splits[1]
    with pytest.raises(WireError):
        split_at(bytes(blob), 2)


@pytest.mark.parametrize("index", [-1, 2])
def test_no_such_split(index):
    """An index outside the plan is an IndexError."""
    with pytest.raises(IndexError):
        split_at(encode_splits([Split(()), Split(())]), index)


@given(cut=st.integers(0, 60))
def test_cut_off(cut):
    """A plan that was cut off is refused, wherever it was cut."""
    blob = encode_splits([Split((Piece("/p", 0, 1, 1, 1),)), Split(())])
    if cut < len(blob):
        with pytest.raises(WireError):
            split_at(blob[:cut], 1)


def test_other_bytes():
    """Bytes that are no plan are refused."""
    with pytest.raises(WireError):
        split_count(b"something else entirely")
