"""Whole jobs in this process: steps, shuffle and output, against what plain Python computes."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from inline_run import TEXT, Run, total, words

from mapreduce.aggregators import Count, Max, Mean, Min, Sum
from mapreduce.config import WARNINGS
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.dataflow.shuffle.block_file import open_slice
from mapreduce.dataflow.tasks.task import TaskSetup, run_map, run_reduce
from mapreduce.file_names import run_file_name
from mapreduce.job import Job, Step
from mapreduce.plan import AttemptId, Limits, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob

TINY = Limits(flush_records=13, sort_buffer=8192, block=512, merge=4096, read=100)
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
