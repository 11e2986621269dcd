"""Parquet and Arrow files as inputs, cut at row groups and record batches, against pyarrow: with every runner."""

import datetime as dt
import decimal
from collections import defaultdict

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from everywhere import run_everywhere

import mapreduce
from mapreduce import JobFailed

JOB = '''
import polars as pl
from everywhere import die_once
from mapreduce import *


def rows(number, row, *, ctx, grave: str = ""):
    """All columns of a row, with its number."""
    die_once(grave, "rows")
    ctx.counters["rows"] += 1
    yield row["kind"], ("row", number, repr(row))


def batches(number, row):
    yield row["kind"], ("batch", number, row["id"], list(row))


def frames(frame, *, grave: str = ""):
    die_once(grave, "frames")
    assert frame.columns == ["kind", "price"]
    return frame.select(key="kind", value=pl.col("price").cast(pl.Float64))


def gather(key, values):
    yield key, list(values)


inputs = {
    "rows": Input(rows, format=Parquet()),
    "batches": Input(batches, format=Arrow(columns=("id", "kind"))),
    "frames": Input(frames, format=Parquet(columns=("kind", "price")), frames=True),
}
job = Job(inputs=inputs, reducer=gather, reducers=2, output="jsonl")
numbered = Job(mapper=lambda number, row: [(number, row["id"])], input=Parquet(columns=("id",)), output="tsv")
'''
KINDS = ["red", "green", None, "blue"]


def table(first, count):
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": list(numbers),
            "kind": pa.array([KINDS[i % 4] for i in numbers]).dictionary_encode(),
            "text": [f"{i} " * (i % 50) for i in numbers],
            "tags": [{"all": [i] * (i % 3), "on": dt.date(2020, 1, 1 + i % 28)} if i % 7 else None for i in numbers],
            "price": pa.array([decimal.Decimal(i) / 8 for i in numbers], pa.decimal128(12, 3)),
        }
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The module of the jobs, its inputs by their names, and for each key the values in the order that they come in."""
    folder = tmp_path_factory.mktemp("columns")
    (folder / "columnar.py").write_text(JOB, encoding="utf-8")
    tables = [table(0, 900), table(900, 400)]
    for i, one in enumerate(tables):
        pa.parquet.write_table(one, folder / f"{i}.parquet", row_group_size=70, compression="zstd")
    with pa.ipc.new_file(folder / "a.arrow", tables[0].schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as w:
        w.write_table(tables[0], max_chunksize=90)
    with pa.ipc.new_stream(folder / "b.arrows", tables[1].schema) as writer:
        writer.write_table(tables[1], max_chunksize=90)
    wanted = defaultdict(list)
    for one in tables:
        for number, row in enumerate(one.to_pylist()):
            wanted[row["kind"]].append(["row", number, repr(row)])
    for one in tables:
        for number, row in enumerate(one.to_pylist()):
            wanted[row["kind"]].append(["batch", number, row["id"], ["id", "kind"]])
    for row in tables[0].to_pylist():
        wanted[row["kind"]].append(float(row["price"]))
    parquets = [folder / "0.parquet", folder / "1.parquet"]
    inputs = {"rows": parquets, "batches": [folder / "a.arrow", folder / "b.arrows"], "frames": parquets[:1]}
    return folder / "columnar.py", inputs, wanted


def test_files_are_cut_and_read_alike_everywhere(case, tmp_path, cluster):
    """Rows of Parquet, of an Arrow file and a stream come once, in order, with their numbers and pyarrow's types."""
    module, inputs, wanted = case
    result = run_everywhere(
        f"{module}:job", inputs, tmp_path / "x", cluster.address, kills=("rows", "frames"), split_size=9000
    )
    assert dict(result) == wanted
    assert result.counters["rows"] == 1300


def test_a_cut_changes_no_output(case, tmp_path):
    """The same bytes come out however the files are cut, for each row has its number of the whole file as its key."""
    module, inputs, _ = case
    found = []
    for size in (1500, 1 << 30):
        output = tmp_path / str(size)
        result = mapreduce.run(f"{module}:numbered", inputs["rows"], output, split_size=size, runner="inline")
        found.append([path.read_bytes() for path in sorted(output.glob("part-*"))])
        assert len(list(result)) == 1300
    assert len(found[0]) > 4 * len(found[1])
    assert b"".join(found[0]) == b"".join(found[1])


def test_a_damaged_column_ends_the_job_with_its_place(case, tmp_path):
    """The failure names the file, the row group and the column."""
    module, inputs, _ = case
    data = bytearray(inputs["rows"][0].read_bytes())
    column = pa.parquet.read_metadata(inputs["rows"][0]).row_group(5).column(0)
    data[column.dictionary_page_offset : column.dictionary_page_offset + 8] = b"\x55" * 8
    (tmp_path / "broken.parquet").write_bytes(data)
    with pytest.raises(JobFailed, match=r"broken\.parquet cannot be read as Parquet: row group 5, column 'id': "):
        mapreduce.run(f"{module}:numbered", tmp_path / "broken.parquet", tmp_path / "out", runner="inline")
