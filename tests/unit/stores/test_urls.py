"""What a URL is, which driver it needs, and what of it is never shown."""

import os
from pathlib import Path

import pytest

from mapreduce.dataflow.stores import drivers
from mapreduce.dataflow.stores.errors import persistently
from mapreduce.errors import StoreError, StoreUnavailable
from mapreduce.plan import Failure, FailureKind
from mapreduce.urls import is_url, join, settled, whole_place


def test_what_is_a_url():
    """A scheme and two slashes make a URL; file:// is a local path, and a letter or a name with an equals none."""
    assert is_url("s3://bucket/key")
    assert is_url("abfs://container@account.dfs.core.windows.net/x")
    assert not any(map(is_url, ("file:///a/b", "a/b", "/a://b", "clicks=s3", "c://x", "s3:/bucket")))
    assert settled("file:///a%20b/c") == "/a b/c"
    assert settled("file://localhost/a") == "/a"
    assert settled("s3://b/k") == "s3://b/k"
    with pytest.raises(StoreError, match="the machine host"):
        settled("file://host/a")
    assert settled("S3A://Bucket/Key") == settled("s3://Bucket/Key") == "s3://Bucket/Key"
    for nowhere in ("s3://", "s3:///"):
        with pytest.raises(StoreError, match="names no place"):
            whole_place(nowhere)
    assert not is_url("FILE:///a/b")
    assert whole_place("s3://b/out/") == "s3://b/out"
    assert whole_place("file:///a/b") == "/a/b"
    assert whole_place("x") == str(Path("x").absolute())
    assert join("s3://b/out/", "x") == "s3://b/out/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a?X-Amz-Signature=0f&part=3", "https://h/a?X-Amz-Signature=***&part=3"),
        ("https://h/a?part=3&sig=a%2Fb is", "https://h/a?part=3&sig=*** is"),
        ("https://h/api/f?code=aB3==&zipcode=8001", "https://h/api/f?code=***&zipcode=8001"),
        ("https://h/a?jwt=e.y&sas=x", "https://h/a?jwt=***&sas=***"),
        ("two: http://h/a?token=x, http://me:pass@h/b", "two: http://h/a?token=***, http://me:***@h/b"),
        ("abfs://box@account/x s3://b/a?x=1", "abfs://box@account/x s3://b/a?x=1"),
    ],
)
def test_secrets_in_urls_are_not_shown(text, shown):
    """Passwords and tokens are left out of the messages of errors and failures, whatever part of these they are in."""
    assert str(StoreError(text)) == shown
    failure = Failure(FailureKind.FATAL, text, path=text, key=text)
    assert (failure.message, failure.path, failure.key) == (shown, shown, shown)


def test_secrets_in_urls_are_not_logged(no_pauses, caplog):
    """Nor are they in the lines of the log about further tries."""
    caplog.set_level("INFO")
    with pytest.raises(StoreUnavailable):
        persistently("read", "https://h/a?sig=0f", lambda: (_ for _ in ()).throw(ConnectionError("https://h/?sig=0f")))
    assert "next try" in caplog.text
    assert "0f" not in caplog.text


def test_a_missing_driver_is_named():
    """What is to be installed is said for schemes that have an extra, and for others."""
    with pytest.raises(StoreError, match=r"pip install 'mapreduce-engine\[gs\]', here and on every worker"):
        drivers.store_of("gs://bucket/x")
    with pytest.raises(StoreError, match="no driver for nonsense:// URLs"):
        drivers.store_of("nonsense://x")


def test_stores_after_a_fork(memory):
    """A process that is forked sets its drivers up anew: most cannot be used on both sides of a fork."""
    found = drivers.store_of("memory://b/x")
    assert drivers.store_of("memory://b/y") is found
    child = os.fork()
    if not child:
        os._exit(drivers.store_of("memory://b/x") is found)
    assert os.waitpid(child, 0)[1] == 0
