"""Processes that die after any change to a store: commits go on or are taken back, and readers see old or new."""

import functools
import threading

import pytest
from store_outputs import FACTS, NAMED, NEW, OLD, RECORDS, committed, prepared, seen, tree

from mapreduce.dataflow.manifest.commit_in_store import commit_in_store
from mapreduce.dataflow.manifest.in_store import remove_from_store
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.s3 import S3Store


class Dies(BaseException):
    """The process dies here."""


def fragile(kind):
    """A kind of store that dies right after its n-th change, and looks after each that a reader can see."""

    class Fragile(kind):
        left = 0
        on_change = None
        one = threading.Lock()

        def _step(self):
            self.left -= 1
            if self.on_change:
                self.on_change()
            if self.left == 0:
                raise Dies

        def write(self, url, data):
            super().write(url, data)
            self._step()

        def upload(self, path, url, checksum):
            super().upload(path, url, checksum)
            self._step()

        def replace(self, url, data, seen):
            super().replace(url, data, seen)
            if kind is S3Store:  # the other one writes
                self._step()

        def remove(self, url):
            with self.one:  # several are removed at once
                super().remove(url)
                self._step()

        def remove_seen(self, url, seen):
            super().remove_seen(url, seen)
            if kind is S3Store:  # as above
                self._step()

    return Fragile


def fragile_store(folder, left, on_change=None):
    store = made_fragile(folder.partition(":")[0])
    store.left, store.on_change = left, on_change
    return store


@functools.cache
def made_fragile(scheme):
    """Once, since the driver of S3 takes half a second to set itself up."""
    return fragile(S3Store if scheme == "s3" else FsspecStore)(scheme)


def dies(action, *arguments, store):
    try:
        action(*arguments, store=store)
    except Dies:
        return True
    return False


def start_old(folder, scratch):
    """An output with two named ones, one of which the new job may have too, and somebody's notes."""
    named = () if folder.startswith("s3") else (("errors", "tsv"), ("gone", "tsv"))
    committed(folder, scratch, "j0", OLD[:2], outputs=named)
    store_of(folder).write(f"{folder}/notes.txt", b"mine")


@pytest.mark.parametrize("overwrite", [False, True])
def test_commit_survives_any_death(memory, tmp_path, overwrite):
    """A commit that dies after any change, and is run again, leaves the same objects; a reader sees old or new."""
    assert interrupted("memory://b/out", tmp_path, overwrite=overwrite, outputs=NAMED, output_format="parquet") > 8


def test_commit_survives_any_death_in_s3(s3, tmp_path):
    """So it is with a real server."""
    assert interrupted(s3.url("deaths/out"), tmp_path, overwrite=True) > 5


def interrupted(place, tmp_path, *, overwrite, outputs=(), **more):
    """Commit with a death after each change in turn, then run the commit again. Gives the number of changes."""
    new = {name: NEW[name] for name in ("", *(name for name, _ in outputs))}
    results = []
    for point in range(1, 100):
        out = f"{place}{point}"
        if overwrite:
            start_old(out, tmp_path)
        old = seen(out)
        options, granted = prepared(out, tmp_path, overwrite=overwrite, outputs=outputs, **more)
        looks = []
        look = None if out.startswith("s3") else lambda: looks.append(seen(out))  # noqa: B023 - used in this turn
        died = dies(commit_in_store, out, options, granted, FACTS, store=fragile_store(out, point, look))
        for one in [*looks, seen(out)]:
            assert all(found in (old.get(name), new[name]) for name, found in one.items() if name in new)
            assert one.get("") != RECORDS or all(one[name] == new[name] for name in new)
        commit_in_store(out, options, granted, FACTS)
        assert {name: records for name, records in seen(out).items() if name in new} == new
        results.append({url[len(out) + 1 :] for url, _ in store_of(out).below(out)} - {"notes.txt"})
        if not died:
            break
    assert all(result == results[0] for result in results)
    assert all("-j1-1" in name or name.rpartition("/")[2] in {"_SUCCESS", "_job.json"} for name in results[0])
    return len(results)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_half_commit_can_be_taken_back(memory, tmp_path, overwrite):
    """A job cancelled at any moment of its commit leaves what was there, or all of its own; so may cleaners die."""
    taken_back = 0
    for point in range(1, 100):
        out = f"memory://b/{point}"
        if overwrite:
            start_old(out, tmp_path)
        before = tree(out)
        options, granted = prepared(out, tmp_path, overwrite=overwrite, outputs=NAMED)
        died = dies(commit_in_store, out, options, granted, FACTS, store=fragile_store(out, point))
        is_done = seen(out).get("") == RECORDS
        for stop in range(1, 100):
            if not dies(remove_from_store, out, "j1", store=fragile_store(out, stop)):
                break
        if is_done:
            assert {name: records for name, records in seen(out).items() if name in NEW} == NEW
        else:
            assert tree(out) == before
            taken_back += 1
        assert not any(name.startswith("_tmp-") for name in tree(out))
        if not died:
            break
    assert taken_back >= 3  # after each manifest of a named output, and the facts of the job
