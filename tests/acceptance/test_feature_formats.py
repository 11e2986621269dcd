"""Formats of rows, and formats said for one run, against plain Python: with every runner, and under kills."""

import csv
import functools
import io
import json
import lzma
import struct
from datetime import UTC, datetime

import lz4.frame
import msgpack
import pytest
from cluster import mapreduce as command
from everywhere import run_everywhere

import mapreduce
from mapreduce import Count, Csv, FixedLength, Input, Job, JobFailed, JsonLines, Max, Sum, UsageError

JOB = """
import struct
from pathlib import PurePath

from everywhere import die_once
from mapreduce import *


def rows(offset, row, *, ctx, grave: str = ""):
    die_once(grave, "rows")
    assert offset == ctx.offset
    yield row["city"], (PurePath(ctx.path).name, offset, list(row), row["n"])


def objects(offset, value):
    yield "objects", (offset, str(value))


def ticks(offset, record, *, grave: str = ""):
    die_once(grave, "ticks")
    name, amount = struct.unpack("<4sq", record)
    yield name.decode(), (offset, amount)


def batches(values):
    yield "batch", sum(map(len, values))


def words(line):
    yield line["word"], "document"


def gather(key, values):
    yield key, list(values)


inputs = {
    "rows": Input(rows, format=Csv(quoted_newlines=False)),
    "objects": Input(objects, format=Msgpack()),
    "ticks": Input(ticks, format=FixedLength(12, skip=5)),
    "batches": Input(batches, format=FixedLength(12, skip=5), batch_size=1000),
    "words": Input(words),
}
job = Job(inputs=inputs, reducer=gather, reducers=2, output="jsonl")
"""
CITIES = ["Rome", "Zürich", 'Frankfurt, "am Main"']


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The module of the job, its inputs by their names, and for each key the values in the order that they come in."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "rows_of_all_kinds.py").write_text(JOB, encoding="utf-8")
    wanted = {}

    def expect(key, value):
        wanted.setdefault(key, []).append(value)

    for name in ("one.csv", "two.csv.xz"):
        text, place = io.StringIO(newline=""), 0
        writer = csv.writer(text)
        writer.writerow(["n", "other", "city"])
        for i in range(200):
            place = len(text.getvalue().encode())
            writer.writerow([i, "x" * (i % 7), CITIES[i % 3]])
            expect(CITIES[i % 3], [name, place, ["city", "n"], str(i)])
        data = text.getvalue().encode()
        (folder / name).write_bytes(lzma.compress(data) if name.endswith(".xz") else data)
    values = [None, -1, 1 << 63, 1.5, "ü", b"\xff", [1, [2]], {"a": {3: None}}, datetime(2024, 2, 29, tzinfo=UTC)] * 20
    packed = [msgpack.packb(value, datetime=True) for value in values]
    (folder / "objects.msgpack.lz4").write_bytes(lz4.frame.compress(b"".join(packed)))
    for i, value in enumerate(values):
        expect("objects", [sum(map(len, packed[:i])), str(value)])
    ticks = [(b"ABCD" if i % 3 else b"EFGH", i * i) for i in range(300)]
    (folder / "ticks.bin").write_bytes(b"HEAD\n" + b"".join(struct.pack("<4sq", *tick) for tick in ticks))
    for i, (name, amount) in enumerate(ticks):
        expect(name.decode(), [5 + 12 * i, amount])
    (folder / "words.jsonl").write_text("".join(json.dumps({"word": f"w{i % 9}"}) + "\n" for i in range(90)))
    for i in range(90):
        expect(f"w{i % 9}", "document")
    inputs = {
        "rows": [folder / "one.csv", folder / "two.csv.xz"],
        "objects": folder / "objects.msgpack.lz4",
        "ticks": folder / "ticks.bin",
        "batches": folder / "ticks.bin",
        "words": folder / "words.jsonl",
    }
    return folder / "rows_of_all_kinds.py", inputs, wanted


def test_records_of_each_format_come_once_wherever_files_are_cut(case, cluster, tmp_path):
    """Cut into many tasks, with formats of the run in place of the job's: records and order are the reference's."""
    module, inputs, wanted = case
    formats = {"rows": Csv(quoted_newlines=False, columns=("city", "n")), "words": "jsonl"}
    result = run_everywhere(
        f"{module}:job",
        inputs,
        tmp_path / "x",
        cluster.address,
        kills=["rows", "ticks"],
        split_size=1500,
        input_format=formats,
    )
    parts = sorted(result.output.glob("part-*"))
    lines = [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]
    found = {row["key"]: row["value"] for row in lines}
    assert len(found) == len(lines)
    batches = found.pop("batch")
    assert sum(batches) == 300 * 12
    assert len(batches) == 3
    assert found == wanted
    assert result.status.steps[0].shape.maps == 12


def run_cli(folder, *arguments):
    return command("run", *arguments, "-r", "inline", cwd=folder, check=False)


def test_formats_on_the_command_line(tmp_path):
    """A format and columns for one input or for each by its name; what does not fit ends with code 2 and what does."""
    (tmp_path / "one.py").write_text(
        "from mapreduce import *\ndef mapper(row):\n    yield str(row), 1\njob = Job(mapper, reducer=Count())\n"
    )
    (tmp_path / "two.py").write_text(
        "from mapreduce import *\n"
        "def mapper(row):\n    yield str(row), 1\n"
        "job = Job(inputs={'a': Input(mapper), 'b': Input(mapper, format=Csv())}, reducer=Count())\n"
    )
    (tmp_path / "in.csv").write_text("x;y;z\n1;2;3\n")
    (tmp_path / "in.bin").write_bytes(b"abcd")
    done = run_cli(tmp_path, "one.py", "in.csv", "--input-format", "csv:separator=;", "--columns", "z,x")
    assert done.stdout == "{'z': '3', 'x': '1'}\t1\n", done.stderr
    named = ["two.py", "a=in.bin", "b=in.csv"]
    done = run_cli(tmp_path, *named, "--input-format", "a=fixed:2", "--columns", "b=x;y;z")
    assert done.stdout == "b'ab'\t1\nb'cd'\t1\n{'x;y;z': '1;2;3'}\t1\n", done.stderr
    for options, message in [
        (["--input-format", "fixed:2"], "has several inputs: write --input-format a=FORMAT, --input-format b=FORMAT"),
        (["--input-format", "a=tsv"], "'tsv' is no input format: write one of text, files"),
        (["--columns", "a=x"], "the format text has no columns to choose from"),
    ]:
        refused = run_cli(tmp_path, *named, *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr


def test_a_former_result_has_its_own_format(tmp_path):
    """Another format cannot be said of it, nor of an input that is not there."""
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    former = mapreduce.run(Job(keys=str.split, reducer=Count()), tmp_path / "in.txt", runner="inline")
    second = Job(inputs={"counts": Input()}, reducer=Max())
    assert dict(mapreduce.run(second, {"counts": former}, runner="inline")) == {"a": 2, "b": 1}
    with pytest.raises(UsageError, match="the input counts is a former result, which has its own format"):
        mapreduce.run(second, {"counts": former}, input_format={"counts": "csv"}, runner="inline")
    with pytest.raises(UsageError, match="has no input 'other'"):
        mapreduce.run(second, {"counts": former}, input_format={"other": "csv"}, runner="inline")


def test_runs_of_a_cluster_take_formats_too(tmp_path):
    """Also for results that are kept, which then have their own."""
    path = tmp_path / "in.csv"
    path.write_text("name,n\na,1\nb,2\na,3\n")
    job = Job(lambda row: [(row["name"], int(row["n"]))])
    with mapreduce.Cluster(slots=1) as cluster:
        kept = cluster.run(job, path, input_format="csv", keep=True)
        assert dict(cluster.run(Job(reducer=Sum()), kept)) == {"a": 4, "b": 2}
        with pytest.raises(UsageError, match="the input is a former result, which has its own format"):
            cluster.run(Job(reducer=Sum()), kept, input_format=Csv())


def row(record):
    yield record["name"], int(record["n"])


def document(found):
    yield found["name"], found["n"]


def test_submitted_jobs_take_formats_too(cluster, tmp_path):
    """The workers read in the formats that were said in place of the job's own; what is none is refused at once."""
    (tmp_path / "in.csv").write_text("name;n\na;1\nb;2\na;3\n")
    (tmp_path / "in.jsonl").write_text('{"name": "a", "n": 5}\n')
    paths = {"rows": tmp_path / "in.csv", "documents": tmp_path / "in.jsonl"}
    two = Job(inputs={"rows": Input(row), "documents": Input(document, format=JsonLines())}, reducer=Sum())
    submit = functools.partial(mapreduce.submit, coordinator=cluster.address)
    one = submit(Job(row, reducer=Sum()), paths["rows"], tmp_path / "one", input_format=Csv(separator=";"))
    both = submit(two, paths, tmp_path / "two", input_format={"rows": "csv:separator=%3B"})
    assert dict(one.wait()) == {"a": 4, "b": 2}
    assert dict(both.wait()) == {"a": 9, "b": 2}
    with pytest.raises(UsageError, match="'tsv' is no input format"):
        submit(two, paths, tmp_path / "three", input_format={"rows": "tsv"})
    assert not (tmp_path / "three").exists()


def test_a_record_cut_short_fails_the_job_with_its_place(tmp_path):
    """The failure names file and byte, as for every record that is none in its format."""
    path = tmp_path / "in.bin"
    path.write_bytes(b"abcdef+")
    with pytest.raises(JobFailed, match="the last record is cut short: it has 1 bytes, and a record 3") as caught:
        mapreduce.run(Job(records=lambda record: [record.decode()], input=FixedLength(3)), path, runner="inline")
    assert (caught.value.failure.path, caught.value.failure.offset) == (str(path), 6)
