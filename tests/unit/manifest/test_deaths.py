"""Processes that die before or after any change to a folder: commits go on or are taken back."""

import os
import shutil

import pytest
from folder_outputs import (
    FACTS,
    NAMED,
    PARTS,
    RECORDS,
    FragileDisk,
    committed,
    dies,
    options_of,
    prepare,
    tree,
    write_parts,
)

from mapreduce.dataflow.manifest.folder import commit_job, read_output, remove_attempts


@pytest.fixture
def no_sync(monkeypatch):
    """A process dies in these tests, hundreds of times, and not the machine."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)


NEW = {"": RECORDS} | {name: [(f"{name} {i}", "j1") for i in range(3) for _ in range(2)] for name, _ in NAMED}


def interrupt_everywhere(tmp_path, start, **more):
    """Commit with a death after each change in turn, then run the commit again; yields the files that are left."""
    for point in range(1, 200):
        out = tmp_path / str(point)
        start(out)
        old = _seen(out)
        options = options_of(out, "j1", outputs=NAMED, **more)
        prepare(options)
        granted = write_parts(options, PARTS)
        looks = []
        died = dies(out, options, granted, FragileDisk(point, lambda: looks.append(_seen(out))))  # noqa: B023 - used in this turn only
        for look in [*looks, _seen(out)]:
            assert all(found in (old.get(name), NEW[name]) for name, found in look.items() if name in NEW)
            assert look.get("") != RECORDS or all(look[name] == NEW[name] for name in NEW)
        commit_job(out, options, granted, FACTS)
        commit_job(out, options, granted, FACTS)
        assert _seen(out) == NEW
        yield tree(out)
        if not died:
            return
    raise AssertionError("the commit has no end")


def _seen(out):
    """What a reader sees of all outputs by their names, "" being the job's own: records of those that are there."""
    below = [path for path in out.iterdir() if path.is_dir() and not path.name.startswith("_")] if out.exists() else []
    return {
        "" if folder == out else folder.name: list(read_output(folder))
        for folder in (out, *below)
        if (folder / "_SUCCESS").exists()
    }


@pytest.mark.usefixtures("no_sync")
def test_commit_survives_any_death(tmp_path):
    """A commit that dies before or after any change, and is run again, leaves the same bytes; no reader sees a part."""
    results = list(interrupt_everywhere(tmp_path, lambda _out: None))
    assert len(results) > 30
    assert all(result == results[0] for result in results)
    assert sorted(results[0]) == [
        *("_SUCCESS", "_job.json", "errors/_SUCCESS"),
        *(f"errors/part-0000{i}.jsonl" for i in range(3)),
        *(f"part-0000{i}" for i in range(3)),
        "rare/_SUCCESS",
        *(f"rare/part-0000{i}" for i in range(3)),
    ]


OLD = [[("old", 1)], [("older", 2)], [("x", 1)], [("z", 1)]]


@pytest.fixture
def start_old(tmp_path_factory):
    """Makes an output with two named ones, one of which the new job has too, and somebody's notes."""
    made = tmp_path_factory.mktemp("old") / "out"
    committed(made, "j0", OLD, outputs=(("errors", "tsv"), ("gone", "tsv")))
    (made / "notes.txt").write_text("mine")
    return lambda out: shutil.copytree(made, out)


@pytest.mark.usefixtures("no_sync")
def test_overwrite_survives_any_death(tmp_path, start_old):
    """With overwrite a reader sees the old output or the new at every moment, and at the end old parts are gone."""
    results = list(interrupt_everywhere(tmp_path, start_old, overwrite=True))
    assert all(result == results[0] for result in results)
    assert sorted(results[0]) == [
        *("_SUCCESS", "_job.json", "errors/_SUCCESS"),
        *(f"errors/part-0000{i}-j1.jsonl" for i in range(3)),
        "notes.txt",
        *(f"part-0000{i}-j1" for i in range(3)),
        "rare/_SUCCESS",
        *(f"rare/part-0000{i}-j1" for i in range(3)),
    ]


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_half_commit_can_be_taken_back(tmp_path, overwrite, start_old):
    """A job that is cancelled while its commit is at work, leaves what was there, or all of its own."""
    taken_back = 0
    for point in range(1, 200):
        out = tmp_path / str(point)
        if overwrite:
            start_old(out)
        before = tree(out) if out.exists() else {}
        options = options_of(out, "j1", outputs=NAMED, overwrite=overwrite)
        prepare(options)
        died = dies(out, options, write_parts(options, PARTS), FragileDisk(point))
        is_done = _seen(out).get("") == RECORDS
        remove_attempts(out, "j1")
        remove_attempts(out, "j1")
        if is_done:
            assert {name: records for name, records in _seen(out).items() if name in NEW} == NEW
        else:
            assert (tree(out) if out.exists() else {}) == before
            assert overwrite or not out.exists()
            taken_back += 1
        assert not (out / "_tmp-j1").exists()
        if not died:
            break
    assert taken_back > 15
