"""The journal: what it was given is there again, for one coordinator at a time."""

import multiprocessing
import os
import sqlite3

import pytest

from mapreduce.config import SNAPSHOT_ENTRIES
from mapreduce.coordinator import entries as e
from mapreduce.coordinator.durable import Durable
from mapreduce.coordinator.journal import Journal
from mapreduce.coordinator.states import JobState
from mapreduce.errors import JournalError
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, JobSpec, PartInfo, StepShape, TaskId, TaskKind
from mapreduce.protocol.messages import LogEntry

SPEC = JobSpec("job1", "n", (StepShape(2, 1),), "a" * 64, "b" * 64, "c" * 64, "d" * 64, "/out", 1)
MAP = TaskId("job1", 0, TaskKind.MAP, 0)
ENTRIES = [
    e.WorkerKnown("w1", "host", "tcp://x", "/f"),
    e.JobSubmitted(SPEC),
    e.JobMoved("job1", JobState.RUNNING),
    e.AttemptEnded(AttemptId(MAP, 1), FailureKind.USER, "w1"),
    e.Committed(AttemptId(MAP, 2), "w1", Done(1, 2, 3, 4, 1, b"12345678", counters={"a": 1}, warnings=("w",))),
    e.Revoked(AttemptId(MAP, 2), "lost"),
    e.Committed(AttemptId(MAP, 3), "w1", Done(1, 2, 3, 4, 1, b"1234567x", part=PartInfo(1, 2, "ff", ("str",)))),
    e.Restarted(MAP, (TaskId("job1", 0, TaskKind.REDUCE, 0),), 9),
    e.Fenced((TaskId("job1", 0, TaskKind.MAP, 1),), 9),
    e.Warned("job1", "text"),
    e.WorkerGone("w1", "silent"),
    e.JobEnded("job1", JobState.FAILED, Failure(FailureKind.FATAL, "m", producer=AttemptId(MAP, 3))),
    e.JobForgotten("job1"),
]


def test_every_type_of_entry_comes_back_as_it_was(tmp_path):
    """Entries are read in their order, equal to those written, by the next life of the coordinator."""
    assert {type(entry) for entry in ENTRIES} == set(e.ENTRY_TYPES.values())
    journal = Journal(tmp_path)
    journal.append(ENTRIES[:4])
    journal.append(ENTRIES[4:])
    journal.close()
    again = Journal(tmp_path)
    assert again.read() == (None, ENTRIES)
    assert (journal.epoch, again.epoch) == (1, 2)
    again.close()


def test_a_snapshot_replaces_its_entries(tmp_path):
    """After a snapshot only later entries are kept, and both together give the same state."""
    journal, durable = Journal(tmp_path), Durable()
    for entry in ENTRIES[:6]:
        durable.apply(entry)
    journal.append(ENTRIES[:6])
    journal.write_snapshot(durable.to_plain())
    journal.append(ENTRIES[6:10])
    snapshot, entries = journal.read()
    journal.close()
    again = Durable.from_plain(snapshot)
    assert entries == ENTRIES[6:10]
    for entry in entries:
        durable.apply(entry)
        again.apply(entry)
    assert again == durable


def test_snapshots_are_due_when_entries_outweigh_the_state(tmp_path):
    """A small state is written every SNAPSHOT_ENTRIES entries, a large one after twice as many as it holds commits."""
    journal = Journal(tmp_path, durable=False)
    journal.append([ENTRIES[8]] * SNAPSHOT_ENTRIES)
    assert journal.wants_snapshot(10)
    assert not journal.wants_snapshot(SNAPSHOT_ENTRIES // 2 + 1)
    journal.close()


def test_logs_are_paged_and_go_with_their_job(tmp_path):
    """Log entries keep their order, a page is bounded in bytes, sizes survive, a forgotten job takes its logs along."""
    journal = Journal(tmp_path)
    texts = [f"{n}" * 40_000 for n in range(5)]
    journal.append([], [LogEntry(AttemptId(MAP, 1), text) for text in texts])
    total, page = journal.read_logs("job1", 1)
    assert (total, [entry.text for entry in page]) == (5, texts[1:4])
    assert journal.log_sizes() == {"job1": (5, 200_000)}
    journal.close()
    journal = Journal(tmp_path)
    journal.append([], [LogEntry(AttemptId(MAP, 1), "last")])
    assert journal.read_logs("job1", 5)[1][0].text == "last"
    journal.append([e.JobForgotten("job1")])
    assert journal.read_logs("job1", 0) == (0, ())
    journal.close()


def test_a_second_coordinator_is_refused_until_the_first_is_gone(tmp_path):
    """The lock holds between processes, and the kernel drops it when its holder is killed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(30)
    with pytest.raises(JournalError, match=r"another coordinator is using .*--state"):
        Journal(tmp_path)
    process.kill()
    process.join()
    journal = Journal(tmp_path)
    assert journal.epoch == 2
    journal.close()


def _hold(folder, pipe):
    journal = Journal(folder)
    pipe.send(journal.epoch)
    pipe.recv()


def test_a_damaged_journal_is_an_error_that_says_where(tmp_path):
    """A file that is no database, and an entry that is none, are JournalErrors with the folder's name or the reason."""
    (tmp_path / "journal.sqlite").write_bytes(os.urandom(5000))
    with pytest.raises(JournalError, match=str(tmp_path)):
        Journal(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    journal = Journal(tmp_path)
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("INSERT INTO entries (data) VALUES (?)", (b"\x92\xa4Nope\x90",))
    db.close()
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="cannot be read"):
        journal.read()
    journal.close()


def test_after_a_failed_write_nothing_more_is_taken(tmp_path):
    """A write that fails raises with advice, and so does every later one: nothing is retried behind an fsync's back."""
    journal = Journal(tmp_path)
    journal.append(ENTRIES[:2])
    journal._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(JournalError, match="disk full"):
        journal.append([e.Warned("job1", "x" * 100_000)])
    with pytest.raises(JournalError, match="failed before"):
        journal.append([ENTRIES[2]])
    journal.close()
    journal = Journal(tmp_path)
    assert journal.read() == (None, ENTRIES[:2])
    journal.close()


def test_a_journal_whose_tables_are_not_ours_is_refused_and_let_go(tmp_path):
    """Whatever is wrong with the logs' table is a JournalError, and the folder's lock is free again."""
    Journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute("DROP TABLE logs")
        database.execute("CREATE TABLE logs (something TEXT)")
    database.close()
    for _ in range(2):
        with pytest.raises(JournalError, match="could not be opened"):
            Journal(tmp_path)
