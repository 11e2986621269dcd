"""Output folders are reserved for one job, or refused with what to do."""

import errno
from pathlib import Path

import pytest
from folder_outputs import NAMED, committed, names_in

from mapreduce.dataflow.manifest.folder import (
    prepare_output,
    remove_attempts,
)
from mapreduce.errors import OutputError


def test_existing_output_is_refused(tmp_path):
    """A folder with something in it is refused, with what is there and what to do; an empty one is taken."""
    (tmp_path / "out").mkdir()
    prepare_output(tmp_path / "out", "j1", False)
    (tmp_path / "out/part-00000.tsv").touch()  # as a commit leaves it that has died
    with pytest.raises(OutputError, match=r"the job j1, which is running or has died.*rm -r "):
        prepare_output(tmp_path / "out", "j2", False)
    committed(tmp_path / "b")
    with pytest.raises(OutputError, match=r"another job's output.*--overwrite"):
        prepare_output(tmp_path / "b", "j2", False)
    (tmp_path / "b" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match=r"letter\.txt\): name another folder$"):  # and not: remove this one
        prepare_output(tmp_path / "b", "j2", False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        prepare_output(tmp_path / "file", "j1", False)
    with pytest.raises(OutputError, match="file"):
        prepare_output(tmp_path / "file" / "below", "j1", False)


def test_a_read_only_file_system_is_no_full_disk(tmp_path, monkeypatch):
    """It is refused as a folder that cannot be used; freeing space would not help."""

    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "out"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="cannot be used: Read-only"):
        prepare_output(tmp_path / "out", "j1", False)


def test_overwrite_refuses_strangers(tmp_path):
    """--overwrite on a folder that no job wrote is refused: it must not be a way to lose one's files."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        prepare_output(tmp_path, "j1", True)


def test_named_outputs_refuse_strangers(tmp_path):
    """A named output never goes where somebody's files lie, or where a file is; an old one of its name is replaced."""
    committed(tmp_path, "j0")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    (tmp_path / "note").write_text("x")
    for name in ("mine", "note"):
        with pytest.raises(OutputError, match=rf"{tmp_path / name}.*name another"):
            prepare_output(tmp_path, "j1", True, [name])
    assert not (tmp_path / "_tmp-j1").exists()
    committed(tmp_path, "j2", overwrite=True, outputs=NAMED)
    committed(tmp_path, "j3", overwrite=True, outputs=NAMED[:1])
    assert not (tmp_path / "rare").exists()
    assert (tmp_path / "mine" / "thesis.tex").exists()
    with pytest.raises(OutputError, match="mine"):
        prepare_output(tmp_path, "j4", False)
    committed(tmp_path / "b", outputs=NAMED)
    with pytest.raises(OutputError, match=r"another job's output.*--overwrite"):
        prepare_output(tmp_path / "b", "j2", False)


def test_prepare_twice(tmp_path):
    """Reserving twice for the same job is reserving once."""
    for _ in range(2):
        prepare_output(tmp_path / "out", "j1", False)
    remove_attempts(tmp_path / "out", "j1")
    assert names_in(tmp_path) == []
