"""An agent in three states: alone, in a session, and ready for a job."""

import pytest
from agent_driver import Driver

from workers.agent_events import Tick


@pytest.fixture
def driver():
    """An agent without a session."""
    return Driver()


@pytest.fixture
def joined(driver):
    """An agent with a session."""
    driver.do(Tick())
    driver.welcome()
    return driver


@pytest.fixture
def ready(joined):
    """An agent that is ready for job-1."""
    joined.ready()
    return joined
