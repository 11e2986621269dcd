"""The test's own coordinator, which speaks the wire."""

import pytest
from fake_coordinator import FakeCoordinator


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator at an ipc address, whose agents end with the test."""
    with_address = FakeCoordinator(f"ipc://{tmp_path}/c", tmp_path)
    yield with_address
    with_address.close()
