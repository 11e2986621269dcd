"""What a user ran and failed with: kept in their own folder, so that a task can be replayed or the job resumed.

Owns `$XDG_STATE_HOME/mapreduce/jobs/ID/` (by default below ~/.local/state; 0700), one folder a job: `request.json` says
what was asked for and how it failed, `spec` is the packed JobSpec, and `blobs/` holds the bytes that travelled, each
under its SHA-256. A folder is written whole and then renamed. What can run as code is read only if nobody else could
have written it. Beside it, a file `resumed/ID` names the job that has resumed another with success.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.config import SAVED_DAYS
from mapreduce.errors import JobFailed, UsageError, WireError
from mapreduce.failed.asked import Asked, asked_from, asked_of
from mapreduce.plan import JOB_ID, RESUMED_JOBS, Failure, JobSpec
from mapreduce.quick_dataclass import dataclass
from mapreduce.request import Request

if TYPE_CHECKING:
    from mapreduce.planner import Planned
    from mapreduce.protocol.messages import JobStatus

ENTRY_S = SAVED_DAYS * 24 * 3600.0  # as long as the map results, and nobody has to tidy up
MOST_ENTRIES = 200  # a loop that submits jobs must not fill a home with files
MOST_BYTES = 1 << 30  # of all entries: homes have quotas, and one job's blobs may have some hundred MB
LAST = "last"  # the newest entry, as `mapreduce status last` has it
REQUEST, SPEC, BLOBS = "request.json", "spec", "blobs"
REQUEST_BYTES = 16 << 20  # of a request.json: thousands of paths fit; what is larger was not written by us
SHOWN_IDS = 5  # of entries, in an error
VERSION = 2  # of an entry's files; those of another are not read
RESUMED = "resumed"  # the folder of notes
_UNFINISHED = ".new-"  # how the folders begin that are being written

_log = logging.getLogger(__name__)


class HistoryError(UsageError):
    """What is kept of a job cannot be found, read or written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of one job. `failure` is None as long as nobody here has heard how it ended."""

    folder: Path
    asked: Asked
    spec: JobSpec
    failure: Failure | None

    @property
    def job(self) -> str:
        """The job's id."""
        return self.spec.job

    @property
    def chain(self) -> tuple[str, ...]:
        """The job's id, and those of the failed jobs that it had resumed."""
        return (self.job, *self.spec.resumes)[:RESUMED_JOBS]

    @property
    def named(self) -> str:
        """Which job it is, for people: one that says `last` may mean another."""
        ended = "was submitted" if self.asked.coordinator else "failed"
        when = datetime.fromisoformat(self.asked.when).astimezone()
        return f"{self.job} ({self.spec.name}), which {ended} at {when:%Y-%m-%d %H:%M:%S} in {self.asked.cwd}"

    def blob(self, sha256: str) -> bytes:
        """The bytes of one of the spec's blobs. Raises HistoryError where they are not what travelled."""
        path = self.folder / BLOBS / sha256
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _damaged(self.folder, f"{path.name} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(self.folder, f"{BLOBS}/{path.name} has other bytes than were written")
        return data


def folder() -> Path:
    """Where the entries are. Raises HistoryError for a user without a home."""
    given = os.environ.get("XDG_STATE_HOME", "")
    try:
        # The XDG specification: a path that is not absolute is to be ignored.
        state = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise HistoryError(f"there is no place to keep failed jobs: {error}; set XDG_STATE_HOME to a folder") from error
    return state / "mapreduce" / "jobs"


# ------------------------------------------------------------------------------------------------------- writing


def save(
    planned: Planned, request: Request, *, runner: str, coordinator: str = "", failure: Failure | None = None
) -> None:
    """Keep a job: what was asked for, and all that travels. Old entries are swept. Raises HistoryError.

    `request` is the one that was planned; `runner` and `coordinator` are as in `Asked`.
    """
    from mapreduce.protocol import plain  # noqa: PLC0415 - msgpack, which `import mapreduce` has no use for

    spec = planned.spec
    parent = folder()
    facts = dataclasses.asdict(asked_of(request, spec.output if request.durable else "", runner, coordinator))
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))  # of mode 0700
        try:
            (new / BLOBS).mkdir()
            for sha256, data in planned.blobs.items():
                (new / BLOBS / sha256).write_bytes(data)
            (new / SPEC).write_bytes(plain.pack(spec))
            _write_request(new, facts, failure)
            new.rename(parent / spec.job)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    except OSError as error:
        raise HistoryError(f"{spec.job} cannot be kept for a replay in {parent}: {error.strerror}") from error
    sweep()


def save_submitted(planned: Planned, request: Request, coordinator: str) -> None:
    """Keep a job that is about to be handed to a cluster; that it cannot be is logged, since the job matters more."""
    try:
        save(planned, request, runner="cluster", coordinator=coordinator)
    except HistoryError as error:
        _log.warning("%s", error)


def save_failed(planned: Planned, request: Request, error: BaseException, runner: str) -> None:
    """Keep a job of this machine if it has failed; that it cannot be is logged, since its failure matters more."""
    if not isinstance(error, JobFailed):
        return  # it was interrupted, or is not what failed
    try:
        save(planned, request, runner=runner, failure=error.failure)
    except HistoryError as trouble:
        _log.warning("%s", trouble)


def note(status: JobStatus) -> None:
    """Take how a job went, as its coordinator says: what did well or was cancelled goes, a failure is noted.

    What it has resumed goes with its success. Does nothing about jobs that are not kept here; trouble with those that
    are is logged, and no reason to stop.
    """
    if not has_entry(status.job):
        return
    try:
        if status.state == "done" and status.resumes:
            forget_resumed(find(status.job).spec.resumes, status.job)
        if status.state in {"done", "kept", "cancelled"}:
            remove(status.job)
        elif status.state == "failed" and status.failure is not None:
            entry = find(status.job)
            if entry.failure is None:
                _rewrite(entry, dataclasses.replace(status.failure, saved_maps=status.saved_maps))
    except HistoryError as error:
        _log.warning("%s", error)


def remove(job: str) -> None:
    """Forget a job, by its whole id, if it is kept; that it cannot be removed is logged."""
    if not has_entry(job):
        return
    try:
        shutil.rmtree(folder() / job)
    except FileNotFoundError:
        return  # another process has removed it this moment
    except OSError as error:
        _log.warning("%s cannot be removed: %s", folder() / job, error.strerror)


def forget_resumed(jobs: Sequence[str], by: str) -> None:
    """Forget failed jobs that the job `by`, which is done, has resumed; a note tells of it whoever asks for them."""
    for job in jobs:
        if not has_entry(job):
            continue
        remove(job)
        try:
            notes = _resumed()
            notes.mkdir(mode=0o700, exist_ok=True)
            (notes / job).write_text(by, encoding="ascii")
        except OSError as error:
            _log.warning("that %s has been resumed cannot be noted: %s", job, error)


def _resumed() -> Path:
    return folder().with_name(RESUMED)


def _resumed_by(job: str) -> str:
    """The job that is done and has resumed this one, "" if none is known."""
    if not JOB_ID.fullmatch(job):
        return ""
    try:
        return (_resumed() / job).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def sweep() -> None:
    """Remove what is older than a week, and the oldest entries where they are too many or too large in all."""
    size = 0
    now_s = time.time()  # wall clock, since that is what files carry
    for count, (path, when_s) in enumerate(reversed(_dated(unfinished=True)), 1):
        size += _size(path)
        if now_s - when_s > ENTRY_S or (count > 1 and (count > MOST_ENTRIES or size > MOST_BYTES)):
            shutil.rmtree(path, ignore_errors=True)  # what stays for now is swept the next time
    for path in _resumed().glob("*"):
        with contextlib.suppress(OSError):  # as above
            if now_s - path.stat().st_mtime > ENTRY_S:
                path.unlink()


def _write_request(path: Path, facts: Mapping[str, Any], failure: Failure | None) -> None:
    from mapreduce.protocol import plain  # noqa: PLC0415 - as above

    told = None if failure is None else plain.to_plain(failure)
    text = json.dumps({"version": VERSION, **facts, "failure": told}, indent=2, ensure_ascii=True)
    new = path / f"{REQUEST}.new"
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(path / REQUEST)


def _rewrite(entry: Entry, failure: Failure) -> None:
    try:
        _write_request(entry.folder, dataclasses.asdict(entry.asked), failure)
    except OSError as error:
        raise HistoryError(f"the failure of {entry.job} cannot be noted: {error.strerror}: {entry.folder}") from error


# ------------------------------------------------------------------------------------------------------- reading


def find(job: str = LAST) -> Entry:
    """Give an entry by a job's id, a unique beginning of one, or `last`.

    Raises HistoryError for one that is not kept, and for one that is damaged or of another version of the engine,
    naming what is wrong. The last is the last that there is: one that cannot be read is never passed over in silence.
    """
    known = [path.name for path, _ in _dated()]
    if job == LAST:
        if not known:
            raise HistoryError(f"no failed job is kept in {folder()}: they are for a week, where they were started")
        try:
            return _read(folder() / known[-1])
        except HistoryError as error:
            others = [name for name in known[:-1] if _version_of(folder() / name) == VERSION]
            more = f"name another job in place of `{LAST}`: {_listed(others)}" if others else "no other job is kept"
            raise HistoryError(f"{error}\nThat is the `{LAST}` one; {more}") from error
    found = [job] if job in known else [name for name in known if name.startswith(job)]
    if len(found) == 1:
        return _read(folder() / found[0])
    if found:
        raise HistoryError(f"{job} is the beginning of several ids: {_listed(found)}; write more of the one you mean")
    resumed = _resumed_by(job)
    if resumed:
        raise HistoryError(f"{job} was resumed as {resumed}, which is done: nothing of it is kept any more")
    kept = f"kept are {_listed(known)}" if known else "none is kept"
    raise HistoryError(
        f"no failed job {job!r} is kept in {folder()}, where those of the last week are that were started by this user "
        f"on this machine; {kept}"
    )


def has_entry(job: str) -> bool:
    """Whether there is an entry of a job, by its whole id."""
    try:
        return JOB_ID.fullmatch(job) is not None and (folder() / job).is_dir()
    except HistoryError:
        return False  # there is no place to keep any


def is_replayable(task: str | None) -> bool:
    """Whether a task, as a failure names it, runs a user's functions."""
    return task is not None and task.startswith(("map", "reduce"))


def _dated(*, unfinished: bool = False) -> list[tuple[Path, float]]:
    """The entries with their times, oldest first; on request those too that are being written, or never were."""
    found: list[tuple[Path, float]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder()) as entries:
        for entry in entries:
            if entry.name.startswith(_UNFINISHED) and not unfinished:
                continue
            with contextlib.suppress(OSError):  # it went this moment
                dated = Path(entry.path) / SPEC  # written once, and never again
                facts = dated.stat() if dated.exists() else entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    found.append((Path(entry.path), facts.st_mtime_ns / 1e9))
    return sorted(found, key=lambda one: (one[1], one[0].name))


def _size(path: Path) -> int:
    size = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):  # as above
            size += file.lstat().st_size
    return size


def _read(path: Path) -> Entry:
    from mapreduce.protocol import plain  # noqa: PLC0415 - as above

    try:
        facts = path.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise HistoryError(f"{path} can be written by others than you, and what is in it runs as code: remove it")
        with (path / REQUEST).open("rb") as file:
            told = json.loads(file.read(REQUEST_BYTES))
        if isinstance(told, dict) and told.get("version", VERSION) != VERSION:
            raise _of_another_version(path, told["version"])
        spec = plain.unpack(JobSpec, (path / SPEC).read_bytes())
    except OSError as error:
        raise _damaged(path, f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{REQUEST} is no JSON: {error}") from error
    except WireError as error:
        raise _damaged(path, f"{SPEC}: {error} (was it written by another version of the engine?)") from error
    try:
        failure = None if told["failure"] is None else plain.from_plain(Failure, told["failure"])
        return Entry(path, asked_from(told), spec, failure)
    except (KeyError, TypeError, ValueError, AttributeError, WireError) as error:
        raise _damaged(path, f"{REQUEST} is not as this version writes it ({type(error).__name__}: {error})") from error


def _version_of(path: Path) -> object:
    """Which version an entry says that it is of; None for what says nothing."""
    try:
        with (path / REQUEST).open("rb") as file:
            told = json.loads(file.read(REQUEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None  # whoever asks for it is told
    return told.get("version") if isinstance(told, dict) else None


def _of_another_version(path: Path, version: object) -> HistoryError:
    return HistoryError(
        f"the job {path.name} was kept by another version of the engine (in layout {version!r:.20}; this one reads "
        f"{VERSION}): only that one can replay or resume it. Run the job again, or remove what is kept: rm -r {path}"
    )


def _damaged(path: Path, what: str) -> HistoryError:
    return HistoryError(f"what is kept of the job {path.name} is damaged: {what}; it can only be removed: rm -r {path}")


def _listed(ids: Sequence[str]) -> str:
    """Some ids, the newest first."""
    shown = ", ".join(list(reversed(ids))[:SHOWN_IDS])
    return shown if len(ids) <= SHOWN_IDS else f"{shown} and {len(ids) - SHOWN_IDS} more"
