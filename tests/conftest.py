"""What holds for all tests: failed jobs are kept in a folder of the test run, not at home; and S3."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory):
    """The folder in which this test run, and the commands that it starts, keep what jobs were asked for."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server on loopback, started when a test first wants one."""
    from s3 import S3Server  # noqa: PLC0415 - its client takes a moment to import

    with S3Server() as server:
        yield server


@pytest.fixture
def s3(s3_server):
    """The same, while this process and those that it starts use it."""
    from s3 import environment_of  # noqa: PLC0415 - as above

    from mapreduce.dataflow.stores.drivers import forget_stores  # noqa: PLC0415 - as above

    forget_stores()
    with environment_of(s3_server):
        yield s3_server
    forget_stores()
