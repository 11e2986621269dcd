"""What a failed job leaves: its map results are saved, found by their keys, checked, taken again, and swept."""

import hashlib
import os
import shutil
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapreduce import Count, Job, Step
from mapreduce.coordinator.saved import SavedTasks, numbers_in
from mapreduce.dataflow import saved
from mapreduce.dataflow.inputs.split_file import split_at
from mapreduce.dataflow.saved import SAVED_S, Saved, drop_saved, save_results, size_of, sweep_saved
from mapreduce.dataflow.saved_use import bitmap, key_of, map_key, note_result, saved_maps, take_saved
from mapreduce.dataflow.tasks.task import TaskSetup, run_map
from mapreduce.failed.saved_folder import with_saved
from mapreduce.file_names import done_file_name
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, Piece, Split, StepIdentity, TaskId, TaskKind
from mapreduce.planner import plan
from mapreduce.protocol import plain
from mapreduce.request import Request
from mapreduce.travel.loader import LoadedJob


def words(line):
    yield from ((word, 1) for word in line.split())


def count(key, values):
    yield key, sum(values)


@pytest.fixture
def text(tmp_path):
    """Two hundred lines in a file, and folders for scratch and what is saved."""
    path = tmp_path / "text"
    path.write_text("".join(f"w{n % 7} w{n % 11}\n" for n in range(200)))
    os.umask(0o077)
    return path


class Run:
    """A planned job whose first map tasks can be run."""

    def __init__(self, text, job=None, **options):
        folder = text.parent
        self.saved = folder / "worker" / "saved"
        request = Request(job or Job(words, reducer=count), (str(text),), str(folder / f"out{time.monotonic_ns()}"))
        for name, value in {"split_size": 300, "reducers": 2, **options}.items():
            object.__setattr__(request, name, value)
        self.planned = plan(request)
        self.id = self.planned.spec.job
        self.scratch = folder / self.id
        self.scratch.mkdir()
        self.loaded = LoadedJob(self.planned.job, self.planned.params, self.planned.options)
        self.maps = self.planned.spec.steps[0].maps

    def split(self, index):
        return split_at(self.planned.blobs[self.planned.spec.plan], index)

    def setup(self, index, number=1):
        attempt = AttemptId(TaskId(self.id, 0, TaskKind.MAP, index), number)
        return TaskSetup(self.loaded, attempt, self.scratch)

    def run(self, index, number=1):
        return run_map(self.setup(index, number), self.split(index))

    def take(self, index, number=1):
        return take_saved(self.setup(index, number), self.split(index), self.saved)

    def found(self):
        options = self.planned.options
        return saved_maps(self.saved, options.resumes, options.identities[0], map(self.split, range(self.maps)), None)


def test_saved_results_are_taken_again_byte_by_byte(text):
    """Another job of the same identity takes the very files, with the same facts, and its result can be saved again."""
    first = Run(text)
    made = [first.run(index, number=7) for index in range(first.maps)]
    files = {path.name: path.read_bytes() for path in first.scratch.glob("run-*")}
    assert first.maps >= 4
    assert save_results(first.scratch, first.saved, first.id) == size_of(first.saved, first.id)
    assert size_of(first.saved, first.id).maps == first.maps
    assert not list(first.scratch.iterdir())
    again = Run(text, resumes=(first.id,))
    assert again.found() == set(range(first.maps))
    for index in range(first.maps):
        done = again.take(index)
        assert done.reused
        assert not made[index].reused
        assert (done.digests, done.runs, done.records_in) == (made[index].digests, 1, made[index].records_in)
        assert (again.scratch / f"run-0-{index}-1-0").read_bytes() == files[f"run-0-{index}-7-0"]
    assert save_results(again.scratch, again.saved, again.id).maps == first.maps
    third = Run(text, resumes=(again.id,))
    assert third.take(0).reused


def test_what_any_job_of_a_chain_has_left_is_taken(text):
    """A job that goes on with one that had gone on with another finds the results of both."""
    first = Run(text)
    for index in (0, 1):
        first.run(index)
    save_results(first.scratch, first.saved, first.id)
    second = Run(text, resumes=(first.id,))
    second.run(2)
    save_results(second.scratch, second.saved, second.id)
    third = Run(text, resumes=(second.id, first.id))
    assert third.found() == {0, 1, 2}
    assert all(third.take(index).reused for index in range(3))
    assert third.take(3) is None


def test_only_what_would_make_the_same_is_found(text):
    """Another seed, other splits, an input that changed, or a broken identity: nothing is found, or only the rest."""
    first = Run(text)
    for index in range(first.maps):
        first.run(index)
    save_results(first.scratch, first.saved, first.id)
    assert Run(text, resumes=(first.id,), reducers=3).found() == set()
    assert Run(text, job=Job(words, reducer=Count()), resumes=(first.id,)).found() == set()
    assert Run(text, resumes=(first.id,), max_bad=3, output_format="jsonl").found() == set(range(first.maps))
    assert Run(text, resumes=("another",)).found() == set()
    assert Run(text).take(0) is None
    text.write_text(text.read_text() + "more\n")
    assert Run(text, resumes=(first.id,)).found() == set()


def test_an_input_that_only_looks_unchanged_is_mapped_again(text):
    """A file of the same size whose time was put back has been written to all the same."""
    first = Run(text)
    for index in range(first.maps):
        first.run(index)
    save_results(first.scratch, first.saved, first.id)
    facts = text.stat()
    text.write_text(text.read_text().swapcase())
    os.utime(text, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (text.stat().st_size, text.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert Run(text, resumes=(first.id,)).found() == set()


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "note", "swapped"])
def test_damaged_results_are_made_again(text, how, capfd):
    """A saved file that was cut, changed or lost is told, removed, and not used; the task runs."""
    first = Run(text)
    for index in range(first.maps):
        first.run(index)
    save_results(first.scratch, first.saved, first.id)
    again = Run(text, resumes=(first.id,))
    folder = first.saved / first.id / key_of(again.setup(0), again.split(0))
    run, other = folder / "run-0", first.saved / first.id / key_of(again.setup(1), again.split(1)) / "run-0"
    data = bytearray(run.read_bytes())
    data[20] ^= 1
    {
        "cut": lambda: run.write_bytes(data[:-9]),
        "flipped": lambda: run.write_bytes(data),
        "gone": run.unlink,
        "note": lambda: (folder / "done").write_bytes(b"\x93"),
        "swapped": lambda: other.replace(run),
    }[how]()
    assert again.take(0) is None
    assert "the saved result of map 0 is damaged, so map 0 runs again" in capfd.readouterr().err
    assert not folder.exists()
    assert not again.run(0).reused


def test_results_with_bad_records_or_of_dropped_attempts_are_not_saved(text):
    """What put records aside is made again, since these went with the job; so is what lacks its files."""
    first = Run(text)
    first.run(0)
    (first.scratch / "run-0-0-1-0").unlink()
    (first.scratch / "done-0-9-1").write_bytes(b"half")
    assert save_results(first.scratch, first.saved, first.id) == Saved()
    setup = first.setup(1)
    note_result(setup, first.split(1), Done(runs=1, bad={"ValueError in mapper": 1}))
    assert not (first.scratch / done_file_name(setup.attempt)).exists()


def nothing(_line):
    return []


def test_results_without_records_are_saved(text):
    """They have one file of notes together; each is taken again by its own task, up to where that file is damaged."""
    job = Job(nothing, reducer=count)
    first = Run(text, job=job)
    assert [first.run(index).runs for index in range(4)] == [0] * 4
    (notes,) = first.scratch.iterdir()
    notes.write_bytes(notes.read_bytes()[:-1])
    assert save_results(first.scratch, first.saved, first.id).maps == 3
    assert not list(first.scratch.iterdir())
    again = Run(text, job=job, resumes=(first.id,))
    assert again.found() == {0, 1, 2}
    assert again.take(1).reused
    assert again.take(3) is None


def test_parts_of_a_step_without_reduces_are_saved(text):
    """Where the first step has no reduce, its map tasks' parts are what is saved."""
    job = Job(steps=[Step(words), Step(reducer=count)])
    first = Run(text, job=job)
    made = first.run(0)
    assert save_results(first.scratch, first.saved, first.id) == Saved(1, size_of(first.saved, first.id).size)
    again = Run(text, job=job, resumes=(first.id,))
    assert again.take(0).part == made.part
    assert (again.scratch / "part-0-map-0-1").is_file()


def test_results_of_a_last_step_are_none(text):
    """A job of maps alone writes its output directly: there is nothing to save."""
    first = Run(text, job=Job(words))
    first.run(0)
    assert save_results(first.scratch, first.saved, first.id) == Saved()


def test_what_is_old_is_swept(text, monkeypatch):
    """After a week what a job has left goes, with what a dead sweeper has left; the rest stays."""
    first = Run(text)
    first.run(0)
    save_results(first.scratch, first.saved, first.id)
    (first.saved / ".old-1").mkdir()
    sweep_saved(first.saved)
    assert [path.name for path in first.saved.iterdir()] == [first.id]
    now = time.time()
    monkeypatch.setattr(saved.time, "time", lambda: now + SAVED_S + 60)
    sweep_saved(first.saved)
    assert list(first.saved.iterdir()) == []
    sweep_saved(first.saved / "none")


def test_a_nearly_full_disk_keeps_the_newest_alone(text, monkeypatch):
    """Where little of the disk is free, what older jobs have left goes before its time; with room all of it stays."""
    jobs = []
    for free in (50, 50, 5):
        monkeypatch.setattr(saved.shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(100, 0, free))
        one = Run(text)
        one.run(0)
        save_results(one.scratch, one.saved, one.id)
        os.utime(one.saved / one.id, (time.time() - 1000 + len(jobs),) * 2)
        jobs.append(one.id)
        kept = sorted(path.name for path in one.saved.iterdir())
        assert kept == sorted(jobs if free == 50 else jobs[-1:])


def test_dropping_is_by_the_jobs_id_alone(text):
    """A job that is resumed well is dropped; what is no id removes nothing."""
    first = Run(text)
    first.run(0)
    save_results(first.scratch, first.saved, first.id)
    for name in ("", "..", "../x", "nobody"):
        drop_saved(first.saved, name)
    assert size_of(first.saved, first.id).maps == 1
    drop_saved(first.saved, first.id)
    assert list(first.saved.iterdir()) == []


def test_a_folder_that_others_can_write_is_not_used(text):
    """Results may hold pickles, which are code: what another user may have put there is neither read nor added to."""
    first = Run(text)
    first.run(0)
    save_results(first.scratch, first.saved, first.id)
    first.saved.chmod(0o777)
    again = Run(text, resumes=(first.id,))
    assert again.found() == set()
    assert again.take(0) is None
    again.run(1)
    with pytest.raises(PermissionError, match="others than you"):
        save_results(again.scratch, again.saved, again.id)


@given(st.sets(st.integers(0, 200)), st.integers(0, 210))
def test_numbers_come_back_from_their_bits(numbers, size):
    """A set of task numbers crosses as bits; what lies beyond the step's tasks is ignored."""
    assert set(numbers_in(bitmap(numbers), size)) == {number for number in numbers if number < size}


@given(st.lists(st.tuples(st.sampled_from(["add", "drop", "lose"]), st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_a_task_waits_as_long_as_somebody_has_its_result(steps):
    """Whatever comes in which order, a task waits for exactly those that have said so and are not gone."""
    tasks, model = SavedTasks(), {}
    for what, worker, index in steps:
        name = f"w{worker}"
        if what == "add":
            tasks.add(name, index)
            model.setdefault(index, set()).add(name)
        elif what == "drop":
            tasks.drop(index)
            model.pop(index, None)
        else:
            alone = {i for i, holders in model.items() if holders == {name}}
            assert set(tasks.lose(name)) == alone
            model = {i: holders - {name} for i, holders in model.items() if holders != {name}}
        assert {i for i in range(6) if i in tasks} == set(model)
        assert (tasks.first() in model) is bool(model)
        for other in range(4):
            has = {i for i in tasks.heap(f"w{other}") if i in tasks}
            assert {i for i, holders in model.items() if f"w{other}" in holders} <= has


def test_what_is_kept_is_told_in_numbers():
    """Of one map task there is one result."""
    for maps, words in ((1, "1 of 1 map result is kept"), (6, "1 of 6 map results are kept")):
        told = with_saved(Failure(FailureKind.USER, "no"), "a-job", (1, 2048), maps, "/scratch")
        assert told.notes[-1].startswith(f"  {words} for 7 days (2.0 KB, /scratch):")


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4), st.integers(0, 1 << 40))
def test_a_key_is_the_digest_of_identity_number_and_split(maps, index):
    """What tasks of a step share is hashed once, and the key is that of all in one go."""
    identity = StepIdentity(maps, {})
    split = Split((Piece("/in", index, 1, 2, 3),))
    whole = plain.pack((tuple(sorted(maps.items())), index)) + plain.pack(split)
    wanted = hashlib.sha256(whole).hexdigest() if identity.is_known else None
    assert map_key(identity, index, [split]) == wanted
    assert map_key(identity, index, [split]) == wanted, "the same again"
