"""Bad records over a whole job: the coordinator's sums, the story of its failure, and the commit's folder."""

from __future__ import annotations

import json

import pytest
import xxhash
from core_driver import Driver, spec
from hypothesis import given
from hypothesis import strategies as st

from mapreduce.dataflow.bad.folder import GrantedBad, move_bad
from mapreduce.dataflow.manifest.folder import (
    Disk,
    Granted,
    commit_job,
    prepare_output,
    remove_attempts,
    temporary_folder,
)
from mapreduce.errors import InputLostError, UsageError
from mapreduce.file_names import attempt_output_name, bad_file_name
from mapreduce.max_bad import KINDS, OTHERS, BadTotals, read_max_bad, shown_kinds, total_line
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, MaxBad, PartInfo, TaskId, TaskKind, TaskOptions
from mapreduce.protocol import messages as m

LAST = Failure(FailureKind.USER, "ValueError: x", traceback="Traceback: mine", path="/in", offset=7, task="map 1")


def bad(count, kind="ValueError in mapper"):
    """The fields of a Done with so many bad records."""
    return {"bad": {kind: count}, "bad_places": {kind: "/in, byte 7"}, "bad_last": LAST}


@pytest.fixture
def driver():
    driver = Driver()
    driver.join("w", 2)
    return driver


def submitted(driver, max_bad, *shapes):
    driver.submit(spec("j", *shapes, max_bad=max_bad), "w")


def test_the_text_of_a_bound_is_read():
    """Numbers and shares, from a command line or from Python."""
    assert [read_max_bad(given) for given in (None, 3, "3", "1%", " 0.5 % ")] == [
        None,
        MaxBad(3),
        MaxBad(3),
        MaxBad(percent=1.0),
        MaxBad(percent=0.5),
    ]
    with pytest.raises(UsageError, match="such as 10, or a share"):
        read_max_bad("many")


DONE = st.dictionaries(st.sampled_from([f"kind {n}" for n in range(6)]), st.integers(1, 5)).map(
    lambda kinds: Done(bad=kinds)
)


@given(st.lists(DONE, max_size=10), st.data())
def test_what_is_taken_back_was_never_there(results, data):
    """The totals after some results are taken back are those of the others, whatever the order."""
    kept = [result for result in results if data.draw(st.booleans())]
    totals, wanted = BadTotals(), BadTotals()
    for result in data.draw(st.permutations(results)):
        totals.add(result)
    for result in results:
        if result not in kept:
            totals.subtract(result)
        else:
            wanted.add(result)
    assert totals.kinds == wanted.kinds


def test_rare_kinds_are_shown_together():
    """A status has the most frequent kinds; the rest is one."""
    kinds = {f"kind {n:03d}": 1000 - n for n in range(KINDS + 5)}
    shown = shown_kinds(kinds)
    assert len(shown) == KINDS + 1
    assert sum(shown.values()) == sum(kinds.values())
    assert list(shown)[-1] == OTHERS
    assert total_line({"a": 1}) == "1 bad record put aside: 1 a"


def test_a_job_fails_once_its_tasks_have_too_many_together(driver):
    """The failure is the last one's story, then all kinds with a place each."""
    submitted(driver, MaxBad(3), (2, 1))
    first, second = driver.running("w")
    driver.finish("w", first, **bad(2, "no JSON"))
    assert driver.status().bad == {"no JSON": 2}
    driver.finish("w", second, **bad(2))
    status = driver.status()
    assert (status.state, status.failure.traceback, status.failure.path) == ("failed", LAST.traceback, "/in")
    assert "4 bad records: --max-bad allows 3" in status.failure.notes
    assert status.failure.worker == "w"
    assert "  2 no JSON, as in /in, byte 7" in status.failure.describe()


def test_a_share_is_judged_when_the_maps_are_done(driver):
    """Before that the number of records is not known; after it each result counts."""
    submitted(driver, MaxBad(percent=10.0), (2, 1))
    first, second = driver.running("w")
    driver.finish("w", first, records_in=10, **bad(2))
    assert driver.status().state == "running"
    driver.finish("w", second, records_in=10)
    assert driver.status().state == "running"
    driver.finish("w", **bad(1, "ValueError in reducer"))
    status = driver.status()
    assert status.state == "failed"
    assert "3 bad records: --max-bad allows 10% of 20" in status.failure.notes


def test_a_result_that_is_made_again_counts_once(driver):
    """A worker's loss takes its bad records back, until its task has run again; a restart knows them all."""
    submitted(driver, MaxBad(3), (1, 1))
    driver.finish("w", **bad(3))
    driver.restart()
    assert driver.status().bad == {"ValueError in mapper": 3}
    driver.join("v")
    driver.agent("v", m.Prepared("j"))
    driver.tick(1000.0)
    driver.join("v")
    driver.agent("v", m.Prepared("j"))
    assert driver.status().bad == {}
    driver.finish("v", **bad(3))
    assert driver.status().bad == {"ValueError in mapper": 3}
    assert driver.status().state == "running"


def test_the_commit_is_told_of_all_results(driver):
    """Where bad records may be, the worker that commits knows the results of every step."""
    submitted(driver, MaxBad(9), (1, 1), (1, 0))
    driver.finish("w", **bad(1))
    driver.finish("w", **bad(2))
    driver.join("v")
    driver.agent("v", m.Prepared("j"))
    driver.finish("w")
    worker = "v" if driver.running("v") else "w"
    told = {
        (message.step, message.of_maps): message.sources[0].done.bad
        for message in driver.told[worker]
        if isinstance(message, m.Results)
    }
    assert told == {(0, True): {"ValueError in mapper": 1}, (0, False): {"ValueError in mapper": 2}, (1, False): {}}
    assert driver.running(worker)[-1].task.kind is TaskKind.COMMIT


# ----------------------------------------------------------------------------------------------------- the folder


class Stop(Exception):
    """The process dies here."""


class DyingDisk(Disk):
    """Dies before its n-th change."""

    def __init__(self, changes):
        self.left = changes

    def rename(self, source, target):
        self._change()
        super().rename(source, target)

    def make_folder(self, path):
        self._change()
        super().make_folder(path)

    def write(self, path, data):
        self._change()
        super().write(path, data)

    def _change(self):
        if not self.left:
            raise Stop
        self.left -= 1


def attempt_of(job, step, kind):
    return AttemptId(TaskId(job, step, kind, 0), 4)


def with_bad_files(folder, job="j1", **more):
    """A job with an empty part and two attempts, of different steps, that have put records aside."""
    options = TaskOptions(job=job, output=str(folder), durable=False, **more)
    prepare_output(folder, job, options.overwrite)
    granted = [
        GrantedBad(attempt_of(job, 1, TaskKind.MAP), 1),
        GrantedBad(attempt_of(job, 0, TaskKind.REDUCE), 2),
    ]
    for one in granted:
        lines = "".join(f'{{"task": "{one.attempt.task}"}}\n' for _ in range(one.records))
        (temporary_folder(folder, job) / bad_file_name(one.attempt)).write_text(lines)
    part = attempt_of(job, 1, TaskKind.REDUCE)
    (temporary_folder(folder, job) / attempt_output_name(part)).touch()
    return options, granted, [Granted(part, PartInfo(0, 0, xxhash.xxh3_64_hexdigest(b"")))]


def told(folder):
    return {path.name: path.read_text().count("\n") for path in (folder / "_bad").iterdir()}


def test_a_commit_that_dies_anywhere_is_run_again(tmp_path):
    """The files of bad records are in place, in the order of steps, wherever it died; or gone, if it is given up."""
    for changes in range(20):
        folder = tmp_path / str(changes)
        options, granted, parts = with_bad_files(folder)
        try:
            commit_job(folder, options, parts, {}, DyingDisk(changes), bad=granted)
        except Stop:
            dead = tmp_path / f"dead-{changes}"
            commit_job(folder, options, parts, {}, bad=granted)
            options, granted, parts = with_bad_files(dead)
            with pytest.raises(Stop):
                commit_job(dead, options, parts, {}, DyingDisk(changes), bad=granted)
            remove_attempts(dead, "j1")
            assert not (dead / "_bad").exists()
        assert told(folder) == {"part-00000.jsonl": 2, "part-00001.jsonl": 1}
    assert json.loads((folder / "_SUCCESS").read_text())["records"] == 0


def test_a_file_that_is_not_what_its_attempt_wrote_is_made_again(tmp_path):
    """One that is missing, or lacks a line, is lost input: its producer is named."""
    options, granted, _ = with_bad_files(tmp_path / "out")
    path = temporary_folder(tmp_path / "out", "j1") / bad_file_name(granted[1].attempt)
    path.write_text("{}\n")
    with pytest.raises(InputLostError, match="has 1 of the 2 bad records") as caught:
        move_bad(tmp_path / "out", options, granted, Disk())
    assert caught.value.producer == granted[1].attempt
    path.unlink()
    with pytest.raises(InputLostError, match="is missing"):
        move_bad(tmp_path / "out", options, granted, Disk())


def test_a_failed_overwriting_job_leaves_the_former_bad_records(tmp_path):
    """They go once the new output is committed, and not before."""
    options, granted, parts = with_bad_files(tmp_path)
    commit_job(tmp_path, options, parts, {}, bad=granted)
    options, granted, parts = with_bad_files(tmp_path, "j2", overwrite=True)
    with pytest.raises(Stop):
        commit_job(tmp_path, options, parts, {}, DyingDisk(3), bad=granted)
    remove_attempts(tmp_path, "j2")
    assert told(tmp_path) == {"part-00000.jsonl": 2, "part-00001.jsonl": 1}
    options, granted, parts = with_bad_files(tmp_path, "j2", overwrite=True)
    commit_job(tmp_path, options, parts, {}, bad=granted)
    assert told(tmp_path) == {"part-00000-j2.jsonl": 2, "part-00001-j2.jsonl": 1}
