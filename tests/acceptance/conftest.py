"""Real text that every machine has: sources of the Python standard library."""

import json
import shutil
from pathlib import Path

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A folder with a sub-folder: sources of the json and email packages, and texts with every ending."""
    folder = tmp_path_factory.mktemp("texts")
    library = Path(json.__file__).parent.parent
    for package in ("json", "email", "wsgiref"):
        (folder / package).mkdir()
        for source in sorted((library / package).glob("*.py")):
            shutil.copy(source, folder / package / f"{package}_{source.stem.strip('_')}.py")
    (folder / "crlf.txt").write_bytes(b"\xef\xbb\xbfone two\r\nthree\r\n\r\nfour\rfive")
    (folder / "separators.txt").write_text("a\x0cb c\u2028d\u0085e\n\n\x1cf", encoding="utf-8")
    (folder / "empty.txt").touch()
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A coordinator and two workers over tcp on loopback, for all tests that leave it alive."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start_worker(slots=1)
        running.start_worker(slots=2)
        yield running
