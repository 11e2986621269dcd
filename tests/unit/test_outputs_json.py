"""JSON lines: what is written, what comes back, and what JSON cannot say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from output_values import COLUMNS, INTS, JSON, TEXT, same, shared_folder, write

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_back, read_part_records
from mapreduce.errors import OutputError, ValueTypeError


def test_json_lines_by_example(tmp_path):
    """JSON lines, to the byte: key and value on each line, as any reader of JSON takes them."""
    rows = [
        ("plain", "a\tb\nc\rd\\e"),
        ('quote"s', 'say "x"'),
        ("", ""),
        ("\u2028ñ\ud800", None),
        ("json", {"a": [1, 2.5, "x\ty"], "b": None}),
        ((1, (2, "a")), b"\x00\xff"),
        (None, math.nan),
        (1.5, -math.inf),
        (True, True),
        (2, (1, "a", (b"x",))),
        (b"key", 2**70),
    ]
    write(tmp_path / "a", [key for key, _ in rows], [value for _, value in rows], "jsonl")
    assert (tmp_path / "a").read_bytes().decode().split("\n") == [
        '{"key":"plain","value":"a\\tb\\nc\\rd\\\\e"}',
        '{"key":"quote\\"s","value":"say \\"x\\""}',
        '{"key":"","value":""}',
        '{"key":"\u2028ñ\\ud800","value":null}',
        '{"key":"json","value":{"a":[1,2.5,"x\\ty"],"b":null}}',
        '{"key":[1,[2,"a"]],"value":"AP8="}',
        '{"key":null,"value":NaN}',
        '{"key":1.5,"value":-Infinity}',
        '{"key":true,"value":true}',
        '{"key":2,"value":[1,"a",["eA=="]]}',
        '{"key":"a2V5","value":1180591620717411303424}',
        "",
    ]


def test_json_lines_come_back(tmp_path):
    """A column of one type, or of what JSON tells apart, is read back exactly, from any lane."""

    @shared_folder
    @given(
        values=st.sampled_from(sorted(COLUMNS)).flatmap(lambda kind: st.lists(COLUMNS[kind], min_size=1, max_size=8))
        | st.lists(JSON, min_size=1),
        keys=st.lists(TEXT | INTS | st.none() | st.tuples(st.text(max_size=3), st.tuples(st.integers())), min_size=8),
    )
    def check(values, keys):
        keys = [keys[i % len(keys)] for i in range(len(values))]
        info = write(tmp_path / "a", keys, values, "jsonl")
        assert (tmp_path / "a").read_bytes().count(b"\n") == info.records == len(values)
        back = list(read_part_records(tmp_path / "a", "jsonl", info.key_types, info.value_types))
        assert same([key for key, _ in back], keys)
        assert same([value for _, value in back], values)

    check()


@pytest.mark.parametrize(
    ("output_format", "value"),
    [
        ("jsonl", "\ud83d\ude00"),
        ("jsonl", {"a": ["x\ud83d\ude00"]}),
        ("tsv", {"\ud83d\ude00": 1}),
        ("csv", ["\ud83d\ude00"]),
    ],
)
def test_surrogates_that_json_makes_one_character_are_refused(tmp_path, output_format, value):
    """They would come back as that character, and so as another text; the error says how to have it."""
    with pytest.raises(
        ValueTypeError, match=r"'\\ud83d\\ude00'.*JSON reads as one character.*repr\(value\), or text.encode"
    ):
        write(tmp_path / "a", ["k"], [value], output_format)
    write(tmp_path / "b", ["\ud83d\ude00"], ["\ude00\ud83d"], "tsv")  # as a str TSV has its own escapes
    assert list(read_part_records(tmp_path / "b", "tsv", ("str",), ("str",))) == [("\ud83d\ude00", "\ude00\ud83d")]


def test_json_lines_of_values_alone(tmp_path):
    """Where results are values alone a line is the value, whatever it is."""
    writer = PartWriter(tmp_path / "a", "jsonl", keys=False)
    writer.write_batch(make_batch([None, None], [{"a": "\u2028"}, "x"]))
    info = writer.close()
    assert (tmp_path / "a").read_text() == '{"a":"\u2028"}\n"x"\n'
    assert list(read_part_records(tmp_path / "a", "jsonl", (), info.value_types)) == [
        (None, {"a": "\u2028"}),
        (None, "x"),
    ]


@pytest.mark.parametrize("line", ['{"key":1}', "[1]", "7", '{"key":1,', ""])
def test_damaged_json_lines(tmp_path, line):
    """A line that is no record is an error naming file and line."""
    (tmp_path / "a").write_text(f'{{"key":1,"value":2}}\n{line}\n')
    with pytest.raises(OutputError, match=r"a, line 2"):
        list(read_part_records(tmp_path / "a", "jsonl", ("int",), ("int",)))


def test_what_reading_text_back_loses():
    """It is told at the end of a job, for each column and format."""
    assert "read back as text" in read_back("tsv", ("int", "str"), key=True)
    assert read_back("jsonl", ("int", "str", "tuple"), key=True) == ""
    assert "lists" in read_back("jsonl", ("int", "tuple"), key=False)
    assert "base64" in read_back("jsonl", ("bytes", "str"), key=True)
    assert "base64" in read_back("jsonl", ("json",), key=False)
    assert read_back("jsonl", ("tuple",), key=False) == ""
    assert "one table" in read_back("parquet", ("int", "str"), key=True)
    assert read_back("records", ("any", "int"), key=False) == ""
