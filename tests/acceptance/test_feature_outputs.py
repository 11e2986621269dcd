"""Named outputs and output formats, everywhere: against what plain Python makes of the same input."""

import base64
import csv
import json
from collections import defaultdict
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from cluster import mapreduce as command
from everywhere import die_once, run_everywhere

import mapreduce
from mapreduce import Context, Job, JobFailed, Step


def mapper(line, *, ctx: Context, grave: str = ""):
    """A file's name and size by its kind."""
    name, _, size = line.partition(" ")
    if name == "f7":
        die_once(grave, "mapper")
    yield name[-1], (name, int(size) if size.isdigit() else None)


def reducer(kind, files, *, ctx: Context, grave: str = ""):
    total, names = 0, []
    for name, size in files:
        if size is None:
            ctx.outputs["bad"].write(name, {"kind": kind, "why": None if kind == "0" else "no size"})
            continue
        if size > 900:
            ctx.outputs["large"].write((kind, size), name)
        total += size
        names.append(name)
    if kind == "3":
        die_once(grave, "reducer")
    yield kind, {"total": total, "first": min(names), "mean": total / len(names)}


def lines():
    return [f"f{n} {'?' if n % 35 == 0 else n * 7919 % 1000}" for n in range(3000)]


def expected():
    """What the job makes, in plain Python."""
    totals, bad, large = defaultdict(list), [], []
    for line in lines():
        name, size = line.split()
        if size == "?":
            bad.append((name, {"kind": name[-1], "why": None if name[-1] == "0" else "no size"}))
            continue
        totals[name[-1]].append((name, int(size)))
        if int(size) > 900:
            large.append(((name[-1], int(size)), name))
    sums = {
        kind: {
            "total": sum(s for _, s in files),
            "first": min(f for f, _ in files),
            "mean": sum(s for _, s in files) / len(files),
        }
        for kind, files in totals.items()
    }
    return sums, sorted(bad, key=repr), sorted(large)


JOB = Job(
    steps=[Step(mapper, reducer=reducer)], outputs={"bad": "parquet", "large": "jsonl"}, output="jsonl", reducers=4
)


@pytest.fixture
def sizes(tmp_path):
    folder = tmp_path / "sizes"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("\n".join(lines()[number * 1000 : (number + 1) * 1000]) + "\n")
    return folder


def test_named_outputs_are_the_same_everywhere_and_under_kills(tmp_path, sizes, cluster):
    """Each output has every record once, in its own format, whatever dies; other programs read them as they are."""
    result = run_everywhere(JOB, sizes, tmp_path / "x", cluster.address, kills=["mapper", "reducer"])
    sums, bad, large = expected()
    assert dict(result) == sums
    assert {name: output.records for name, output in result.outputs.items()} == {"bad": len(bad), "large": len(large)}
    assert sorted(result.outputs["bad"], key=repr) == bad
    assert sorted(result.outputs["large"]) == large
    texts = [path.read_text() for path in sorted(result.output.glob("part-*.jsonl"))]
    assert len(texts) == 4
    documents = [json.loads(line) for text in texts for line in text.splitlines()]
    assert {found["key"]: found["value"] for found in documents} == sums
    table = pq.read_table(result.output / "bad", schema=pq.read_schema(result.output / "bad" / "part-00000.parquet"))
    assert table.num_rows == len(bad)
    schemas = [pl.read_parquet_schema(path) for path in sorted((result.output / "bad").glob("*.parquet"))]
    assert schemas == [{"key": pl.String, "value": pl.Struct({"kind": pl.String, "why": pl.String})}] * 4
    frame = pl.read_parquet(result.output / "bad" / "*.parquet")
    assert sorted(zip(frame["key"], frame["value"], strict=True), key=repr) == bad


def records(line, *, ctx: Context):
    fields = next(csv.reader([line], delimiter=" "))
    if fields[1] == "?":
        ctx.outputs["bad"].write(ctx.offset, fields[0])
    else:
        yield {"name": fields[0], "size": int(fields[1]), "raw": fields[1].encode()}


def test_a_mapper_alone_writes_named_outputs(tmp_path, sizes, cluster):
    """A map-only step's mapper may write them too; values alone are Parquet of one column, without a row too many."""
    job = Job(records=records, outputs={"bad": "tsv"}, output="parquet", split_size=4000)
    result = run_everywhere(job, sizes, tmp_path / "x", cluster.address)
    rows = [line.split() for line in lines()]
    wanted = [{"name": n, "size": int(s), "raw": s.encode()} for n, s in rows if s != "?"]
    assert [value for _, value in result] == wanted
    assert result.to_polars()["value"].to_list() == wanted
    frame = pl.read_parquet(result.output / "*.parquet")
    assert frame.columns == ["value"]
    assert frame["value"].struct.unnest().to_dicts() == wanted
    assert [value for _, value in result.outputs["bad"]] == [n for n, s in rows if s == "?"]
    parts = sorted(path.name for path in result.output.glob("part-*"))
    assert len(parts) > 5
    assert [f"{path.name}.parquet" for path in sorted((result.output / "bad").glob("part-*"))] == parts


def test_without_a_folder_named_outputs_are_there_too(sizes):
    """They keep their values' types, and live as long as the result or one of them."""
    result = mapreduce.run(JOB, sizes)
    sums, bad, large = expected()
    outputs = result.outputs
    assert dict(result) == sums
    del result
    assert sorted(outputs["large"]) == large
    assert sorted(outputs["bad"], key=repr) == bad
    assert outputs["bad"].output is None
    assert outputs["large"].to_polars().height == len(large)


def wrong(line, *, ctx: Context):
    ctx.outputs["bad"].write(line, 1)
    yield line, 1


def test_where_they_can_be_written(tmp_path, sizes):
    """Not in a mapper before a reducer: the error says where, and nothing is left of the output."""
    with pytest.raises(JobFailed, match=r"ctx.outputs\['bad'\] cannot be written here, in map 0.*the last step"):
        mapreduce.run(Job(wrong, reducer=reducer, outputs={"bad": "tsv"}), sizes, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(JobFailed, match=r"no named output 'bad': it has 'good'"):
        mapreduce.run(Job(wrong, outputs={"good": "tsv"}), sizes)


PROGRAM = """
from mapreduce import Job, Sum

def mapper(line, *, ctx):
    name, size = line.split()
    if size == "?":
        ctx.outputs["bad"].write(name, b"?")
    else:
        yield name, int(size)

job = Job(mapper, output="jsonl", outputs={"bad": "jsonl"})
"""


def test_the_command_line(tmp_path, sizes):
    """--output-format overrides the job's; stdout has the job's text; the summary names the sub-folders."""
    (tmp_path / "sizes.py").write_text(PROGRAM)

    def run(*arguments):
        return command("run", "sizes.py", "sizes", *arguments, cwd=tmp_path, check=False)

    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout.splitlines()[0]) == {"key": "f1", "value": 919}
    assert "output bad: 86 records, not kept: name a folder, -o DIR" in shown.stderr
    written = run("-o", "out", "--output-format", "parquet")
    assert f"output bad: {Path('out') / 'bad'} (86 records)" in written.stderr.replace(str(tmp_path) + "/", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_SUCCESS",
        "_job.json",
        "bad",
        "part-00000.parquet",
    ]
    first = json.loads((tmp_path / "out" / "bad" / "part-00000.jsonl").read_text().splitlines()[0])
    assert (first["key"], base64.b64decode(first["value"])) == ("f0", b"?")
    refused = run("--output-format", "parquet")
    assert refused.returncode == 2
    assert "-o DIR" in refused.stderr
    text = command("describe", "sizes.py", cwd=tmp_path).stdout
    assert "output      jsonl\noutput      bad: jsonl\n" in text
