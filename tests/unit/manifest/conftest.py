"""Where the output folders of these tests are."""

import re

import pytest


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """A folder in a store in memory, then one of a real S3 server."""
    if request.param == "memory":
        request.getfixturevalue("memory")
        return "memory://b/out"
    s3 = request.getfixturevalue("s3")
    return s3.url(f"manifests/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}/out")
