"""Readers: what a record is in each format, as objects, columns and frames, and where it lies."""

import bz2
import csv
import io
import itertools
import json
import lzma
import os

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Csv, Files, FixedLength, JsonLines, Msgpack, Parquet, Records, Text
from mapreduce.dataflow.columns.batches import make_batch, records_of
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers.columnar import frame_bytes
from mapreduce.dataflow.readers.decoding import BadBytes
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter
from mapreduce.errors import InputChangedError, InputError, JobDefinitionError
from mapreduce.plan import Limits, Split, TaskOptions

FORMATS = [
    Text(),
    JsonLines(),
    Csv(),
    Csv(header=False, separator=";"),
    Csv(quoted_newlines=False),
    Msgpack(),
    FixedLength(3, skip=1),
    Files(),
    Files(text=True),
    Parquet(),
    Records(),
]
TEXT = st.text(alphabet='ab1 ,;"\n\ré', max_size=6)


def splits_of(paths, given, size=1 << 40):
    return plan_splits(find_inputs([str(path) for path in paths], given), size, input_format=given)


def reader(paths, given, **options):
    """A reader of one split with all the files."""
    limits = Limits(read=options.pop("read", Limits().read))
    (split,) = splits_of(paths, given)
    return reader_for(given, split, TaskOptions("", "", limits=limits, **options))


def pairs(found):
    return [pair for block in found for pair in zip(block.firsts(), block.values, strict=True)]


def places(found):
    return [block.place(i) for block in found for i in range(len(block.values))]


def written(tmp_path, data, name="in.txt"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@st.composite
def tables(draw):
    width = draw(st.integers(1, 3))
    return draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=8))


@settings(max_examples=60, deadline=None)
@given(
    rows=tables(),
    read=st.integers(1, 40),
    most=st.integers(1, 60),
    style=st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)]),
)
def test_csv_reads_what_the_csv_module_writes(tmp_path_factory, rows, read, most, style):
    """Quotes, separators and line ends in fields come back, as lists and frames alike, with the byte of each record."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=style[0], quoting=style[1]).writerows(rows)
    path = written(tmp_path_factory.mktemp("csv"), text.getvalue())
    found = list(reader([path], Csv(header=False), read=read))
    assert [value for _, value in pairs(found)] == rows
    assert places(found) == [(str(path), offset) for offset, _ in pairs(found)]
    raw = path.read_bytes()
    for (offset, _), row in zip(pairs(found), rows, strict=True):
        assert next(csv.reader(io.StringIO(raw[offset:].decode(), newline=""))) == row
    frames = list(reader([path], Csv(header=False), read=read).frames(most))
    assert [list(row) for frame in frames for row in frame.frame.rows()] == rows
    assert [f.frame.height for f in frames] == [
        f.frame.height for f in reader([path], Csv(header=False), read=1 << 20).frames(most)
    ]


def test_csv_with_a_header(tmp_path):
    """The first record names the columns, of each file its own; empty lines are no records."""
    a = written(tmp_path, '\ufeffid,name\r\n1,Ann\r\n\r\n2,"Bo\nb"\r\n', "a.csv")
    b = written(tmp_path, "city\nRome\n", "b.csv")
    empty = written(tmp_path, "", "c.csv")
    bare = written(tmp_path, "id,name\n", "d.csv")
    found = list(reader([a, b, empty, bare], Csv()))
    assert pairs(found) == [(12, {"id": "1", "name": "Ann"}), (21, {"id": "2", "name": "Bo\nb"}), (5, {"city": "Rome"})]
    assert places(found) == [(str(a), 12), (str(a), 21), (str(b), 5)]
    frames = [frame.frame for frame in reader([a, b, empty, bare], Csv()).frames()]
    assert [frame.columns for frame in frames] == [["id", "name"], ["city"]]
    assert frames[0].schema == {"id": pl.String, "name": pl.String}


@pytest.mark.parametrize(
    ("data", "given", "offset", "message"),
    [
        ("a,b\n1,2\n3\n", Csv(), 8, r"line 3 \(byte 8\): it has 1 fields, and .* has 2"),
        ("1,2\n3,4,5\n", Csv(header=False), 4, "line 2 .*3 fields"),
        ("a,a\n1,2\n", Csv(), 0, "two columns are called 'a'.*header=False"),
        ('a\n"x"y\n', Csv(), 2, "',' expected after '\"'"),
        ('a,b\n1,"open\n2,3\n', Csv(), 4, "not closed before the end"),
        ("a\n1\r2\n", Csv(), 2, "carriage return"),
        ('{"a": 1}\n{oops}\n', JsonLines(), 9, "no JSON document: .*begins with '{oops}'"),
        ("1,2\n", JsonLines(), 0, "no JSON document"),
        ("[" * 100_000 + "\n", JsonLines(), 0, "nested more than 512 levels deep"),
    ],
)
def test_a_record_that_is_none_is_named_with_its_place(tmp_path, data, given, offset, message):
    """File, byte and, of a table, number and line; and what is wrong with it."""
    path = written(tmp_path, data)
    with pytest.raises(UnreadableRecord, match=message) as caught:
        list(reader([path], given))
    assert (caught.value.path, caught.value.offset) == (str(path), offset)
    assert str(path) in str(caught.value)


def test_a_field_without_end_stops_the_task(tmp_path, monkeypatch):
    """A quote that is never closed does not take the rest of a large file into memory; the process's limit stays."""
    monkeypatch.setattr("mapreduce.dataflow.readers.csv_records.FIELD_CHARS", 50)
    before = csv.field_size_limit()
    with pytest.raises(UnreadableRecord, match="more than 50 characters: is a quote"):
        list(reader([written(tmp_path, 'a\n"' + "x\n" * 100)], Csv()))
    assert csv.field_size_limit() == before
    monkeypatch.undo()
    long = "y" * 200_000  # above the csv module's own limit
    assert pairs(reader([written(tmp_path, f"a\n{long}\n")], Csv())) == [(2, {"a": long})]


@pytest.mark.parametrize("given", [Csv(), JsonLines(), Files(text=True)])
def test_bad_bytes_end_the_task_or_leave_the_record_out(tmp_path, given):
    """Strict names the byte; skip leaves the record out and warns; replace mends it and warns."""
    data = {"Csv": b'a,b\n1,"x\n\xff"\n2,y\n', "JsonLines": b'"x\xff"\n"y"\n', "Files": b"x\xff"}[type(given).__name__]
    path = written(tmp_path, data)
    with pytest.raises(BadBytes, match="byte"):
        list(reader([path], given))
    skipping = reader([path], given, encoding_errors="skip")
    kept = [value for _, value in pairs(skipping)]
    assert kept == {"Csv": [{"a": "2", "b": "y"}], "JsonLines": ["y"], "Files": []}[type(given).__name__]
    assert len(skipping.warnings) == 1
    assert "left out" in skipping.warnings[0]
    mending = reader([path], given, encoding_errors="replace")
    assert "\ufffd" in str(pairs(mending)[0][1])
    assert "replaced" in mending.warnings[0]


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(documents=st.lists(DOCUMENTS, max_size=8), read=st.integers(1, 40), blank=st.sampled_from(["", "\n", " \r\n"]))
def test_json_lines_give_their_documents(tmp_path_factory, documents, read, blank):
    """Each line that is not empty is a document, at its byte offset; frames have the same lines as text."""
    lines = [json.dumps(document) for document in documents]
    path = written(tmp_path_factory.mktemp("json"), "".join(f"{blank}{line}\n" for line in lines))
    found = list(reader([path], JsonLines(), read=read))
    assert [value for _, value in pairs(found)] == documents
    raw = path.read_bytes()
    assert [json.loads(raw[offset:].splitlines()[0]) for offset, _ in pairs(found)] == documents
    assert places(found) == [(str(path), offset) for offset, _ in pairs(found)]
    frames = [frame.frame for frame in reader([path], JsonLines(), read=read).frames(30)]
    assert [row for frame in frames for row in frame.rows()] == [
        (offset, line) for (offset, _), line in zip(pairs(found), lines, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(st.text("aé\r", max_size=9), max_size=12), read=st.integers(1, 30), most=st.integers(1, 40))
def test_frames_of_lines_are_cut_by_the_data_alone(tmp_path_factory, lines, read, most):
    """However much is read at a time, frames begin at the same lines, and hold those of so many bytes."""
    path = written(tmp_path_factory.mktemp("text"), "".join(f"{line}\n" for line in lines))
    frames = [frame.frame for frame in reader([path], Text(), read=read).frames(most)]
    other = [frame.frame for frame in reader([path], Text()).frames(most)]
    assert [frame.rows() for frame in frames] == [frame.rows() for frame in other]
    assert [row for frame in frames for row in frame.rows()] == pairs(reader([path], Text()))
    for frame, after in itertools.pairwise(frames):
        assert frame["key"].max() < frame["key"][0] + most <= after["key"][0]


def test_whole_files(tmp_path):
    """The value is the file's bytes as they lie on disk; as text it is unpacked and decoded, line ends and all."""
    plain = written(tmp_path, "one\r\ntwo\n\nthree\r", "a.txt")
    packed = written(tmp_path, bz2.compress("zwölf\n".encode()), "b.txt.bz2")
    empty = written(tmp_path, "", "c.txt")
    paths = [plain, packed, empty]
    raw = [(str(path), path.read_bytes()) for path in paths]
    texts = [(str(plain), "one\r\ntwo\n\nthree\r"), (str(packed), "zwölf\n"), (str(empty), "")]
    assert pairs(reader(paths, Files())) == raw
    assert pairs(reader(paths, Files(text=True))) == texts
    assert places(reader(paths, Files())) == [(str(path), None) for path in paths]
    assert [f.frame.rows() for f in reader(paths, Files()).frames()] == [raw]
    assert [f.frame.rows() for f in reader(paths, Files(text=True)).frames(10)] == [[row] for row in texts]
    found = reader(paths, Files())
    list(found)
    assert found.bytes_read == sum(path.stat().st_size for path in paths)


def test_compressed_tables_and_documents(tmp_path):
    """Csv and JsonLines are unpacked as text is."""
    table = written(tmp_path, lzma.compress(b"a\n1\n"), "t.csv.xz")
    lines = written(tmp_path, bz2.compress(b"[1]\n"), "t.jsonl.bz2")
    assert pairs(reader([table], Csv())) == [(2, {"a": "1"})]
    assert pairs(reader([lines], JsonLines())) == [(0, [1])]


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(0, 9), st.text("ab", max_size=20)), min_size=1, max_size=40),
    most=st.integers(1, 200),
)
def test_parquet_rows(tmp_path_factory, rows, most):
    """Each row comes once, in order, numbered, as a dict and in frames of about the bytes that were asked for."""
    path = tmp_path_factory.mktemp("parquet") / "in.parquet"
    table = pl.DataFrame(rows, schema={"n": pl.Int64, "s": pl.String}, orient="row")
    table.write_parquet(path, row_group_size=7)
    assert pairs(reader([path], Parquet())) == list(enumerate(table.to_dicts()))
    assert places(reader([path], Parquet()))[0] == (str(path), None)
    frames = [frame.frame for frame in reader([path], Parquet()).frames(most)]
    assert pl.concat(frames).equals(table)
    assert all(frame.height == 1 or frame_bytes(frame.head(1)) < 2 * most for frame in frames)


def test_parquet_columns(tmp_path):
    """Only the columns that were named are read, in that order; a missing one is named with those that there are."""
    path = tmp_path / "in.parquet"
    pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": [[1], []]}).write_parquet(path)
    assert pairs(reader([path], Parquet(columns=["c", "a"]))) == [(0, {"c": [1], "a": 1}), (1, {"c": [], "a": 2})]
    (frame,) = reader([path], Parquet(columns=["b"])).frames()
    assert frame.frame.to_dict(as_series=False) == {"b": ["x", None]}
    with pytest.raises(UnreadableRecord, match="no column 'd': its columns are 'a', 'b', 'c'"):
        list(reader([path], Parquet(columns=["a", "d"])))
    pl.DataFrame({"*": [1], "^a.*$": [2], "ab": [3]}).write_parquet(path)
    assert pairs(reader([path], Parquet(columns=["^a.*$", "*"]))) == [(0, {"^a.*$": 2, "*": 1})]
    for columns in ([], ["a", "a"]):
        with pytest.raises(JobDefinitionError, match="at least one column, and each once"):
            Parquet(columns=columns)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path, data):
    """The error names the file."""
    with pytest.raises(InputError, match=r"in\.txt cannot be read as Parquet"):
        list(reader([written(tmp_path, data)], Parquet()))


def part(path, records, block=1 << 20):
    writer = BlockFileWriter(path, block=block)
    for start in range(0, len(records), 3):
        keys, values = zip(*records[start : start + 3], strict=True)
        writer.write(0, make_batch(list(keys), list(values)))
    writer.close()
    return path


@settings(max_examples=30, deadline=None)
@given(
    records=st.lists(st.tuples(st.integers() | st.text("ab", max_size=2), st.text("xyz", max_size=9)), max_size=30),
    block=st.integers(1, 200),
    size=st.integers(20, 3000),
)
def test_typed_records_come_back_from_any_cut(tmp_path_factory, records, block, size):
    """A part of a former job may be cut anywhere: each record is read once, in order, with its types."""
    path = part(tmp_path_factory.mktemp("records") / "part-00000", records, block)
    readers = [reader_for(Records(), split, TaskOptions("", "")) for split in splits_of([path], Records(), size)]
    assert [pair for one in readers for pair in pairs(one)] == records
    assert sum(one.bytes_read for one in readers) == path.stat().st_size
    assert [pair for batch in reader([path], Records()).columns() for pair in records_of(batch)] == records
    frames = [frame.frame for frame in reader([path], Records()).frames(100)]
    assert [value for frame in frames for value in frame["value"]] == [value for _, value in records]


def test_no_typed_records(tmp_path):
    """A file that is no part of a result is refused by name, and so is one with pickles, which no result has."""
    with pytest.raises(InputError, match=r"in\.txt holds no typed records"):
        list(reader([written(tmp_path, "hello, this is text and no block file at all")], Records()))
    pickled = part(tmp_path / "part-00000", [("a", range(3))])
    for way in (iter, lambda one: one.columns(), lambda one: one.frames()):
        with pytest.raises(InputError, match="pickled"):
            list(way(reader([pickled], Records())))


@pytest.mark.parametrize("given", FORMATS, ids=repr)
def test_a_file_that_changes_is_noticed(tmp_path, given):
    """A file that is not the planned one ends the task, in every format."""
    path = tmp_path / "in"
    if given == Parquet():
        pl.DataFrame({"a": [1]}).write_parquet(path)
    elif given == Records():
        part(path, [("a", 1)])
    elif given == Msgpack():
        path.write_bytes(b"\x01")
    elif isinstance(given, FixedLength):
        path.write_bytes(b"\x00abc")
    else:
        path.write_text('{"a": 1}\n')
    (split,) = splits_of([path], given)
    only_a_header = isinstance(given, Csv) and given.header
    assert len(pairs(reader_for(given, split, TaskOptions("", "")))) == (0 if only_a_header else 1)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputChangedError, match="changed since"):
        list(reader_for(given, split, TaskOptions("", "")))
    path.unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        list(reader_for(given, split, TaskOptions("", "")))


@pytest.mark.parametrize("given", FORMATS, ids=repr)
def test_an_empty_split_has_no_records(given):
    """A job over an empty folder has one empty task, whatever the format."""
    ways = [iter, lambda one: one.columns(), lambda one: one.frames()]
    for way in ways[: 2 if given == Msgpack() else 3]:  # its objects make no frames
        assert list(way(reader_for(given, Split(()), TaskOptions("", "")))) == []


@pytest.mark.parametrize("given", [Csv(), JsonLines(), Parquet(), Files(text=True)], ids=repr)
def test_columns_hold_the_same_records(tmp_path, given):
    """What passes through without a mapper is what a mapper would get."""
    path = tmp_path / "in"
    if given == Parquet():
        pl.DataFrame({"a": [1, None], "b": ["x", "y"]}).write_parquet(path)
    else:
        path.write_text('{"a": 1}\n{"a": 2}\n')
    found = [pair for batch in reader([path], given).columns() for pair in records_of(batch)]
    assert found == pairs(reader([path], given))
