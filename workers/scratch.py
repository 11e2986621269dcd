"""Scratch: where an agent's life keeps blobs, runs and parts, and how leftovers of dead agents are found.

    DIR/.lock                     held while a life's folder is made or leftovers are looked for
    DIR/agent-WORKER/lock         held (flock) as long as that agent lives
    DIR/agent-WORKER/jobs/JOB/    blobs (blob-setup, blob-plan, ...), runs, parts, fetched slices
    DIR/saved/JOB/KEY/            map results of a failed job (see `mapreduce.dataflow.saved`), for whoever resumes it
    DIR/agent-WORKER/shared/SUM   what jobs share: a blob of code, or a folder of the files that travelled with a job

All folders are private (0700). Names inside a job's folder are made from integers and fixed words only; those of files
that travelled are checked (see `mapreduce.travel.side_files`).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapreduce.errors import UsageError
from mapreduce.file_names import attempt_output_name, done_file_name, merge_folder_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, TaskKind
from mapreduce.urls import is_url

PREFIX = "agent-"
DEAD_PREFIX = "dead-"


class Scratch:
    """One agent life's folder below `parent`, locked while it lives."""

    def __init__(self, parent: Path, worker: str) -> None:
        """Make the folder. Raises UsageError where the folder cannot be made, is another's, or cannot be locked."""
        self.parent = parent
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_own(parent)
            with _locked(parent / ".lock"):
                self.folder = parent / f"{PREFIX}{worker}"
                self.folder.mkdir(mode=0o700)
                self._lock = _try_lock(self.folder / "lock")
            self.jobs.mkdir(mode=0o700)
            self.shared.mkdir(mode=0o700)
        except OSError as error:
            msg = f"scratch folder {parent}: {error.strerror or error}; give another with --scratch"
            raise UsageError(msg) from error
        if self._lock is None:
            msg = f"scratch folder {parent} cannot be locked: give one on a local disk with --scratch"
            raise UsageError(msg)

    @property
    def jobs(self) -> Path:
        """Where jobs' folders lie."""
        return self.folder / "jobs"

    @property
    def shared(self) -> Path:
        """Where the blobs lie that jobs share."""
        return self.folder / "shared"

    def leftovers(self) -> list[Path]:
        """Take the folders of dead agents out of the way, and give them for deletion."""
        found = []
        with _locked(self.parent / ".lock"):
            for path in sorted(self.parent.iterdir()):
                if path.name.startswith(DEAD_PREFIX):
                    found.append(path)
                elif path.name.startswith(PREFIX) and path != self.folder:
                    lock = _try_lock(path / "lock")
                    if lock is not None:
                        dead = self.parent / f"{DEAD_PREFIX}{secrets.token_hex(8)}"
                        path.rename(dead)
                        os.close(lock)
                        found.append(dead)
        return found

    def remove(self) -> None:
        """Delete this life's folder; the end of it."""
        if self._lock is not None:
            delete_tree(self.folder)
            os.close(self._lock)
            self._lock = None


def default_parent() -> Path:
    """The user's own folder below the system's temporary folder."""
    return Path(tempfile.gettempdir()) / f"mapreduce-{os.getuid()}"


def blob_path(folder: Path, role: str) -> Path:
    """Where a job's blob lies, inside the job's folder."""
    return folder / f"blob-{role}"


def delete_shared(path: Path) -> None:
    """Delete a shared blob, a file or a folder; none is no error. Raises OSError."""
    if path.is_dir():
        delete_tree(path)
    else:
        path.unlink(missing_ok=True)


def fetch_path(folder: Path, attempt: AttemptId, *, broadcast: bool = False) -> Path:
    """Where an attempt's fetched slices lie, inside the job's folder; those of a broadcast input lie by themselves."""
    return folder / f"fetch-{part_file_name(attempt)}{'-broadcast' if broadcast else ''}"


def delete_attempt(folder: Path, attempt: AttemptId) -> None:
    """Delete what an attempt made in its job's folder: runs, part, their note, fetched slices, the merge's files."""
    fetched = (fetch_path(folder, attempt), fetch_path(folder, attempt, broadcast=True))
    for path in (folder / part_file_name(attempt), folder / done_file_name(attempt), *fetched):
        path.unlink(missing_ok=True)
    if attempt.task.kind is TaskKind.REDUCE:
        delete_tree(folder / merge_folder_name(attempt))
    if not folder.is_dir():
        return
    start, private = run_file_name(attempt, 0)[:-1], attempt_output_name(attempt)
    for entry in os.scandir(folder):
        is_run = entry.name.startswith(start) and entry.name[len(start) :].isdecimal()
        # Of an output in a store parts are written here, and named outputs and files of parts have longer names.
        if is_run or entry.name == private or entry.name.startswith((f"{private}.", f"{private}-")):
            Path(entry.path).unlink(missing_ok=True)


def delete_private_output(output: str, attempt: AttemptId) -> None:
    """Delete an attempt's private file below the output folder, if there is one.

    What it has uploaded to a store stays for the job's last task: an agent asks no store for anything.
    """
    if is_url(output):
        return
    (Path(output) / f"_tmp-{attempt.task.job}" / attempt_output_name(attempt)).unlink(missing_ok=True)


def delete_tree(folder: Path) -> None:
    """Delete a folder with all that is in it; none is no error. Raises OSError."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():  # something in it went away meanwhile
            shutil.rmtree(folder)


def _check_own(folder: Path) -> None:
    """Refuse a folder that another user made: they could change what lies in it."""
    owner = folder.stat().st_uid
    if owner != os.getuid():
        msg = f"scratch folder {folder} belongs to another user (uid {owner}); give another with --scratch"
        raise UsageError(msg)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    """Lock a file, which is made if need be; None if another process holds it. Give its descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
