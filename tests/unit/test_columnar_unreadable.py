"""Parquet and Arrow that cannot be read: what is damaged, cut short or has no meaning in Python is named."""

import decimal
import os

import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
from columnar_files import ROWS, TABLE, pairs, readers, write

from mapreduce import Arrow, Parquet
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError, JobDefinitionError
from mapreduce.formats import Columnar


def damaged(path, at, size=8):
    data = bytearray(path.read_bytes())
    data[at : at + size] = b"\x55" * size
    path.write_bytes(data)


def test_damage_is_named_with_its_row_group_and_column(tmp_path):
    """A damaged chunk is named by path, row group and column; what does not need it can be read."""
    path = write(tmp_path / "in.parquet", TABLE, Parquet(), 500, compression="zstd", use_dictionary=False)
    damaged(path, pa.parquet.read_metadata(path).row_group(3).column(1).data_page_offset, 40)
    with pytest.raises(InputError, match=r"in\.parquet cannot be read as Parquet: row group 3, column 'text': "):
        pairs(path, Parquet())
    assert len(pairs(path, Parquet(("id", "tags")))) == ROWS


def test_damage_is_named_with_its_record_batch_and_column(tmp_path):
    """A damaged buffer is named by path, record batch and column, in a file and in a stream."""
    for options in ({}, {"stream": True}):
        path = write(tmp_path / "in.arrow", TABLE.select(["text"]), Arrow(), 500, compression="zstd", **options)
        data = path.read_bytes()
        blocks = [at for at in range(len(data)) if data[at : at + 4] == b"\x28\xb5\x2f\xfd"]  # zstd's own mark
        damaged(path, blocks[-1], 40)
        where = "record batch 7, column 'text': "
        with pytest.raises(InputError, match=rf"in\.arrow cannot be read as Arrow IPC: {where}"):
            pairs(path, Arrow())


UNREADABLE = {
    "union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    "run-end encoded": pa.RunEndEncodedArray.from_arrays([2], [7]),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "list view": pa.array([[1], None], pa.list_view(pa.int64())),
    "decimal of 256 bits": pa.array([decimal.Decimal(1), None], pa.decimal256(50, 2)),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_types_that_cannot_be_read_are_named(tmp_path, kind):
    """The column and its type, at any depth, in place of whatever a library says of them."""
    nested = pa.StructArray.from_arrays([UNREADABLE[kind]], ["inner"])
    for name, column in {"flat": UNREADABLE[kind], "nested": nested}.items():
        path = write(tmp_path / "in.arrow", pa.table({"n": [1, 2], name: column}), Arrow())
        with pytest.raises(InputError, match=rf"in\.arrow .*the column '{name}' .*\({kind}\): write the file without"):
            pairs(path, Arrow(("n",)))


def test_values_that_python_has_no_object_for(tmp_path):
    """A year behind 9999 is an error that names row, column and what to do, and frames have it."""
    path = write(tmp_path / "in.parquet", pa.table({"n": [1], "t": pa.array([10**18], pa.timestamp("us"))}), Parquet())
    with pytest.raises(UnreadableRecord, match=r"row 0: the column 't' .*Read it with frames=True"):
        pairs(path, Parquet())
    (frame,) = readers(path, Parquet())[0].frames()
    assert frame.frame["t"].dt.year().item() > 9999
    assert pairs(path, Parquet(("n",))) == [(0, {"n": 1})]


@pytest.mark.parametrize("given", [Parquet(), Arrow()], ids=["parquet", "arrow"])
def test_rows_that_python_has_no_object_for_are_put_aside(tmp_path, given):
    """They alone: the others keep their numbers, however many rows come at a time."""
    days = [0, 10_000_000, 1, 2, -1_000_000] * 40
    table = pa.table({"day": pa.array(days, pa.int32()).cast(pa.date32()), "n": list(range(200))})
    path = write(tmp_path / "in", table, given, 30)
    bad = []
    found = [
        (first, value["n"])
        for reader in readers(path, given, aside=bad.append)
        for block in reader
        for first, value in zip(block.firsts(), block.values, strict=True)
    ]
    assert found == [(n, n) for n, day in enumerate(days) if 0 <= day < 10]
    assert [one.kind for one in bad] == ["no Python object"] * 80
    assert "row 1: the column 'day' of type Date has a value that Python has no object for" in str(bad[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins neither with ARROW1"),
        (b"hello\n", "begins neither with ARROW1"),
        (b"FEA1\0\0\0\0", "a Feather file of version 1"),
        (b"ARROW1\0\0", "it has 8 bytes"),
        (b"ARROW1\0\0" + b"\0" * 40, "does not end in ARROW1"),
        (b"ARROW1\0\0" + b"\xff" * 40 + b"ARROW1", "its footer is damaged"),
        (b"\xff" * 40, "cut short or damaged"),
        (b"\xff\xff\xff\xff\0\0\0\0", "does not begin with a schema"),
    ],
)
def test_what_is_no_arrow_is_refused(tmp_path, data, message):
    """The error names the file, and what it is in place of one."""
    path = tmp_path / "in.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"in\.txt cannot be read as Arrow IPC: .*{message}"):
        pairs(path, Arrow())


def test_a_stream_that_was_cut_short(tmp_path):
    """Cut inside a message it is refused, with the byte; cut between two it is a stream that was never closed."""
    path = write(tmp_path / "in.arrow", TABLE.select(["id"]), Arrow(), 500, stream=True)
    data = path.read_bytes()
    os.truncate(path, len(data) - 8)
    assert len(pairs(path, Arrow())) == ROWS
    for less in (2, 100, 4200):
        path.write_bytes(data[: len(data) - 8 - less])
        with pytest.raises(InputError, match=r"in\.arrow .*the message at byte \d+ is cut short"):
            pairs(path, Arrow())


def test_columns_of_arrow_are_checked():
    """As those of Parquet are, under its own name; what they have in common is no format."""
    with pytest.raises(JobDefinitionError, match="columns= of Arrow names at least one column"):
        Arrow(columns=())
    with pytest.raises(JobDefinitionError, match="columns= of Arrow is a tuple of names"):
        Arrow(columns="text")
    with pytest.raises(JobDefinitionError, match=r"write input=Parquet\(\) or input=Arrow\(\)"):
        Columnar()
