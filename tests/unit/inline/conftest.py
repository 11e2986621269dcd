"""Texts for the jobs of these tests."""

from __future__ import annotations

import pytest
from inline_run import TEXT


@pytest.fixture
def book(tmp_path):
    """A file of many lines, and one of a line that does not end."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.txt").write_text("one last line")
    return folder
