"""A job's module is what its file says now."""

import os
import sys

from mapreduce.targets import load_job


def test_an_edit_within_a_second_is_seen(tmp_path, monkeypatch):
    """A file that was edited without a change of size, in the same second, is not taken for the old one."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "edited_twice.py"
    found = []
    for number in (1, 2):
        path.write_text(f"FACTOR = {number}\ndef mapper(line):\n    yield line, FACTOR\n", encoding="utf-8")
        os.utime(path, (1_000_000, 1_000_000))
        found.append(list(load_job(str(path)).job.resolved[0].inputs[0].mapper.function("a")))
    assert found == [[("a", 1)], [("a", 2)]]
    assert not (tmp_path / "__pycache__").exists()
