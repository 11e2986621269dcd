"""A folder of a user."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_command import FAILING, SLOW, TEXT


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of a user, with its own place for temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAPREDUCE_COORDINATOR", raising=False)
    Path("text.txt").write_text(TEXT)
    Path("failing.py").write_text(FAILING)
    Path("slow.py").write_text(SLOW)
    return tmp_path
