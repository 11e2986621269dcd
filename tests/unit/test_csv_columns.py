"""Tables as columns without Python objects: the same as those that were objects, with the same errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Csv
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers import csv_records
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError
from mapreduce.plan import Limits, TaskOptions

FIELDS = st.sampled_from(["a", "bc", "", " ", "é€", "x^", "x\x01", "12", "#"])
ODD = st.sampled_from([b'"', b"\r", b"\n", b"\0", b"\xff", b";", b'"a\nb"', b'""'])
WIDTH = st.integers(1, 3)


def frames_of(path, given_, slow, **options):
    """The frames of all splits with their places, or the error; then warnings and bytes read."""
    size = options.pop("size")
    task = TaskOptions("", "", limits=Limits(read=options.pop("read")), encoding_errors=options["errors"])
    found, error, told = [], None, []
    try:
        for split in plan_splits(find_inputs([str(path)], given_), size, input_format=given_):
            reader = reader_for(given_, split, task)
            if slow:
                frames = (one for piece in split.pieces for one in reader._slow_frames(piece, options["most"]))
            else:
                frames = reader.frames(options["most"])
            found.extend((one.frame.schema, one.frame.rows(), one.place) for one in frames)
            told.append((reader.warnings, reader.bytes_read))
    except (InputError, UnreadableRecord) as caught:
        return [], (type(caught), str(caught)), []
    return found, error, told


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(1, 3).flatmap(
        lambda width: st.lists(st.lists(FIELDS, min_size=width, max_size=width), max_size=12)
    ),
    odd=st.lists(st.tuples(st.integers(0, 200), ODD), max_size=2),
    mark=st.booleans(),
    ended=st.booleans(),
    form=st.builds(Csv, header=st.booleans(), separator=st.just(";"), quoted_newlines=st.booleans(), columns=st.none()),
    options=st.fixed_dictionaries(
        {
            "size": st.integers(1, 60),
            "read": st.integers(1, 40),
            "most": st.integers(1, 40),
            "errors": st.sampled_from(["strict", "replace", "skip"]),
        }
    ),
)
def test_they_are_the_fields_that_come_as_objects(tmp_path_factory, rows, odd, mark, ended, form, options):
    """Of any bytes, however cut and read: the same frames at the same places, warnings and errors."""
    data = b"\n".join(";".join(row).encode() for row in rows) + (b"\n" if ended else b"")
    for at, byte in odd:
        data = data[:at] + byte + data[at:]
    path = tmp_path_factory.mktemp("in") / "in.csv"
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + data)
    quick, slow = (frames_of(path, form, slow, **options) for slow in (False, True))
    assert quick[:2] == slow[:2]
    assert [warnings for warnings, _ in quick[2]] == [warnings for warnings, _ in slow[2]]


@pytest.mark.parametrize("form", [Csv(header=False), Csv(), Csv(columns=("c", "a")), Csv(quoted_newlines=False)])
def test_no_field_becomes_an_object(tmp_path, monkeypatch, form):
    """Plain tables are cut by Polars, whole frames at a time, in each split."""
    monkeypatch.setattr(csv_records.CsvReader, "_slow_frames", None)
    path = tmp_path / "in.csv"
    path.write_text("a,b,c\n1,é,\n,,x\n")
    found = []
    for split in plan_splits(find_inputs([str(path)], form), 9, input_format=form):
        found += [row for one in reader_for(form, split, TaskOptions("", "")).frames() for row in one.frame.rows()]
    wanted = [("1", "é", ""), ("", "", "x")]
    if form.columns:
        wanted = [(row[2], row[0]) for row in wanted]
    assert found == ([] if form.header else [("a", "b", "c")]) + wanted


def test_quotes_further_on_are_read_as_ever(tmp_path):
    """Frames before them stay as they are, and each comes once; a line's number in a message counts all lines."""
    path = tmp_path / "in.csv"
    path.write_text('a,b\n1,2\n3,4\n5,"6,\n7"\n8,9\n')
    (split,) = plan_splits(find_inputs([str(path)], Csv()), 1 << 40, input_format=Csv())
    reader = reader_for(Csv(), split, TaskOptions("", ""))
    assert [(one.frame.rows(), one.place[1]) for one in reader.frames(8)] == [
        ([("1", "2"), ("3", "4")], 4),
        ([("5", "6,\n7")], 12),
        ([("8", "9")], 21),
    ]
    assert reader.bytes_read == path.stat().st_size
    path.write_text("a,b\n1,2\n3,4\n5\n")
    (split,) = plan_splits(find_inputs([str(path)], Csv()), 1 << 40, input_format=Csv())
    with pytest.raises(UnreadableRecord, match=r"line 4 \(byte 12\): it has 1 fields"):
        list(reader_for(Csv(), split, TaskOptions("", "")).frames(8))


def test_the_first_fault_is_told(tmp_path):
    """Of two faults the one that comes first, though the quick way finds the other when it reads the first record."""
    path = tmp_path / "in.csv"
    path.write_bytes(b'"a;a\n\xffa;a')
    form = Csv(header=False, separator=";", quoted_newlines=False)
    quick, slow = (frames_of(path, form, slow, size=1, read=1, most=1, errors="strict") for slow in (False, True))
    assert quick == slow
    assert "a quote is still open" in quick[1][1]
