"""Parts of msgpack, Arrow and text, and what compression does to parts: read by other programs, and back."""

import datetime as dt

import msgpack
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc
from written_parts import FLOATS, PLAIN, UNPACK, read, same, shared_folder, write

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs import files as outputs_files
from mapreduce.dataflow.outputs import read as outputs_read
from mapreduce.dataflow.outputs.read import read_back, read_part_records
from mapreduce.errors import JobDefinitionError, OutputError, ValueTypeError
from mapreduce.job import Job
from mapreduce.output_formats import COMPRESSIONS, check_output_format, ending_of

PACKED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | FLOATS | PLAIN | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN | st.integers(0, 9), inner, max_size=3),
    max_leaves=6,
)


def test_msgpack_is_what_the_library_reads(tmp_path):
    """The objects as msgpack's own reader gives them, and ours brings the same back; tuples alone too."""

    @shared_folder
    @given(
        st.lists(PACKED, min_size=1, max_size=5),
        st.lists(st.integers(-(2**63), 2**64 - 1) | PLAIN, min_size=5, max_size=5),
        st.booleans(),
    )
    def check(values, names, tupled):
        emitted = [(value, 1) for value in values] if tupled else values
        batch = make_batch(names[: len(values)], emitted)
        info = write(tmp_path / "a", "msgpack", (names[: len(values)], emitted), durable=False)
        with (tmp_path / "a").open("rb") as file:
            found = list(msgpack.Unpacker(file, strict_map_key=False))
        normal = [key for key, _ in outputs_read.records_of(batch)]
        plain = [list(value) for value in emitted] if tupled else values
        assert same(found, [[key, value] for key, value in zip(normal, plain, strict=True)])
        assert same(read(tmp_path / "a", "msgpack", info), list(zip(normal, emitted, strict=True)))

    check()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1}, r"\{1\} of type set.*sorted"),
        ([dt.date(2020, 1, 1)], r"date\(2020, 1, 1\) of type datetime.date inside"),
        ({(1, 2): 3}, "of type tuple inside"),
        (2**64, "more than 64 bits"),
        ([2**70], "more than 64 bits"),
        (["\ud800"], "lone surrogate"),
    ],
)
def test_what_msgpack_cannot_say(tmp_path, value, words):
    """The error shows it, and what to emit instead."""
    with pytest.raises(ValueTypeError, match=words):
        write(tmp_path / "a", "msgpack", (["k", "l"], ["x", value]))


def test_what_msgpack_loses(tmp_path):
    """Tuples among other values, or inside of them, come back as lists, and that is told; in keys they are tuples."""
    info = write(tmp_path / "a", "msgpack", ([(1, ("x",)), 2], [(1, 2), [3]]))
    assert read(tmp_path / "a", "msgpack", info) == [((1, ("x",)), [1, 2]), (2, [3])]
    assert "msgpack has no tuples" in read_back("msgpack", info.value_types, key=False)
    assert read_back("msgpack", info.key_types, key=True) == ""
    info = write(tmp_path / "a", "msgpack", ([1], [{"a": (1,)}]))
    assert (info.value_types, read(tmp_path / "a", "msgpack", info)) == (("json",), [(1, {"a": [1]})])
    assert "inside other containers" in read_back("msgpack", info.value_types, key=False)


@pytest.mark.parametrize("damage", [b"\x92\x01", b"\xc1", b"\x01", b"\x93\x01\x02\x03", b"\x81\x90\x01"])
def test_damaged_msgpack(tmp_path, damage):
    """Bytes that are cut off, or no record, are an error with the file's name."""
    (tmp_path / "a").write_bytes(damage)
    with pytest.raises(OutputError, match=str(tmp_path / "a")):
        list(read_part_records(tmp_path / "a", "msgpack", ("int",), ("int",)))


def test_arrow_is_what_pyarrow_reads(tmp_path):
    """An Arrow file with the columns and types of Parquet, in types that every reader knows; the same bytes again."""
    values = [{"n": n, "text": f"é{n}", "some": [n % 3]} for n in range(1000)]
    names = [f"k{n}" for n in range(1000)]
    info = write(tmp_path / "a", "arrow", (names, values))
    assert write(tmp_path / "b", "arrow", (names[:400], values[:400]), (names[400:], values[400:])) == info
    with ipc.open_file(tmp_path / "a") as file:
        table = file.read_all()
    assert table.schema.field("key").type == pa.large_string()
    assert table.to_pydict() == {"key": names, "value": values}
    assert read(tmp_path / "a", "arrow", info) == list(zip(names, values, strict=True))
    with pytest.raises(ValueTypeError, match="Arrow output cannot write the values"):
        write(tmp_path / "a", "arrow", ([1, 2], ["x", 3]))


def test_text_is_the_values(tmp_path):
    """A value on a line and nothing else, and back; what would not come back the same is refused."""
    info = write(tmp_path / "a", "text", ([1, 2, 3], ["one", "", "t\twø\r!"]))
    assert (tmp_path / "a").read_bytes() == "one\n\nt\twø\r!\n".encode()
    assert (info.key_types, info.value_types) == ((), ("str",))
    assert read(tmp_path / "a", "text", info) == [(None, "one"), (None, ""), (None, "t\twø\r!")]
    for value, words in [("a\nb", "line break"), ("a\r", "line break"), (5, "type int"), ("\ud800x", "lone surrogate")]:
        with pytest.raises(ValueTypeError, match=words):
            write(tmp_path / "a", "text", ([1, 2], ["x", value]))


@pytest.mark.parametrize("packed", COMPRESSIONS)
@pytest.mark.parametrize("base", ["tsv", "jsonl", "csv", "msgpack", "text"])
def test_compressed_parts(tmp_path, monkeypatch, base, packed):
    """What the library unpacks is the plain part; ours reads both; the bytes do not depend on how records arrive."""
    monkeypatch.setattr(outputs_files, "FEED_BYTES", 10_000)
    values = [f"{n} {n * 2654435761 % 2**32:x}" * 2 for n in range(9_000)]
    plain = write(tmp_path / "plain", base, (values, values))
    info = write(tmp_path / "packed", f"{base}.{packed}", (values, values))
    data = (tmp_path / "packed").read_bytes()
    assert UNPACK[packed](data) == (tmp_path / "plain").read_bytes()
    assert len(data) < plain.size
    assert read(tmp_path / "packed", f"{base}.{packed}", info) == read(tmp_path / "plain", base, plain)
    pieces = [(values[:7], values[:7]), (values[7:8_000], values[7:8_000]), (values[8_000:], values[8_000:])]
    assert write(tmp_path / "again", f"{base}.{packed}", *pieces) == info
    write(tmp_path / "none", f"{base}.{packed}")
    assert UNPACK[packed]((tmp_path / "none").read_bytes()) == (b"key,value\n" if base == "csv" else b"")


def test_gzip_has_nothing_that_varies(tmp_path):
    """Neither a time nor a system nor a name stands in the header."""
    write(tmp_path / "a", "text.gz", ([1], ["x"]))
    assert (tmp_path / "a").read_bytes()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@pytest.mark.parametrize("packed", COMPRESSIONS)
def test_damaged_compressed_parts(tmp_path, packed):
    """A part that was cut off or changed is an error with its name."""
    write(tmp_path / "a", f"jsonl.{packed}", ([1] * 99, list(range(99))))
    data = (tmp_path / "a").read_bytes()
    for damaged in (data[:-5], data[:20] + b"\x00\x01" + data[22:], b"other"):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(OutputError, match=f"{tmp_path / 'a'}.*run the job again"):
            list(read_part_records(tmp_path / "a", f"jsonl.{packed}", ("int",), ("int",)))


def test_names_of_formats():
    """What a user may write, how parts end, and what is said of anything else."""
    names = ["tsv", "jsonl", "csv", "parquet", "arrow", "msgpack", "text", "tsv.gz", "csv.zst", "text.lz4"]
    endings = ["", ".jsonl", ".csv", ".parquet", ".arrow", ".msgpack", ".txt", ".tsv.gz", ".csv.zst", ".txt.lz4"]
    assert [ending_of(check_output_format("output=", name)) for name in names] == endings
    for wrong in ("xml", "csv.rar", "csv.", "CSV", "records", "csv.gz.gz", 5, None):
        with pytest.raises(JobDefinitionError, match=r"output= must be one of tsv, jsonl.*jsonl\.gz"):
            check_output_format("output=", wrong)
    with pytest.raises(JobDefinitionError, match="parquet files are compressed inside: write 'parquet'"):
        Job(keys=str.split, output="parquet.gz")
