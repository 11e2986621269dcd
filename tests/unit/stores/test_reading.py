"""Objects are read by windows or copied by ranges, and what changed meanwhile is an error."""

import errno
import random
import tempfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import piece_of

from mapreduce.dataflow.inputs.copies import copies_below
from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.dataflow.inputs.input_file import open_piece
from mapreduce.dataflow.inputs.probe import check_probe, make_probe
from mapreduce.dataflow.stores import file as store_file
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.errors import DiskFullError, InputChangedError, InputError


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_reads_give_the_bytes_that_are_there(data):
    """Whatever is read, in whatever order, is what a local file would give; windows are small here."""
    content = random.Random(0).randbytes(1000)
    fsspec.filesystem("memory").pipe_file("/b/r", content)
    start = data.draw(st.integers(0, 1000))
    reads = data.draw(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1100)), max_size=12))
    ahead = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_file, "WINDOW_BYTES", 64)
        with open_piece(piece_of("memory://b/r", start, data.draw(st.integers(0, 1000 - start)))) as file:
            position = 0
            for size, anywhere in reads:
                offset = position if ahead else anywhere
                found = file.read_at(size, offset)
                assert found == content[offset : offset + size]
                position = offset + len(found)


def test_reading_on_asks_for_large_ranges_once(memory, monkeypatch):
    """A piece is read in windows, each asked for once, and no further than it goes; anything else to the byte."""
    content = random.Random(1).randbytes(100_000)
    memory.pipe_file("/b/r", content)
    asked = []
    real = FsspecStore.read
    monkeypatch.setattr(
        FsspecStore,
        "read",
        lambda self, url, start, size: asked.append((start, size)) or real(self, url, start, size),
    )
    monkeypatch.setattr(store_file, "WINDOW_BYTES", 20_000)
    with open_piece(piece_of("memory://b/r", 10_000, 50_000)) as file:
        assert file.read_at(100, 0) == content[:100]
        got = b"".join(file.read_at(1000, offset) for offset in range(10_000, 60_000, 1000))
        assert got == content[10_000:60_000]
        assert file.read_at(50, 60_000) == content[60_000:60_050]
    assert sorted(asked) == [(0, 100), (10_000, 20_000), (30_000, 20_000), (50_000, 10_000), (60_000, 50)]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 300)), max_size=5), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_a_copy_has_the_ranges_that_were_asked_for(pairs, near):
    """A copy in scratch has the file's size and at least the ranges' bytes, and goes away with the piece."""
    content = random.Random(2).randbytes(1000)
    fsspec.filesystem("memory").pipe_file("/b/c", content)
    ranges = [range(start, min(1000, start + size)) for start, size in pairs]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(store_file, "JOINED_BYTES", near)
        patch.setattr(store_file, "COPY_BYTES", 100)
        with copies_below(Path(folder)), open_piece(piece_of("memory://b/c")) as file:
            path = Path(file.local_path(ranges))
            assert path.parent == Path(folder)
            copy = path.read_bytes()
            assert len(copy) == 1000
            assert all(copy[one.start : one.stop] == content[one.start : one.stop] for one in ranges)
            assert Path(file.local_path()).read_bytes() == content
        assert list(Path(folder).iterdir()) == []


def test_a_changed_object_is_an_error(memory):
    """An object that was written again or removed, before it is opened or while it is read, fails the reader."""
    memory.pipe_file("/b/x", b"one")
    piece = piece_of("memory://b/x")
    with pytest.raises(InputChangedError, match="written again"), open_piece(piece) as file:  # noqa: PT012 - its end
        assert file.read_at(3, 0) == b"one"
        memory.pipe_file("/b/x", b"two")
    with pytest.raises(InputChangedError, match="written again"), open_piece(piece):
        pass
    memory.pipe_file("/b/x", b"three")
    with pytest.raises(InputChangedError, match="it had 3 bytes and has 5"), open_piece(piece):
        pass
    memory.rm_file("/b/x")
    with pytest.raises(InputChangedError, match="was removed"), open_piece(piece):
        pass


def test_a_probe_tells_of_objects_that_are_others(memory):
    """A worker that sees another object, or none, or one of another process's memory, says so."""
    memory.pipe_file("/b/x", b"one")
    probe = make_probe(find_inputs(["memory://b/x"]), "", "j1")
    with pytest.raises(InputError, match="in the memory of the process that made it: the runner inline can use it"):
        check_probe(probe)


def test_a_full_disk_is_no_fault_of_the_input(memory, monkeypatch):
    """Where a copy of an object cannot be written, the attempt is tried elsewhere."""
    memory.pipe_file("/b/x", b"one")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_file.os, "pwrite", full)
    told = pytest.raises(DiskFullError, match="a copy of memory://b/x cannot be written")
    with told, open_piece(piece_of("memory://b/x")) as file:
        file.local_path()
