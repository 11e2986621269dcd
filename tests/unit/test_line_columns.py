"""Lines as columns without Python objects: the same as those that were objects, with the same errors."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import JsonLines, Text
from mapreduce.dataflow.columns.batches import records_of
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers import line_columns, text
from mapreduce.dataflow.readers.decoding import BadBytes
from mapreduce.dataflow.readers.line_columns import columns_of, native_columns
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.text import TextReader
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError
from mapreduce.plan import Limits, TaskOptions

LINES = st.lists(
    st.sampled_from(
        [b"a", b"b c", b"\r", b"\n", b"\n", b"\r\n", "é€\U0001f600".encode(), b"\xff", b"x^", b"x\x01", b"y" * 30]
    )
    | st.binary(max_size=3),
    max_size=25,
)


def splits_of(folder, data, size=1 << 40, name="in.txt"):
    path = folder / name
    path.write_bytes(data)
    return plan_splits(find_inputs([str(path)]), size)


def told(found):
    """What comes of going through columns: the rows of each, or the error, with the warnings of the reader."""
    frames = []
    try:
        frames.extend(
            (columns.first, columns.offsets.to_list(), columns.lines.to_list(), columns.lines.dtype)
            for columns in found
        )
    except (InputError, UnreadableRecord) as error:
        return [], (type(error), str(error), getattr(error, "offset", None))
    return frames, None


@pytest.fixture
def by_objects(monkeypatch):
    """What counts the frames of lines that were objects."""
    made = []
    slow = line_columns._of_lists
    monkeypatch.setattr(line_columns, "_of_lists", lambda *lists: made.append(1) or slow(*lists))
    return made


@pytest.mark.parametrize("reads_lines", [True, False])
@pytest.mark.parametrize("errors", ["strict", "replace", "skip"])
@settings(max_examples=150, deadline=None)
@given(
    parts=LINES,
    mark=st.booleans(),
    size=st.integers(1, 60),
    read=st.integers(1, 40),
    most=st.integers(1, 40),
    longest=st.integers(40, 60),
    aside=st.booleans(),
)
def test_they_are_the_lines_that_come_as_objects(
    tmp_path_factory, reads_lines, errors, parts, mark, size, read, most, longest, aside
):
    """Of any bytes, however cut and read: the same frames, the same records put aside, warnings and errors."""
    data = (b"\xef\xbb\xbf" if mark else b"") + b"".join(parts)
    given_up = [[], []]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_columns, "_READS_LINES", reads_lines and hasattr(pl, "read_lines"))
        for split in splits_of(tmp_path_factory.mktemp("in"), data, size):
            (piece,) = split.pieces
            quick, slow = (
                TextReader(
                    split,
                    "utf-8",
                    errors,
                    Limits(read=read),
                    longest=longest,
                    aside=bad.append if aside else None,
                )
                for bad in given_up
            )
            by_lists = told(columns_of(slow.blocks_of(piece), most))
            assert told(quick.columns_of(piece, most)) == by_lists
            assert (quick.warnings, quick.skipped) == (slow.warnings, slow.skipped)
            if by_lists[1] is None:
                assert quick.bytes_read == slow.bytes_read
    seen = [[(bad.offset, bad.kind, bad.content, str(bad)) for bad in side] for side in given_up]
    assert seen[0] == seen[1]


def test_no_line_becomes_an_object(tmp_path, by_objects):
    """Lines of UTF-8 are cut by Polars, those with carriage returns too, whole frames at a time."""
    data = "ein\r\nzwölf\n\nx^2\n".encode()
    (split,) = splits_of(tmp_path, data)
    reader = reader_for(Text(), split, TaskOptions("", ""))
    assert [frame.frame.rows() for frame in reader.frames()] == [[(0, "ein"), (5, "zwölf"), (12, ""), (13, "x^2")]]
    assert [pair for batch in reader.columns() for pair in records_of(batch)] == [
        (0, "ein"),
        (5, "zwölf"),
        (12, ""),
        (13, "x^2"),
    ]
    assert not by_objects


def test_what_only_the_slow_way_can_read_is_read_so(tmp_path, by_objects):
    """Compressed files, and other encodings, give the same lines."""
    data = "ein\nzwölf\n".encode()
    (split,) = splits_of(tmp_path, gzip.compress(data), name="in.txt.gz")
    assert [frame.frame.rows() for frame in reader_for(Text(), split, TaskOptions("", "")).frames()] == [
        [(0, "ein"), (4, "zwölf")]
    ]
    (split,) = splits_of(tmp_path, "ein\nzwölf\n".encode("latin-1"), name="in.txt")
    reader = reader_for(Text(), split, TaskOptions("", "", encoding="latin-1"))
    assert [frame.frame.rows() for frame in reader.frames()] == [[(0, "ein"), (4, "zwölf")]]
    assert len(by_objects) == 2


def test_bad_bytes_are_told_as_ever(tmp_path):
    """The file and the byte are named, however far in it lies."""
    data = b"a line\n" * 100_000 + b"b\xffd\n"
    (split,) = splits_of(tmp_path, data)
    with pytest.raises(BadBytes, match=r"in\.txt, byte 700001: not valid utf-8: invalid start byte \(0xff\)"):
        list(reader_for(Text(), split, TaskOptions("", "")).frames())


def test_a_line_too_long_is_told_as_ever(tmp_path, monkeypatch):
    """It is refused with the byte where it begins, and never held whole."""
    monkeypatch.setattr(text, "LINE_BYTES", 50)
    (split,) = splits_of(tmp_path, b"short\n" + b"x" * 100_000)
    reader = TextReader(split, limits=Limits(read=64))
    with pytest.raises(InputError, match="byte 6: a line has more than 50 bytes"):
        list(reader.columns_of(split.pieces[0], 20))
    assert reader.bytes_read < 1000


def test_json_lines_of_white_space_hold_no_documents(tmp_path, by_objects):
    """Frames of JSON lines leave them out, and begin at the first that is none."""
    (split,) = splits_of(tmp_path, b' \t\r\n{"a": 1}\r\n\n[2]\n \n')
    frames = list(reader_for(JsonLines(), split, TaskOptions("", "")).frames())
    assert [(frame.frame.rows(), frame.place[1]) for frame in frames] == [([(4, '{"a": 1}'), (15, "[2]")], 4)]
    assert not by_objects


def test_bytes_that_lose_a_line_are_not_trusted(monkeypatch):
    """Where Polars gives other lines than the bytes have, the slow way reads them."""
    monkeypatch.setattr(line_columns, "lines_in", lambda _text: pl.Series(["a"]))
    assert native_columns(b"a\nb\n", 0, 100) is None
