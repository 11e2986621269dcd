"""Whole jobs in this process that fail: whose fault it is, and what is told of it."""

from __future__ import annotations

import enum

import pytest
from inline_run import Run, total, words

import mapreduce
from mapreduce.aggregators import Count, Sum
from mapreduce.dataflow.tasks.task import TaskSetup, failure_of
from mapreduce.errors import (
    CorruptBlockError,
    DiskFullError,
    InputChangedError,
    InputError,
    InputLostError,
    JobFailed,
    UsageError,
)
from mapreduce.job import Job
from mapreduce.plan import AttemptId, FailureKind, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob


def fails(job, book, tmp_path) -> JobFailed:
    with pytest.raises(JobFailed) as caught:
        Run(job, book, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return caught.value


def test_mapper_failure_is_described(book, tmp_path):
    """The user's line first, then function, file, offset and record; the exception is the cause, for a debugger."""

    def mapper(line):
        if line.startswith("one"):
            raise ValueError("a bad line")
        yield line, 1

    failed = fails(Job(mapper, reducer=Sum()), book, tmp_path)
    failure = failed.failure
    assert failure.kind is FailureKind.USER
    assert failure.message == "ValueError: a bad line"
    assert 'raise ValueError("a bad line")' in failure.traceback
    assert "map_task.py" not in failure.traceback
    assert failure.function.startswith("test_mapper_failure_is_described.mapper (test_failures.py:")
    assert (failure.path, failure.offset) == (str(book / "b.txt"), 0)
    assert failure.record == "'one last line'"
    assert failure.task.startswith("map ")
    frames = []
    trace = failed.__cause__.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert frames[-1].f_locals["line"] == "one last line"


def test_reducer_failure_names_the_key(book, tmp_path):
    """A reducer's failure names its key."""

    def reducer(word, counts):
        if word == "cat":
            raise KeyError(word)
        yield word, sum(counts)

    failure = fails(Job(words, reducer=reducer), book, tmp_path).failure
    assert (failure.kind, failure.key, failure.message) == (FailureKind.USER, "'cat'", "KeyError: 'cat'")
    assert failure.path is None


def test_class_failing_to_be_made(book, tmp_path):
    """What a mapper class raises when it is made is the user's."""

    class Mapper:
        def __init__(self):
            raise OSError(28, "no model here")

        def __call__(self, line):
            yield line, 1

    failure = fails(Job(Mapper, reducer=Sum()), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert "no model here" in failure.traceback


def test_partitioner_failing(book, tmp_path):
    """A partitioner's exception names it and its key."""

    def partitioner(word, partitions):
        raise RuntimeError(word)

    failure = fails(Job(words, reducer=Sum(), partitioner=partitioner), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert "partitioner" in failure.function
    assert failure.key == repr(failure.message.removeprefix("RuntimeError: "))


def test_library_function_failing(book, tmp_path):
    """A function in C has no frames of its own: what it raises is the user's all the same."""
    failure = fails(Job(lambda line: [(int(line), 1)], reducer=Sum()), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    failure = fails(Job(keys=int, reducer=Count()), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert failure.record.startswith("'the 0 cat")


def test_exit_is_the_users(book, tmp_path):
    """sys.exit() in a mapper fails the attempt, and says so."""

    def mapper(line):
        raise SystemExit(3)

    failure = fails(Job(mapper, reducer=Sum()), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert "sys.exit(3)" in failure.message


def test_combiner_failing_is_its_own(book, tmp_path):
    """A combiner's exception names the combiner and the key, not the mapper."""

    def combiner(word, counts):
        raise ArithmeticError

    failure = fails(Job(words, reducer=total, combiner=combiner), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert "combiner" in failure.function
    assert failure.key is not None


def test_results_that_only_pickle_takes(book, tmp_path):
    """A result that would have to be pickled is the user's to mend."""
    failure = fails(Job(lambda line: [(line, Colour.RED)]), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert "pickled" in failure.message


class Colour(enum.Enum):
    RED = 1


ATTEMPT = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputLostError(ATTEMPT, "gone"), FailureKind.INPUT_LOST),
        (DiskFullError("full"), FailureKind.DISK),
        (OSError(28, "no space"), FailureKind.DISK),
        (InputChangedError("changed"), FailureKind.FATAL),
        (CorruptBlockError("bad"), FailureKind.FATAL),
        (RuntimeError("ours"), FailureKind.FATAL),
        (MemoryError(), FailureKind.DIED),
    ],
    ids=str,
)
def test_failures_of_the_engine_are_told_apart(error, kind, tmp_path):
    """What no user's function raised is judged by what it is; a defect says that it is one."""
    setup = TaskSetup(LoadedJob(Job(words), {}, TaskOptions("job", "out")), ATTEMPT, tmp_path)
    setup.site.spare_user()
    failure = failure_of(error, setup)
    assert failure.kind is kind
    assert failure.task == "map 0"
    assert failure.producer == (ATTEMPT if kind is FailureKind.INPUT_LOST else None)
    if isinstance(error, RuntimeError):
        assert failure.message.startswith("a defect of the engine")


def test_engine_errors_in_user_code_are_the_users(tmp_path):
    """An error of ours, or a full disk, that a user's function met is the user's failure."""
    setup = TaskSetup(LoadedJob(Job(words), {}, TaskOptions("job", "out")), ATTEMPT, tmp_path)
    setup.site.blame("mapper")
    assert failure_of(OSError(28, "no space"), setup).kind is FailureKind.USER
    assert failure_of(InputChangedError("theirs"), setup).kind is FailureKind.USER
    assert failure_of(MemoryError(), setup).kind is FailureKind.USER


def test_changed_input_is_fatal(book, tmp_path):
    """An input that is not what was planned fails the job, without a user's function."""

    def mapper(line):
        if line.startswith("one"):
            with (book / "b.txt").open("a") as file:
                file.write("more")
        yield line, 1

    failure = fails(Job(mapper, reducer=Sum()), book, tmp_path).failure
    assert (failure.kind, failure.function) == (FailureKind.FATAL, None)
    assert "changed" in failure.message


def test_bad_text_names_file_and_offset(book, tmp_path):
    """A bad byte is a bad record: path, offset and the ways out."""
    (book / "c.txt").write_bytes(b"fine\n\xff\n")
    failure = fails(Job(words, reducer=Sum()), book, tmp_path).failure
    assert failure.kind is FailureKind.USER
    assert (failure.path, failure.offset) == (str(book / "c.txt"), 5)
    assert "--encoding-errors" in failure.message


def test_errors_for_the_caller_come_without_the_engines_frames(tmp_path):
    """Of a failed job and of a mistake in the call: the caller's line, and one of ours."""
    (tmp_path / "in").write_text("x")
    for inputs, kind in ((tmp_path / "in", JobFailed), (tmp_path / "missing", InputError)):
        with pytest.raises(kind) as caught:
            mapreduce.run(Job(lambda line: [(line, 1 / 0)]), inputs, runner="inline")
        assert [entry.name for entry in caught.traceback] == [
            "test_errors_for_the_caller_come_without_the_engines_frames",
            "called",
        ]


def test_parameters_are_a_dict(tmp_path):
    """Anything else is refused in the words of the call, by a Cluster too, before it starts anything."""
    with pytest.raises(UsageError, match="params= is a dict from names to values"):
        mapreduce.run(Job(str.split), tmp_path, params=["min_length=5"])
    with mapreduce.Cluster() as cluster, pytest.raises(UsageError, match="params= is a dict from names to values"):
        cluster.run(Job(str.split), tmp_path, params=["min_length=5"])
