"""Records that are not what their input's format says are put aside, with their bytes; those around them are read."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from putting_aside import SETTINGS, run, run_quickly, written

from mapreduce import (
    Count,
    Csv,
    Files,
    FixedLength,
    Job,
    JobFailed,
    JsonLines,
    Step,
)
from mapreduce.dataflow.bad.folder import read_bad
from mapreduce.dataflow.manifest.folder import read_output


def test_lines_that_are_no_text_are_put_aside_with_their_bytes(tmp_path):
    """A line with a bad byte is bad as a whole; its neighbours, and their offsets, are as they were."""
    path = tmp_path / "in.txt"
    path.write_bytes("ä\n".encode() + b"caf\xe9 1\n2\n\xff\xfe\r\n" + b"last \xf0")
    result = run(Job(lambda key, line: [(key, line)]), path, tmp_path / "out", max_bad=3)
    assert dict(result) == {0: "ä", 10: "2"}
    told = [(bad["offset"], base64.b64decode(bad["content"]), bad["kind"]) for bad in result.bad]
    assert told == [(3, b"caf\xe9 1", "not utf-8"), (12, b"\xff\xfe\r", "not utf-8"), (16, b"last \xf0", "not utf-8")]
    assert "byte 6: not valid utf-8: invalid continuation byte (0xe9)" in next(iter(result.bad))["message"]


def test_bad_bytes_of_another_encoding(tmp_path):
    """UTF-16 and Shift-JIS lines are put aside by their own bytes."""
    for encoding in ("utf-16-le", "shift_jis"):
        path = tmp_path / encoding
        bad = b"\x00\xd8\x0a\x00" if encoding == "utf-16-le" else b"\x81\xff\n"
        path.write_bytes("日本\n".encode(encoding) + bad + "語\n".encode(encoding))
        result = run(Job(records=lambda line: [line]), path, tmp_path / f"out-{encoding}", max_bad=1, encoding=encoding)
        assert [value for _, value in result] == ["日本", "語"]
        (told,) = result.bad
        width = 2 if encoding == "utf-16-le" else 1
        assert base64.b64decode(told["content"]) == bad[:-width]


DOCUMENTS = st.lists(st.sampled_from(['{"a": 1}', "[1, 2", "", "nope", '"text"', "  ", "3", '{"a"']), max_size=12)


@settings(SETTINGS, max_examples=15)
@given(lines=DOCUMENTS)
def test_lines_that_are_no_json_are_put_aside(lines, tmp_path_factory):
    """What json.loads refuses is bad, with its line; what it takes is mapped."""
    folder = tmp_path_factory.mktemp("json")
    path = written(folder, lines)
    good, bad = [], []
    for line in lines:
        try:
            good += [json.loads(line)] if line.strip() else []
        except ValueError:
            bad.append(line)
    outcome = run_quickly(
        Job(records=lambda value: [json.dumps(value)], input=JsonLines()), path, folder / "out", max_bad=50
    )
    assert [json.loads(value) for _, value in read_output(folder / "out")] == good
    assert [told["content"] for told in read_bad(folder / "out")] == bad
    assert set(outcome.bad) <= {"no JSON"}


def test_csv_records_with_another_number_of_fields_are_put_aside(tmp_path):
    """A short and a long record are bad; a quote that is never closed fails the job all the same."""
    path = tmp_path / "in.csv"
    path.write_text('a,b\n1,2\n3\n4,5,6\n"7\n8",9\n')
    result = run(Job(records=lambda row: [row], input=Csv()), path, tmp_path / "out", max_bad=2)
    assert [value for _, value in result] == [{"a": "1", "b": "2"}, {"a": "7\n8", "b": "9"}]
    assert [(bad["offset"], bad["content"], bad["base64"]) for bad in result.bad] == [
        (8, "3", False),
        (10, "4,5,6", False),
    ]
    path.write_text('a,b\n1,2\n"3,4\n')
    with pytest.raises(JobFailed, match="not closed"):
        run(Job(records=lambda row: [row], input=Csv()), path, tmp_path / "none", max_bad=9)


def test_the_content_of_a_record_in_a_line_is_that_line_whoever_refuses_it(tmp_path):
    """A CSV record or JSON line is told as it stands in the file: by the reader, and where a mapper fails on it."""
    path = tmp_path / "in"
    for read, text, contents in (
        (Csv(), 'a,b\r\n"1 ""x""",2\r\n\r\n3\r\n"7\n8", 9\r\n', ['"1 ""x""",2', "3", '"7\n8", 9']),
        (Csv(header=False, quoted_newlines=False), "ä,1\n\n3\nö,4", ["ä,1", "3", "ö,4"]),
        (Csv(columns=["b"], separator=";"), "a;b\n1;2\n3\n4;5", ["1;2", "3", "4;5"]),
        (JsonLines(), '{"é":   1.50}\n\nnope\n[1]', ['{"é":   1.50}', "nope", "[1]"]),
    ):
        path.write_bytes(text.encode("utf-16"))
        for size in (None, 2):
            job = Job(records=lambda row: [int(row)], input=read, encoding="utf-16")
            if size is not None:
                job = Job(records=lambda rows: [int(rows[0])], input=read, encoding="utf-16", batch_size=size)
            result = run(job, path, tmp_path / "out", max_bad=3, overwrite=True)
            assert [(bad["content"], bad["base64"]) for bad in result.bad] == [(content, False) for content in contents]


def test_a_csv_record_with_bytes_that_are_no_text_is_told_as_bytes(tmp_path):
    """Only what is no text in the input's encoding is base64; a record of several lines is told whole."""
    path = tmp_path / "in.csv"
    path.write_bytes(b'a,b\n1,caf\xe9\n"2\n\xff",3\n4\n')
    result = run(Job(records=lambda row: [row], input=Csv()), path, tmp_path / "out", max_bad=3)
    told = [base64.b64decode(bad["content"]) if bad["base64"] else bad["content"] for bad in result.bad]
    assert told == [b"1,caf\xe9", b'"2\n\xff",3', "4"]


def test_bad_records_of_a_task_are_told_in_the_order_of_its_files(tmp_path):
    """What the reader refuses, ahead of the functions, stands between the records on which a mapper fails."""
    good, bad, short = "1,2\n", "x,2\n", "3\n"
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("a,b\n" + bad + short + good * 5000 + bad + short + good * 40_000 + short + bad)
    paths = [tmp_path / "b.csv", tmp_path / "a.csv"]
    for job in (
        Job(lambda row: [(int(row["a"]), 1)], reducer=Count(), input=Csv()),
        Job(lambda rows: [(int(row["a"]), 1) for row in rows], reducer=Count(), input=Csv(), batch_size=7000),
    ):
        result = run(job, paths, tmp_path / "out", max_bad=20, overwrite=True, split_size="2MB")
        places = [(Path(bad["path"]).name, bad["offset"]) for bad in result.bad]
        offsets = [4, 8, 20_010, 20_014, 180_016, 180_018]
        assert places == [(path.name, offset) for path in paths for offset in offsets]
        assert {bad["task"] for bad in result.bad} == {"map 0"}


def test_a_record_of_fixed_length_that_is_cut_short_is_put_aside(tmp_path):
    """The rest of a file that is no whole record is bad, with its bytes."""
    path = tmp_path / "in.bin"
    path.write_bytes(b"aabbc")
    result = run(Job(records=lambda data: [data.decode()], input=FixedLength(2)), path, tmp_path / "out", max_bad=1)
    assert [value for _, value in result] == ["aa", "bb"]
    assert [(bad["offset"], base64.b64decode(bad["content"])) for bad in result.bad] == [(4, b"c")]


def test_of_whole_files_the_bad_ones_are_put_aside(tmp_path):
    """As text, one that is damaged, binary or not in the encoding is a bad record; one that is missing is an error."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("fine")
    (folder / "b.txt").write_bytes(b"caf\xe9")
    (folder / "c.txt").write_bytes("no utf-8".encode("utf-16"))
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"text" * 1000)[:-30])
    job = Job(lambda path, text: [(Path(path).name, text)], input=Files(text=True))
    result = run(job, folder, tmp_path / "out", max_bad=3)
    assert dict(result) == {"a.txt": "fine"}
    told = [(Path(bad["path"]).name, bad["kind"], bad["content"]) for bad in result.bad]
    assert told == [("b.txt", "not utf-8", "caf\ufffd"), ("c.txt", "no text", None), ("d.txt.gz", "no text", None)]
    with pytest.raises(JobFailed, match="UTF-16"):
        run(job, folder / "c.txt", tmp_path / "none")


def test_a_file_that_ends_in_the_middle_fails_the_job(tmp_path):
    """Behind damage to a compressed file nothing can be read: that is no bad record."""
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(b"1\n2\n" * 1000)[:-30])
    with pytest.raises(JobFailed, match=r"in\.gz"):
        run(Job(records=lambda line: [line]), path, tmp_path / "out", max_bad=1000)


def test_without_a_mapper_the_readers_records_are_put_aside(tmp_path):
    """Records that go straight to a reducer are decoded with the same care."""
    path = tmp_path / "in.txt"
    path.write_bytes(b"1\n\xff\n2\n")
    job = Job(steps=[Step(reducer=Count()), Step(lambda key, value: [(value, key)])])
    result = run(job, path, tmp_path / "out", max_bad=1)
    assert len(list(result)) == 2
    assert result.status.bad == {"not utf-8": 1}
