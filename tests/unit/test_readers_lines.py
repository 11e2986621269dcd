"""Lines and the JSON in them: what is a document is the same everywhere, and no line fills the memory."""

import bz2
import gzip
import json
import lzma

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Csv, Files, JsonLines, Text
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.readers import text
from mapreduce.dataflow.readers.lines import NESTED
from mapreduce.dataflow.readers.reader import reader_for
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import InputError, JobDefinitionError
from mapreduce.plan import Limits, MaxBad, TaskOptions


def readers(path, given, size=1 << 40, aside=None, **options):
    limits = Limits(read=options.pop("read", Limits().read))
    task = TaskOptions("", "", limits=limits, **options)
    splits = plan_splits(find_inputs([str(path)], given), size, task.encoding, input_format=given)
    return [reader_for(given, split, task, aside) for split in splits]


def values(path, given, size=1 << 40, aside=None, **options):
    return [value for one in readers(path, given, size, aside, **options) for block in one for value in block.values]


def written(folder, content, name="in.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have(tmp_path, number):
    """They are refused with the way to read them, and read if that is said."""
    path = written(tmp_path, f'1\n{{"n": [{number}]}}\n2\n')
    with pytest.raises(
        UnreadableRecord, match=rf"byte 2: .* JSON document: {number} is no number .*nan=True"
    ) as caught:
        values(path, JsonLines())
    assert (caught.value.offset, caught.value.kind) == (2, "no JSON")
    bad = []
    assert values(path, JsonLines(), aside=bad.append) == [1, 2]
    assert [one.content for one in bad] == [f'{{"n": [{number}]}}']
    assert repr(values(path, JsonLines(nan=True))[1]["n"]) == repr([float(number)])


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "1" * 400 + ".0"])
def test_numbers_too_large_for_a_float(tmp_path, number):
    """They are refused as infinite ones are, and read as these if that is said; the largest float is read."""
    path = written(tmp_path, f'1.7976931348623157e308\n{{"n": [{number}]}}\n')
    with pytest.raises(UnreadableRecord, match=r"byte 23: .* is too large for a float, .*nan=True.* jsonl:nan=yes"):
        values(path, JsonLines())
    bad = []
    assert values(path, JsonLines(), aside=bad.append) == [1.7976931348623157e308]
    assert [(one.offset, one.kind) for one in bad] == [(23, "no JSON")]
    assert abs(values(path, JsonLines(nan=True))[1]["n"][0]) == float("inf")


def nested(levels):
    return "[" * levels + "]" * levels


def deep_in_calls(levels, call):
    return call() if levels == 0 else deep_in_calls(levels - 1, call)


@pytest.mark.parametrize("calls", [0, 250])
def test_how_deep_a_document_may_be_depends_on_nothing_else(tmp_path, calls):
    """So many levels are read and one more is refused, however deep the caller is in calls of its own."""
    quoted = '["' + "[{" * NESTED + '\\""]'
    wide = "[" + ",".join(["[{}]"] * NESTED) + "]"
    path = written(
        tmp_path, "\n".join([nested(NESTED), quoted, wide, nested(NESTED + 1), '{"a":' * 600 + "1" + "}" * 600])
    )
    bad = []
    found = deep_in_calls(calls, lambda: values(path, JsonLines(), aside=bad.append))
    assert found == [json.loads(line) for line in (nested(NESTED), quoted, wide)]
    assert [one.content[:2] for one in bad] == ["[[", '{"']
    assert all("nested more than 512 levels deep" in str(one) for one in bad)


def test_a_string_without_its_end_is_looked_through_once(tmp_path):
    """Quotes behind backslashes, by the hundred thousand, take no time to speak of."""
    path = written(tmp_path, "[" * (NESTED + 1) + '"' + '\\"' * 300_000 + "\n")
    with pytest.raises(UnreadableRecord, match="nested more than 512 levels deep"):
        values(path, JsonLines())


def test_an_empty_line_has_white_space_of_json_alone(tmp_path):
    """Spaces, tabs and carriage returns are nothing; a form feed or a no-break space is no document."""
    path = written(tmp_path, "1\n \t \r\n\n\x0c\n2\n\u00a0\n")
    bad = []
    assert values(path, JsonLines(), aside=bad.append) == [1, 2]
    assert [(one.offset, one.content) for one in bad] == [(8, "\x0c"), (12, "\u00a0")]
    (frame,) = [frame.frame for one in readers(path, JsonLines()) for frame in one.frames()]
    assert frame["value"].to_list() == ["1", "\x0c", "2", "\u00a0"]


def test_a_number_of_too_many_digits(tmp_path):
    """Python's limit is told in plain words."""
    path = written(tmp_path, "1" * 5000)
    with pytest.raises(UnreadableRecord, match="a number in it has more than 4,300 digits; it begins with '111"):
        values(path, JsonLines())


def test_options_are_flags():
    """Anything but True and False is refused: a text would count as True."""
    for make in (lambda: JsonLines(nan="no"), lambda: Files(text="no")):
        with pytest.raises(JobDefinitionError, match="is True or False, not 'no'"):
            make()


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    size=st.integers(1, 60),
    read=st.integers(1, 20),  # never more than the largest line, as in earnest
    encoding=st.sampled_from(["utf-8", "utf-16-le"]),
)
def test_a_line_has_a_largest_size_wherever_a_file_is_cut(tmp_path_factory, lines, size, read, encoding):
    """The first one that is longer, with its end, is refused by its byte, and those of that size are read."""
    content = "".join("x" * count + "\n" for count in lines)
    path = written(tmp_path_factory.mktemp("lines"), content.encode(encoding))
    width = len("x".encode(encoding))
    starts = [width * sum(count + 1 for count in lines[:i]) for i in range(len(lines))]
    too_long = [start for start, count in zip(starts, lines, strict=True) if width * (count + 1) > 20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "LINE_BYTES", 20)
        if too_long:
            with pytest.raises(InputError, match=rf"in\.txt, byte {too_long[0]}: a line has more than 20 bytes"):
                values(path, Text(), size, read=read, encoding=encoding)
        else:
            assert values(path, Text(), size, read=read, encoding=encoding) == ["x" * count for count in lines]


@pytest.mark.parametrize("given", [Text(), JsonLines(), Csv()], ids=repr)
def test_a_small_file_that_unpacks_to_a_huge_line(tmp_path, monkeypatch, given):
    """It is refused soon, whatever its format."""
    monkeypatch.setattr(text, "LINE_BYTES", 1 << 20)
    path = written(tmp_path, zstandard.compress(b"a" * (1 << 26)), "in.zst")
    with pytest.raises(InputError, match="byte 0: a line has more than 1,048,576 bytes"):
        values(path, given)


def test_a_whole_text_has_a_largest_size_when_it_is_unpacked(tmp_path, monkeypatch):
    """Lines or none, it is refused, or put aside as the one bad record that it is."""
    monkeypatch.setattr("mapreduce.dataflow.readers.reader.FILE_BYTES", 1000)
    written(tmp_path, gzip.compress(b"a\n" * 501), "lines.gz")
    written(tmp_path, gzip.compress(b"a" * 100_000), "one.gz")
    written(tmp_path, gzip.compress(b"a\n" * 500), "right.gz")
    bad = []
    found = values(tmp_path, Files(text=True), aside=bad.append, max_bad=MaxBad(records=5))
    assert found == ["a\n" * 500]
    assert [one.path.rpartition("/")[2] for one in bad] == ["lines.gz", "one.gz"]
    assert "lines.gz has more than 1,000 bytes when it is unpacked" in str(bad[0])
    with pytest.raises(InputError, match=r"lines\.gz has more than 1,000 bytes"):
        values(tmp_path, Files(text=True))


PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": lambda data: lz4.frame.compress(data, content_checksum=True),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_file_is_one_bad_record_of_whole_files(tmp_path, suffix):
    """Whatever it is compressed with: the others are read."""
    content = bytearray(PACKERS[suffix](bytes(range(256)) * 40))
    content[len(content) // 2] ^= 255
    written(tmp_path, bytes(content), f"bad.{suffix}")
    written(tmp_path, "fine", "good.txt")
    bad = []
    assert values(tmp_path, Files(text=True), aside=bad.append, max_bad=MaxBad(records=5)) == ["fine"]
    assert [one.kind for one in bad] == ["no text"]
    assert "damaged" in str(bad[0])


def test_a_byte_order_mark_may_lie_in_several_members(tmp_path):
    """The first bytes of a compressed file are those of what it unpacks to, however few a member has."""
    content = "\ufeffé\nb\n".encode("utf-16-be")
    path = written(tmp_path, b"".join(gzip.compress(content[i : i + 1]) for i in range(len(content))), "in.gz")
    assert values(path, Text(), encoding="utf-16") == ["é", "b"]
