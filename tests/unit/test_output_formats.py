"""Parts of CSV, msgpack, Arrow and text, plain and compressed: written, read back, and read by other programs."""

import bz2
import csv
import datetime as dt
import gzip
import io
import json
import lzma

import lz4.frame
import msgpack
import polars as pl
import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs import files as outputs_files
from mapreduce.dataflow.outputs import read as outputs_read
from mapreduce.dataflow.outputs.csv_text import common_values, record_ends, table_name
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_back, read_part_records
from mapreduce.errors import JobDefinitionError, OutputError, ValueTypeError
from mapreduce.job import Job
from mapreduce.output_formats import COMPRESSIONS, check_output_format, ending_of

shared_folder = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLAIN = st.text(st.characters(codec="utf-8"), max_size=8) | st.text(alphabet=',"\r\n \tab\ufeff#', max_size=8)
FLOATS = st.floats(allow_nan=False)
CELLS = {
    "str": PLAIN,
    "int": st.integers(),
    "float": FLOATS,
    "bool": st.booleans(),
    "none": st.none(),
    "bytes": st.binary(max_size=5),
    "list": st.lists(st.integers() | PLAIN, max_size=3),
    "tuple": st.lists(st.integers() | PLAIN, max_size=3).map(tuple),
}
KEYS = st.sampled_from(["str", "int", "float", "bool", "bytes"])
UNPACK = {
    "": lambda data: data,
    "gz": gzip.decompress,
    "bz2": bz2.decompress,
    "xz": lzma.decompress,
    "zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


def write(path, output_format, *chunks, keys=True, **writing):
    """Write chunks of (keys, values), a batch each."""
    writer = PartWriter(path, output_format, keys=keys, writing=Writing(**writing))
    try:
        for chunk in chunks:
            writer.write_batch(make_batch(*chunk))
        return writer.close()
    finally:
        writer.abort()


def read(path, output_format, info):
    return list(read_part_records(path, output_format, info.key_types, info.value_types))


def column(kind, size, *, nullable=False):
    cells = CELLS[kind] | st.none() if nullable else CELLS[kind]
    return st.lists(cells, min_size=size, max_size=size)


def same(a, b):
    return json.dumps(a, default=repr) == json.dumps(b, default=repr)


# ----------------------------------------------------------------------------------------------------------- CSV


def test_csv_by_example(tmp_path):
    """The file as another program sees it: a header, quotes where they are needed, None empty and the empty str not."""
    values = ["a,b", 'say "hi"', "two\nlines", "", " x "]
    write(tmp_path / "a", "csv", (["k", "l", "m", "n", "o"], values))
    assert (tmp_path / "a").read_text() == (
        'key,value\nk,"a,b"\nl,"say ""hi"""\nm,"two\nlines"\nn,""\no, x \n'  # a space is a part of its field
    )
    write(tmp_path / "b", "csv", ([1, 2], [None, [1, {"a": b"x"}]]))
    assert (tmp_path / "b").read_text() == 'key,value\n1,\n2,"[1,{""a"":""eA==""}]"\n'
    write(tmp_path / "c", "csv", ([(1, "a")], [{"n": 1.5, "text, or": True, "d": None}]))
    assert (tmp_path / "c").read_text() == 'key,n,"text, or",d\n"[1,""a""]",1.5,true,\n'
    info = write(tmp_path / "d", "csv", ([None] * 2, [{"b": 1, "a": 2}, {"a": 3, "b": 4}]), keys=False)
    assert (tmp_path / "d").read_text() == "b,a\n1,2\n4,3\n"
    assert info.value_types == ('{"b":["int"],"a":["int"]}',)
    assert read(tmp_path / "d", "csv", info) == [(None, {"b": 1, "a": 2}), (None, {"b": 4, "a": 3})]


def test_csv_is_what_the_standard_library_reads(tmp_path):
    """Every str comes out of the csv module as it was emitted, in columns of one value and in tables."""

    @shared_folder
    @given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=6), PLAIN.filter(bool))
    def check(rows, name):
        keys, values = [key for key, _ in rows], [value for _, value in rows]
        write(tmp_path / "a", "csv", (keys, values))
        with (tmp_path / "a").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file)) == [["key", "value"], *map(list, rows)]
        write(tmp_path / "b", "csv", (keys, [{f"{name}1": value, "other": value} for value in values]))
        with (tmp_path / "b").open(newline="", encoding="utf-8") as file:
            assert list(csv.DictReader(file)) == [{"key": k, f"{name}1": v, "other": v} for k, v in rows]
        write(tmp_path / "c", "csv", (keys, values), keys=False)
        with (tmp_path / "c").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file)) == [["value"], *([value] for value in values)]

    check()


def test_csv_values_come_back(tmp_path):
    """Columns of one type, with None among them or not, alone and beside keys, come back as that type."""

    @shared_folder
    @given(st.data(), st.sampled_from(sorted(CELLS)), KEYS, st.booleans(), st.booleans())
    def check(data, kind, key_kind, nullable, keys):
        size = data.draw(st.integers(1, 5))
        values = data.draw(column(kind, size, nullable=nullable))
        names = data.draw(column(key_kind, size))
        if not keys and None in values and kind in {"str", "bytes"}:
            return  # in a file of one column the empty one and None are the same
        batch = make_batch(names, values)
        writer = PartWriter(tmp_path / "a", "csv", keys=keys, writing=Writing(durable=False))
        writer.write_batch(batch)
        info = writer.close()
        normal = [key for key, _ in outputs_read.records_of(batch)] if keys else [None] * size
        assert same(read(tmp_path / "a", "csv", info), list(zip(normal, values, strict=True)))
        assert not any(
            read_back("csv", kinds, key=False, alone=not keys) for kinds in (info.key_types, info.value_types)
        )

    check()


def test_csv_tables_come_back(tmp_path):
    """Dicts of the same names come back with the types of each column, and Polars reads the same table.

    But for quotes in the names of columns, which Polars gets doubled.
    """
    names_of_columns = PLAIN.filter(lambda name: name not in {"", "key"} and '"' not in name)

    @shared_folder
    @given(st.data(), st.lists(names_of_columns, min_size=1, max_size=4, unique=True))
    def check(data, names):
        size = data.draw(st.integers(1, 5))
        kinds = [data.draw(st.sampled_from(sorted(CELLS))) for _ in names]
        columns = [data.draw(column(kind, size, nullable=True)) for kind in kinds]
        values = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        info = write(tmp_path / "a", "csv", (list(range(size)), values), durable=False)
        assert same(read(tmp_path / "a", "csv", info), list(enumerate(values)))
        frame = pl.read_csv(tmp_path / "a", infer_schema=False)
        assert (frame.columns, frame.height) == (["key", *names], size)
        for name, kind, cells in zip(names, kinds, columns, strict=True):
            if kind == "str":
                assert frame[name].to_list() == cells

    check()


@pytest.mark.parametrize(
    ("values", "keys", "words"),
    [
        ([{"a": 1}, {"b": 1}], True, r"\{'b': 1\}: its names are not the columns.*\{'a': 1\}"),
        ([{"a": 1}, {"a": 1, "b": 2}], True, "its names are not the columns"),
        ([{"a": 1}, 5], True, r"\{'a': 1\} and 5 as values of one output"),
        ([5, {"a": 1}], True, r"\{'a': 1\} and 5 as values of one output"),
        ([{}], True, "names of columns, one or more"),
        ([{1: 2}], True, "each is a str"),
        ([{"key": 2}], True, "the column of the records' keys"),
        (["\ud800"], True, "lone surrogates are no UTF-8"),
        ([{"a": {1}}], True, r"CSV output cannot write \{1\} of type set.*sorted"),
    ],
)
def test_what_csv_cannot_say(tmp_path, values, keys, words):
    """Dicts of other names, or beside values that are none, and what has no text: the error shows them."""
    for chunks in ([([1] * len(values), values)], [([1], [value]) for value in values]):
        with pytest.raises(ValueTypeError, match=words):
            write(tmp_path / "a", "csv", *chunks, keys=keys)
    assert not (tmp_path / "a").exists()


def test_a_table_may_have_a_column_key_without_keys(tmp_path):
    """Where no keys are written the name is free."""
    info = write(tmp_path / "a", "csv", ([1], [{"key": 2}]), keys=False)
    assert read(tmp_path / "a", "csv", info) == [(None, {"key": 2})]


def test_where_csv_records_end():
    """At line ends outside of quotes, as many as the csv module finds, however the text is cut."""

    @settings(max_examples=100)
    @given(st.lists(st.lists(PLAIN, min_size=2, max_size=3), min_size=1, max_size=5), st.booleans())
    def check(rows, quoted):
        if not quoted:  # the csv module leaves these as they are, and takes them for line ends
            rows = [[cell.replace("\r", "") for cell in row] for row in rows]
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows(rows)
        data = stream.getvalue().encode()
        stops = record_ends(data).tolist()
        found = [data[start:stop].decode() for start, stop in zip([0, *stops], stops, strict=False)]
        assert [next(csv.reader(io.StringIO(text, newline=""))) for text in found] == rows

    check()


@pytest.mark.parametrize("output_format", ["csv", "jsonl", "text", "csv.zst"])
def test_records_longer_than_a_block(tmp_path, monkeypatch, output_format):
    """They are read whole, wherever blocks end: also within quotes, or between two that stand for one."""
    values = ['x"' * 40, "a,b", "" if output_format == "csv" else "'", 'q"\r"q' * 9, "z"]
    if output_format.startswith("csv"):
        values += ['two\n"lines"\n' * 9, '"']
    info = write(tmp_path / "a", output_format, (list(range(len(values))), values))
    for size in (1, 2, 3, 7, 50, 1000):
        monkeypatch.setattr(outputs_read, "READ_BYTES", size)
        assert [value for _, value in read(tmp_path / "a", output_format, info)] == values
        lines = [data for data, _, _ in outputs_read.part_lines(tmp_path / "a", output_format, keys=True)]
        plain = (tmp_path / "a").read_bytes()
        assert b"".join(lines) == (UNPACK["zst"](plain) if output_format == "csv.zst" else plain)


@pytest.mark.parametrize("keys", [True, False])
def test_csv_records_that_begin_with_a_byte_order_mark(tmp_path, monkeypatch, keys):
    """It is a character of theirs, also where a block that is read begins with it."""
    names = values = ["\ufeffx", "\ufeff", "\ufeff\ufeff,", "y"]
    info = write(tmp_path / "a", "csv", (names, values), keys=keys)
    for size in (1, 1000):
        monkeypatch.setattr(outputs_read, "READ_BYTES", size)
        assert read(tmp_path / "a", "csv", info) == [(name if keys else None, name) for name in names]


def test_csv_types_of_all_parts():
    """Tables of the same columns are one, whose columns have the types of all; others stay apart, and are told."""
    one, two = table_name({"a": {"int"}, "b": {"none"}}, 99), table_name({"a": {"int", "none"}, "b": {"str"}}, 99)
    merged = table_name({"a": {"int", "none"}, "b": {"none", "str"}}, 99)
    assert common_values({one, two}, 99) == {merged}
    assert read_back("csv", (merged,), key=False) == ""
    other = table_name({"b": {"int"}, "a": {"int"}}, 99)
    assert common_values({one, other}, 99) == {one, other}
    assert "of other columns" in read_back("csv", tuple(sorted({one, other})), key=False)
    assert "of other columns" in read_back("csv", (one, "int"), key=False)
    mixed = table_name({"a": {"int", "str"}}, 99)
    assert read_back("csv", (mixed,), key=False).startswith("have a column 'a' whose fields are of several types")
    assert "have more columns" in read_back("csv", (table_name({"a" * 99: set()}, 99),), key=False)
    assert "read back as text" in read_back("csv", ("int", "str"), key=False)
    assert "are the same, and empty" in read_back("csv.gz", ("none", "str"), key=False, alone=True)
    one_column, two_columns = ({name: {"none", "str"} for name in names} for names in ("a", "ab"))
    assert "are the same, and empty" in read_back("csv", (table_name(one_column, 99),), key=False, alone=True)
    assert read_back("csv", (table_name(two_columns, 99),), key=False, alone=True) == ""


def test_a_table_of_too_many_columns_is_text(tmp_path):
    """Where the names of the columns do not fit, fields are read back as text, by the header."""
    info = write(tmp_path / "a", "csv", ([1], [{"a" * 30: 5, "b": None}]), types_chars=20)
    assert info.value_types[0].startswith("table (")
    assert read(tmp_path / "a", "csv", info) == [(1, {"a" * 30: "5", "b": None})]


@pytest.mark.parametrize(
    "damage",
    [
        b"key,value\na,1\nb\n",
        b"value\n1\n",
        b"key,value\na,x\n",
        b"key,value\na,1,2\n",
        b'key,value\n"a,1\n',
        b"key,value\na,\xff\n",
        b"key,val",
    ],
)
def test_damaged_csv(tmp_path, damage):
    """A file that is not what the manifest says is an error with its name."""
    (tmp_path / "a").write_bytes(damage)
    with pytest.raises(OutputError, match=str(tmp_path / "a")):
        list(read_part_records(tmp_path / "a", "csv", ("str",), ("int",)))


# ------------------------------------------------------------------------------------------- msgpack, Arrow, text

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


# --------------------------------------------------------------------------------------------------- compression


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


# --------------------------------------------------------------------------------------------------------- names


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
