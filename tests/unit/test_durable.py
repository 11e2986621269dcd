"""What is made to outlast a power cut: an output in a folder, and nothing of a result that goes away anyway."""

import os

import mapreduce
from mapreduce import Count, Job


def test_only_outputs_in_folders_are_synced(tmp_path, monkeypatch):
    """Syncing takes milliseconds each time, which a loop of small jobs would mostly wait for."""
    (tmp_path / "in.txt").write_text("a b a\n")
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd) or real(fd))
    job = Job(keys=str.split, reducer=Count())
    assert dict(mapreduce.run(job, tmp_path / "in.txt", runner="inline")) == {"a": 2, "b": 1}
    assert synced == []
    mapreduce.run(job, tmp_path / "in.txt", tmp_path / "out", runner="inline")
    assert len(synced) >= 4, "the part and its folder, the manifest and its folder"
