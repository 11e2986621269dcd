"""What errors of stores mean, whatever the driver raises: try again, give up, or say which credentials are missing.

Owns the number of tries and the waits between them. Knows drivers' errors by their names and status codes, so that no
driver need be installed.
"""

from __future__ import annotations

import enum
import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mapreduce.errors import StoreError, StoreUnavailable
from mapreduce.secret_urls import without_secrets

log = logging.getLogger("mapreduce.store")

T = TypeVar("T")

TRIES = 8  # of one request: with the waits between them about 13 s, twice as long as stores take to grow on demand
FIRST_WAIT_S = 0.2  # about what a request takes: a cut connection is mended at once
LONGEST_WAIT_S = 20.0  # then waiting longer helps no store, and a person wonders
CAUSES = 8  # of an error that are looked at: drivers wrap the answer's error two or three times

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # 409: another write to the object is under way
RETRIED_CODES = frozenset(  # of S3 and those that speak like it, some with a status that says otherwise
    {
        "InternalError",
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "XAmzContentSHA256Mismatch",
    }
)
RETRIED_ERRNOS = frozenset({errno.EBUSY, errno.EAGAIN, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT})
RETRIED_TYPES = frozenset(  # names of classes of aiohttp, botocore, http.client, fsspec and Azure's, and their bases
    {
        "ClientConnectionError",
        "ConnectionError",
        "EOFError",
        "FSTimeoutError",
        "HTTPClientError",
        "HTTPException",
        "ResponseParserError",
        "ServiceRequestError",
        "ServiceResponseError",
        "TimeoutError",
        "gaierror",
    }
)
CUT_TYPES = frozenset({"ClientPayloadError", "IncompleteReadError", "IncompleteRead", "ShortRead"})  # in an answer
FINAL_TYPES = frozenset({"SSLCertVerificationError", "InvalidURL", "ParamValidationError"})  # though bases are above
NO_CREDENTIALS_TYPES = frozenset(
    {
        "ClientAuthenticationError",
        "CredentialRetrievalError",
        "DefaultCredentialsError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshError",
        "TokenRetrievalError",
    }
)
CREDENTIALS = {  # what to set, by the URL's scheme
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
    "hdfs": "log in with kinit, or set HADOOP_USER_NAME",
}
SAME_CREDENTIALS = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "webhdfs": "hdfs"}
REASON_CHARS = 300  # of a driver's own words in a message


class ShortRead(Exception):
    """A store gave fewer bytes than it had said: the connection was cut."""


class Meaning(enum.Enum):
    """What an error of a driver means."""

    MISSING = "missing"
    NO_CREDENTIALS = "no credentials"
    DENIED = "denied"
    CHANGED = "changed"  # what was to be replaced is not there any more
    PASSING = "passing"  # another try may do better
    FINAL = "final"


def meaning_of(error: BaseException) -> Meaning:
    """Judge what a driver raised: by the answer's code and status if there was one, else by the kinds of errors."""
    chain = list(_chain(error))
    names = [{kind.__name__ for kind in type(one).__mro__} for one in chain]
    if any(found & NO_CREDENTIALS_TYPES for found in names):
        return Meaning.NO_CREDENTIALS
    if any(found & CUT_TYPES for found in names):
        return Meaning.PASSING  # whatever status the driver gives to an answer that was none
    for one in chain:
        answered = _meaning_of_answer(*_answer_of(one))
        if answered is not None:
            return answered
    if any(found & FINAL_TYPES for found in names):
        return Meaning.FINAL
    for one, found in zip(reversed(chain), reversed(names), strict=True):  # the innermost knows best
        if found & RETRIED_TYPES or (isinstance(one, OSError) and one.errno in RETRIED_ERRNOS):
            return Meaning.PASSING
        if isinstance(one, FileNotFoundError):
            return Meaning.MISSING
        if isinstance(one, PermissionError):
            return Meaning.DENIED
    return Meaning.FINAL


def _meaning_of_answer(status: int | None, code: str) -> Meaning | None:
    if code in RETRIED_CODES or status in RETRIED_STATUS:
        return Meaning.PASSING
    if status == 404:
        return Meaning.MISSING
    if status == 412:
        return Meaning.CHANGED
    if status in {401, 403}:
        return Meaning.DENIED
    return Meaning.FINAL if status is not None and status >= 300 else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    current: BaseException | None = error
    for _ in range(CAUSES):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _answer_of(error: BaseException) -> tuple[int | None, str]:
    """The HTTP status and the store's own code that an error carries, under the names that drivers give them."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return (status if isinstance(status, int) else None), str(response.get("Error", {}).get("Code", ""))
    for name in ("status", "status_code", "code"):  # aiohttp, Azure's, gcsfs and urllib
        status = getattr(error, name, None)
        if isinstance(status, int) and not isinstance(status, bool) and 100 <= status < 600:
            return status, ""
    return None, ""


def waits(chance: random.Random) -> Iterator[float]:
    """The seconds to wait before each further try: doubled each time, of which any part ("full jitter") is waited."""
    longest = FIRST_WAIT_S
    for _ in range(TRIES - 1):
        yield chance.uniform(0, longest)
        longest = min(longest * 2, LONGEST_WAIT_S)


def persistently(what: str, url: str, function: Callable[[], T]) -> T:
    """Call a function that asks a store, again where an error may pass. `what` is a verb: "read", "listed".

    Raises FileNotFoundError for what is not there, FileExistsError where something else is there than was to be
    replaced, StoreError for what no other try can change, StoreUnavailable after the last try.
    """
    # Of its own, seeded by the system: a job's own random numbers stay as they are, and workers do not wait in step.
    pauses = waits(random.SystemRandom())
    while True:
        try:
            return function()
        except StoreError:
            raise
        except Exception as error:
            meaning = meaning_of(error)
            if meaning is Meaning.MISSING:
                raise FileNotFoundError(errno.ENOENT, "there is no such object", url) from error
            if meaning is Meaning.CHANGED:
                raise FileExistsError(errno.EEXIST, "there is another object", url) from error
            pause = next(pauses, None) if meaning is Meaning.PASSING else None
            if pause is None:
                raise _told(meaning, what, url, error) from error
            told = f"{url} cannot be {what} for the moment, next try in {pause:.1f} s: {reason_of(error)}"
            log.info("%s", without_secrets(told))
            time.sleep(pause)


def _told(meaning: Meaning, what: str, url: str, error: BaseException) -> StoreError:
    """The error for people."""
    reason = reason_of(error)
    if meaning is Meaning.PASSING:
        return StoreUnavailable(
            f"{url} cannot be {what}: the store did not answer as it should in {TRIES} tries, at last: {reason}. Look "
            "whether it is up and can be reached, and run the job again"
        )
    scheme = url.partition(":")[0]
    advice = CREDENTIALS.get(SAME_CREDENTIALS.get(scheme, scheme), "give what the server asks for")
    if meaning is Meaning.NO_CREDENTIALS:
        return StoreError(f"{url} cannot be {what}: no credentials were found ({reason}): {advice}")
    if meaning is Meaning.DENIED:
        return StoreError(
            f"{url} cannot be {what}: access was denied ({reason}). Ask for the right to it, or use other credentials: "
            f"{advice}"
        )
    return StoreError(f"{url} cannot be {what}: {reason}")


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status of the answer that an error, or what caused it, is about; None if there was none."""
    found = () if error is None else (_answer_of(one)[0] for one in _chain(error))
    return next((status for status in found if status is not None), None)


def reason_of(error: BaseException) -> str:
    """What the driver said, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:REASON_CHARS] if text else type(error).__name__
