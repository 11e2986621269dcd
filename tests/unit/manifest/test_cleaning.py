"""Cleaning up after a job: what of a folder goes, what stays, and cleaners that meet."""

import os

import pytest
from folder_outputs import FACTS, PARTS, RECORDS, Dies, FragileDisk, committed, names_in, options_of, tree, write_parts

from mapreduce.dataflow.manifest import file as manifest_file
from mapreduce.dataflow.manifest import reserve as manifest_reserve
from mapreduce.dataflow.manifest.folder import Disk, commit_job, prepare_output, read_output, remove_attempts


def test_a_cleaner_that_was_stopped_is_no_reason_to_leave_folders(tmp_path):
    """Where another cleaner removed the note of what was made and was killed, the one that made it still knows."""
    made = prepare_output(tmp_path / "a" / "out", "j1", False)
    assert made == (str(tmp_path / "a" / "out"), str(tmp_path / "a"))
    (tmp_path / "a" / "out" / "_tmp-j1" / "_reserved").unlink()
    remove_attempts(tmp_path / "a" / "out", "j1", made)
    assert list(tmp_path.iterdir()) == []


def test_a_slow_cleaner_leaves_the_next_jobs_output_alone(tmp_path, monkeypatch):
    """One that falls asleep, while another cleans up and the next job runs in the same folder, deletes no result."""
    out = tmp_path / "out"
    prepare_output(out, "j1", False)

    def asleep(path):
        found = manifest_file.read_bytes(path)
        if path.name == "_SUCCESS":
            monkeypatch.setattr(manifest_reserve, "read_bytes", manifest_file.read_bytes)
            remove_attempts(out, "j1")
            committed(out, "j2")
        return found

    monkeypatch.setattr(manifest_reserve, "read_bytes", asleep)
    remove_attempts(out, "j1")
    assert list(read_output(out)) == RECORDS
    assert "_job.json" in names_in(out)


@pytest.mark.parametrize("other", ["removes", "adds"])
def test_what_others_do_in_a_folder_does_not_stop_its_removal(tmp_path, monkeypatch, other):
    """Where another cleaner removes the same files, or a dying task makes one more, all of it is gone in the end."""
    for name in "abc":
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / name).touch()
    unlink, seen = os.unlink, []

    def meanwhile(path, **more):
        seen.append(path)
        if len(seen) == 1 and other == "removes":
            unlink(tmp_path / "tree" / path)
        elif len(seen) == 1:
            (tmp_path / "tree" / "late").touch()
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", meanwhile)
    Disk().remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert len(seen) > 3 - (other == "removes")


def test_cleaning_up(tmp_path):
    """After a failure nothing of the job is left: not its files, nor half a commit, nor the folders that it made."""
    out = tmp_path / "x" / "y"
    options = options_of(out)
    prepare_output(out, "j1", False)
    sources = write_parts(options, PARTS)
    with pytest.raises(Dies):
        commit_job(out, options, sources, FACTS, FragileDisk(3))
    assert (out / "part-00000").exists()
    remove_attempts(out, "j1")
    assert names_in(tmp_path) == []
    remove_attempts(out, "j1")


def test_cleaning_up_keeps_others(tmp_path):
    """Cleaning up keeps a folder that was there, others' files in it, an old output, and a finished commit."""
    prepare_output(tmp_path, "j1", False)
    (tmp_path / "mine").write_text("x")
    remove_attempts(tmp_path, "j1")
    assert names_in(tmp_path) == ["mine"]
    (tmp_path / "mine").unlink()
    committed(tmp_path, "j1")
    remove_attempts(tmp_path, "j1")
    assert list(read_output(tmp_path)) == RECORDS
    before = tree(tmp_path)
    options = options_of(tmp_path, "j2", overwrite=True)
    prepare_output(tmp_path, "j2", True)
    with pytest.raises(Dies):
        commit_job(tmp_path, options, write_parts(options, PARTS), FACTS, FragileDisk(3))
    remove_attempts(tmp_path, "j2")
    assert tree(tmp_path) == before


def test_cleaning_up_a_made_folder_with_strangers(tmp_path):
    """A folder that the job made stays if somebody has put something there."""
    prepare_output(tmp_path / "out", "j1", False)
    (tmp_path / "out" / "mine").write_text("x")
    remove_attempts(tmp_path / "out", "j1")
    assert names_in(tmp_path / "out") == ["mine"]
