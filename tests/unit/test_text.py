"""Lines of text, exactly once, in order, whatever the cuts."""

import bz2
import gzip
import itertools
import lzma
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapreduce.dataflow.inputs.find import InputFile, find_inputs, plan_splits
from mapreduce.dataflow.readers.decoding import BadBytes
from mapreduce.dataflow.readers.text import TextReader
from mapreduce.errors import InputChangedError, InputError
from mapreduce.plan import Limits, Piece, Split

shared_folder = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Newlines, carriage returns, and what str.splitlines takes for newlines, among letters of one to four bytes.
TEXT = st.text(alphabet="\n\n\r\f\v\x1c\x85\u2028\u2029 ab\tñ\u20ac\U0001f600\ufeff", max_size=120)


def reference(text: str) -> list[str]:
    """The rules in plain Python."""
    text = text.removeprefix("\ufeff")
    lines = text.split("\n")
    ended = lines[:-1]
    return [line.removesuffix("\r") for line in ended] + ([lines[-1]] if lines[-1] else [])


def read(splits: tuple[Split, ...], **options) -> list[str]:
    return [line for split in splits for block in TextReader(split, **options) for line in block.lines]


def splits_of(path: Path, size: int | None = None, encoding: str = "utf-8") -> tuple[Split, ...]:
    return plan_splits(find_inputs([str(path)]), size, encoding)


def test_any_text_any_cuts(tmp_path):
    """Each line comes once and in order, at its byte offset, for any text, split size and block size."""

    @shared_folder
    @given(text=TEXT, size=st.integers(1, 60), block=st.integers(1, 40))
    def check(text, size, block):
        path = tmp_path / "a.txt"
        data = text.encode()
        path.write_bytes(data)
        splits = splits_of(path, size)
        blocks = [b for split in splits for b in TextReader(split, limits=Limits(read=block))]
        assert [line for b in blocks for line in b.lines] == reference(text)
        starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == 10)]
        expected = [start for start in starts if start < len(data)]
        if reference(text) or text != "\ufeff":
            assert [offset for b in blocks for offset in b.offsets()] == expected
        assert all(b.offset(i) == b.offsets()[i] for b in blocks for i in range(len(b.lines)))

    check()


def test_any_boundaries(tmp_path):
    """Pieces cut at any bytes, in several files of one split, give every line once."""

    @shared_folder
    @given(text=TEXT, cuts=st.lists(st.integers(0, 300), max_size=5))
    def check(text, cuts):
        path = tmp_path / "a.txt"
        data = text.encode()
        path.write_bytes(data)
        facts = path.stat()
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = tuple(
            Piece(str(path), a, b - a, facts.st_size, facts.st_mtime_ns) for a, b in itertools.pairwise(edges)
        )
        assert read((Split(pieces),), limits=Limits(read=7)) == reference(text)

    check()


PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def test_any_encoding_and_packing(tmp_path):
    """Wide, stateful and one-byte encodings, plain or in compressed members, give the same lines and offsets."""
    letters = {
        "utf-16": "añ\u20ac\U0001f600\u0a0a\u0a00\u000a",
        "utf-16-le": "añ\u20ac\U0001f600\u0a0a\u0a00",
        "utf-16-be": "añ\u20ac\U0001f600\u0a0a\u0a00",
        "utf-32": "añ\u20ac\U0001f600\u0a0a\u0a00",
        "utf-32-be": "añ\u20ac\U0001f600\u0a0a\u0a00",
        "utf-8-sig": "añ\u20ac\U0001f600",
        "shift_jis": "aカ漢字ソ表",
        "iso2022_jp": "aカ漢字ソ表",
        "gb18030": "a漢字\u20ac\U0001f600",
        "euc_kr": "a한글",
        "latin-1": "añÿ\x85",
        "cp1252": "añ\u20ac",
        "cp037": "añ",
    }

    @shared_folder
    @given(
        encoding=st.sampled_from(sorted(letters)),
        packing=st.sampled_from(["txt", *PACK]),
        data=st.data(),
        size=st.integers(1, 60),
        block=st.integers(1, 40),
    )
    def check(encoding, packing, data, size, block):
        text = data.draw(st.text(alphabet=letters[encoding] + "\n\r", max_size=60))
        raw = text.encode(encoding)
        path = tmp_path / f"a.{packing}"
        if packing == "txt":
            path.write_bytes(raw)
        else:
            cut = data.draw(st.integers(0, len(raw)))
            path.write_bytes(PACK[packing](raw[:cut]) + PACK[packing](raw[cut:]))
        splits = splits_of(path, size, encoding)
        blocks = [b for split in splits for b in TextReader(split, encoding, limits=Limits(read=block))]
        assert [line for b in blocks for line in b.lines] == reference(text)
        assert len({offset for b in blocks for offset in b.offsets()}) == len(reference(text))
        for b in blocks:
            for line, offset in zip(b.lines, b.offsets(), strict=True):
                if not encoding.startswith(("iso2022", "utf-8-sig")) and offset > 0:
                    name = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)
                    assert raw[offset:].startswith(line.encode(name))

    check()


def test_line_of_100_mb(tmp_path):
    """A line of 100 MB between two short ones is read whole, in time linear in its length."""
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.write(b"a\n" + b"x" * 100_000_000 + b"\nb")
    lengths = [len(line) for line in read(splits_of(path))]
    assert lengths == [1, 100_000_000, 1]


def test_empty_file(tmp_path):
    """An empty file, and one of a byte-order mark alone, have no records."""
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"\xef\xbb\xbf")
    assert read(splits_of(tmp_path)) == []


def test_mark_only_at_the_start(tmp_path):
    """A byte-order mark at the start of a file is dropped, one inside is text."""
    (tmp_path / "a").write_bytes("\ufeffone\n\ufefftwo\n".encode())
    assert read(splits_of(tmp_path)) == ["one", "\ufefftwo"]


def test_bad_byte_strict(tmp_path):
    """A bad byte is an error that names file, offset and the ways out."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n" * 20 + b"ba\xffd\n" + b"good\n")
    for size in (3, 1000):
        with pytest.raises(BadBytes) as caught:
            read(splits_of(path, size))
        assert (caught.value.path, caught.value.offset) == (str(path), 102)
        for word in (str(path), "byte 102", "--encoding NAME", "replace", "skip", "0xff"):
            assert word in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "shift_jis", "utf-16-le", "gb18030"])
def test_bad_byte_skipped_or_replaced(tmp_path, encoding):
    """Lenient modes leave out the bad lines and count them, or replace the bytes; others keep their offsets."""
    newline = "\n".encode(encoding)
    good = "abc".encode(encoding)
    bad = b"\x00\xd8" if encoding == "utf-16-le" else b"\xff"
    raw = newline.join([good, good + bad, good, bad, good])
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    (split,) = splits_of(path, encoding=encoding)
    reader = TextReader(split, encoding, "skip", Limits(read=3))
    blocks = list(reader)
    assert [line for b in blocks for line in b.lines] == ["abc"] * 3
    ends = [i for i in range(0, len(raw), len(newline)) if raw[i : i + len(newline)] == newline]
    starts = [0, *(end + len(newline) for end in ends)]
    assert [o for b in blocks for o in b.offsets()] == [starts[0], starts[2], starts[4]]
    assert reader.skipped == 2
    assert reader.warnings == [f"{path}: lines left out for bytes that are not {encoding}: 2"]
    reader = TextReader(split, encoding, "replace", Limits(read=3))
    lines = [line for b in reader for line in b.lines]
    assert [len(lines), lines[0], lines[2], lines[4]] == [5, "abc", "abc", "abc"]
    assert lines[3] == "\ufffd"
    assert lines[1] == "abc\ufffd"
    assert len(reader.warnings) == 1
    assert reader.skipped == 0


def test_skipped_lines_are_told_of_each_piece(tmp_path):
    """Each piece of a file tells how many lines it left out, and where it lies."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\n" * 3 + b"a\n" * 7)
    told = []
    for split in splits_of(path, 10):
        reader = TextReader(split, "utf-8", "skip")
        assert all(line == "a" for block in reader for line in block.lines)
        told += reader.warnings
    assert told == [f"{path}, bytes 0 to 10: lines left out for bytes that are not utf-8: 3"]


def test_bad_character_takes_no_newline_along(tmp_path):
    """Where a decoder would take a newline for a part of a damaged character, lines and offsets stay as they are."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n\x9f\x38\nb\n\x81\x30\nc\n")
    (split,) = splits_of(path, encoding="gb18030")
    for read_bytes in (1, 4, 1000):
        blocks = list(TextReader(split, "gb18030", "skip", Limits(read=read_bytes)))
        assert [line for block in blocks for line in block.lines] == ["a", "b", "c"]
        assert [offset for block in blocks for offset in block.offsets()] == [0, 5, 10]
        blocks = list(TextReader(split, "gb18030", "replace", Limits(read=read_bytes)))
        assert [offset for block in blocks for offset in block.offsets()] == [0, 2, 5, 7, 10]


def test_bad_byte_stateful_offset(tmp_path):
    """In a stateful encoding the error names the bad byte's offset in the file too."""
    path = tmp_path / "a.txt"
    path.write_bytes("漢字\n".encode("shift_jis") * 10 + b"\xa0\xff\n")
    with pytest.raises(BadBytes) as caught:
        read(splits_of(path, encoding="shift_jis"), encoding="shift_jis", limits=Limits(read=4))
    assert caught.value.offset == 50


BINARY = {
    "Parquet": b"PAR1\x15\x04\x15\x10" + b"x" * 90 + b"PAR1",
    "Arrow": b"ARROW1\x00\x00" + b"\xff" * 20,
    "zip": b"PK\x03\x04\x14\x00",
    "PNG": b"\x89PNG\r\n\x1a\n\x00\x00",
    "SQLite": b"SQLite format 3\x00\x10\x00",
    "ELF": b"\x7fELF\x02\x01\x01\x00",
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "gzip": gzip.compress(b"text\n"),
    "bzip2": bz2.compress(b"text\n"),
    "xz": lzma.compress(b"text\n"),
    "zstd": zstandard.compress(b"text\n"),
    "UTF-16": "text\n".encode("utf-16"),
    "UTF-16 without": "some plain text\n".encode("utf-16-le"),
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "ORC": b"ORC\x08\x03" + b"\x00\xff" * 20 + b"ORC\x17",
    "unknown": b"\x01\x00\x00\x00\x02\x00\x00\x00" * 8,
}


@pytest.mark.parametrize("kind", sorted(BINARY))
def test_binary_files_are_named(tmp_path, kind):
    """A file that is no text is refused by its kind's name, in every split of it."""
    path = tmp_path / "data.bin"
    path.write_bytes(BINARY[kind])
    for split in splits_of(path, 40):
        with pytest.raises(InputError, match=kind):
            list(TextReader(split))


@pytest.mark.parametrize("text", ["PAR1 is a word\n", "BZh\n", "ORC slays man\n", "RIFF raff\n", "MZ\n", "a\x00b\n"])
def test_text_that_looks_binary(tmp_path, text):
    """A text that happens to begin like a binary format is read."""
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert read(splits_of(path)) == [text.removesuffix("\n")]


def test_binary_inside_gzip(tmp_path):
    """A compressed binary file is refused by name too."""
    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(BINARY["SQLite"] + bytes(1000)))
    with pytest.raises(InputError, match="SQLite"):
        read(splits_of(path))


def test_changed_before_reading(tmp_path):
    """A file of another size or modification time than planned is an error when it is opened."""
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    splits = splits_of(path)
    os.utime(path, ns=(0, 1))
    with pytest.raises(InputChangedError, match="written to"):
        read(splits)
    path.write_text("one\ntwo\n")
    with pytest.raises(InputChangedError, match="4 bytes and has 8"):
        read(splits)


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_changed_while_reading(tmp_path, change):
    """A file that is appended to, replaced or removed while it is read is an error at its end."""
    path = tmp_path / "a.txt"
    path.write_text("one\n" * 100)
    blocks = iter(TextReader(splits_of(path)[0], limits=Limits(read=16)))
    next(blocks)
    if change == "append":
        with path.open("a") as file:
            file.write("more\n")
    elif change == "replace":
        (tmp_path / "b").write_text("two\n" * 100)
        os.utime(tmp_path / "b", ns=(5, 5))
        (tmp_path / "b").rename(path)
    else:
        path.unlink()
    with pytest.raises(InputChangedError, match=r"a\.txt"):
        list(blocks)


def test_missing_file(tmp_path):
    """A planned file that cannot be opened is an InputError naming it."""
    with pytest.raises(InputError, match="gone"):
        read(plan_splits([InputFile(str(tmp_path / "gone"), 3, 3)]))


@pytest.mark.parametrize(
    "name", ["utf-7", "unicode_escape", "raw_unicode_escape", "hz", "punycode", "idna", "hex", "x-no"]
)
def test_refused_encodings(name, tmp_path):
    """An encoding that is unknown or cannot be read by lines is refused before anything is read."""
    with pytest.raises(InputError, match=name):
        TextReader(Split(()), name)


def test_refused_error_mode():
    """An unknown way to treat bad bytes is refused with the ways there are."""
    with pytest.raises(InputError, match="strict, replace, skip"):
        TextReader(Split(()), "utf-8", "ignore")


def test_bytes_read(tmp_path):
    """The bytes that the splits' readers report add up to the file's size."""
    path = tmp_path / "a.txt"
    path.write_text("some words\n" * 1000)
    readers = [TextReader(split) for split in splits_of(path, 700)]
    for reader in readers:
        list(reader)
    assert sum(reader.bytes_read for reader in readers) == path.stat().st_size
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    reader = TextReader(splits_of(packed)[0])
    list(reader)
    assert reader.bytes_read == packed.stat().st_size
