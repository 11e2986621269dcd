"""Parts of CSV: what the standard library and Polars read of them, what comes back, and what CSV cannot say."""

import csv
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_parts import FLOATS, PLAIN, UNPACK, read, same, shared_folder, write

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs import read as outputs_read
from mapreduce.dataflow.outputs.csv_text import common_values, record_ends, table_name
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_back, read_part_records
from mapreduce.errors import OutputError, ValueTypeError

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


def column(kind, size, *, nullable=False):
    cells = CELLS[kind] | st.none() if nullable else CELLS[kind]
    return st.lists(cells, min_size=size, max_size=size)


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
