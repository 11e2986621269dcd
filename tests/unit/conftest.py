"""What several tests without processes need: a store in memory."""

import fsspec
import pytest


@pytest.fixture
def memory():
    """The objects of memory://, none at first."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]
