"""Careful mode of what is more than a record: combiners, aggregators, the table of a broadcast join."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from putting_aside import SETTINGS, written

from mapreduce import Aggregator, Count, Input, Job, Join
from mapreduce.dataflow.bad.series import COMBINING, TABLE
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.tasks.task import TaskSetup, run_map, run_reduce
from mapreduce.file_names import run_file_name
from mapreduce.plan import AttemptId, Limits, MaxBad, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob

KILLED = "killed the process: SIGSEGV"


class Task:
    """Attempts at map 0 and reduce 0 of a job over one file, with whatever hooks of careful mode."""

    def __init__(self, job, path, folder, *, max_bad=None, **more):
        folder.mkdir(parents=True, exist_ok=True)
        self.split = plan_splits(find_inputs([str(path)]), 1 << 20, "utf-8")[0]
        reduces = 0 if job.resolved[0].map_only else 1
        shapes = (StepShape(1, reduces),)
        options = TaskOptions("job", str(folder / "out"), steps=shapes, durable=False, max_bad=max_bad, **more)
        prepare_output(options.output, "job", overwrite=False)
        self.loaded, self.folder, self.number = LoadedJob(job, {}, options), folder, 0

    def setup(self, kind, **hooks):
        self.number += 1
        return TaskSetup(self.loaded, AttemptId(TaskId("job", 0, kind, 0), self.number), self.folder, **hooks)

    def map(self, **hooks):
        return run_map(self.setup(TaskKind.MAP, **hooks), self.split)

    def reduce(self, mapped, **hooks):
        """Reduce what the attempt before has made."""
        made = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), self.number)
        slices = [open_slice(self.folder / run_file_name(made, spill), 0) for spill in range(mapped.runs)]
        return run_reduce(self.setup(TaskKind.REDUCE, **hooks), slices)


def noting(marks):
    """A mark that notes ordinal, number and key of what is at work."""
    return lambda at: at is not None and marks.append((at.ordinal, at.count, at.story().key))


def letters(line):
    return [(letter, 1) for letter in line]


def total(key, values):
    return [(key, sum(values))]


def generated(key, values):
    yield key, sum(values)


def pairs(part):
    return [(letter, count) for letter, count in part.items()]


@pytest.mark.parametrize("combiner", [total, generated])
def test_calls_of_a_combiner_are_marked_and_can_be_skipped(combiner, tmp_path):
    """A call that is skipped leaves its values as they are; the result is the same, and a warning tells of it."""
    job = Job(letters, reducer=total, combiner=combiner)
    task = Task(job, written(tmp_path, ["aab", "abb"]), tmp_path / "t", max_bad=MaxBad(1))
    marks = []
    whole = task.map(careful=True, mark=noting(marks))
    assert [(ordinal, key) for ordinal, _, key in marks if ordinal >= COMBINING] in (
        [(COMBINING, "'a'"), (COMBINING + 1, "'b'")],
        [(COMBINING, "'b'"), (COMBINING + 1, "'a'")],
    )
    first = task.reduce(whole)
    spared = task.map(careful=True, skip={COMBINING: KILLED})
    assert spared.bad == {}
    assert spared.shuffle_bytes > whole.shuffle_bytes
    assert "a combiner, killed the process: SIGSEGV on the key" in spared.warnings[0]
    assert task.reduce(spared).part == first.part


def test_a_combiner_of_frames_can_be_skipped_too(tmp_path):
    """Its frame goes on as it is."""
    import polars as pl  # noqa: PLC0415 - for this test alone

    def sums(frame):
        return frame.group_by("key", maintain_order=True).agg(pl.col("value").sum())

    def mapper(frame):
        return frame.select(key=pl.col("value").str.head(1), value=1)

    job = Job(mapper, reducer=sums, combiner=sums, frames=True)
    task = Task(job, written(tmp_path, ["a", "b", "a"]), tmp_path / "t", max_bad=MaxBad(1))
    whole = task.map(careful=True)
    first = task.reduce(whole)
    spared = task.map(careful=True, skip={COMBINING: KILLED})
    assert len(spared.warnings) == 1
    assert task.reduce(spared).part == first.part


def test_care_alone_spares_no_combiner(tmp_path):
    """In a job that puts nothing aside a combiner that fails fails its attempt, with care as without."""

    def broken(key, values):
        raise LookupError(key)

    task = Task(Job(letters, reducer=total, combiner=broken), written(tmp_path, ["aab"]), tmp_path / "t")
    with pytest.raises(LookupError):
        task.map(careful=True)


class Longest(Aggregator):
    """The longest of all texts; merging is the user's own code."""

    def create(self, value):
        return value

    def merge(self, state, other):
        return max(state, other, key=len)

    def finish(self, state):
        return state


def test_keys_of_an_aggregator_are_narrowed_by_parts(tmp_path):
    """All keys of a batch are marked together; in `alone` they go in small parts, and one can be put aside."""
    lines = [f"{key}{'x' * n}" for key in "abcd" for n in range(3)]
    job = Job(lambda line: [(line[0], line)], reducer=Longest())
    task = Task(job, written(tmp_path, lines), tmp_path / "t", max_bad=MaxBad(1))
    marks = []
    whole = task.reduce(task.map(), careful=True, mark=noting(marks))
    assert marks[0] == (0, 4, "'a'")
    assert whole.records_out == 4
    marks.clear()
    again = task.reduce(task.map(), careful=True, mark=noting(marks), alone=frozenset({(0, 4)}))
    assert marks[:4] == [(0, 1, "'a'"), (1, 1, "'b'"), (2, 1, "'c'"), (3, 1, "'d'")]
    assert again.part == whole.part
    for ordinal in range(4):
        found = task.reduce(task.map(), careful=True, skip={ordinal: KILLED})
        assert (found.records_out, found.bad) == (3, {KILLED: 1})


def test_a_large_frame_is_cut_down_to_one_row_in_few_steps(tmp_path):
    """Each part in `alone` is given in smaller ones, whatever lies beside it stays whole."""
    job = Job(lambda frame: frame.select(key="value", value=1), reducer=Count(), frames=True)
    task = Task(job, written(tmp_path, map(str, range(2000))), tmp_path / "t", max_bad=MaxBad(1))
    marks = []
    alone = frozenset({(0, 2000), (63, 63), (65, 2)})
    assert task.map(careful=True, mark=noting(marks), alone=alone).records_out == 2000
    sizes = [count for _, count, _ in marks]
    assert sum(sizes) == 2000
    assert (65, 1) in [mark[:2] for mark in marks]
    assert len(sizes) < 32 + 32 + 2


words = st.lists(st.text("abc", max_size=6), max_size=30)


@SETTINGS
@given(words, st.sampled_from(["pairs", "keys", "combined", "batch"]))
def test_an_attempt_with_care_makes_the_same_bytes(tmp_path_factory, lines, kind):
    """A death by chance, after which its task runs with care, leaves no trace: digests and counts are the same."""
    job = {
        "pairs": lambda: Job(letters, reducer=total),
        "keys": lambda: Job(keys=lambda line: line.split("b"), reducer=Count()),
        "combined": lambda: Job(letters, reducer=total, combiner=total),
        "batch": lambda: Job(lambda lines: [(len(line), line) for line in lines], reducer=total, batch_size=7),
    }[kind]()
    folder = tmp_path_factory.mktemp("same")
    limits = Limits(flush_records=16, sort_buffer=400)
    task = Task(job, written(folder, lines), folder / "t", limits=limits)
    assert task.map(careful=True, mark=lambda _: None) == task.map()


def joined(folder, max_bad):
    """A broadcast join whose right input is watched as well."""
    left, right = written(folder / "left", ["a", "b"]), written(folder / "right", ["a", "b", "c"])
    job = Job(
        inputs={"left": Input(mapper=lambda line: [(line, 1)]), "right": Input(mapper=lambda line: [(line, 2)])},
        reducer=Join(broadcast=True),
    )
    task = Task(job, left, folder / "t", max_bad=max_bad, inputs=(1,))
    table = plan_splits(find_inputs([str(right)]), 1 << 20, "utf-8", number=1)[0]
    return task, table


def test_the_records_of_a_broadcast_input_have_ordinals_of_their_own(tmp_path):
    """Those of the right input are marked and skipped as the left one's are, and none is taken for the other."""
    task, table = joined(tmp_path, MaxBad(2))
    marks = []
    task.map(careful=True, mark=noting(marks), broadcast=table)
    assert [ordinal for ordinal, _, _ in marks] == [TABLE, TABLE + 1, TABLE + 2, 0, 1]
    task.loaded.memo.clear()
    done = task.map(careful=True, skip={TABLE + 1: KILLED}, broadcast=table)
    assert (done.records_out, done.bad) == (1, {KILLED: 1})


def test_a_table_that_lost_records_is_told_of_by_whoever_has_to(tmp_path):
    """The task that accounts for the table tells of its bad records, though another loaded it in this process."""
    task, table = joined(tmp_path, MaxBad(2))
    task.map(careful=True, skip={TABLE: KILLED}, broadcast=table)
    assert task.map(broadcast=table).bad == {KILLED: 1}
