"""Samples for `mapreduce check`: whole records of several places, in any format."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from checked import bench_of, write_job
from hypothesis import given, settings
from hypothesis import strategies as st

from mapreduce import Arrow, Csv, Files, Input, Job, Join, JsonLines, Parquet
from mapreduce.check.portions import PortionsReader
from mapreduce.check.sample import SampledInput, cut_evenly, take_sample
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.plan import AttemptId, Limits, Piece, Split, StepShape, TaskId, TaskKind, TaskOptions
from mapreduce.travel.loader import LoadedJob

LOADED = LoadedJob(
    Job(lambda line: []), {}, TaskOptions("job", "out", steps=(StepShape(1, 0),), limits=Limits(read=64))
)


def setup_of(input_format=None):
    job = Job(lambda value: [], input=input_format) if input_format else LOADED.job
    attempt = AttemptId(TaskId("job", 0, TaskKind.MAP, 0), 1)
    return TaskSetup(LoadedJob(job, {}, LOADED.options), attempt, Path())


def pieces_of(path, cuts, *, whole=False):
    facts = path.stat()
    ends = sorted({*(cut % max(facts.st_size, 1) for cut in cuts), facts.st_size})
    starts = [0, *ends[:-1]]
    return [
        Piece(str(path), a, b - a, facts.st_size, facts.st_mtime_ns, whole) for a, b in zip(starts, ends, strict=True)
    ]


def read(setup, sample):
    """The values of a sample's tasks, as its trials read them."""
    found = []
    for task in sample.tasks:
        reader = PortionsReader(task.portions, lambda piece, n=task.input: setup.reader(Split((piece,), n)))
        found.append([value for records in reader for value in records.values])
    return found


pieces = st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=8)


@settings(max_examples=200, deadline=None)
@given(pieces, st.integers(1, 5))
def test_stretches_hold_each_byte_once(sizes, number):
    """Whatever the pieces, the stretches have all of their bytes, in order; what cannot be cut stays whole."""
    given_pieces = [Piece(str(i), 0, size, size, 0, whole) for i, (size, whole) in enumerate(sizes)]
    stretches = cut_evenly([Split(tuple(given_pieces))], number)
    assert len(stretches) == number
    flat = [piece for stretch in stretches for piece in stretch]
    for given_piece in given_pieces:
        parts = [piece for piece in flat if piece.path == given_piece.path]
        assert sum(part.size for part in parts) == given_piece.size
        assert [part.start for part in parts[1:]] == [part.start + part.size for part in parts[:-1]]
        assert not given_piece.whole or parts == [given_piece]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=60),
    st.integers(1, 80),
    st.lists(st.integers(0, 500), max_size=3),
)
def test_a_sample_of_text_holds_lines_of_the_file_each_once(tmp_path_factory, lines, records, cuts):
    """Any file, cut anywhere: what is sampled are its lines, in order, and all of them if there are no more."""
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_bytes("".join(f"{number} {line}\n" for number, line in enumerate(lines)).encode())
    setup = setup_of()
    splits = tuple(Split((piece,)) for piece in pieces_of(path, cuts))
    sample = take_sample([SampledInput(0, splits, setup.reader)], records)
    wanted = [f"{number} {line}" for number, line in enumerate(lines)]
    found = [value for values in read(setup, sample) for value in values]
    numbers = [int(value.split(" ")[0]) for value in found]
    assert numbers == sorted(set(numbers))
    assert set(found) <= set(wanted)
    assert sample.records == len(found)
    assert sample.size <= path.stat().st_size
    assert sample.records <= sample.all_records
    assert sample.least().records == min(1, len(found))
    if sample.whole:
        assert sample.all_records == len(wanted)
        assert found == wanted
    for other in (sample.finer(), sample.turned()):
        assert sorted(value for values in read(setup, other) for value in values) == sorted(found)
    assert 0 < sample.smaller(0.4).records <= sample.records or not found


def test_records_come_from_several_places_of_a_large_file(tmp_path):
    """A file of many lines is sampled at its beginning, and at places far behind it."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{number}\n" for number in range(100_000)))
    setup = setup_of()
    sample = take_sample([SampledInput(0, (Split(tuple(pieces_of(path, []))),), setup.reader)], 100)
    firsts = [int(values[0]) for values in read(setup, sample)]
    assert firsts[0] == 0
    assert [number // 20_000 for number in firsts] == [0, 1, 2, 3]
    assert sample.records == 100
    assert not sample.whole


def _csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["n", "text"], *([row["n"], row["text"]] for row in rows)])


def _jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _parquet(path, rows):
    pl.DataFrame(rows).write_parquet(path, row_group_size=40)


def _gzip(path, rows):
    path.write_bytes(gzip.compress("".join(f"{row['n']}\n" for row in rows).encode()))


@pytest.mark.parametrize(
    ("name", "input_format", "write", "number"),
    [
        ("a.csv", Csv(), _csv, lambda row: int(row["n"])),
        ("a.jsonl", JsonLines(), _jsonl, lambda row: row["n"]),
        ("a.parquet", Parquet(), _parquet, lambda row: row["n"]),
        ("a.txt.gz", None, _gzip, int),
    ],
    ids=["csv", "jsonl", "parquet", "gzip"],
)
def test_every_format_is_sampled_by_its_own_reader(tmp_path, name, input_format, write, number):
    """Records of files that cannot be cut come from their beginning, others from everywhere; never one twice."""
    rows = [{"n": n, "text": f'say "{n}",\nplease'} for n in range(400)]
    write(tmp_path / name, rows)
    job = Job(lambda value: [], **({"input": input_format} if input_format else {}))
    with bench_of(tmp_path, job, str(tmp_path / name)) as bench:
        sample = bench.sample(80)
        numbers = [number(value) for values in read(setup_of(input_format), sample) for value in values]
    assert len(numbers) == sample.records
    assert 60 <= len(set(numbers)) == len(numbers) <= 100
    assert numbers[0] == 0


@pytest.mark.parametrize(
    ("name", "input_format", "write"),
    [
        ("a.txt", None, lambda path, rows: path.write_text("".join(f"{row['n']}\n" for row in rows))),
        ("a.csv", Csv(), _csv),
        ("a.parquet", Parquet(), lambda path, rows: pl.DataFrame(rows).write_parquet(path)),
        ("b.parquet", Parquet(), _parquet),
        ("a.arrow", Arrow(), lambda path, rows: pl.DataFrame(rows).write_ipc(path)),
        ("a.txt.gz", None, _gzip),
    ],
    ids=["text", "csv", "one row group", "row groups", "arrow", "gzip"],
)
def test_how_many_records_there_are_is_told_of_every_format(tmp_path, name, input_format, write):
    """Of a part of the input within a fifth, though readers read far ahead and row groups lie across the cuts."""
    rows = [{"n": n, "text": f'say "{n}",\nplease'} for n in range(10_000, 30_000)]
    write(tmp_path / name, rows)
    job = Job(lambda value: [], **({"input": input_format} if input_format else {}))
    with bench_of(tmp_path, job, str(tmp_path / name)) as bench:
        for records in (10, 1000):
            sample = bench.sample(records)
            assert sample.all_records == pytest.approx(20_000, rel=0.2)
            share = sample.records / sample.all_records
            assert sample.size == pytest.approx(share * bench.input_bytes, rel=0.2, abs=5)
        whole = bench.sample(100_000)
        assert (whole.whole, whole.records, whole.all_records) == (True, 20_000, 20_000)
        assert bench.whole_sample().records == 20_000


def test_whole_files_are_records_and_bounded_in_bytes(tmp_path):
    """Files() gives as many files as there are records wanted, and no more bytes than a sample may have."""
    for number in range(40):
        (tmp_path / f"{number:02}.bin").write_bytes(bytes([number]) * 1000)
    setup = setup_of(Files())
    facts = [(path, path.stat()) for path in sorted(tmp_path.glob("*.bin"))]
    split = Split(tuple(Piece(str(path), 0, s.st_size, s.st_size, s.st_mtime_ns, True) for path, s in facts))
    given_input = SampledInput(0, (split,), setup.reader)
    assert take_sample([given_input], 12).records == 12
    few = take_sample([given_input], 1000, most_bytes=8000)
    assert 4 <= few.records <= 12
    assert few.size <= 12_000


def test_each_input_of_a_join_is_sampled(tmp_path):
    """With several inputs there are tasks for each, in the order of the inputs; an empty one has a task too."""
    for name, lines in (("a", 500), ("b", 0)):
        (tmp_path / name).write_text("".join(f"{n}\n" for n in range(lines)))
    source = """
        from mapreduce import Input, Job, Join
        def pairs(line):
            yield line, 1
        job = Job(inputs={"a": Input(pairs), "b": Input(pairs)}, reducer=Join("left"))
    """
    inputs = {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}
    with bench_of(tmp_path, write_job(tmp_path, source), inputs) as bench:
        sample = bench.sample(40)
        assert sample.counts(2) == (2, 1)
        outcome, _ = bench.here(bench.plan(sample))
    assert outcome.failure is None
    assert outcome.outputs[""].records == sample.records == 20


def test_a_broadcast_input_is_loaded_whole(tmp_path):
    """The left input is sampled, and finds what the right one has for it."""
    (tmp_path / "a").write_text("".join(f"{n}\n" for n in range(5000)))
    (tmp_path / "b").write_text("".join(f"{n}\n" for n in range(5000)))
    inputs = {"a": Input(lambda line: [(line, 1)]), "b": Input(lambda line: [(line, 2)])}
    job = Job(inputs=inputs, reducer=Join(broadcast=True))
    with bench_of(tmp_path, job, {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}) as bench:
        sample = bench.sample(40)
        outcome, _ = bench.here(bench.plan(sample))
    assert outcome.outputs[""].records == sample.records
