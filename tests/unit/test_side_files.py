"""Files that travel with a job: their names, their one blob, and what they are on a worker."""

import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce.errors import RecordError, UsageError
from mapreduce.travel import side_files
from mapreduce.travel.side_files import (
    HEAD,
    TravelledFiles,
    check_name,
    extract_files,
    pack_files,
    read_arguments,
    read_files,
    travelled_files,
)

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in {".", ".."}
)


@given(contents=st.dictionaries(NAMES, st.binary(max_size=100), min_size=1, max_size=5))
@settings(max_examples=50)
def test_files_arrive_as_they_were(contents):
    """Whatever their names and bytes; only the owner can read them; the order in which they are given is no matter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {}
        for number, (given_name, data) in enumerate(contents.items()):
            path = folder / f"source-{number}"
            path.write_bytes(data)
            paths[given_name] = str(path)
        blob = pack_files(paths)
        assert pack_files(dict(reversed(paths.items()))) == blob
        (folder / "blob").write_bytes(blob)
        extract_files(folder / "blob", folder / "files")
        found = travelled_files(folder / "files")
        assert {key: path.read_bytes() for key, path in found.items()} == contents
        assert list(found) == sorted(contents)
        assert {stat.S_IMODE(path.stat().st_mode) for path in found.values()} == {0o600}


def test_no_files_are_no_blob():
    """A job without files has none."""
    assert pack_files(read_files(None)) == pack_files(read_files([])) == b""


def test_names_come_from_paths_or_are_given():
    """A list gives each file its own name, a dict another; two files cannot have one name."""
    assert read_files(["a/b.txt", Path("c.bin")]) == {"b.txt": "a/b.txt", "c.bin": "c.bin"}
    assert read_files({"stop": "a/b.txt"}) == {"stop": "a/b.txt"}
    with pytest.raises(UsageError, match=r"two files are called 'b\.txt', a/b\.txt and c/b\.txt"):
        read_files(["a/b.txt", "c/b.txt"])
    with pytest.raises(UsageError, match=r"write \['a\.txt'\]"):
        read_files("a.txt")


def test_arguments_are_paths_or_name_and_path():
    """What is before the first = is a name, unless it cannot be one: a path may hold one behind a slash."""
    assert read_arguments(["x/stop.txt", "model=m.onnx", "./a=b.txt"]) == {
        "stop.txt": "x/stop.txt",
        "model": "m.onnx",
        "a=b.txt": "./a=b.txt",
    }
    with pytest.raises(UsageError, match=r"'stop\.txt' is given already; write --file OTHER_NAME=y/stop\.txt"):
        read_arguments(["x/stop.txt", "y/stop.txt"])


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "\ud800", "x" * 256, 3])
def test_a_name_cannot_mean_another_place(name):
    """Names are one plain name each, at the client and where a blob is unpacked."""
    with pytest.raises(UsageError, match="cannot be the name of a file that travels"):
        check_name(name)


def test_a_blob_with_such_a_name_is_not_unpacked(tmp_path):
    """Not even if it was made by another program."""
    head = b"\x91\x91\x92\xa7../evil\x01"
    (tmp_path / "blob").write_bytes(HEAD.pack(len(head)) + head + b"x")
    with pytest.raises(UsageError, match=r"\.\./evil"):
        extract_files(tmp_path / "blob", tmp_path / "files")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("keep", [0, 5, 9, -1])
def test_a_broken_blob_is_refused(tmp_path, keep):
    """One that ends too early, wherever."""
    (tmp_path / "a").write_bytes(b"content")
    blob = pack_files({"a": str(tmp_path / "a")})
    (tmp_path / "blob").write_bytes(blob[:keep])
    with pytest.raises(UsageError, match="cannot be unpacked"):
        extract_files(tmp_path / "blob", tmp_path / "files")


def test_what_cannot_travel_is_named(tmp_path, monkeypatch):
    """A folder, with what to do instead; a file that is not there; files that are too large together."""
    with pytest.raises(UsageError, match=r"is a folder.*tar -cf"):
        pack_files({"x": str(tmp_path)})
    with pytest.raises(UsageError, match=r"gone cannot travel with the job: No such file"):
        pack_files({"x": str(tmp_path / "gone")})
    monkeypatch.setattr(side_files, "BLOB_BYTES", 100)
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(60))
    with pytest.raises(UsageError, match=r"b is one too many.*give their paths as parameters"):
        pack_files({name: str(tmp_path / name) for name in "ab"})
    (tmp_path / "c").write_bytes(bytes(95))
    with pytest.raises(UsageError, match="in all: put large ones"):
        pack_files({"c": str(tmp_path / "c")})


def test_a_name_that_no_file_has_lists_those_there_are():
    """The message of ctx.files says what there is, or how to give some."""
    with pytest.raises(RecordError, match=r"has no 'b'; the files that travelled with the job are 'a', 'c'"):
        TravelledFiles({"a": Path("a"), "c": Path("c")})["b"]
    with pytest.raises(RecordError, match="none: give them with --file, or files= in Python"):
        TravelledFiles()["b"]
