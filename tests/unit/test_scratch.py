"""Scratch folders: private, locked while their agent lives, swept after it has died."""

import fcntl
import os
import stat

import pytest

from mapreduce.errors import UsageError
from mapreduce.file_names import attempt_output_name, merge_folder_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, TaskId, TaskKind
from workers import scratch
from workers.scratch import Scratch


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_life_folder_is_private_and_goes(tmp_path):
    """A life's folder can be read by its owner alone, and is gone with all in it after `remove`."""
    life = Scratch(tmp_path / "a" / "b", "w1")
    assert stat.S_IMODE(life.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(life.jobs.stat().st_mode) == 0o700
    (life.jobs / "job").mkdir()
    (life.jobs / "job" / "run-0-0-1-0").write_bytes(b"x")
    life.remove()
    life.remove()
    assert names(tmp_path / "a" / "b") == [".lock"]


def test_leftovers_of_the_dead_are_found_and_the_living_spared(tmp_path):
    """A folder whose lock nobody holds is a leftover; a living agent's, or another program's, is not."""
    dead = Scratch(tmp_path, "dead1")
    os.close(dead._lock)
    living = Scratch(tmp_path, "living")
    (tmp_path / "unrelated").mkdir()
    mine = Scratch(tmp_path, "mine")
    (left,) = mine.leftovers()
    assert left.name.startswith("dead-")
    assert not dead.folder.exists()
    assert living.folder.exists()
    assert mine.leftovers() == [left], "found again until it is deleted"
    scratch.delete_tree(left)
    assert mine.leftovers() == []
    assert (tmp_path / "unrelated").exists()
    living.remove()
    mine.remove()


def test_scratch_below_a_file_is_refused(tmp_path):
    """A scratch folder that cannot be made is named, with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"scratch folder .*file/x.*--scratch"):
        Scratch(tmp_path / "file" / "x", "w1")


def test_scratch_of_another_user_is_refused(tmp_path, monkeypatch):
    """A folder that another user owns is refused: they could change what lies in it."""
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        Scratch(tmp_path, "w1")


def test_lock_file_that_is_a_link_is_refused(tmp_path):
    """A lock that somebody has made a link is not followed."""
    (tmp_path / "target").touch()
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError, match="scratch folder"):
        Scratch(tmp_path, "w1")


def test_deleting_an_attempt_takes_all_of_it_and_nothing_else(tmp_path):
    """Runs of every spill, part and fetched slices of one attempt go; those of attempts with like numbers stay."""
    one = AttemptId(TaskId("job", 0, TaskKind.MAP, 1), 1)
    others = [AttemptId(TaskId("job", 0, TaskKind.MAP, 1), 11), AttemptId(TaskId("job", 0, TaskKind.MAP, 11), 1)]
    kept = [run_file_name(other, spill) for other in others for spill in (0, 10)]
    gone = [run_file_name(one, spill) for spill in (0, 1, 10)]
    for name in (*kept, *gone, part_file_name(one), scratch.fetch_path(tmp_path, one).name):
        (tmp_path / name).touch()
    scratch.delete_attempt(tmp_path, one)
    assert names(tmp_path) == sorted(kept)
    scratch.delete_attempt(tmp_path / "none", one)


def test_deleting_a_reduce_attempt_takes_its_merges_files(tmp_path):
    """What a killed reduce attempt's merge had written goes with it; another's stays."""
    one, two = (AttemptId(TaskId("job", 0, TaskKind.REDUCE, 1), number) for number in (1, 11))
    for which in (one, two):
        (tmp_path / merge_folder_name(which) / "merge-x").mkdir(parents=True)
    scratch.delete_attempt(tmp_path, one)
    scratch.delete_attempt(tmp_path, one)
    assert names(tmp_path) == [merge_folder_name(two)]


def test_deleting_private_output(tmp_path):
    """An attempt's private file below the output folder goes, and no other."""
    one, two = (AttemptId(TaskId("job", 0, TaskKind.REDUCE, 0), number) for number in (1, 2))
    folder = tmp_path / "_tmp-job"
    folder.mkdir()
    for which in (one, two):
        (folder / attempt_output_name(which)).touch()
    scratch.delete_private_output(str(tmp_path), one)
    scratch.delete_private_output(str(tmp_path), one)
    assert names(folder) == [attempt_output_name(two)]


def test_the_lock_is_held_by_the_process_alone(tmp_path):
    """The lock's descriptor does not cross an exec, so that no child keeps a dead agent's folder alive."""
    life = Scratch(tmp_path, "w1")
    assert fcntl.fcntl(life._lock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    life.remove()
