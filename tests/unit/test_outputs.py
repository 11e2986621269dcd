"""Output parts: TSV that people can read and our reader brings back, and typed records."""

import datetime as dt
import decimal
import errno
import functools
import json
import math
import os

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from output_values import COLUMNS, FLOATS, INTS, SCALARS, TEXT, same, shared_folder, write

from mapreduce.dataflow.columns.batches import Lane, make_batch, regroup
from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.outputs import tsv
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_part_records
from mapreduce.errors import DiskFullError, OutputError, ValueTypeError
from mapreduce.output_formats import OUTPUT_FORMATS

FORMATS = (*OUTPUT_FORMATS, "records", "csv.zst", "msgpack.lz4")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_very_long_ints(tmp_path):
    """Ints beyond Python's limit of digits come through, alone and in JSON, and so do messages that show them."""
    for value in (10**5000, [10**5000]):
        info = write(tmp_path / "a", ["k"], [value])
        back = list(read_part_records(tmp_path / "a", "tsv", info.key_types, info.value_types))
        assert back == [("k", value)]
    with pytest.raises(ValueTypeError, match="1000"):
        write(tmp_path / "a", ["k"], [{10**5000}])


def test_one_type_comes_back(tmp_path):
    """A column of one type is read back as that type, exactly, from any lane."""

    @shared_folder
    @given(kind=st.sampled_from(sorted(COLUMNS)), data=st.data())
    def check(kind, data):
        values = data.draw(st.lists(COLUMNS[kind], min_size=1, max_size=8))
        keys = [f"k{i}" for i in range(len(values))]
        info = write(tmp_path / "a", keys, values)
        assert (info.key_types, info.value_types, info.records) == (("str",), (kind,), len(values))
        back = list(read_part_records(tmp_path / "a", "tsv", info.key_types, info.value_types))
        assert [key for key, _ in back] == keys
        assert same([value for _, value in back], values)

    check()


def test_keys_come_back(tmp_path):
    """Keys of one type are read back exactly, tuples too."""

    @shared_folder
    @given(
        keys=st.lists(TEXT, min_size=1)
        | st.lists(INTS, min_size=1)
        | st.lists(st.tuples(st.text(max_size=3), st.integers(), st.tuples(st.booleans(), st.none())), min_size=1)
    )
    def check(keys):
        info = write(tmp_path / "a", keys, [1] * len(keys))
        back = read_part_records(tmp_path / "a", "tsv", info.key_types, info.value_types)
        assert same([key for key, _ in back], keys)

    check()


def test_a_line_is_a_record(tmp_path):
    """Whatever the strings hold, the file is UTF-8 with one line a record and two fields a line."""

    @shared_folder
    @given(pairs=st.lists(st.tuples(TEXT, TEXT | SCALARS), min_size=1))
    def check(pairs):
        write(tmp_path / "a", [key for key, _ in pairs], [value for _, value in pairs])
        text = (tmp_path / "a").read_bytes().decode()
        assert text.count("\n") == len(pairs)
        assert "\r" not in text
        assert all(line.count("\t") == 1 for line in text.split("\n")[:-1])

    check()


def test_float_text_is_json():
    """Every float is written as Python's JSON writes it."""

    @settings(deadline=None)
    @given(values=st.lists(FLOATS, min_size=1))
    def check(values):
        text, _ = tsv.column_text(pl.Series(values, dtype=pl.Float64), Lane.FLOAT, key=False)
        assert text.to_list() == [json.dumps(value) for value in values]

    check()


def test_the_format_by_example(tmp_path):
    """TSV, to the byte."""
    rows = [
        ("plain", "a\tb\nc\rd\\e"),
        ('quote"s', 'say "x"'),
        ("", ""),
        ("\u2028ñ\ud800", None),
        ("json", {"a": [1, 2.5, "x\ty"], "b": None}),
        ("bytes", b"\x00\xff"),
        ("nan", math.nan),
        ("inf", -math.inf),
        ("true", True),
        ("tuple", (1, "a", (b"x",))),
        ("big", 2**70),
    ]
    write(tmp_path / "a", [key for key, _ in rows], [value for _, value in rows])
    assert (tmp_path / "a").read_bytes().decode().split("\n") == [
        "plain\ta\\tb\\nc\\rd\\\\e",
        'quote"s\tsay "x"',
        "\t",
        "\u2028ñ\\ud800\tnull",
        'json\t{"a":[1,2.5,"x\\ty"],"b":null}',
        "bytes\tAP8=",
        "nan\tNaN",
        "inf\t-Infinity",
        "true\ttrue",
        'tuple\t[1,"a",["eA=="]]',
        "big\t1180591620717411303424",
        "",
    ]


def test_mixed_columns_are_text(tmp_path):
    """A column of several types is read back as text, unescaped."""
    info = write(tmp_path / "a", ["a", "b", "c"], [1, "x\ty", None])
    assert info.value_types == ("int", "none", "str")
    back = read_part_records(tmp_path / "a", "tsv", info.key_types, info.value_types)
    assert [value for _, value in back] == ["1", "x\ty", "null"]


def test_inexact_json_has_its_own_type(tmp_path):
    """Containers that JSON changes are told apart from those that come back as they were."""
    assert write(tmp_path / "a", ["a"], [[b"x"]]).value_types == ("json",)
    assert write(tmp_path / "a", ["a"], [[(1,)]]).value_types == ("json",)
    assert write(tmp_path / "a", ["a"], [([1],)]).value_types == ("tuple",)
    assert write(tmp_path / "a", [(1, (2,))], [1]).key_types == ("tuple",)
    assert write(tmp_path / "a", [(1, (b"x",))], [1]).key_types == ("json",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1, 2}, ["set", "sorted"]),
        ({"a": {3: 4}}, ["int", "dict's key", "{'a': {3: 4}}"]),
        ([1, 2j], ["complex", "2j"]),
        (dt.date(2020, 1, 2), ["datetime.date", "isoformat"]),
        (decimal.Decimal("1.5"), ["decimal.Decimal", "str(value)"]),
        (np.arange(3), ["numpy.ndarray", "tolist"]),
    ],
)
def test_what_json_cannot_say(tmp_path, value, words):
    """A value that TSV cannot hold is an error naming the value, its type, the format and what to emit."""
    for output_format, name in (("tsv", "TSV"), ("jsonl", "JSON lines")):
        with pytest.raises(ValueTypeError) as caught:
            write(tmp_path / "a", ["k"], [value], output_format)
        for word in [name, "mit", *words]:
            assert word in str(caught.value)


def test_grouped_batches(tmp_path):
    """A grouped batch is written as its single records."""
    batch = regroup(make_batch(["a", "b", "a"], [1, 2, 3]))
    writer = PartWriter(tmp_path / "a")
    writer.write_batch(batch)
    assert writer.close().records == 3
    assert (tmp_path / "a").read_text() == "a\t1\na\t3\nb\t2\n"


def test_values_alone(tmp_path):
    """Without keys a line is a value, and is read back with None for the key."""
    writer = PartWriter(tmp_path / "a", keys=False)
    writer.write_batch(make_batch([None, None], ["x\ty", "z"]))
    writer.write_batch(make_batch([1], ["w"]))
    info = writer.close()
    assert (tmp_path / "a").read_text() == "x\\ty\nz\nw\n"
    assert info.key_types == ()
    back = list(read_part_records(tmp_path / "a", "tsv", (), info.value_types))
    assert back == [(None, "x\ty"), (None, "z"), (None, "w")]


def test_records_format_keeps_types(tmp_path):
    """The records format gives back every value as it was, mixed ones and sets too."""
    keys = [1, 1.0, True, "1", (1, "a"), None, b"1", 2**80]
    values = [{1, 2}, {3: (4,)}, math.nan, "a\tb", (1, [2]), None, b"x", 2**90]
    info = write(tmp_path / "a", keys, values, "records")
    back = list(read_part_records(tmp_path / "a", "records", info.key_types, info.value_types))
    assert [type(key) for key, _ in back] == [type(key) for key in keys]
    assert [key for key, _ in back] == keys
    assert repr([value for _, value in back]) == repr(values)
    assert info.size == (tmp_path / "a").stat().st_size
    assert info.checksum == file_checksum(tmp_path / "a")


class Custom:
    """Only a pickle can hold it."""


@pytest.mark.parametrize("output_format", FORMATS)
def test_pickles_are_refused(tmp_path, output_format):
    """A value that only a pickle can hold is refused by its type, with what to do."""
    writer = PartWriter(tmp_path / "a", output_format)
    with pytest.raises(ValueTypeError, match=r"Custom.*emit a tuple|Custom.*Emit a str"):
        writer.write_batch(make_batch(["k"], [Custom()]))
    with pytest.raises(ValueTypeError, match=r"list \(\[\[.*no plain type, or lies more than 40 levels deep"):
        writer.write_batch(make_batch(["k"], [functools.reduce(lambda inner, _: [inner], range(50), 1)]))
    writer.abort()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("output_format", FORMATS)
def test_facts(tmp_path, output_format):
    """Size and checksum are those of the file; an empty part is a file too; the folder is left with the part alone."""
    info = write(tmp_path / "a", ["x"] * 1000, list(map(str, range(1000))), output_format)
    assert (info.size, info.checksum) == ((tmp_path / "a").stat().st_size, file_checksum(tmp_path / "a"))
    empty = PartWriter(tmp_path / "b", output_format).close()
    assert (empty.records, empty.key_types, empty.checksum) == (0, (), file_checksum(tmp_path / "b"))
    assert list(read_part_records(tmp_path / "b", output_format, ("str",), ("str",))) == []
    assert names_in(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("output_format", FORMATS)
def test_full_disk(tmp_path, output_format):
    """A full disk is a DiskFullError that names the folder, and nothing is left in it."""
    (tmp_path / "part").symlink_to("/dev/full")  # refuses every write with ENOSPC
    writer = PartWriter(tmp_path / "part", output_format)
    with pytest.raises(DiskFullError, match=str(tmp_path)):  # noqa: PT012 - the buffer decides which call meets the disk
        for _ in range(40):
            writer.write_batch(make_batch(["key" * 100] * 1000, ["value" * 100] * 1000))
        writer.close()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(("code", "error"), [(errno.EDQUOT, DiskFullError), (errno.EACCES, OutputError)])
def test_failed_sync(tmp_path, monkeypatch, code, error):
    """A sync that fails is an error, and no file is left."""

    def fail(_fd):
        raise OSError(code, os.strerror(code))

    writer = PartWriter(tmp_path / "a")
    writer.write_batch(make_batch(["a"], [1]))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=str(tmp_path)):
        writer.close()
    assert names_in(tmp_path) == []


def test_missing_folder(tmp_path):
    """A part in a folder that is not there is an OutputError."""
    with pytest.raises(OutputError, match="nowhere"):
        PartWriter(tmp_path / "nowhere" / "a")


def test_unknown_format(tmp_path):
    """An unknown format is refused with those that exist."""
    with pytest.raises(OutputError, match="tsv, jsonl, csv, parquet, arrow, msgpack, text, records"):
        PartWriter(tmp_path / "a", "xml")


def test_damaged_part(tmp_path):
    """A line that is not what the manifest says is an error naming file and line."""
    (tmp_path / "a").write_text("a\t1\nb\tx\n")
    with pytest.raises(OutputError, match=r"a, line 2"):
        list(read_part_records(tmp_path / "a", "tsv", ("str",), ("int",)))
