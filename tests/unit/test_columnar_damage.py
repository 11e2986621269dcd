"""Damage within Parquet and Arrow files that ends a process in Polars is refused before, and nothing else is."""

import io
import struct

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Arrow, Parquet
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers.parquet_footer import read_footer
from mapreduce.dataflow.readers.parquet_pages import damage_of_pages
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.errors import InputError
from mapreduce.plan import TaskOptions

TABLE = pa.table({"a": [1, 2, 3], "b": [{"x": "p", "y": [1]}, None, {"x": "q", "y": []}], "c": ["r", "s", None]})


class Bytes:
    """A file in memory."""

    def __init__(self, data):
        self.data = data

    def read_at(self, size, offset):
        assert size > 0
        assert offset >= 0
        return self.data[offset : offset + size]


def parquet(table, **options):
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, row_group_size=2, **options)
    return sink.getvalue()


def pages(data, changes=()):
    """What is wrong with the pages of a file's columns, after changes in the bytes that a column begins with."""
    found = read_footer(Bytes(data), "in.parquet", len(data))
    chunks = [chunk for group in found.groups for chunk in group.chunks]
    damaged = bytearray(data)
    for number, at, new in changes:
        start = chunks[number % len(chunks)].bytes.start + at
        damaged[start : start + len(new)] = new
    file = Bytes(bytes(damaged[: len(data)]))
    return [damage_of_pages(file, chunk) for chunk in chunks]


LONG = pa.table({"long": ["x" * 4000, "y" * 4000, None], "a": [1, 2, 3], "b": [[1], [], [2, 3]]})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data_page_version": "2.0", "compression": "zstd", "write_page_index": True},
        {"use_dictionary": False, "compression": "none", "data_page_size": 1},
        {"write_statistics": False},
    ],
)
def test_pages_that_are_sound_are_passed_over(options):
    """Those of each kind, with statistics that are longer than what is read of a header at first."""
    for table in (TABLE, LONG):
        assert set(pages(parquet(table, **options))) == {None}


SMALL = parquet(TABLE)


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 40), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3
    )
)
def test_damaged_pages_are_told_and_nothing_is_raised(changes):
    """Whatever stands where a page should begin."""
    assert all(found is None or "is damaged" in found for found in pages(SMALL, changes))


def test_a_page_of_fewer_values_than_none(tmp_path):
    """Polars would make room for 2 to the 61st bytes and end the process; the file, row group and column are named."""
    path = tmp_path / "in.parquet"
    pa.parquet.write_table(pa.table({"id": list(range(1000))}), path, compression="none", use_dictionary=False)
    data = path.read_bytes()
    at = data.index(b"\xd0\x0f")  # the number of values in the header, 1,000, as Thrift writes it
    path.write_bytes(data[:at] + b"\xcf\x0f" + data[at + 2 :])
    (split,) = plan_splits(find_inputs([str(path)], Parquet()), input_format=Parquet())
    with pytest.raises(
        InputError, match=r"row group 0, column 'id': the header of the page at byte 4 .* -1,000 values"
    ):
        list(reader_for(Parquet(), split, TaskOptions("", "")))


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("length", [1 << 60, 1 << 40, -2])
def test_a_buffer_that_would_unpack_to_more_than_it_can(tmp_path, codec, stream, length):
    """Polars would make room for it and end the process; dictionaries are looked at too."""
    opener = pa.ipc.new_stream if stream else pa.ipc.new_file
    words = pa.array(["red", "green", "blue"] * 100)
    for name, column in {", column 'w'": words, "the dictionary 0": words.dictionary_encode()}.items():
        path = tmp_path / "in.arrow"
        with opener(path, pa.schema([("w", column.type)]), options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_batch(pa.record_batch([column], names=["w"]))
        data = path.read_bytes()
        at = data.index({"lz4": b"\x04\x22\x4d\x18", "zstd": b"\x28\xb5\x2f\xfd"}[codec])  # behind the length
        path.write_bytes(data[: at - 8] + struct.pack("<q", length) + data[at:])
        (split,) = plan_splits(find_inputs([str(path)], Arrow()), input_format=Arrow())
        with pytest.raises(InputError, match=rf"{name}: the compressed buffer at byte {at - 8} is damaged"):
            list(reader_for(Arrow(), split, TaskOptions("", "")))
