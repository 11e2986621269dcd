"""The coordinator's memory on disk: SQLite with entries, snapshots and logs.

Owns durability: what `append` was given is on the disk when it returns (WAL, synchronous FULL, one transaction). One
coordinator at a time: the state folder is locked, and the kernel lets go of the lock when its holder dies. Any error
of the disk is a JournalError, after which the journal takes nothing more: a failed write is never tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack

from mapreduce.config import SNAPSHOT_ENTRIES, SNAPSHOT_TIMES
from mapreduce.coordinator.entries import Entry, JobForgotten, decode_entry, encode_entry
from mapreduce.errors import JournalError
from mapreduce.protocol import plain
from mapreduce.protocol.messages import LogEntry

FORMAT = 2  # of the tables and entries; another is refused
LOG_PAGE_BYTES = 128 << 10  # of the texts in one page of logs: half a control frame
LOG_PAGE_ENTRIES = 500  # with some 150 bytes each for their attempts' names

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS snapshot (part INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS logs (
    job TEXT NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (job, place)
) STRICT, WITHOUT ROWID;
"""


class Journal:
    """The journal in a state folder (made if needed). With `durable` False it lives in memory and ends with us.

    `epoch` is this life's number, on disk before the constructor returns. Raises JournalError if the folder is in use,
    damaged, of another version, or cannot be written.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self._lock: Any = None
        self._since_snapshot = 0
        self._broken = False
        with self._reporting("opened"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
        try:
            with self._reporting("opened"):
                path = folder / "journal.sqlite" if durable else ":memory:"
                # Isolation None: transactions begin and end where this module says so.
                self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._open(durable=durable)
                self._log_places = dict(self._db.execute("SELECT job, MAX(place) + 1 FROM logs GROUP BY job"))
        except BaseException:
            self._release_lock()
            raise

    def _take_lock(self) -> None:
        self._lock = (self.folder / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release_lock()
            msg = f"another coordinator is using {self.folder}: stop it, or give this one a folder of its own (--state)"
            raise JournalError(msg) from None

    def _release_lock(self) -> None:
        self._lock.close()

    def _open(self, *, durable: bool) -> None:
        if durable:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        facts = dict(self._db.execute("SELECT name, value FROM facts"))
        if facts.get("format", FORMAT) != FORMAT:
            msg = f"{self.folder} holds a journal of format {facts['format']}; this version reads {FORMAT}"
            raise JournalError(msg)
        self.epoch = facts.get("epoch", 0) + 1
        with self._transaction():
            rows = [("format", FORMAT), ("epoch", self.epoch)]
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn the errors of disk and database into a JournalError that says where; nothing is tried again after it."""
        if self._broken:
            msg = f"the journal in {self.folder} failed before and takes nothing more: start the coordinator again"
            raise JournalError(msg)
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._broken = True
            msg = (
                f"the journal in {self.folder} could not be {what}: {error}. Is the disk full, or the folder not yours "
                f"to write? What was written before is safe; free some space and start the coordinator again"
            )
            raise JournalError(msg) from error

    # ---- entries

    def read(self) -> tuple[Any | None, list[Entry]]:
        """Give the last snapshot (plain data, or None) and all entries after it. Raises JournalError."""
        with self._reporting("read"):
            parts = [bytes(data) for (data,) in self._db.execute("SELECT data FROM snapshot ORDER BY part")]
            rows = [bytes(data) for (data,) in self._db.execute("SELECT data FROM entries ORDER BY number")]
        self._since_snapshot = len(rows)
        entries = [decode_entry(data) for data in rows]
        if not parts:
            return None, entries
        head, *jobs = (plain.unpack_plain(part) for part in parts)
        sequence, workers, ended = head
        return [sequence, workers, jobs, ended], entries

    def append(self, entries: Sequence[Entry], logs: Sequence[LogEntry] = ()) -> None:
        """Make entries and log entries durable, in one transaction. Raises JournalError."""
        if not entries and not logs:
            return
        with self._reporting("written"), self._transaction():
            rows = [(encode_entry(entry),) for entry in entries]
            self._db.executemany("INSERT INTO entries (data) VALUES (?)", rows)
            for entry in entries:
                if isinstance(entry, JobForgotten):
                    self._db.execute("DELETE FROM logs WHERE job = ?", (entry.job,))
                    self._log_places.pop(entry.job, None)
            self._append_logs(logs)
        self._since_snapshot += len(entries)

    def wants_snapshot(self, commits: int) -> bool:
        """Whether the entries since the last snapshot outweigh the state, which holds so many commits.

        A commit takes as long to be read from a snapshot as from its entry. So while a job grows nothing is gained by
        one, which would hold up a coordinator of a hundred thousand commits for seconds.
        """
        return self._since_snapshot >= max(SNAPSHOT_ENTRIES, SNAPSHOT_TIMES * commits)

    def write_snapshot(self, data: Any) -> None:
        """Replace the snapshot, and delete the entries that it contains, in one transaction. Raises JournalError."""
        sequence, workers, jobs, ended = data
        parts = [[sequence, workers, ended], *jobs]
        with self._reporting("written"), self._transaction():
            self._db.execute("DELETE FROM snapshot")
            rows = ((number, msgpack.packb(part, use_bin_type=True)) for number, part in enumerate(parts))
            self._db.executemany("INSERT INTO snapshot VALUES (?, ?)", rows)
            self._db.execute("DELETE FROM entries")
        self._since_snapshot = 0

    # ---- logs

    def _append_logs(self, logs: Sequence[LogEntry]) -> None:
        for entry in logs:
            job = entry.attempt.task.job
            place = self._log_places.get(job, 0)
            row = (job, place, plain.pack(entry), len(entry.text.encode()))
            self._db.execute("INSERT INTO logs VALUES (?, ?, ?, ?)", row)
            self._log_places[job] = place + 1

    def log_sizes(self) -> dict[str, tuple[int, int]]:
        """Give the number of entries and the bytes that are kept of each job's logs."""
        with self._reporting("read"):
            rows = self._db.execute("SELECT job, COUNT(*), SUM(size) FROM logs GROUP BY job")
            return {job: (count, size) for job, count, size in rows}

    def read_logs(self, job: str, start: int) -> tuple[int, tuple[LogEntry, ...]]:
        """Give how many log entries a job has, and a page of them from the `start`-th on."""
        with self._reporting("read"):
            query = "SELECT data, size FROM logs WHERE job = ? AND place >= ? ORDER BY place LIMIT ?"
            rows = self._db.execute(query, (job, start, LOG_PAGE_ENTRIES)).fetchall()
        page: list[LogEntry] = []
        left = LOG_PAGE_BYTES
        for data, size in rows:
            left -= size
            if page and left < 0:
                break
            page.append(plain.unpack(LogEntry, bytes(data)))
        return self._log_places.get(job, 0), tuple(page)

    def close(self) -> None:
        """Close the database and let go of the folder. May be called twice."""
        self._db.close()
        self._release_lock()
