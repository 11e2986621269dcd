"""Jobs, attempts and cleaners that meet in one folder of a store, at any moment of one another's work."""

import functools
import re
import threading
from dataclasses import replace

import pytest
from store_outputs import FACTS, OLD, PARTS, committed, deliver_parts, marks, prepared, tree

from mapreduce.dataflow.manifest.commit_in_store import commit_in_store
from mapreduce.dataflow.manifest.folder import (
    commit_job,
    prepare_output,
    read_output,
)
from mapreduce.dataflow.manifest.in_store import prepare_in_store, remove_from_store
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.s3 import S3Store
from mapreduce.errors import OutputError
from mapreduce.plan import TaskOptions


def held_up(meanwhile, at, *, in_question):
    """A store of S3 in which the rest of the world goes on right before its `at`-th change, or question for the note.

    `happened` says whether it came so far.
    """
    store = made_held_up()
    store.left, store.meanwhile, store.in_question, store.happened = at, meanwhile, in_question, False
    return store


@functools.cache
def made_held_up():
    class HeldUp(S3Store):
        def _step(self, *, question):
            with self.one:
                if question != self.in_question:
                    return
                self.left -= 1
                if self.left == 0:
                    self.happened = True
                    self.meanwhile()

        one = threading.RLock()

        def facts(self, url):
            if url.endswith("/_reserved"):
                self._step(question=True)
            return super().facts(url)

        def write(self, url, data):
            self._step(question=False)
            super().write(url, data)

        def upload(self, path, url, checksum):
            self._step(question=False)
            super().upload(path, url, checksum)

        def replace(self, url, data, seen):
            self._step(question=False)
            super().replace(url, data, seen)

        def remove(self, url):
            self._step(question=False)
            super().remove(url)

        def remove_seen(self, url, seen):
            self._step(question=False)
            super().remove_seen(url, seen)

    return HeldUp("s3")


def commit_or_not(folder, options, granted, store):
    """Commit; None for success, else the error that says that the folder is another's."""
    try:
        commit_in_store(folder, options, granted, FACTS, store=store)
    except OutputError as error:
        return error
    return None


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_that_was_held_up(s3, tmp_path, overwrite):
    """One that goes on after its job was committed by another attempt, and replaced by a later job, changes nothing."""
    named = (("errors", "jsonl"),)
    parts, later = [[("a", 1)]], [[("later", 1)]]
    options = TaskOptions(job="j1", output="", durable=False, overwrite=overwrite, outputs=named)
    for point in range(1, 100):
        out = s3.url(f"held/{overwrite}{point}")
        if overwrite:
            committed(out, tmp_path, "j0", parts, named=None, outputs=(("errors", "jsonl"), ("gone", "tsv")))
        mine = replace(options, output=out)
        prepare_output(out, "j1", overwrite, ["errors"])
        granted = deliver_parts(mine, tmp_path, parts)
        after = {}

        def meanwhile(out=out, mine=mine, granted=granted, after=after):
            commit_in_store(out, mine, granted, FACTS)
            committed(out, tmp_path, "j2", later, overwrite=True, outputs=(("errors", "tsv"), ("gone", "tsv")))
            after.update(marks(out))

        store = held_up(meanwhile, point, in_question=False)
        error = commit_or_not(out, mine, granted, store)
        if not store.happened:
            break
        assert error is None or re.search("j1 has ended|holds the output of another job", str(error))
        found = marks(out)
        assert {name: found.get(name) for name in after} == after, point
        assert {name.partition("/")[0] for name in set(found) - set(after)} <= {"_tmp-j1"}, point
    assert point > 4


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_commit_of_a_cancelled_job(s3, tmp_path, overwrite):
    """One that goes on after its job was cleaned up leaves what was there before; so does an upload that comes late."""
    for point in range(1, 100):
        out = s3.url(f"cancelled/{overwrite}{point}")
        if overwrite:
            committed(out, tmp_path, "j0", OLD[:1], outputs=(("errors", "tsv"),))
        before = marks(out)
        options = TaskOptions(job="j1", output=out, durable=False, overwrite=overwrite, outputs=(("errors", "jsonl"),))
        prepare_output(out, "j1", overwrite, ["errors"])
        granted = deliver_parts(options, tmp_path, PARTS[:1])
        store = held_up(functools.partial(remove_from_store, out, "j1"), point, in_question=True)
        error = commit_or_not(out, options, granted, store)
        if not store.happened:
            break
        assert "the job j1 has ended" in str(error)
        assert marks(out) == before
        with pytest.raises(OutputError, match="the job j1 has ended"):
            deliver_parts(options, tmp_path, PARTS[:1], number=2)
        assert marks(out) == before
    assert point > 3


def test_two_commits_at_once(s3, tmp_path):
    """Two attempts of the commit, of which one goes on in the middle of the other, both see the job committed."""
    for point in range(1, 100):
        out = s3.url(f"both/{point}")
        options = TaskOptions(job="j1", output=out, durable=False, outputs=(("errors", "jsonl"),))
        prepare_output(out, "j1", False, ["errors"])
        granted = deliver_parts(options, tmp_path, PARTS[:1])
        first = held_up(lambda: None, 0, in_question=False)

        def other(out=out, options=options, granted=granted):
            commit_in_store(out, options, granted, {"job": "j1", "again": True})

        store = held_up(other, point, in_question=False)
        assert first is store
        commit_in_store(out, options, granted, FACTS, store=store)
        assert list(read_output(out)) == PARTS[0]
        assert sorted(tree(out)) == [
            "_SUCCESS",
            "_job.json",
            "errors/_SUCCESS",
            "errors/part-00000-j1-1.jsonl",
            "part-00000-j1-1",
        ]
        if not store.happened:
            break
    assert point > 3


def test_parts_that_come_while_old_ones_are_removed(memory, tmp_path):
    """A job that begins at any moment at which an earlier one removes old parts loses none of its own."""
    for point in range(1, 100):
        out = f"memory://b/late{point}"
        committed(out, tmp_path, "j0", OLD)
        options, granted = prepared(out, tmp_path, overwrite=True)
        later = TaskOptions(job="j2", output=out, durable=False, overwrite=True)
        began, lists = [], []

        class Slow(FsspecStore):
            def names(self, url):
                found = super().names(url)
                lists.append(url)  # noqa: B023 - used in this turn
                if len(lists) == point:  # noqa: B023 - as above
                    prepare_output(out, "j2", True)  # noqa: B023 - as above
                    began.extend(deliver_parts(later, tmp_path, OLD))  # noqa: B023 - as above
                return found

        commit_in_store(out, options, granted, FACTS, store=Slow("memory"))
        if not began:
            break
        commit_job(out, later, began, FACTS)
        assert list(read_output(out)) == [record for part in OLD for record in part]
    assert point > 3


def test_two_jobs_at_the_same_moment(memory):
    """Where two jobs reserve a folder at once, no two go on."""
    out = "memory://b/out"

    class Slow(FsspecStore):
        def write(self, url, data):
            super().write(url.replace("j1", "j2"), data)
            super().write(url, data)

    with pytest.raises(OutputError, match="is that of the job j2"):
        prepare_in_store(out, "j1", overwrite=False, store=Slow("memory"))
    assert sorted(tree(out)) == ["_tmp-j2/_reserved"]
