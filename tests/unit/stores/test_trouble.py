"""What errors of stores mean, how often and after what waits is tried again, and what is told in the end."""

import errno
import random
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapreduce
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.errors import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    TRIES,
    Meaning,
    meaning_of,
    persistently,
    waits,
)
from mapreduce.dataflow.tasks.failures import _kind_of
from mapreduce.errors import JobFailed, StoreError, StoreUnavailable
from mapreduce.plan import FailureKind


class Answered(Exception):
    """As botocore's ClientError."""

    def __init__(self, status, code):
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status):
        super().__init__("no")
        self.status = status


class NoCredentialsError(Exception):
    """As botocore's."""


class ClientPayloadError(Exception):
    """As aiohttp's."""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (FileNotFoundError("x"), Meaning.MISSING),
        (Answered(404, "NoSuchKey"), Meaning.MISSING),
        (caused(FileNotFoundError("x"), ClientResponseError(403)), Meaning.DENIED),
        (caused(FileNotFoundError("x"), ConnectionResetError()), Meaning.PASSING),
        (caused(PermissionError("x"), Answered(403, "AccessDenied")), Meaning.DENIED),
        (PermissionError("x"), Meaning.DENIED),
        (caused(OSError(errno.EBUSY, "Please"), Answered(503, "SlowDown")), Meaning.PASSING),
        (caused(OSError(errno.EIO, "Oh"), Answered(500, "InternalError")), Meaning.PASSING),
        (Answered(400, "RequestTimeout"), Meaning.PASSING),
        (Answered(429, "TooManyRequests"), Meaning.PASSING),
        (Answered(400, "InvalidRequest"), Meaning.FINAL),
        (Answered(301, "PermanentRedirect"), Meaning.FINAL),
        (ClientResponseError(502), Meaning.PASSING),
        (ClientPayloadError(), Meaning.PASSING),
        (TimeoutError(), Meaning.PASSING),
        (BrokenPipeError(), Meaning.PASSING),
        (NoCredentialsError("Unable to locate credentials"), Meaning.NO_CREDENTIALS),
        (caused(ConnectionError(), ssl.SSLCertVerificationError()), Meaning.FINAL),
        (ValueError("x"), Meaning.FINAL),
    ],
    ids=repr,
)
def test_what_errors_mean(error, meaning):
    """Throttling, failures of the server and cut connections pass; refusals and mistakes do not."""
    assert meaning_of(error) is meaning


def test_a_passing_error_is_tried_again(no_pauses):
    """A function that fails now and then gives its result, after waits that are bounded."""
    left = [ConnectionResetError(), Answered(503, "SlowDown"), TimeoutError()]

    def ask():
        if left:
            raise left.pop()
        return "it"

    assert persistently("read", "s3://b/k", ask) == "it"
    assert len(no_pauses) == 3
    assert all(0 <= pause <= LONGEST_WAIT_S for pause in no_pauses)


def test_tries_have_an_end(no_pauses):
    """A store that stays away is given up after TRIES tries; the error says so, and is another kind than a refusal."""
    asked = []

    def ask():
        asked.append(1)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.raises(StoreUnavailable, match=f"s3://b/k cannot be read: .* in {TRIES} tries, at last: .*refused"):
        persistently("read", "s3://b/k", ask)
    assert (len(asked), len(no_pauses)) == (TRIES, TRIES - 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoCredentialsError("Unable to locate"), r"no credentials were found .*: set AWS_ACCESS_KEY_ID and AWS_SECRET"),
        (PermissionError("no"), "access was denied .*AWS_PROFILE"),
        (ValueError("odd"), "cannot be read: ValueError: odd"),
    ],
)
def test_final_errors_are_told_at_once(no_pauses, error, text):
    """What no other try can change is raised at the first, with what to set."""

    def ask():
        raise error

    with pytest.raises(StoreError, match=text) as caught:
        persistently("read", "s3://b/k", ask)
    assert not isinstance(caught.value, StoreUnavailable)
    assert no_pauses == []


def test_a_store_that_stays_away_is_no_fault_of_the_job():
    """An attempt that cannot reach a store is tried on other workers, as with a full disk; a refusal fails the job."""
    assert _kind_of(StoreUnavailable("x"), Site()) is FailureKind.DISK
    assert _kind_of(StoreError("x"), Site()) is FailureKind.FATAL


@given(st.integers())
def test_waits_grow_and_are_bounded(seed):
    """Each wait is a part of twice the one before, up to LONGEST_WAIT_S, and they are one less than the tries."""
    found = list(waits(random.Random(seed)))
    assert len(found) == TRIES - 1
    assert all(pause <= min(FIRST_WAIT_S * 2**i, LONGEST_WAIT_S) for i, pause in enumerate(found))


def test_what_a_job_failed_of_is_told(memory, monkeypatch, caplog):
    """A store that goes away takes the cleaning up with it, not the failure: that is told, the rest is logged once."""

    def fails(_line):
        monkeypatch.setattr(FsspecStore, "below", refuse)
        raise ValueError("mine")

    def refuse(_self, url):
        raise StoreError(f"{url} cannot be listed: it went away")

    memory.pipe_file("/b/x", b"one")
    with pytest.raises(JobFailed, match="mine"):
        mapreduce.run(mapreduce.Job(fails), "memory://b/x", "memory://b/out", runner="inline")
    left = "has left in memory://b/out stays there: memory://b/out/_bad cannot be listed: it went away"
    assert caplog.text.count(left) == 1
