"""The output folder in a store: reserved, committed from any interruption, read by its manifest, cleaned up."""

import functools
import json
import re
import threading
from dataclasses import replace

import fsspec
import polars as pl
import pytest

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.inputs.probe import check_probe, make_probe
from mapreduce.dataflow.manifest.attempts import deliver
from mapreduce.dataflow.manifest.commit_in_store import commit_in_store
from mapreduce.dataflow.manifest.folder import (
    Granted,
    commit_job,
    open_part,
    part_paths,
    prepare_output,
    read_manifest,
    read_output,
    remove_attempts,
)
from mapreduce.dataflow.manifest.in_store import prepare_in_store, remove_from_store
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.s3 import S3Store
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions

FACTS = {"job": "j1"}
PARTS = [[("a", 1), ("b", 2)], [], [("c", 3)]]
RECORDS = [record for part in PARTS for record in part]
NAMED = (("errors", "jsonl"), ("rare", "tsv"))
NEW = {"": RECORDS} | {name: [(f"{name} {i}", "j1") for i in range(3) for _ in range(2)] for name, _ in NAMED}
OLD = [[("old", 1)], [("older", 2)], [("x", 1)], [("z", 1)]]


@pytest.fixture
def memory():
    """The objects of memory://, none at first."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """A folder in a store in memory, then one of a real S3 server."""
    if request.param == "memory":
        request.getfixturevalue("memory")
        return "memory://b/out"
    s3 = request.getfixturevalue("s3")
    return s3.url(f"manifests/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}/out")


def write_part(path, records, output_format):
    writer = PartWriter(path, output_format)
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    return writer.close()


def deliver_parts(options, scratch, parts=PARTS, number=1, named=None):
    """Upload a part for each list of records, as attempts do; two records of each named output unless given."""
    granted = []
    for index, records in enumerate(parts):
        attempt = AttemptId(TaskId(options.job, 0, TaskKind.REDUCE, index), number)
        outputs = {
            name: write_part(
                scratch / attempt_output_name(attempt, name),
                named[name][index] if named else [(f"{name} {index}", options.job)] * 2,
                output_format,
            )
            for name, output_format in options.outputs
        }
        info = write_part(scratch / attempt_output_name(attempt), records, options.output_format)
        deliver(options, scratch, attempt, info, outputs)
        granted.append(Granted(attempt, info, outputs))
    return granted


def prepared(folder, scratch, job="j1", **more):
    """Reserve the folder for a job whose attempts have uploaded their parts; one of them was doubled."""
    options = TaskOptions(job=job, output=folder, durable=False, **more)
    prepare_output(folder, job, options.overwrite, [name for name, _ in options.outputs])
    deliver_parts(options, scratch, [[("double", 9)]], number=7)
    return options, deliver_parts(options, scratch)


def committed(folder, scratch, job="j1", parts=PARTS, named=None, **more):
    options = TaskOptions(job=job, output=folder, durable=False, **more)
    prepare_output(folder, job, options.overwrite, [name for name, _ in options.outputs])
    return commit_job(folder, options, deliver_parts(options, scratch, parts, named=named), {"job": job})


def tree(folder):
    """All objects below a folder: their contents by their names."""
    store = store_of(folder)
    return {url[len(folder) + 1 :]: store.read_small(url) for url, _ in store.below(folder)}


def seen(folder):
    """What a reader who follows the manifests sees of all outputs by their names, "" being the job's own."""
    names = [name[: -len("_SUCCESS")].rstrip("/") for name in tree(folder) if name.endswith("_SUCCESS")]
    return {name: list(read_output(f"{folder}/{name}".rstrip("/"))) for name in names}


# -------------------------------------------------------------------------------------------------------- committing


@pytest.mark.parametrize(("output_format", "ending"), [("tsv", ""), ("jsonl.gz", ".jsonl.gz"), ("parquet", ".parquet")])
def test_commit(place, tmp_path, output_format, ending):
    """A commit leaves the granted parts, the manifest, the job's facts and nothing else; nothing stays in scratch."""
    options, granted = prepared(place, tmp_path, output_format=output_format, outputs=(("errors", "jsonl"),))
    assert f"part-00000-j1-7{ending}" in tree(place)
    assert commit_job(place, options, granted, FACTS) == ()
    parts = [f"part-0000{i}-j1-1" for i in range(3)]
    mended = "m" if output_format == "parquet" else ""
    assert sorted(tree(place)) == [
        "_SUCCESS",
        "_job.json",
        "errors/_SUCCESS",
        *(f"errors/{part}.jsonl" for part in parts),
        parts[0] + ending,
        parts[1] + mended + ending,
        parts[2] + ending,
    ]
    assert list(tmp_path.iterdir()) == []
    assert seen(place) == {"": RECORDS, "errors": NEW["errors"]}
    assert json.loads(tree(place)["_job.json"]) == FACTS
    before = tree(place)
    commit_job(place, options, granted, FACTS)
    assert tree(place) == before


def test_parts_are_one_table(place, tmp_path):
    """Parquet parts without records have the types of the others; the part that was mended takes their place."""
    parts = [[], [("a", {"n": 1})], []]
    committed(place, tmp_path, parts=parts, output_format="parquet")
    schemas = []
    for path in part_paths(place, read_manifest(place)):
        with open_part(path) as local:
            schemas.append(dict(pl.read_parquet_schema(local)))
    assert schemas == [{"key": pl.String, "value": pl.Struct({"n": pl.Int64})}] * 3
    assert list(read_output(place)) == [("a", {"n": 1})]
    assert "part-00000-j1-1.parquet" not in tree(place)


def test_part_size(place, tmp_path):
    """A part of several files is several objects, in their order."""
    records = [(f"k{i:03d}", "x" * 50) for i in range(100)]
    options = TaskOptions(job="j1", output=place, durable=False, part_size=1000)
    prepare_output(place, "j1", False)
    attempt = AttemptId(TaskId("j1", 0, TaskKind.REDUCE, 0), 1)
    writer = PartWriter(tmp_path / attempt_output_name(attempt), writing=Writing.of(options))
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    info = writer.close()
    deliver(options, tmp_path, attempt, info, {})
    commit_job(place, options, [Granted(attempt, info)], FACTS)
    names = [file.name for file in read_manifest(place).files]
    assert names == [f"part-00000-{i:05d}-j1-1" for i in range(len(info.files))]
    assert len(names) > 3
    assert list(read_output(place)) == records


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


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_a_lost_part(place, tmp_path, damage):
    """An object that is missing or is not what its attempt wrote names its producer, and no manifest is written."""
    options, granted = prepared(place, tmp_path)
    store, url = store_of(place), f"{place}/part-00002-j1-1"
    if damage == "missing":
        store.remove(url)
    else:
        store.write(url, b"c\t" if damage == "shorter" else b"c\t4\n")
    with pytest.raises(InputLostError) as caught:
        commit_job(place, options, granted, FACTS)
    assert caught.value.producer == granted[2].attempt
    assert "_SUCCESS" not in tree(place)
    again = deliver_parts(options, tmp_path, number=2)
    commit_job(place, options, [*granted[:2], again[2]], FACTS)
    assert list(read_output(place)) == RECORDS


def test_another_jobs_output_is_not_replaced(place, tmp_path):
    """Without overwrite a manifest that appears meanwhile is another job's: the commit says so."""
    options, granted = prepared(place, tmp_path)
    manifest = tree(place).get("_SUCCESS")
    assert manifest is None
    committed(f"{place}-other", tmp_path, "j2", OLD)
    store_of(place).write(f"{place}/_SUCCESS", tree(f"{place}-other")["_SUCCESS"])
    with pytest.raises(OutputError, match="holds the output of another job"):
        commit_job(place, options, granted, FACTS)


def test_parts_of_a_job_at_work_stay(memory, tmp_path):
    """A job that overwrites an output removes parts of others there, but not those of a job that is at work."""
    out = "memory://b/out"
    committed(out, tmp_path, "j0", OLD)
    mine, mine_granted = prepared(out, tmp_path, "j1", overwrite=True)
    _, theirs = prepared(out, tmp_path, "j2", overwrite=True)
    commit_job(out, mine, mine_granted, FACTS)
    assert {name for name in tree(out) if "-j2-" in name} >= {f"part-0000{i}-j2-1" for i in range(3)}
    assert not any("-j0-" in name for name in tree(out))
    assert len(theirs) == 3


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
            after.update(tree(out))

        store = held_up(meanwhile, point, in_question=False)
        error = commit_or_not(out, mine, granted, store)
        if not store.happened:
            break
        assert error is None or re.search("j1 has ended|holds the output of another job", str(error))
        found = tree(out)
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
        before = tree(out)
        options = TaskOptions(job="j1", output=out, durable=False, overwrite=overwrite, outputs=(("errors", "jsonl"),))
        prepare_output(out, "j1", overwrite, ["errors"])
        granted = deliver_parts(options, tmp_path, PARTS[:1])
        store = held_up(functools.partial(remove_from_store, out, "j1"), point, in_question=True)
        error = commit_or_not(out, options, granted, store)
        if not store.happened:
            break
        assert "the job j1 has ended" in str(error)
        assert tree(out) == before
        with pytest.raises(OutputError, match="the job j1 has ended"):
            deliver_parts(options, tmp_path, PARTS[:1], number=2)
        assert tree(out) == before
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


# --------------------------------------------------------------------------------------------------------- reserving


def test_reserving(place, tmp_path):
    """A folder that holds anything is refused with what to do; a job's output may be replaced, other things may not."""
    committed(place, tmp_path, outputs=(("errors", "tsv"),))
    with pytest.raises(OutputError, match=r"holds another job's output: .*--overwrite"):
        prepare_output(place, "j2", False)
    prepare_output(place, "j2", True, ["errors"])
    prepare_output(place, "j2", True, ["errors"])
    remove_attempts(place, "j2")
    assert "_SUCCESS" in tree(place)
    store = store_of(place)
    store.write(f"{place}-notes/x.txt", b"mine")
    for overwrite, text in ((False, "is not empty .it holds x.txt"), (True, "holds x.txt, which no job wrote")):
        with pytest.raises(OutputError, match=text):
            prepare_output(f"{place}-notes", "j2", overwrite)
    store.write(f"{place}/mine/x.txt", b"mine")
    with pytest.raises(OutputError, match=r"where the job's output 'mine' goes, holds x.txt, which no job wrote"):
        prepare_output(place, "j2", True, ["mine"])
    prepare_output(f"{place}-2", "j2", False)
    with pytest.raises(OutputError, match="is that of the job j2, which is running or has died"):
        prepare_output(f"{place}-2", "j3", False)
    store.write(f"{place}-file", b"")
    with pytest.raises(OutputError, match="is an object: name another folder"):
        prepare_output(f"{place}-file", "j2", False)


@pytest.mark.parametrize("parts", [[], PARTS])
def test_a_job_that_fails_before_its_commit(place, tmp_path, parts):
    """One that was to replace an output leaves it as it was, with its named outputs, also those that it has too."""
    committed(place, tmp_path, "j0", OLD[:1], outputs=(("errors", "tsv"),))
    before = tree(place)
    options = TaskOptions(job="j1", output=place, durable=False, overwrite=True, outputs=(("errors", "tsv"),))
    prepare_output(place, "j1", True, ["errors"])
    deliver_parts(options, tmp_path, parts)
    remove_attempts(place, "j1")
    assert tree(place) == before


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


def test_cleaning_up_twice_or_late(place, tmp_path):
    """Cleaning up may be done again, also when the next job has the folder: nothing of that goes."""
    prepared(place, tmp_path, "j1")
    remove_attempts(place, "j1")
    assert tree(place) == {}
    committed(place, tmp_path, "j2")
    before = tree(place)
    remove_attempts(place, "j1")
    remove_attempts(place, "j2")
    assert tree(place) == before


def test_a_probe(place):
    """A worker that finds the token may write there; one that does not, says so; what lies in memory is refused."""
    prepare_output(place, "j1", False)
    probe = make_probe([], place, "j1")
    if place.startswith("memory"):
        with pytest.raises(OutputError, match="lies in the memory of the process"):
            check_probe(probe)
        return
    check_probe(probe)
    assert sorted(tree(place)) == ["_tmp-j1/_probe", "_tmp-j1/_reserved"]
    store_of(place).write(probe.token_path, b"another")
    with pytest.raises(OutputError, match="is not seen here: the same endpoint"):
        check_probe(probe)


# ----------------------------------------------------------------------------------------------------------- reading


def test_damaged_outputs_are_refused(place, tmp_path):
    """A missing manifest or part, and one of another size or content, is an error that names it."""
    with pytest.raises(OutputError, match="holds no finished output of a job"):
        read_manifest(place)
    committed(place, tmp_path)
    store, url = store_of(place), f"{place}/part-00002-j1-1"
    store.write(url, b"c\t4\n")
    with pytest.raises(OutputError, match=f"the part {url} is not what the job wrote"):
        list(read_output(place))
    store.write(url, b"c\t")
    with pytest.raises(OutputError, match=f"the part {url} has 2 bytes, and the manifest says 4"):
        list(read_output(place))
    store.remove(url)
    with pytest.raises(OutputError, match=f"the part {url} cannot be read"):
        list(read_output(place))
