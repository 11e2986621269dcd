"""Footers of Parquet and Arrow files: what they say, whoever wrote them, and how damage and malice are refused."""

import base64
import io
import struct

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pyarrow.parquet.encryption
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.readers import arrow_footer, parquet_footer
from mapreduce.dataflow.readers.arrow_footer import DamagedError
from mapreduce.errors import InputError

TABLE = pa.table({"a": [1, 2, 3], "b": [{"x": "p", "y": [1]}, None, {"x": "q", "y": []}], "c": ["r", "s", None]})


class Bytes:
    """A file in memory."""

    def __init__(self, data):
        self.data = data

    def read_at(self, size, offset):
        assert size >= 0
        assert offset >= 0
        return self.data[offset : offset + size]


def parquet(table=TABLE, **options):
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, row_group_size=2, **options)
    return sink.getvalue()


def arrow(opener, table=TABLE):
    sink = io.BytesIO()
    with opener(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def footer(data, name="in.parquet"):
    return parquet_footer.read_footer(Bytes(data), name, len(data))


def messages(data):
    """Everything that the metadata of an Arrow file or stream say."""
    file, size = Bytes(data), len(data)
    if arrow_footer.is_stream(file, size):
        schema, columns = arrow_footer.read_schema(file, size)
        return list(arrow_footer.read_messages(file, schema.body.stop, size, columns))
    found = arrow_footer.read_footer(file, size)
    blocks = found.dictionaries + found.batches
    return [arrow_footer.read_message(file, block.metadata.start, size, found.columns) for block in blocks]


FILES = {
    "parquet": (parquet(), footer),
    "statistics": (parquet(write_page_index=True, store_schema=False, data_page_version="2.0"), footer),
    "file": (arrow(pa.ipc.new_file), messages),
    "stream": (arrow(pa.ipc.new_stream, TABLE.set_column(0, "a", TABLE["a"].dictionary_encode())), messages),
}


@pytest.mark.parametrize("options", [{}, {"write_page_index": True, "write_statistics": False}, {"version": "1.0"}])
def test_a_footer_of_parquet_says_what_pyarrow_says(options):
    """Columns, rows, and for each leaf column of a row group where it lies, how long it is, and its top-level name."""
    data = parquet(**options)
    found, wanted = footer(data), pa.parquet.read_metadata(io.BytesIO(data))
    assert found.columns == ("a", "b", "c")
    assert [(group.number, group.first, group.rows) for group in found.groups] == [(0, 0, 2), (1, 2, 1)]
    for group in found.groups:
        row_group = wanted.row_group(group.number)
        columns = [row_group.column(i) for i in range(wanted.num_columns)]
        starts = [one.dictionary_page_offset or one.data_page_offset for one in columns]
        assert [chunk.column for chunk in group.chunks] == ["a", "b", "b", "c"]
        assert [chunk.bytes.start for chunk in group.chunks] == starts
        assert group.start == min(starts)
        for chunk, one, start in zip(group.chunks, columns, starts, strict=True):
            assert chunk.bytes.stop == min(start + one.total_compressed_size + 100, found.bytes.start)
            assert chunk.unpacked == one.total_uncompressed_size


@settings(max_examples=250, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=9)), max_size=4),
    end=st.none() | st.integers(0, 5000),
)
def test_damage_is_an_error_of_the_file(name, changes, end):
    """Whatever bytes a file holds, its metadata are read or refused by name: nothing else is raised, and soon."""
    data, read = FILES[name]
    damaged = bytearray(data)
    for at, new in changes:
        start = at % len(data)
        damaged[start : start + len(new)] = new
    try:
        read(bytes(damaged[: len(data) if end is None else end]))
    except (InputError, DamagedError) as error:
        assert str(error)  # noqa: PT017 - that it may be raised at all is what is asked


def framed(thrift):
    return b"PAR1" + thrift + struct.pack("<I", len(thrift)) + b"PAR1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1PAR1", "it has 8 bytes, too few"),
        (b"PAR1" + b"\0" * 40 + b"PARE", "its footer is encrypted"),
        (b"PAR1" + b"\0" * 40, "does not end in PAR1"),
        (b"PAR1" + b"\xff" * 8 + b"PAR1", "more than the file"),
        (framed(b""), "ends too early"),
        (framed(b"\0"), "lacks what every footer has"),
        (framed(b"\x1c" * 100), "nested more than"),
        (framed(b"\x59" + b"\x19" * 100), "nested more than"),
        (framed(b"\x19\xfc\xff\xff\xff\x0f"), "a list would be longer than all there is"),
        (framed(b"\x16" + b"\xff" * 20), "more than 64 bits"),
        (framed(b"\x1e"), "there is no type 14"),
        (framed(b"\x28\x01x\0"), "a field has another type"),
        (framed(b"\x29\x0c\x16\x05\x19\x0c\0"), "its row groups have 0 rows, it says -3"),
    ],
)
def test_what_a_footer_of_parquet_cannot_be(data, message):
    """Each fault has its words, behind the file's name."""
    with pytest.raises(InputError, match=rf"^in\.parquet cannot be read as Parquet: .*({message})"):
        footer(data)


def test_columns_behind_the_files_end_are_refused():
    """A footer before which data were lost is damage, named by column and row group, and not a file without rows."""
    data = parquet()
    size = struct.unpack("<I", data[-8:-4])[0]
    with pytest.raises(InputError, match=r"the column 'a' in row group 0 would lie behind the end of the file"):
        footer(b"PAR1" + data[-8 - size :])


def test_a_footer_for_other_files_is_refused():
    """Of a data set's summary (_metadata) the columns lie in other files, which it names."""
    collected = []
    pa.parquet.write_table(TABLE, io.BytesIO(), metadata_collector=collected)
    collected[0].set_file_path("part-0.parquet")
    sink = io.BytesIO()
    collected[0].write_metadata_file(sink)
    with pytest.raises(InputError, match=r"the column 'a' in row group 0 lies in another file, part-0\.parquet"):
        footer(sink.getvalue())


class Keys(pa.parquet.encryption.KmsClient):
    def wrap_key(self, key, _name):
        return base64.b64encode(key)

    def unwrap_key(self, key, _name):
        return base64.b64decode(key)


@pytest.mark.parametrize("plain", [True, False])
def test_encryption(plain):
    """An encrypted footer is refused; behind a plain one the columns that are encrypted are known."""
    factory = pa.parquet.encryption.CryptoFactory(lambda _: Keys())
    config = pa.parquet.encryption.EncryptionConfiguration("f", column_keys={"k": ["c"]}, plaintext_footer=plain)
    properties = factory.file_encryption_properties(pa.parquet.encryption.KmsConnectionConfig(), config)
    sink = io.BytesIO()
    with pa.parquet.ParquetWriter(sink, TABLE.schema, encryption_properties=properties) as writer:
        writer.write_table(TABLE)
    if plain:
        (group,) = footer(sink.getvalue()).groups
        assert [chunk.column for chunk in group.chunks if chunk.is_encrypted] == ["c"]
        return
    with pytest.raises(InputError, match="its footer is encrypted: decrypt the file first"):
        footer(sink.getvalue())


def deep_schema(levels, children):
    """A stream's schema with one field, whose `children` are all one field, and so on: laid out by hand."""
    # A table's vtable lies before it: the bytes of both, then where each field is in the table.
    message = struct.pack("<I", 16) + struct.pack("<6H", 12, 12, 0, 8, 4, 0) + struct.pack("<iIB3x", 12, 16, 1)
    schema = struct.pack("<4H", 8, 8, 0, 4) + struct.pack("<iI", 8, 4) + struct.pack("<II", 1, 20)
    size = 28 + 4 + 4 * children
    fields = b""
    for level in range(levels):
        vtable = struct.pack("<8H", 16, 12, 0, 0, 4, 0, 0, 8)
        count = children if level < levels - 1 else 0
        places = [size + 16 - 32 - 4 * i for i in range(children)]
        fields += vtable + struct.pack("<iB3xI", 16, 13, 4) + struct.pack(f"<I{children}I", count, *places)
    data = message + schema + fields
    return b"\xff\xff\xff\xff" + struct.pack("<I", len(data)) + data


def test_a_schema_that_points_to_the_same_fields_again_and_again():
    """A crafted schema of few bytes cannot have more fields than bytes, nor fields of any depth; an honest one can."""
    _, (column,) = arrow_footer.read_schema(Bytes(data := deep_schema(60, 1)), len(data))
    assert column.buffers == (1,) * 60
    for levels, children in ((70, 1), (60, 2), (8, 9)):
        with pytest.raises(DamagedError, match="its schema has more fields than fit"):
            arrow_footer.read_schema(Bytes(data := deep_schema(levels, children)), len(data))


def test_a_stream_may_end_at_any_byte():
    """Cut anywhere it gives the messages before, then an error, or its end at the border of a message."""
    data, read = FILES["stream"]
    found = read(data)
    borders = {message.body.stop for message in found} | {found[0].metadata.start}
    for end in range(len(data)):
        try:
            messages = read(data[:end])
        except DamagedError:
            assert end not in borders
        else:
            assert end in borders
            assert messages == [message for message in found if message.body.stop <= end]
