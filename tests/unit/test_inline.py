"""Whole jobs in this process: steps, shuffle, commit; what failures say; the same bytes whatever the limits."""

from __future__ import annotations

import enum
import math
from collections import Counter
from pathlib import Path

import pytest

import mapreduce
from mapreduce.aggregators import Count, Max, Mean, Min, Sum
from mapreduce.config import WARNINGS
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.inputs.split_file import encode_splits
from mapreduce.dataflow.manifest.folder import prepare_output, read_output
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.tasks.task import TaskSetup, failure_of, run_map, run_reduce
from mapreduce.errors import (
    CorruptBlockError,
    DiskFullError,
    InputChangedError,
    InputError,
    InputLostError,
    JobFailed,
    UsageError,
)
from mapreduce.file_names import run_file_name
from mapreduce.job import Job, Step
from mapreduce.plan import AttemptId, FailureKind, JobSpec, Limits, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.runners.inline import run_inline
from mapreduce.travel.loader import LoadedJob

TEXT = "".join(f"the {n % 7} cat {'sat ' * (n % 5)}on mat{n % 11}\n" for n in range(250))
TINY = Limits(flush_records=13, sort_buffer=8192, block=512, merge=4096, read=100)


@pytest.fixture
def book(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.txt").write_text("one last line")
    return folder


class Run:
    """A job that has run: its outcome, its folder and its records."""

    def __init__(self, job, inputs, output: Path, *, params=None, reducers=3, split=2000, limits=None, **options):
        splits = plan_splits(find_inputs([str(inputs)]), split, job.encoding)
        shapes, maps = [], len(splits)
        for plan in job.resolved:
            shapes.append(StepShape(maps, reducers if plan.reducer is not None else 0))
            maps = shapes[-1].parts
        self.options = TaskOptions(
            "job", str(output), seed=job.seed, steps=tuple(shapes), limits=limits or Limits(), **options
        )
        prepare_output(output, "job", overwrite=False)
        spec = JobSpec("job", "job", tuple(shapes), "", "", "", "", str(output), 0)
        scratch = output.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        self.progress = []
        try:
            loaded = LoadedJob(job, params or {}, self.options)
            self.outcome = run_inline(
                spec, loaded, encode_splits(splits), scratch=scratch, on_progress=self.progress.append
            )
        finally:
            assert list(scratch.iterdir()) == []
        self.output = output

    @property
    def records(self):
        return list(read_output(self.output))

    @property
    def files(self):
        return {path.name: path.read_bytes() for path in self.output.iterdir() if path.name != "_job.json"}


def words(line):
    for word in line.split():
        yield word, 1


def total(word, counts):
    yield word, sum(counts)


WORDS = Counter(TEXT.split()) + Counter(["one", "last", "line"])


@pytest.mark.parametrize("limits", [Limits(), TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize(
    "job",
    [
        Job(words, reducer=total),
        Job(words, reducer=total, combiner=total),
        Job(words, reducer=Sum()),
        Job(words, reducer=Count()),
        Job(keys=str.split, reducer=Count()),
        Job(keys=str.split, reducer=lambda word, nones: [(word, len(list(nones)))]),
    ],
    ids=["reducer", "combiner", "Sum", "Count", "keys and Count", "keys and reducer"],
)
def test_words_are_counted(job, limits, book, tmp_path):
    """However it is written and whatever the limits, word count is exactly the dict's, and so are the bytes."""
    run = Run(job, book, tmp_path / "out", limits=limits)
    assert dict(run.records) == WORDS
    assert len(run.records) == len(WORDS)
    assert run.outcome.records_in == 251
    assert run.outcome.records_out == len(WORDS)
    assert run.outcome.bytes_in == len(TEXT) + 13
    reference = Run(Job(words, reducer=total), book, tmp_path / "reference")
    assert run.files == reference.files


def test_progress_is_told(book, tmp_path):
    """Tasks done and bytes read only grow, and end with all."""
    run = Run(Job(words, reducer=Sum()), book, tmp_path / "out", reducers=2)
    reads = [progress.bytes_in for progress in run.progress]
    assert reads == sorted(reads)
    assert run.progress[-1].tasks == ((run.options.steps[0].maps, 2),)


@pytest.mark.parametrize("limits", [Limits(), TINY], ids=["usual", "tiny"])
def test_aggregators_over_values(limits, book, tmp_path):
    """Mean, Min and Max over numbers of all splits are those of the whole."""

    def lengths(line):
        for word in line.split():
            yield word[0], len(word) / 2

    groups: dict[str, list[float]] = {}
    for word in [*TEXT.split(), "one", "last", "line"]:
        groups.setdefault(word[0], []).append(len(word) / 2)
    for number, (aggregator, wanted) in enumerate(
        [(Mean(), lambda v: sum(v) / len(v)), (Min(), min), (Max(), max), (Sum(), math.fsum)]
    ):
        run = Run(Job(lengths, reducer=aggregator), book, tmp_path / f"out{number}", limits=limits)
        assert dict(run.records) == {key: wanted(values) for key, values in groups.items()}


def test_steps_hand_over_pairs(book, tmp_path):
    """A later step's mapper gets (key, value); counters of earlier steps are there; types stay what they are."""

    def docs(line, *, ctx):
        ctx.counters["lines"] += 1
        for word in line.split():
            yield (ctx.path[-5:], word), 1

    def by_count(key, count, *, ctx):
        assert type(key) is tuple
        assert ctx.previous.counters == {"lines": 251}
        yield count, key[1]

    def gather(count, found):
        yield count, sorted(found)

    job = Job(steps=[Step(docs, reducer=Sum()), Step(by_count, reducer=gather)])
    for number, limits in enumerate([Limits(), TINY]):
        run = Run(job, book, tmp_path / f"out{number}", limits=limits)
        wanted: dict[int, list[str]] = {}
        for text in (TEXT, "one last line"):
            for word, count in Counter(text.split()).items():
                wanted.setdefault(count, []).append(word)
        assert dict(run.records) == {count: sorted(found) for count, found in wanted.items()}
        assert run.outcome.counters == {"lines": 251}


def test_step_without_a_mapper(book, tmp_path):
    """Without a mapper pairs pass as they are; a step may also be map-only between others."""
    job = Job(
        steps=[
            Step(words),
            Step(reducer=Sum()),
            Step(lambda word, count: [(word[0], count)]),
            Step(reducer=Max()),
        ]
    )
    wanted: dict[str, int] = {}
    for word, count in WORDS.items():
        wanted[word[0]] = max(wanted.get(word[0], 0), count)
    for number, limits in enumerate([Limits(), TINY]):
        assert dict(Run(job, book, tmp_path / f"out{number}", limits=limits).records) == wanted


def test_first_step_without_a_mapper(book, tmp_path):
    """Lines pass with their offsets as keys."""
    run = Run(Job(reducer=lambda offset, lines: [(offset, next(lines))]), book / "a.txt", tmp_path / "out")
    assert "".join(line + "\n" for _, line in sorted(run.records)) == TEXT


def test_map_only(book, tmp_path):
    """A map-only job has a part for each split, in the order of emission; `records=` leaves keys out."""
    run = Run(Job(words), book, tmp_path / "out")
    assert [key for key, _ in run.records] == [*TEXT.split(), "one", "last", "line"]
    alone = Run(Job(records=lambda line: [line.upper()]), book, tmp_path / "alone")
    text = b"".join(data for name, data in sorted(alone.files.items()) if name.startswith("part-"))
    assert text.decode() == TEXT.upper() + "ONE LAST LINE\n"


def test_parameters_and_partitioner(book, tmp_path):
    """Keyword-only parameters are bound; a partitioner's result decides the part."""

    def mapper(line, *, least=3):
        return [(word, 1) for word in line.split() if len(word) >= least]

    def partitioner(word, partitions):
        return len(word) % partitions

    job = Job(mapper, reducer=Sum(), partitioner=partitioner)
    run = Run(job, book, tmp_path / "out", params={"least": 4}, reducers=2)
    assert dict(run.records) == {word: count for word, count in WORDS.items() if len(word) >= 4}
    odd = run.files["part-00001"].decode().split("\n")[:-1]
    assert odd
    assert all(len(line.split("\t")[0]) % 2 for line in odd)


def test_random_is_the_same_at_every_run(book, tmp_path):
    """ctx.random is seeded by seed and task: two runs agree, another seed does not."""

    def mapper(line, *, ctx):
        yield ctx.random.random(), line

    files = [
        Run(Job(mapper, reducer=Count(), seed=seed), book, tmp_path / f"out{n}").files
        for n, seed in enumerate([1, 1, 2])
    ]
    assert files[0] == files[1] != files[2]


def test_warnings_are_told(book, tmp_path):
    """ctx.warn reaches the outcome once, beside what the commit has to say."""

    def mapper(line, *, ctx):
        ctx.warn("short line" if len(line) < 14 else "long line")
        yield line, 1

    assert set(Run(Job(mapper, reducer=Sum()), book, tmp_path / "out").outcome.warnings) == {"short line", "long line"}


# ------------------------------------------------------------------------------------------------------- failures


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
    assert failure.function.startswith("test_mapper_failure_is_described.mapper (test_inline.py:")
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


@pytest.mark.parametrize("limits", [Limits(), TINY], ids=["usual", "tiny"])
def test_records_read_are_told_though_values_are_left(limits, book, tmp_path):
    """What a reduce task has read depends neither on how many values its reducer took, nor on the limits."""
    job = Job(lambda line: [("one key", line)], reducer=lambda key, lines: [(key, next(lines))])
    options = TaskOptions("job", str(tmp_path / "out"), steps=(StepShape(1, 1),), limits=limits)
    prepare_output(options.output, "job", overwrite=False)
    (split,) = plan_splits(find_inputs([str(book)]))
    mapped = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)
    done = run_map(TaskSetup(LoadedJob(job, {}, options), mapped, tmp_path), split)
    slices = [open_slice(tmp_path / run_file_name(mapped, spill), 0) for spill in range(done.runs)]
    reduced = AttemptId(TaskId("job", 0, TaskKind.REDUCE, 0), 1)
    assert run_reduce(TaskSetup(LoadedJob(job, {}, options), reduced, tmp_path), slices).records_in == 251


def test_skipped_lines_are_warned_of(book, tmp_path):
    """Lines left out for bad bytes are a warning of the job, with their number; many files cannot make too many."""
    for number in range(100):
        (book / f"{number:03}.txt").write_bytes(b"\xff\nfine\n\xfe\n")
    run = Run(Job(words, reducer=Sum()), book, tmp_path / "out", encoding_errors="skip", split=10_000_000)
    first, *_, last = run.outcome.warnings
    assert first == f"{book / '000.txt'}: lines left out for bytes that are not utf-8: 2"
    assert last == "more warnings of this kind were dropped"
    assert len(run.outcome.warnings) == WARNINGS


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
