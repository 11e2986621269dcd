"""Msgpack streams and records of one length, against what Python's own means make of the same bytes."""

import bz2
import gzip
from datetime import UTC, datetime

import lz4.frame
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import FixedLength, Msgpack
from mapreduce.dataflow.columns.batches import records_of
from mapreduce.dataflow.inputs.find import find_inputs, is_whole, plan_splits
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError, JobDefinitionError
from mapreduce.plan import Limits, Split, TaskOptions

PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".lz4": lz4.frame.compress}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(UTC))
)
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9) | st.binary(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def readers_of(path, given, size=1 << 30, aside=None, read=1 << 20):
    splits = plan_splits(find_inputs([str(path)], given), size, input_format=given)
    task = TaskOptions("", "", limits=Limits(read=read))
    return [reader_for(given, split, task, aside) for split in splits]


def pairs_of(readers):
    return [pair for one in readers for block in one for pair in zip(block.firsts(), block.values, strict=True)]


def written(folder, data, suffix=""):
    path = folder / f"in{suffix}"
    path.write_bytes(PACKERS[suffix](data))
    return path


@settings(max_examples=80, deadline=None)
@given(objects=st.lists(OBJECTS, max_size=8), read=st.integers(1, 200), suffix=st.sampled_from(sorted(PACKERS)))
def test_objects_come_back_as_they_were_packed(tmp_path_factory, objects, read, suffix):
    """Each with the byte where it begins, whatever blocks it is read in, packed or not; timestamps as datetimes."""
    packed = [msgpack.packb(one, datetime=True) for one in objects]
    path = written(tmp_path_factory.mktemp("msgpack"), b"".join(packed), suffix)
    readers = readers_of(path, Msgpack(), read=read)
    wanted = [(sum(map(len, packed[:i])), one) for i, one in enumerate(objects)]
    assert pairs_of(readers) == wanted
    assert sum(one.bytes_read for one in readers) == path.stat().st_size
    (whole,) = readers_of(path, Msgpack())
    assert [pair for batch in whole.columns() for pair in records_of(batch)] == wanted
    for block in readers_of(path, Msgpack(), read=read)[0]:
        assert [block.place(i) for i in range(len(block.values))] == [(str(path), first) for first in block.firsts()]


@settings(max_examples=60, deadline=None)
@given(objects=st.lists(OBJECTS, min_size=1, max_size=4), data=st.data(), read=st.integers(1, 50))
def test_a_stream_that_is_cut_off_is_refused(tmp_path_factory, objects, data, read):
    """The error names the byte where the last object begins, and where the file ends."""
    packed = [msgpack.packb(one, datetime=True) for one in objects]
    ends = [sum(map(len, packed[: i + 1])) for i in range(len(packed))]
    length = data.draw(
        st.integers(0, ends[-1]).filter(lambda n: n not in {0, *ends}) if ends[-1] > len(ends) else st.just(0)
    )
    path = written(tmp_path_factory.mktemp("msgpack"), b"".join(packed)[:length])
    if length == 0:
        assert pairs_of(readers_of(path, Msgpack())) == []
        return
    start = max([end for end in ends if end < length], default=0)
    with pytest.raises(UnreadableRecord, match=f"byte {start}: .* cut off: the file ends at byte {length}") as caught:
        pairs_of(readers_of(path, Msgpack(), read=read))
    assert caught.value.offset == start


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (b"\x01\xc1\x02", 1, "this is no msgpack: it holds 0xc1"),
        (b"\x01" + b"\x91" * 5000, 1, "nested more than 1,024 levels"),
        (b"\xdd\xff\xff\xff\xff\x01", 0, "cut off"),
        (b"\xdf\xff\xff\xff\xff\x01", 0, "cut off"),
        (b"\x91" * 1000 + b"\xdd\xff\xff\xff\xff", 0, "cut off"),
        (b"\xc6\xff\xff\xff\xff\x01", 0, "cut off"),
        (b"\x01" + msgpack.packb(msgpack.ExtType(5, b"x")), 1, "an ext of type 5, which has a meaning to another"),
        (b"\x01\xa2\xff\xff", 1, "a str that is not UTF-8"),
        (b"\x01\x81\x90\x01", 1, "a map's key cannot be one of a dict: unhashable type: 'list'"),
        (msgpack.packb(msgpack.Timestamp(1 << 60)), 0, "a timestamp that no datetime can be"),
    ],
)
def test_what_is_no_object_is_named_with_its_byte(tmp_path, data, offset, message):
    """A few bytes that claim to hold billions of elements make no room for them."""
    path = written(tmp_path, data)
    with pytest.raises(UnreadableRecord, match=message) as caught:
        pairs_of(readers_of(path, Msgpack()))
    assert (caught.value.path, caught.value.offset) == (str(path), offset)


def test_an_object_has_a_largest_size(tmp_path, monkeypatch):
    """What goes on without an end is refused before it fills the memory; objects up to that size come."""
    monkeypatch.setattr("mapreduce.dataflow.readers.msgpack_objects.OBJECT_BYTES", 5000)
    path = written(tmp_path, msgpack.packb(b"x" * 4000) + msgpack.packb([1] * 4998))
    with pytest.raises(UnreadableRecord, match="byte 4003: an object has more than 5,000 bytes"):
        pairs_of(readers_of(path, Msgpack(), read=100))
    path = written(tmp_path, msgpack.packb(b"x" * 4000) * 3)
    assert len(pairs_of(readers_of(path, Msgpack(), read=100))) == 3


def test_objects_that_are_none_here_can_be_put_aside(tmp_path):
    """Their ends are known, so those behind them are read; each comes with its bytes."""
    strange = [msgpack.packb(msgpack.ExtType(5, b"x")), b"\xa1\xff", b"\x81\x90\x01"]
    path = written(tmp_path, b"\x01" + b"\x02".join(strange) + b"\x03")
    bad = []
    assert [value for _, value in pairs_of(readers_of(path, Msgpack(), aside=bad.append))] == [1, 2, 2, 3]
    assert [one.content for one in bad] == strange
    assert [one.kind for one in bad] == ["msgpack ext type", "msgpack str not utf-8", "msgpack map key"]
    path = written(tmp_path, b"\x01\xc1")
    with pytest.raises(UnreadableRecord, match="no msgpack"):
        pairs_of(readers_of(path, Msgpack(), aside=bad.append))


def test_a_timestamp_is_a_datetime(tmp_path):
    """In UTC, to the microsecond."""
    path = written(tmp_path, msgpack.packb(msgpack.Timestamp(1, 123_456_789)))
    assert pairs_of(readers_of(path, Msgpack())) == [(0, datetime(1970, 1, 1, 0, 0, 1, 123456, tzinfo=UTC))]


def test_msgpack_has_no_frames():
    """The reader says so as the job's definition does."""
    with pytest.raises(JobDefinitionError, match="frames=True is not for Msgpack"):
        reader_for(Msgpack(), Split(()), TaskOptions("", "")).frames()


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 9),
    skip=st.integers(0, 12),
    count=st.integers(0, 20),
    size=st.integers(1, 40),
    read=st.integers(1, 30),
    suffix=st.sampled_from(sorted(PACKERS)),
)
def test_records_of_one_length_from_any_cut(tmp_path_factory, length, skip, count, size, read, suffix):
    """Each comes once, in order, at its byte: as bytes, columns and frames."""
    data = bytes(i % 251 for i in range(skip + length * count))
    path = written(tmp_path_factory.mktemp("fixed"), data, suffix)
    given = FixedLength(length, skip=skip)
    wanted = [(at, data[at : at + length]) for at in range(skip, len(data), length)]
    readers = readers_of(path, given, size, read=read)
    assert pairs_of(readers) == wanted
    if not suffix:
        assert sum(one.bytes_read for one in readers) == length * count
    rows = [row for one in readers_of(path, given, size) for frame in one.frames(20) for row in frame.frame.rows()]
    assert rows == wanted
    columns = [p for one in readers_of(path, given, size) for batch in one.columns() for p in records_of(batch)]
    assert columns == wanted
    assert is_whole(str(path), "utf-8", given) == bool(suffix)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("size", [1, 6, 100])
def test_a_last_record_that_is_cut_short(tmp_path, suffix, size):
    """It is an error with its byte and both lengths, or is put aside, and the records before it are read."""
    path = written(tmp_path, b"HHaaaabbbbcc", suffix)
    given = FixedLength(4, skip=2)
    with pytest.raises(UnreadableRecord, match="byte 10: the last record is cut short: it has 2 bytes, and a record 4"):
        pairs_of(readers_of(path, given, size))
    bad = []
    assert pairs_of(readers_of(path, given, size, bad.append)) == [(2, b"aaaa"), (6, b"bbbb")]
    assert [(one.offset, one.content, one.kind) for one in bad] == [(10, b"cc", "record cut short")]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("data", [b"", b"abc"])
def test_a_file_without_its_whole_header_is_refused(tmp_path, suffix, data):
    """A file that ends before its records begin was cut off."""
    with pytest.raises(InputError, match=f"has {len(data)} bytes and should begin with 4"):
        pairs_of(readers_of(written(tmp_path, data, suffix), FixedLength(2, skip=4)))
