"""Commits to a store: the granted parts, named outputs, lost parts, other jobs' parts; and reading what was damaged."""

import json

import polars as pl
import pytest
from store_outputs import FACTS, NEW, OLD, RECORDS, committed, deliver_parts, prepared, seen, tree

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.manifest.attempts import deliver
from mapreduce.dataflow.manifest.folder import (
    Granted,
    commit_job,
    open_part,
    part_paths,
    prepare_output,
    read_manifest,
    read_output,
)
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions


@pytest.mark.parametrize(("output_format", "ending"), [("tsv", ""), ("jsonl.gz", ".jsonl.gz"), ("parquet", ".parquet")])
def test_commit(place, tmp_path, output_format, ending):
    """A commit leaves the granted parts, the manifest, the job's facts and nothing else; nothing stays in scratch."""
    options, granted = prepared(place, tmp_path, output_format=output_format, outputs=(("errors", "jsonl"),))
    assert f"part-00000-j1-7{ending}" in tree(place)
    assert commit_job(place, options, granted, FACTS) == ()
    parts = [f"part-0000{i}-j1-1" for i in range(3)]
    mended = "m" if output_format == "parquet" else ""
    assert sorted(tree(place)) == [
        "_SUCCESS",
        "_job.json",
        "errors/_SUCCESS",
        *(f"errors/{part}.jsonl" for part in parts),
        parts[0] + ending,
        parts[1] + mended + ending,
        parts[2] + ending,
    ]
    assert list(tmp_path.iterdir()) == []
    assert seen(place) == {"": RECORDS, "errors": NEW["errors"]}
    assert json.loads(tree(place)["_job.json"]) == FACTS
    before = tree(place)
    commit_job(place, options, granted, FACTS)
    assert tree(place) == before


def test_parts_are_one_table(place, tmp_path):
    """Parquet parts without records have the types of the others; the part that was mended takes their place."""
    parts = [[], [("a", {"n": 1})], []]
    committed(place, tmp_path, parts=parts, output_format="parquet")
    schemas = []
    for path in part_paths(place, read_manifest(place)):
        with open_part(path) as local:
            schemas.append(dict(pl.read_parquet_schema(local)))
    assert schemas == [{"key": pl.String, "value": pl.Struct({"n": pl.Int64})}] * 3
    assert list(read_output(place)) == [("a", {"n": 1})]
    assert "part-00000-j1-1.parquet" not in tree(place)


def test_part_size(place, tmp_path):
    """A part of several files is several objects, in their order."""
    records = [(f"k{i:03d}", "x" * 50) for i in range(100)]
    options = TaskOptions(job="j1", output=place, durable=False, part_size=1000)
    prepare_output(place, "j1", False)
    attempt = AttemptId(TaskId("j1", 0, TaskKind.REDUCE, 0), 1)
    writer = PartWriter(tmp_path / attempt_output_name(attempt), writing=Writing.of(options))
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    info = writer.close()
    deliver(options, tmp_path, attempt, info, {})
    commit_job(place, options, [Granted(attempt, info)], FACTS)
    names = [file.name for file in read_manifest(place).files]
    assert names == [f"part-00000-{i:05d}-j1-1" for i in range(len(info.files))]
    assert len(names) > 3
    assert list(read_output(place)) == records


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_a_lost_part(place, tmp_path, damage):
    """An object that is missing or is not what its attempt wrote names its producer, and no manifest is written."""
    options, granted = prepared(place, tmp_path)
    store, url = store_of(place), f"{place}/part-00002-j1-1"
    if damage == "missing":
        store.remove(url)
    else:
        store.write(url, b"c\t" if damage == "shorter" else b"c\t4\n")
    with pytest.raises(InputLostError) as caught:
        commit_job(place, options, granted, FACTS)
    assert caught.value.producer == granted[2].attempt
    assert "_SUCCESS" not in tree(place)
    again = deliver_parts(options, tmp_path, number=2)
    commit_job(place, options, [*granted[:2], again[2]], FACTS)
    assert list(read_output(place)) == RECORDS


def test_another_jobs_output_is_not_replaced(place, tmp_path):
    """Without overwrite a manifest that appears meanwhile is another job's: the commit says so."""
    options, granted = prepared(place, tmp_path)
    manifest = tree(place).get("_SUCCESS")
    assert manifest is None
    committed(f"{place}-other", tmp_path, "j2", OLD)
    store_of(place).write(f"{place}/_SUCCESS", tree(f"{place}-other")["_SUCCESS"])
    with pytest.raises(OutputError, match="holds the output of another job"):
        commit_job(place, options, granted, FACTS)


def test_parts_of_a_job_at_work_stay(memory, tmp_path):
    """A job that overwrites an output removes parts of others there, but not those of a job that is at work."""
    out = "memory://b/out"
    committed(out, tmp_path, "j0", OLD)
    mine, mine_granted = prepared(out, tmp_path, "j1", overwrite=True)
    _, theirs = prepared(out, tmp_path, "j2", overwrite=True)
    commit_job(out, mine, mine_granted, FACTS)
    assert {name for name in tree(out) if "-j2-" in name} >= {f"part-0000{i}-j2-1" for i in range(3)}
    assert not any("-j0-" in name for name in tree(out))
    assert len(theirs) == 3


def test_damaged_outputs_are_refused(place, tmp_path):
    """A missing manifest or part, and one of another size or content, is an error that names it."""
    with pytest.raises(OutputError, match="holds no finished output of a job"):
        read_manifest(place)
    committed(place, tmp_path)
    store, url = store_of(place), f"{place}/part-00002-j1-1"
    store.write(url, b"c\t4\n")
    with pytest.raises(OutputError, match=f"the part {url} is not what the job wrote"):
        list(read_output(place))
    store.write(url, b"c\t")
    with pytest.raises(OutputError, match=f"the part {url} has 2 bytes, and the manifest says 4"):
        list(read_output(place))
    store.remove(url)
    with pytest.raises(OutputError, match=f"the part {url} cannot be read"):
        list(read_output(place))
