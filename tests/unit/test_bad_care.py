"""Careful mode from the start: who is told of each record, and what is put aside unseen."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from putting_aside import number, written

from mapreduce import Count, Job
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.tasks.task import TaskSetup, failure_of, run_map, run_reduce
from mapreduce.file_names import bad_file_name, run_file_name
from mapreduce.max_bad import TooManyBad
from mapreduce.plan import AttemptId, FailureKind, Limits, MaxBad, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob


class Attempts:
    """The attempts of a job over one file, with whatever hooks of careful mode."""

    def __init__(self, job, path, folder, max_bad=None):
        self.split = plan_splits(find_inputs([str(path)]), 1 << 20, "utf-8")[0]
        reduces = 1 if job.resolved[0].reducer is not None else 0
        self.output = str(folder / "out")
        options = TaskOptions(
            "job", self.output, steps=(StepShape(1, reduces),), limits=Limits(), durable=False, max_bad=max_bad
        )
        prepare_output(self.output, "job", overwrite=False)
        self.loaded, self.scratch, self.number = LoadedJob(job, {}, options), folder, 0

    def setup(self, kind=TaskKind.MAP, **hooks):
        self.number += 1
        return TaskSetup(self.loaded, AttemptId(TaskId("job", 0, kind, 0), self.number), self.scratch, **hooks)

    def bad(self, setup):
        path = Path(self.output) / "_tmp-job" / bad_file_name(setup.attempt)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def map(self, **hooks):
        setup = self.setup(**hooks)
        return run_map(setup, self.split), self.bad(setup)


def of_lines(lines):
    return [(line, 1) for line in lines]


def of_frame(frame):
    return frame.select(key=pl.col("value"), value=1)


def noting(marks):
    """A mark that notes which records are at hand: the first one's ordinal, and how many."""
    return lambda at: at is not None and marks.append((at.ordinal, at.count))


def test_each_record_is_marked_before_it_is_seen(tmp_path):
    """The ordinals go from 0 on, over the records that the reader gives; nothing need be put aside."""
    seen = []

    def mapper(line):
        seen.append(line)
        yield line, 1

    attempts = Attempts(Job(mapper, reducer=Count()), written(tmp_path, "abc"), tmp_path)
    marks = []
    done, _ = attempts.map(careful=True, mark=lambda at: marks.append((at and at.ordinal, len(seen))))
    assert marks == [(0, 0), (None, 1), (1, 1), (None, 2), (2, 2), (None, 3)]
    assert (done.records_in, done.bad) == (3, {})


def test_without_max_bad_a_careful_attempt_fails_at_its_record(tmp_path):
    """Careful mode alone puts nothing aside: the failure names the record exactly."""
    path = written(tmp_path, ["1", "x"])
    attempts = Attempts(Job(lambda line: [(number(line), 1)], reducer=Count()), path, tmp_path)
    setup = attempts.setup(careful=True)
    with pytest.raises(ValueError, match="'x'") as caught:
        run_map(setup, attempts.split)
    failure = failure_of(caught.value, setup)
    assert (failure.kind, failure.path, failure.offset, failure.record) == (FailureKind.USER, str(path), 2, "'x'")


def test_what_is_skipped_is_put_aside_unseen(tmp_path):
    """A record of this ordinal never reaches the function, and is told with the reason."""
    seen = []
    job = Job(lambda line: seen.append(line) or None, reducer=Count())
    attempts = Attempts(job, written(tmp_path, "abc"), tmp_path, MaxBad(1))
    done, bad = attempts.map(careful=True, skip={1: "killed the process: SIGSEGV"})
    assert seen == ["a", "c"]
    assert done.bad == {"killed the process: SIGSEGV": 1}
    assert [(one["content"], one["offset"], one["message"]) for one in bad] == [("b", 2, "killed the process: SIGSEGV")]


def test_a_skipped_record_counts_against_the_bound(tmp_path):
    """More that are skipped than may be bad fail the attempt."""
    attempts = Attempts(Job(lambda _: None, reducer=Count()), written(tmp_path, "abc"), tmp_path, MaxBad(1))
    setup = attempts.setup(careful=True, skip={0: "killed", 1: "killed"})
    with pytest.raises(TooManyBad, match="2 bad records: --max-bad allows 1"):
        run_map(setup, attempts.split)
    assert attempts.bad(setup) == []


@pytest.mark.parametrize("kind", ["batch", "frame"])
def test_a_batch_or_frame_is_marked_by_its_first_record(kind, tmp_path):
    """One that is in `alone` goes in small parts; a skipped record is left out of its batch."""
    job = (
        Job(of_lines, reducer=Count(), batch_size=4) if kind == "batch" else Job(of_frame, reducer=Count(), frames=True)
    )
    attempts = Attempts(job, written(tmp_path, "abcdef"), tmp_path, MaxBad(2))
    marks = []
    attempts.map(careful=True, mark=noting(marks))
    assert marks == ([(0, 4), (4, 2)] if kind == "batch" else [(0, 6)])
    marks.clear()
    done, _ = attempts.map(careful=True, mark=noting(marks), alone=frozenset({(0, 4), (0, 6)}))
    ones = [(i, 1) for i in range(6)]
    assert marks == ([*ones[:4], (4, 2)] if kind == "batch" else ones)
    assert done.records_out == 6
    done, bad = attempts.map(careful=True, skip={1: "killed"})
    assert done.records_out == 5
    assert [one["content"] for one in bad] == ["b"]


def test_groups_are_marked_and_skipped_too(tmp_path):
    """The ordinals of a reduce attempt are those of its groups."""
    job = Job(lambda line: [(line, 1)], reducer=lambda key, values: [(key, sum(values))])
    attempts = Attempts(job, written(tmp_path, "abca"), tmp_path, MaxBad(1))
    mapped, _ = attempts.map()
    assert mapped.runs == 1
    run = tmp_path / run_file_name(AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1), 0)
    marks = []
    setup = attempts.setup(TaskKind.REDUCE, careful=True, mark=noting(marks), skip={1: "killed"})
    done = run_reduce(setup, [open_slice(run, 0)])
    assert marks == [(0, 1), (2, 1)]
    assert done.records_out == 2
    assert [(one["key"], one["task"]) for one in attempts.bad(setup)] == [("'b'", "reduce 0")]


def test_a_failed_attempt_leaves_no_file(tmp_path):
    """What an attempt has put aside goes with it when it fails later."""

    class Mapper:
        def __call__(self, line):
            yield line, number(line)

        def finish(self):
            raise LookupError("at the end")

    attempts = Attempts(Job(Mapper, reducer=Count()), written(tmp_path, ["x", "1"]), tmp_path, MaxBad(9))
    with pytest.raises(LookupError, match="at the end"):
        run_map(attempts.setup(), attempts.split)
    assert list((Path(attempts.output) / "_tmp-job").glob("bad-*")) == []
