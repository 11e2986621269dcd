"""Arguments to files, files to splits."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.inputs import find as inputs
from mapreduce.dataflow.inputs.find import InputFile, default_reducers, find_inputs, notes, plan_splits
from mapreduce.errors import InputError

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path):
    for name in ("b/x.txt", "b/.hidden", "b/_tmp/y.txt", "b.txt", "a/deep/z.txt", "a/ä.txt", "_SUCCESS", ".git/config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def names(root, found):
    return [os.path.relpath(file.path, root) for file in found]


def test_folder(tree):
    """A folder is read recursively, by the bytes of the paths, without names that begin with a dot or underscore."""
    assert names(tree, find_inputs([str(tree)])) == ["a/deep/z.txt", "a/ä.txt", "b.txt", "b/x.txt"]


def test_order_and_duplicates(tree):
    """Arguments keep their order; a file that is reached twice, by a link too, is read where it came first."""
    (tree / "link.txt").symlink_to(tree / "b.txt")
    found = find_inputs([str(tree / "b"), str(tree / "b.txt"), str(tree), str(tree / "link.txt")])
    assert names(tree, found) == ["b/x.txt", "b.txt", "a/deep/z.txt", "a/ä.txt"]


def test_a_folder_reached_by_a_link(tree):
    """Files of a folder that a link names are the folder's own files: each is read once, by the first path."""
    (tree / "again").symlink_to(tree / "a")
    found = find_inputs([str(tree / "again"), str(tree / "a"), str(tree / "b")])
    assert names(tree, found) == ["again/deep/z.txt", "again/ä.txt", "b/x.txt"]


def test_glob(tree, monkeypatch):
    """A glob finds files and folders by its pattern, relative or absolute; hidden names only if it asks for them."""
    assert names(tree, find_inputs([f"{tree}/*"])) == ["a/deep/z.txt", "a/ä.txt", "b.txt", "b/x.txt"]
    assert names(tree, find_inputs([f"{tree}/b/*"])) == ["b/x.txt"]
    assert names(tree, find_inputs([f"{tree}/_*"])) == ["_SUCCESS"]
    odd = tree / "o[d]d"
    odd.mkdir()
    (odd / "q.txt").write_text("q")
    monkeypatch.chdir(odd)
    assert names(tree, find_inputs(["*.txt"])) == ["o[d]d/q.txt"]
    assert names(tree, find_inputs([str(odd)])) == ["o[d]d/q.txt"]


def test_hidden_by_name(tree):
    """A file that is named itself is read whatever it is called."""
    assert names(tree, find_inputs([str(tree / "b/.hidden")])) == ["b/.hidden"]


@pytest.mark.parametrize("argument", ["nowhere", "no*where", "dangling", "pipe"])
def test_missing(tree, argument):
    """What does not exist or is no file is an error that names it."""
    (tree / "dangling").symlink_to(tree / "gone")
    os.mkfifo(tree / "pipe")
    with pytest.raises(InputError) as caught:
        find_inputs([str(tree / argument)])
    assert argument in str(caught.value)


def test_dangling_link_in_folder(tree):
    """A link to nothing inside a folder is an error, not a file left out."""
    (tree / "a/lost.txt").symlink_to(tree / "gone")
    with pytest.raises(InputError, match=r"lost\.txt"):
        find_inputs([str(tree)])


def test_link_circle(tree):
    """A link to a folder around it is an error, not an endless walk."""
    (tree / "a/up").symlink_to(tree)
    with pytest.raises(InputError, match="up"):
        find_inputs([str(tree)])


def test_name_not_utf8(tmp_path):
    """A file name that is no UTF-8 is refused, since it could not be shown or sent."""
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    with pytest.raises(InputError, match="rename"):
        find_inputs([str(tmp_path)])


def test_empty_folder(tmp_path):
    """A folder without files is an empty input."""
    assert find_inputs([str(tmp_path)]) == []
    assert plan_splits([]) == ()


def files_of(sizes, suffix=".txt"):
    return [InputFile(f"/f{i}{suffix}", size, 7) for i, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 300), max_size=12), split_size=st.integers(1, 200))
def test_splits_cover_every_byte(sizes, split_size):
    """Splits hold every byte of every file once, in order, and each file's facts."""
    splits = plan_splits(files_of(sizes), split_size)
    pieces = [piece for split in splits for piece in split.pieces]
    seen: dict[str, int] = {}
    order = []
    for piece in pieces:
        if piece.path not in seen:
            order.append(piece.path)
        assert piece.start == seen.get(piece.path, 0)
        seen[piece.path] = piece.start + piece.size
        assert (piece.file_size, piece.version) == (sizes[int(piece.path[2:-4])], 7)
    assert order == [file.path for file in files_of(sizes)]
    assert list(seen.values()) == sizes
    assert all(split.size <= split_size * 1.1 for split in splits)


def test_defaults():
    """Split size is a 24th of the input within 4 and 64 MiB; a reducer for each 256 or 32 MiB, 1 to 256."""
    for total, size in ((MIB, 4), (96 * MIB, 4), (240 * MIB, 10), (100_000 * MIB, 64)):
        assert inputs.default_split_size(files_of([total])) == size * MIB
    assert [default_reducers(n * MIB, collapsed=True) for n in (0, 256, 257, 10**7)] == [1, 1, 2, 256]
    assert [default_reducers(n * MIB, collapsed=False) for n in (0, 32, 33, 10**7)] == [1, 1, 2, 256]
    assert len(plan_splits(files_of([640 * MIB]))) == 24


def test_small_files_share_a_split():
    """Small files are packed, large ones cut evenly, and a crumb is no split of its own."""
    assert len(plan_splits(files_of([100] * 200))) == 1
    (whole,) = plan_splits(files_of([4 * MIB + 300_000]))
    assert len(whole.pieces) == 1
    sizes = [split.size for split in plan_splits(files_of([9 * MIB]))]
    assert sizes == [3 * MIB] * 3
    many = plan_splits(files_of([1] * 10_000))
    assert max(len(split.pieces) for split in many) < 300


@pytest.mark.parametrize("encoding", ["utf-16", "shift_jis", "gb18030", "iso2022_jp"])
def test_whole_files(encoding):
    """Files of encodings that cannot be cut, and compressed ones, are one piece each."""
    for files in (files_of([50 * MIB]), files_of([50 * MIB], ".gz")):
        (split,) = plan_splits(files, MIB, encoding)
        assert [(piece.whole, piece.size) for piece in split.pieces] == [(True, 50 * MIB)]
    assert plan_splits(files_of([50 * MIB], ".gz"), MIB)[0].pieces[0].whole


def test_refused_split_sizes():
    """A split size of nothing, or one that makes endless tasks, is refused."""
    with pytest.raises(InputError, match="at least 1"):
        plan_splits(files_of([5]), 0)
    with pytest.raises(InputError, match="larger"):
        plan_splits(files_of([10**9]), 1)


def test_notes_on_idle_slots():
    """A job whose files cannot be cut says how many slots stay idle, and why; others say nothing."""
    splits = plan_splits(files_of([100 * MIB] * 2, ".gz"))
    (note,) = notes(splits, 8)
    assert "2 of 8" in note
    assert "compressed" in note
    assert notes(splits, 2) == ()
    assert notes(plan_splits(files_of([100])), 8) == ()
    assert notes(plan_splits(files_of([100], ".gz")), 8) == ()
