"""Failures of attempts, as text that can cross any border: whose they are, and where in the user's code and input."""

from __future__ import annotations

import traceback

from mapreduce.config import FAILURE_TEXT_CHARS
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.errors import (
    DiskFullError,
    InputLostError,
    MapReduceError,
    RecordError,
    StoreUnavailable,
    UnwritableResult,
)
from mapreduce.max_bad import TooManyBad
from mapreduce.plan import Failure, FailureKind
from mapreduce.tracebacks import raised_by_user, user_traceback

MESSAGE_CHARS = 1000  # of the one line that says what happened


def failure_of(exc: BaseException, setup: TaskSetup) -> Failure:
    """Judge and describe what an attempt raised, as text: the user's traceback, function, place, key and record."""
    if isinstance(exc, TooManyBad):
        return exc.failure
    kind = _kind_of(exc, setup.site)
    users = kind is FailureKind.USER
    site = setup.site if users else Site(path=setup.site.path)
    path, offset = (exc.path, exc.offset) if isinstance(exc, UnreadableRecord) else (site.path, site.offset)
    return Failure(
        kind=kind,
        message=_message(exc, kind),
        traceback=_traceback(exc, kind),
        function=site.function,
        path=path,
        offset=offset,
        key=exc.key if isinstance(exc, UnwritableResult) else site.key,
        record=site.record,
        task=str(setup.attempt.task),
        producer=exc.producer if isinstance(exc, InputLostError) else None,
    )


def _kind_of(exc: BaseException, site: Site) -> FailureKind:
    if isinstance(exc, InputLostError):
        return FailureKind.INPUT_LOST
    if isinstance(exc, DiskFullError | StoreUnavailable):
        return FailureKind.DISK
    if isinstance(exc, RecordError):
        return FailureKind.USER
    # What a user's function raises is the user's, an engine's error among them (a job that runs a job, say).
    if site.users or (site.users is None and raised_by_user(exc)) or isinstance(exc, SystemExit):
        return FailureKind.USER
    if isinstance(exc, MemoryError):
        return FailureKind.DIED  # as if the system had killed the process: there may be more memory at another time
    if isinstance(exc, OSError) and exc.errno in DISK_ERRORS:
        return FailureKind.DISK
    return FailureKind.FATAL


def _message(exc: BaseException, kind: FailureKind) -> str:
    lines = _text(exc).strip().splitlines()
    first = lines[0] if lines else ""
    if isinstance(exc, MapReduceError):
        text = first
    elif isinstance(exc, SystemExit):
        text = (
            f"SystemExit: a function of the job called sys.exit({shorten(exc.code):.100}); raise an exception instead"
        )
    else:
        text = f"{type(exc).__name__}: {first}" if first else type(exc).__name__
        if kind is FailureKind.FATAL:
            text = f"a defect of the engine: {text}"
        elif kind is FailureKind.DIED:
            text = f"out of memory in the engine: {text}"
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except (Exception, SystemExit) as second:  # noqa: BLE001 - a user's __str__ must not hide the failure that is told
        return f"(its text cannot be shown: str() of it raises {type(second).__name__})"


def _traceback(exc: BaseException, kind: FailureKind) -> str:
    if kind is not FailureKind.USER and isinstance(exc, MapReduceError):
        return ""
    try:
        if kind is FailureKind.USER:
            return user_traceback(exc)
        return "".join(traceback.format_exception(exc))[-FAILURE_TEXT_CHARS:]
    except (Exception, SystemExit) as second:  # noqa: BLE001 - as above: a SyntaxError with strange arguments, say
        return f"(the traceback of this {type(exc).__name__} cannot be shown: {type(second).__name__})\n"
