"""Waits that are not waited."""

import pytest

from mapreduce.dataflow.stores import errors as store_errors


@pytest.fixture
def no_pauses(monkeypatch):
    """Waits between tries are noted, and not waited."""
    slept = []
    monkeypatch.setattr(store_errors.time, "sleep", slept.append)
    return slept
