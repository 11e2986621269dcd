"""Tables of lines: cut anywhere they give what Python's csv module reads of the whole file."""

import csv
import gzip
import io
import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Csv
from mapreduce.dataflow.columns.batches import records_of
from mapreduce.dataflow.inputs.find import find_inputs, is_whole, notes, plan_splits
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.plan import Limits, TaskOptions

LINES = Csv(quoted_newlines=False)
FIELDS = st.text(alphabet="ab ,;\"é\t'", max_size=6)
STYLES = st.fixed_dictionaries(
    {
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "delimiter": st.sampled_from([",", ";", "\t"]),
    }
)


def readers_of(path, given, size, aside=None, **options):
    limits = Limits(read=options.pop("read", Limits().read))
    task = TaskOptions("", "", limits=limits, **options)
    files = find_inputs([str(path)], given)
    splits = plan_splits(files, size, task.encoding, input_format=given)
    return [reader_for(given, split, task, aside) for split in splits]


def pairs_of(readers):
    return [pair for one in readers for block in one for pair in zip(block.firsts(), block.values, strict=True)]


def written(folder, text, style, encoding="utf-8", blank=""):
    """A file of rows in a style, with empty lines before it."""
    file = io.StringIO(newline="")
    csv.writer(file, **style).writerows(text)
    path = folder / "in.csv"
    path.write_bytes((blank + file.getvalue()).encode(encoding))
    return path


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 3),
    data=st.data(),
    style=STYLES,
    header=st.booleans(),
    blank=st.sampled_from(["", "\n", "\r\n\r\n"]),
    size=st.integers(1, 60),
    read=st.integers(1, 50),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
)
def test_any_cut_gives_the_rows_of_the_csv_module(
    tmp_path_factory, width, data, style, header, blank, size, read, encoding
):
    """Records, their bytes and frames are those of the whole file, wherever it is cut and whatever stands before it."""
    rows = data.draw(st.lists(st.lists(FIELDS, min_size=width, max_size=width), max_size=8))
    names = [f"n{i}" for i in range(width)]
    path = written(tmp_path_factory.mktemp("csv"), [names, *rows] if header else rows, style, encoding, blank)
    given = Csv(header=header, separator=style["delimiter"], quoted_newlines=False)
    options = {"read": read, "encoding": encoding}
    found = pairs_of(readers_of(path, given, size, **options))
    wanted = [dict(zip(names, row, strict=True)) for row in rows] if header else rows
    assert [value for _, value in found] == wanted
    raw = path.read_bytes()
    for (offset, _), row in zip(found, rows, strict=True):
        assert offset == 0 or raw[offset - 1 : offset] in {b"\n", b"\xbf"}
        line = io.StringIO(raw[offset:].decode(encoding), newline="")
        assert next(csv.reader(line, delimiter=style["delimiter"])) == row
    assert found == pairs_of(readers_of(path, given, 1 << 30, **options))
    whole = Csv(header=header, separator=style["delimiter"])
    assert found == pairs_of(readers_of(path, whole, 1, **options))
    frames = [frame.frame for one in readers_of(path, given, size, **options) for frame in one.frames(20)]
    assert [list(row) for frame in frames for row in frame.rows()] == rows
    columns = [
        pair for one in readers_of(path, given, size, **options) for b in one.columns() for pair in records_of(b)
    ]
    assert columns == found


@settings(max_examples=30, deadline=None)
@given(columns=st.lists(st.sampled_from("abc"), min_size=1, unique=True), size=st.integers(1, 40))
def test_columns_that_are_named_are_those_that_come(tmp_path_factory, columns, size):
    """Of a file with more, in the order in which they were named, as dicts and as frames."""
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    table = pl.DataFrame({name: [f"{name}{i}" for i in range(5)] for name in "abc"})
    table.write_csv(path)
    given = Csv(columns=columns, quoted_newlines=False)
    assert [value for _, value in pairs_of(readers_of(path, given, size))] == table.select(columns).to_dicts()
    frames = [frame.frame for one in readers_of(path, given, size) for frame in one.frames()]
    assert pl.concat(frames).equals(table.select(columns))
    with pytest.raises(UnreadableRecord, match=r"line 1 \(byte 0\): there is no column 'd': the columns are 'a', 'b'"):
        pairs_of(readers_of(path, Csv(columns=("a", "d")), size))


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ('a,b\n1,"x\ny"\n2,z\n', 4, "a quote is still open at the end of the line; .* leave quoted_newlines=False out"),
        ('a,b\n1,2\n3,"x', 8, "a quote is still open"),
        ('a,b\n1,"x\n2,"y"\n', 4, "a quote is still open"),
        ('a,"b\nc"\n1,2\n', 0, "a quote is still open"),
        ("a,b\n1,2\n3\n", 8, "it has 1 fields, and the file's first record has 2"),
        ('a,b\n1,2\n3,"x"y\n', 8, "expected after"),
        ("\na,a\n1,2\n", 1, "two columns are called 'a'"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 100])
def test_what_is_no_record_is_named_wherever_the_file_is_cut(tmp_path, text, offset, message, size):
    """File and byte are the same for every cut."""
    path = tmp_path / "in.csv"
    path.write_text(text)
    with pytest.raises(UnreadableRecord, match=message) as caught:
        pairs_of(readers_of(path, LINES, size))
    assert (caught.value.path, caught.value.offset) == (str(path), offset)
    assert f"byte {offset}" in str(caught.value)


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("given", [Csv(), LINES], ids=["quoted newlines", "lines"])
def test_bad_records_can_be_put_aside(tmp_path, given, size):
    """Each comes with its place, kind and text, or bytes that are none; those behind it are read as without it."""
    lines = [b"a,b\n", b"1,2\n", b"3\n", b"4,\xff\n", b"5,6\n", b"7,8,9\r\n", b"\xe9,\n", b"10,11"]
    bad_lines = [2, 3, 5, 6]
    if given == LINES:  # a quote that does not fit ends a file, unless each line stands for itself
        lines[4:4] = [b'x,"y\n', b'"z"z,\n']
        bad_lines = [2, 3, 4, 5, 7, 8]
    path = tmp_path / "in.csv"
    path.write_bytes(b"".join(lines))
    bad = []
    found = pairs_of(readers_of(path, given, size, bad.append))
    good = [i for i in range(1, len(lines)) if i not in bad_lines]
    starts = [len(b"".join(lines[:i])) for i in range(len(lines))]
    assert [offset for offset, _ in found] == [starts[i] for i in good]
    assert [value["a"] for _, value in found] == ["1", "5", "10"]
    texts = [(starts[i], lines[i].rstrip()) for i in bad_lines]
    told = [(offset, text.decode() if text.isascii() else text) for offset, text in texts]
    assert [(one.offset, one.content) for one in bad] == told
    kinds = ["wrong number of fields", "not utf-8", *(["no CSV"] * 2 if given == LINES else [])]
    assert [one.kind for one in bad] == [*kinds, "wrong number of fields", "not utf-8"]


def test_damage_that_ends_a_file_is_raised_all_the_same(tmp_path):
    """A quote that does not fit where fields may hold newlines, said with the way out, and a first record of none."""
    path = tmp_path / "in.csv"
    way_out = r"cannot be put aside .*quoted_newlines=False.*csv:quoted_newlines=no"
    for data, table, message in (
        (b'a\n"x\ny\n', Csv(), f"not closed before the end .*{way_out}"),
        (b'a\n"he said "hi" there"\n1\n', Csv(), f"expected after.*{way_out}"),
        (b"a\xff\n1\n", Csv(), "first record"),
        (b'"a\n1\n', LINES, "a quote is still open"),
    ):
        path.write_bytes(data)
        bad = []
        with pytest.raises(UnreadableRecord, match=message):
            pairs_of(readers_of(path, table, 100, bad.append))
        assert bad == []


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.sampled_from([b"1,2", b"3,\xff", b"\xff,\xff", b"4,5", b""]), max_size=9), size=st.integers(1, 30)
)
def test_records_with_bad_bytes_are_left_out_of_every_cut(tmp_path_factory, rows, size):
    """With encoding errors skipped the others stay, and the warnings count those that are gone."""
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(b"".join(b"%b\n" % row for row in [b"a,b", *rows]))
    readers = readers_of(path, LINES, size, encoding_errors="skip")
    found = [value for _, value in pairs_of(readers)]
    assert found == [
        dict(zip("ab", row.decode().split(","), strict=True)) for row in rows if row and b"\xff" not in row
    ]
    gone = sum(int(warning.rpartition(" ")[2]) for one in readers for warning in one.warnings)
    assert gone == sum(b"\xff" in row for row in rows)


def test_which_tables_are_cut(tmp_path):
    """Those of lines, unless they are compressed or in an encoding that cannot be cut; a note says what would help."""
    assert is_whole("a.csv", "utf-8", Csv())
    assert not is_whole("a.csv", "utf-8", LINES)
    assert is_whole("a.csv.lz4", "utf-8", LINES)
    assert is_whole("a.csv", "utf-16", LINES)
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n2\n"))
    assert [value for _, value in pairs_of(readers_of(path, LINES, 3))] == [{"a": "1"}, {"a": "2"}]
    splits = plan_splits(find_inputs([str(path)], LINES), 3, input_format=LINES)
    assert "compressed and each is read by one task" in notes(splits, 4, 3, [LINES])[0]
    plain = tmp_path / "in.csv"
    plain.write_text("a\n1\n2\n")
    splits = plan_splits(find_inputs([str(plain)], Csv()), 3, input_format=Csv())
    assert "unless quoted_newlines=False says that no field holds a newline" in notes(splits, 4, 3, [Csv()])[0]


@pytest.mark.parametrize("given", [Csv(), LINES], ids=["quoted newlines", "lines"])
def test_a_table_may_have_very_many_columns(tmp_path, given):
    """What is asked of the names takes no longer than reading them: each is compared with none but its like."""
    names = [f"n{i}" for i in range(60_000)]
    path = tmp_path / "in.csv"
    path.write_text("\n".join([",".join(names), ",".join(map(str, range(60_000)))]) + "\n")
    began = time.process_time()
    (row,) = [value for _, value in pairs_of(readers_of(path, given, 1 << 30))]
    assert row == {name: str(i) for i, name in enumerate(names)}
    path.write_text(",".join([*names, "n59999"]) + "\n")
    with pytest.raises(UnreadableRecord, match="two columns are called 'n59999'"):
        pairs_of(readers_of(path, given, 1 << 30))
    assert time.process_time() - began < 5  # comparing each with each takes half a minute


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2), min_size=1, max_size=8),
    read=st.integers(1, 40),
    most=st.integers(1, 40),
)
def test_a_frame_has_the_records_that_begin_in_so_many_bytes(tmp_path_factory, rows, read, most):
    """However much is read at a time, and however long records are."""
    path = written(tmp_path_factory.mktemp("csv"), rows, {"lineterminator": "\n", "quoting": csv.QUOTE_MINIMAL})
    table = Csv(header=False)
    starts = [offset for offset, _ in pairs_of(readers_of(path, table, 1))]
    wanted: list[list[int]] = []
    for start in starts:
        if not wanted or start >= wanted[-1][0] + most:
            wanted.append([])
        wanted[-1].append(start)
    (one,) = readers_of(path, table, 1 << 30, read=read)
    assert [(frame.place, frame.frame.height) for frame in one.frames(most)] == [
        ((str(path), firsts[0]), len(firsts)) for firsts in wanted
    ]


def test_records_of_many_lines_come_a_few_at_a_time(tmp_path):
    """Though no block that is read ends with a record, they do not gather in memory."""
    path = tmp_path / "in.csv"
    path.write_text('"%s"\n' % ("x\n" * 500) * 100)
    (one,) = readers_of(path, Csv(header=False), 1 << 30, read=64)
    counts = [len(block.values) for block in one]
    assert sum(counts) == 100
    assert max(counts) <= 2
