"""The store of blobs: whole and right, or not there."""

import hashlib

import pytest

from mapreduce.config import BLOB_BYTES, BLOB_PIECE_BYTES
from mapreduce.coordinator.blobs import OPEN_UPLOADS, UNUSED_S, BlobStore
from mapreduce.errors import WireError

DATA = b"0123456789" * (BLOB_PIECE_BYTES // 5)
NAME = hashlib.sha256(DATA).hexdigest()


def test_pieces_make_a_blob_that_is_read_in_pieces(tmp_path):
    """A blob arrives piece by piece, is missing until the last, survives a restart and is read the same."""
    store = BlobStore(tmp_path)
    stored = 0
    while stored < len(DATA):
        assert store.missing((NAME, NAME)) == (NAME,)
        stored = store.put(NAME, stored, len(DATA), DATA[stored : stored + BLOB_PIECE_BYTES])
    store = BlobStore(tmp_path)
    assert store.missing((NAME,)) == ()
    read = b""
    while len(read) < len(DATA):
        size, piece = store.get(NAME, len(read))
        read += piece
    assert (read, size) == (DATA, len(DATA))


def test_a_piece_at_another_offset_changes_nothing(tmp_path):
    """Doubled and early pieces are answered with what is there; so is a piece of a blob that is complete."""
    store = BlobStore(tmp_path)
    assert store.put(NAME, 5, len(DATA), b"x") == 0
    assert store.put(NAME, 0, len(DATA), DATA[:10]) == 10
    assert store.put(NAME, 0, len(DATA), DATA[:10]) == 10
    assert store.put(NAME, 10, len(DATA), DATA[10:]) == len(DATA)
    assert store.put(NAME, 0, len(DATA), DATA[:10]) == len(DATA)


def test_a_wrong_sum_name_or_size_is_refused(tmp_path):
    """Nothing of a refused blob stays, and it can be sent again."""
    store = BlobStore(tmp_path)
    with pytest.raises(WireError, match="send it again"):
        store.put(NAME, 0, 3, b"bad")
    with pytest.raises(WireError, match="64 lower-case hex"):
        store.put("../" + NAME[3:], 0, 3, b"bad")
    with pytest.raises(WireError, match=str(BLOB_BYTES)):
        store.put(NAME, 0, BLOB_BYTES + 1, b"bad")
    assert list(tmp_path.iterdir()) == []
    assert store.put(NAME, 0, len(DATA), DATA) == len(DATA)


def test_an_empty_blob_is_a_blob(tmp_path):
    """No bytes have a sum, too."""
    store = BlobStore(tmp_path)
    name = hashlib.sha256(b"").hexdigest()
    assert store.put(name, 0, 0, b"") == 0
    assert store.get(name, 0) == (0, b"")


def test_unused_blobs_are_deleted_after_a_while(tmp_path):
    """A blob in use stays; one that no job names goes after UNUSED_S, counted from when it was first not in use."""
    store = BlobStore(tmp_path)
    store.put(NAME, 0, len(DATA), DATA)
    store.sweep(frozenset({NAME}), 0.0)
    store.sweep(frozenset({NAME}), 2 * UNUSED_S)
    store.sweep(frozenset(), 2 * UNUSED_S + 1)
    store.sweep(frozenset(), 3 * UNUSED_S)
    assert store.get(NAME, 0) is not None
    store.sweep(frozenset(), 3 * UNUSED_S + 1)
    assert store.get(NAME, 0) is None
    assert list(tmp_path.iterdir()) == []


def test_open_uploads_are_bounded(tmp_path):
    """The oldest unfinished upload makes room for a new one, and its sender is told to begin again."""
    store = BlobStore(tmp_path)
    names = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(OPEN_UPLOADS + 1)]
    for name in names:
        assert store.put(name, 0, 100, b"x") == 1
    assert len(list(tmp_path.iterdir())) == OPEN_UPLOADS
    assert store.put(names[0], 1, 100, b"x") == 0


def test_a_blob_that_somebody_deleted_does_not_stop_the_sweep(tmp_path):
    """An unused blob whose file is gone already is forgotten like the others."""
    store = BlobStore(tmp_path)
    store.put(NAME, 0, len(DATA), DATA)
    store.sweep(frozenset(), 0.0)
    (tmp_path / NAME).unlink()
    store.sweep(frozenset(), UNUSED_S)
    assert store.missing((NAME,)) == (NAME,)
