"""The agent's disk work, on threads of its own: a slow disk or a dead network file system never holds up the agent.

Owns two threads with a queue each: one for scratch (storing blobs, deleting), one for users' output folders. What has
been done is reported as events, through a pipe that wakes the agent's poller.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.saved import drop_saved, save_results, sweep_saved
from mapreduce.errors import UsageError
from mapreduce.travel.side_files import extract_files
from mapreduce.urls import is_url
from workers import scratch
from workers.agent_events import (
    BlobBroken,
    BlobStored,
    DeleteAttempt,
    DeleteJob,
    DeleteShared,
    Event,
    OutputLeft,
    StorePiece,
)
from workers.agent_jobs import SHARED_ROLES

log = logging.getLogger("mapreduce.worker")


class DiskThread:
    """Runs jobs one after another; where one returns an event, it is for the agent."""

    def __init__(self, name: str, done: Callable[[Event], None]) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._done = done
        # A daemon: a thread that hangs on a dead file system must not keep the agent from leaving.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], object]) -> None:
        """Have `job` done after those before it."""
        self._jobs.put(job)

    def stop(self, patience_s: float) -> None:
        """Finish what waits, if that takes no longer than `patience_s`."""
        self._jobs.put(None)
        self._thread.join(patience_s)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                event = job()
            except OSError as error:  # what could not be deleted is deleted with the agent's folder, or swept later
                log.warning("disk: %s", error)
            else:
                if isinstance(event, Event):
                    self._done(event)


class Disk:
    """What the agent has done on disk.

    `jobs` is the folder of jobs' folders, `shared` that of what they share, `saved` that of failed jobs' map results.
    """

    def __init__(self, jobs: Path, shared: Path, saved: Path) -> None:
        self._folder = jobs
        self._shared = shared
        self._saved = saved
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._scratch = DiskThread("scratch", self._report)
        self._outputs = DiskThread("outputs", self._report)

    def fileno(self) -> int:
        """Readable when there are events."""
        return self._read

    def events(self) -> list[Event]:
        """What has been done since the last call."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            return []
        found = []
        while not self._events.empty():
            found.append(self._events.get())
        return found

    def store(self, piece: StorePiece) -> None:
        """Store a piece of a blob; the last is followed by a check of the whole, and an event."""
        self._scratch.do(lambda: self._store(piece))

    def delete_attempt(self, effect: DeleteAttempt) -> None:
        """Delete an attempt's files."""
        attempt, output = effect.attempt, effect.output
        self._scratch.do(lambda: scratch.delete_attempt(self._folder / attempt.task.job, attempt))
        if output:
            self._outputs.do(lambda: scratch.delete_private_output(output, attempt))

    def delete_job(self, effect: DeleteJob) -> None:
        """Delete a job's folder, and look whether its attempts left anything below its output folder."""
        self._scratch.do(lambda: self._delete_job(effect))
        if effect.output:
            self._outputs.do(lambda: OutputLeft(effect.job, effect.output) if _left(effect) else None)

    def delete_shared(self, effect: DeleteShared) -> None:
        """Delete a blob that jobs have shared."""
        self._scratch.do(lambda: scratch.delete_shared(self._shared / effect.sha256))

    def sweep(self, find: Callable[[], list[Path]]) -> None:
        """Delete what dead agents have left."""
        self._scratch.do(lambda: _sweep(find()))

    def sweep_saved(self) -> None:
        """Delete what failed jobs have left long ago."""
        self._scratch.do(lambda: sweep_saved(self._saved))

    def stop(self, patience_s: float) -> None:
        """Finish what waits, within `patience_s` a thread."""
        self._scratch.stop(patience_s)
        self._outputs.stop(patience_s)

    def _delete_job(self, effect: DeleteJob) -> None:
        folder = self._folder / effect.job
        try:
            if effect.save:
                kept = save_results(folder, self._saved, effect.job)
                log.info("kept %d map results of %s, which has failed: %s", kept.maps, effect.job, self._saved)
            for job in effect.drop:
                drop_saved(self._saved, job)
        finally:
            scratch.delete_tree(folder)

    def _report(self, event: Event) -> None:
        self._events.put(event)
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            log.debug("the agent has been woken often enough")

    def _store(self, piece: StorePiece) -> Event | None:
        folder = self._folder / piece.job
        path = scratch.blob_path(folder, piece.role)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with path.open("wb" if piece.offset == 0 else "r+b") as file:
                file.seek(piece.offset)
                file.write(piece.data)
            if piece.offset + len(piece.data) < piece.total:
                return None
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != piece.sha256:
                return BlobBroken(piece.job, piece.role, f"its SHA-256 is {found} and not {piece.sha256}", disk=False)
            if piece.role in SHARED_ROLES:
                self._share(path, piece)
        except OSError as error:
            reason = f"{error.strerror} ({path})"
            return BlobBroken(piece.job, piece.role, reason, disk=error.errno in DISK_ERRORS)
        except UsageError as error:
            return BlobBroken(piece.job, piece.role, str(error), disk=False)
        return BlobStored(piece.job, piece.role, piece.sha256)

    def _share(self, path: Path, piece: StorePiece) -> None:
        """Put a checked blob where jobs share it; another job may have brought it already."""
        place = self._shared / piece.sha256
        if place.exists():
            path.unlink()
        elif piece.role == "files":
            unpacked = path.with_name("files")
            extract_files(path, unpacked)
            unpacked.rename(place)
            path.unlink()
        else:
            path.rename(place)


def _sweep(folders: list[Path]) -> None:
    for folder in folders:
        log.info("deleting what a dead agent left: %s", folder)
        scratch.delete_tree(folder)


def _left(effect: DeleteJob) -> bool:
    # An agent asks no store for anything: the process that cleans up looks there itself.
    return is_url(effect.output) or (Path(effect.output) / f"_tmp-{effect.job}").is_dir()
