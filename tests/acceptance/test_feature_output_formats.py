"""Every output format and compression, and parts of several files, everywhere: as other programs read them."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import lz4.frame
import msgpack
import polars as pl
import pyarrow.parquet as pq
import pytest
import zstandard
from cluster import mapreduce as command
from everywhere import die_once, run_everywhere
from pyarrow import ipc

import mapreduce
from mapreduce import Context, Csv, Job, JobFailed
from mapreduce.dataflow.manifest.folder import read_manifest, read_output

OUTPUTS = {
    "csv": "csv.gz",
    "tsv": "tsv.bz2",
    "jsonl": "jsonl.zst",
    "text": "text.xz",
    "msgpack": "msgpack.lz4",
    "parquet": "parquet",
    "arrow": "arrow",
}
LINES = 2500


def row_of(number):
    """A row of the table that all formats get: text that needs quotes, and nulls in later rows alone."""
    note = None if number % 10 else f'say "{number}", then\nstop'
    return {"n": number, "share": number / 7, "even": number % 2 == 0, "note": note}


def mapper(line):
    yield int(line) % 40, int(line)


def reducer(key, values, *, ctx: Context, grave: str = ""):
    if key == 7:
        die_once(grave, "reducer")
    for value in sorted(values):
        for name in ("csv", "tsv", "jsonl", "msgpack", "parquet", "arrow"):
            ctx.outputs[name].write(value, row_of(value))
        ctx.outputs["text"].write(value, f"line {value}")
        yield value, row_of(value)


JOB = Job(mapper, reducer=reducer, output="csv", outputs=OUTPUTS, reducers=3)


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("\n".join(map(str, range(LINES))) + "\n")
    return path


def content(path):
    """What the libraries make of a file, by its suffix."""
    data = path.read_bytes()
    unpack = {
        ".gz": gzip.decompress,
        ".bz2": bz2.decompress,
        ".xz": lzma.decompress,
        ".zst": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
        ".lz4": lz4.frame.decompress,
    }
    return unpack[path.suffix](data) if path.suffix in unpack else data


def parts(folder):
    return sorted(path for path in folder.iterdir() if path.name.startswith("part-"))


def csv_rows(folder):
    for path in parts(folder):
        for row in csv.DictReader(io.StringIO(content(path).decode(), newline="")):
            yield {
                "n": int(row["n"]),
                "share": float(row["share"]),
                "even": row["even"] == "true",
                "note": row["note"] or None,
            }


def check_with_other_programs(output):
    """Each output, as independent readers see it, has every row once."""
    wanted = [row_of(number) for number in range(LINES)]

    def same(rows):
        assert sorted(rows, key=lambda row: row["n"]) == wanted

    same(csv_rows(output))
    same(csv_rows(output / "csv"))
    texts = [content(path).decode() for path in parts(output / "tsv")]
    same([json.loads(line.split("\t")[1]) for text in texts for line in text.splitlines()])
    texts = [content(path).decode() for path in parts(output / "jsonl")]
    same([json.loads(line)["value"] for text in texts for line in text.split("\n")[:-1]])
    same([value for path in parts(output / "msgpack") for _, value in msgpack.Unpacker(io.BytesIO(content(path)))])
    same([row["value"] for path in parts(output / "parquet") for row in pq.read_table(path).to_pylist()])
    same([row["value"] for path in parts(output / "arrow") for row in ipc.open_file(path).read_all().to_pylist()])
    values = [line for path in parts(output / "text") for line in content(path).decode().splitlines()]
    assert sorted(values) == sorted(f"line {number}" for number in range(LINES))


def test_all_formats_are_the_same_everywhere_and_under_kills(tmp_path, numbers, cluster):
    """Byte for byte, whatever dies; other programs read every record once, and our reader gives the types back."""
    result = run_everywhere(JOB, numbers, tmp_path / "x", cluster.address, kills=["reducer"], split_size=3000)
    check_with_other_programs(result.output)
    endings = {name: parts(result.output / name)[0].name.removeprefix("part-00000") for name in OUTPUTS}
    assert endings == {
        "csv": ".csv.gz",
        "tsv": ".tsv.bz2",
        "jsonl": ".jsonl.zst",
        "text": ".txt.xz",
        "msgpack": ".msgpack.lz4",
        "parquet": ".parquet",
        "arrow": ".arrow",
    }
    records = sorted(result)
    assert records == [(number, row_of(number)) for number in range(LINES)]
    for name, output in result.outputs.items():
        if name == "text":
            assert min(value for _, value in output) == "line 0"
        else:
            assert sorted(output) == records, name
    assert not any("output" in warning for warning in result.warnings)


def test_parts_of_several_files_everywhere(tmp_path, numbers, cluster):
    """The same bytes in the same files; none is larger than asked for; the next job reads them, and once each."""
    where = tmp_path / "x"
    result = run_everywhere(JOB, numbers, where, cluster.address, kills=["reducer"], split_size=3000, part_size="8KB")
    check_with_other_programs(result.output)
    files = parts(result.output)
    assert [path.name for path in files[:2]] == ["part-00000-00000.csv", "part-00000-00001.csv"]
    assert len(files) > 12
    assert max(path.stat().st_size for path in files) <= 8192
    assert [path.name for path in files] == [file.name for file in read_manifest(result.output).files]
    assert len(parts(result.output / "parquet")) > 3
    assert sorted(read_output(result.output / "arrow")) == sorted(result)
    count = mapreduce.run(Job(lambda row: [(row["even"], 1)], reducer=mapreduce.Sum(), input=Csv()), result.output)
    assert dict(count) == {"true": LINES // 2, "false": LINES // 2}
    again = mapreduce.run(
        JOB, numbers, result.output, split_size=3000, part_size="1MB", output_format="jsonl.gz", overwrite=True
    )
    assert len(parts(again.output)) == 3
    assert sorted(again) == sorted((number, row_of(number)) for number in range(LINES))


def test_a_mapper_alone_and_too_many_files(tmp_path, numbers, cluster):
    """Files of a map-only job; where they would be too many the job fails, says what to do, and leaves nothing."""
    job = Job(records=row_of_line, output="parquet", split_size=3000, part_size=2000)
    result = run_everywhere(job, numbers, tmp_path / "x", cluster.address)
    frame = pl.read_parquet(result.output / "*.parquet")["value"].struct.unnest()
    assert frame.to_dicts() == [row_of(number) for number in range(LINES)]
    assert len(parts(result.output)) > len({path.name[:10] for path in parts(result.output)}) > 2
    with pytest.raises(JobFailed, match="part size of 1 bytes this task's results are more than 1,000 files: choose"):
        mapreduce.run(job, numbers, tmp_path / "y", part_size=1, split_size="1MB", output_format="csv")
    assert not (tmp_path / "y").exists()


def row_of_line(line):
    yield row_of(int(line))


def test_what_a_format_cannot_say_fails_the_job(tmp_path, numbers):
    """The error shows the value and what to emit or choose."""
    for output_format, words in [
        ("csv", r"\{'a': 1\}: its names are not the columns.*first value, \{'b': 1\}"),
        ("text", "of type dict, and only a str is text"),
    ]:
        job = Job(records=lambda line: [{"a" if line == "1" else "b": 1}], output=output_format)
        with pytest.raises(JobFailed, match=words):
            mapreduce.run(job, numbers, tmp_path / "out", runner="inline")


def with_an_object(line):
    yield line, object() if line == "7" else 1


def of_objects(key, values):
    yield key, {1: object()} if key == "7" else 1


def itself(frame):
    return frame.select(pl.col("value").alias("key"), "value")


def in_two_lines(frame):
    return frame.select("key", value=pl.lit("a\nb"))


def in_a_list(line):
    yield [line]


@pytest.mark.parametrize(
    ("job", "function", "key"),
    [
        (Job(with_an_object), with_an_object, "'7'"),
        (Job(with_an_object, output="parquet"), with_an_object, "'7'"),
        (Job(keys=lambda line: [line], reducer=of_objects), of_objects, "'7'"),
        (Job(itself, frames=True, reducer=in_two_lines, output="text"), in_two_lines, "'1'"),
        (Job(records=in_a_list, output="text"), in_a_list, None),
    ],
)
def test_what_a_format_cannot_say_is_told_with_its_function_and_key(tmp_path, job, function, key):
    """As every other failure is; results that are values alone have no key."""
    (tmp_path / "in.txt").write_text("".join(f"{number}\n" for number in range(1, 2000)))
    with pytest.raises(JobFailed) as failed:
        mapreduce.run(job, tmp_path / "in.txt", tmp_path / "out", runner="inline", reducers=1)
    failure = failed.value.failure
    assert failure.function.partition(" ")[0] == function.__name__
    assert failure.key == key


MODULE = """
import mapreduce

def mapper(line):
    yield line, {"length": len(line), "text": line + ","}

job = mapreduce.Job(mapper, output="csv.zst", part_size="1MB")
"""


def test_the_command_line(tmp_path):
    """Formats and sizes by option; lines go to stdout as text with one header; files do not."""
    (tmp_path / "job.py").write_text(MODULE)
    (tmp_path / "in.txt").write_text("one\nthree\n")

    def call(*arguments):
        done = command(*arguments, cwd=tmp_path, check=False)
        return done.returncode, done.stdout, done.stderr

    def run(*arguments):
        return call("run", "job.py", "in.txt", "--runner", "inline", "--split-size", "4", *arguments)

    table = 'key,length,text\none,3,"one,"\nthree,5,"three,"\n'
    assert run()[:2] == (0, table)
    assert run("--output-format", "csv")[:2] == (0, table)
    status, _, _ = run("-o", "out", "--output-format", "jsonl.gz", "--part-size", "10")
    assert status == 0
    assert [path.name for path in parts(tmp_path / "out")] == [f"part-{n:05d}-00000.jsonl.gz" for n in range(3)]
    assert gzip.decompress(parts(tmp_path / "out")[0].read_bytes()) == (
        b'{"key":"one","value":{"length":3,"text":"one,"}}\n'
    )
    for arguments, words in [
        (["--output-format", "csv.gz"], "csv.gz is for files, and not for stdout: name a folder"),
        (["--output-format", "arrow"], "arrow is for files"),
        (["--part-size", "5MB"], "--part-size is for files"),
        (["--output-format", "xml", "-o", "x"], "--output-format must be one of tsv, jsonl, csv"),
        (["--part-size", "big", "-o", "x"], "--part-size is 'big', which is not a size"),
    ]:
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert words in err
    assert not Path(tmp_path / "x").exists()
    described = call("describe", "job.py")[1]
    assert "output      csv.zst" in described
    assert "part size   about 1,048,576 bytes a file" in described
