"""The exceptions of this engine, all in one tree.

Every error that a user can meet derives from `MapReduceError`; its message says what was wrong, where, and what to
do. Exceptions never cross a process border as objects: they cross as a `plan.Failure`, which is text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mapreduce.secret_urls import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from mapreduce.plan import AttemptId, Failure


class MapReduceError(Exception):
    """Base of all errors that this package raises on purpose. What is shown of one has no secrets of URLs in it."""

    # IPython asks an error for this, and shows these lines in place of a traceback: `notebook.show_errors` sets it.
    _render_traceback_: ClassVar[Callable[[MapReduceError], list[str]]]

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class UsageError(MapReduceError):
    """What was asked for makes no sense, or cannot be set up (exit code 2)."""


class JobDefinitionError(UsageError):
    """A job, a function of it, or a parameter is not what the engine can run; found before anything starts."""


class PackagingError(UsageError):
    """The job's code cannot travel: names the attribute, module or package."""


class InputError(UsageError):
    """An input does not exist, is not readable, or is not what its format says."""


class OutputError(UsageError):
    """The output folder cannot be used."""


class StoreError(UsageError):
    """A store (S3, HTTP, ...) refuses, or cannot be used as things are set up here; names the URL."""


class StoreUnavailable(StoreError):
    """A store did not answer as it should in several tries: from another worker, or later, it may."""


class CoordinatorUnreachable(UsageError):
    """No coordinator answers at the address."""


class RecordError(MapReduceError):
    """One record is wrong: a bad byte, a refused key, a mapper that returned no pairs.

    It is the user's to mend, so a task reports it as the user's failure; the message says what to write instead.
    """


class KeyTypeError(RecordError):
    """A key of a type that keys cannot have."""


class ValueTypeError(RecordError):
    """A value that cannot be written where it should go."""


class UnwritableResult(ValueTypeError):
    """A result that the output's format cannot say. `key` is its key as text, None where results are values alone."""

    def __init__(self, message: str, key: str | None) -> None:
        super().__init__(message)
        self.key = key


class SecondPassError(RecordError):
    """The values handed to a reducer were gone through twice."""


class InputChangedError(MapReduceError):
    """A piece of the input is not the file that was planned (size or modification time differ): the job fails.

    `change` says what is wrong, and `advice` what to do about it in a run, "" for nothing.
    """

    def __init__(self, change: str, advice: str = "") -> None:
        super().__init__(f"{change} {advice}" if advice else change)
        self.change = change
        self.advice = advice


class CorruptBlockError(MapReduceError):
    """A stored block is not what was written: names the file and the byte range."""


class InputLostError(MapReduceError):
    """A result that a task needs cannot be had: its producer must run again.

    `producer` is the attempt whose run or part is lost.
    """

    def __init__(self, producer: AttemptId, reason: str) -> None:
        super().__init__(f"the result of {producer} is lost: {reason}")
        self.producer = producer
        self.reason = reason


class DiskFullError(MapReduceError):
    """A write failed because the disk is full or broken; names the folder."""


class WireError(MapReduceError):
    """A frame is malformed, too large, or of another version: it is dropped with a log line."""


class JournalError(MapReduceError):
    """The coordinator's state folder is locked, damaged or cannot be written: the coordinator stops."""


class IllegalTransition(MapReduceError):
    """The state machine was asked for a step that its table does not allow: a defect, shown with its history."""


class JobFailed(MapReduceError):
    """A job ended without a result.

    Attributes: `job` (its id), `task` (such as "map 3", or None), `traceback` (the user's own, as text, engine frames
    folded), `record` (the repr of the record, shortened, or None), `failure` (everything that is known).
    """

    def __init__(self, job: str, failure: Failure) -> None:
        super().__init__(failure.describe())
        self.job = job
        self.failure = failure
        self.task = failure.task
        self.traceback = failure.traceback
        self.record = failure.record


class JobCancelled(MapReduceError):
    """A job was cancelled, by this process or another."""
