"""Commits to a folder: parts, named outputs, one table of Parquet parts, lost parts, warnings, names."""

import json
from dataclasses import replace

import polars as pl
import pytest
from folder_outputs import (
    FACTS,
    PARTS,
    RECORDS,
    FragileDisk,
    committed,
    dies,
    names_in,
    options_of,
    prepare,
    tree,
    write_parts,
)

from mapreduce.dataflow.manifest import folder as manifest
from mapreduce.dataflow.manifest.folder import commit_job, prepare_output, read_manifest, read_output
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import attempt_output_name


@pytest.mark.parametrize(
    ("output_format", "ending"), [("tsv", ""), ("jsonl", ".jsonl"), ("parquet", ".parquet"), ("records", "")]
)
def test_commit(tmp_path, output_format, ending):
    """A commit leaves the parts, the manifest, the job's facts and nothing else; they read back in order."""
    out = tmp_path / "deep" / "out"
    assert committed(out, output_format=output_format) == ()
    assert sorted(tree(out)) == ["_SUCCESS", "_job.json", *(f"part-0000{i}{ending}" for i in range(3))]
    assert list(read_output(out)) == RECORDS
    assert json.loads((out / "_job.json").read_text()) == {"job": "j1"}
    facts = json.loads((out / "_SUCCESS").read_text())
    assert (facts["records"], facts["format"], len(facts["files"])) == (3, output_format, 3)
    assert facts["columns"] == {"key": ["str"], "value": ["int"]}
    assert facts["outputs"] == {}


def test_named_outputs(tmp_path):
    """Each named output is a folder with a manifest and a format of its own; the job's manifest has their records."""
    named = {"errors": [[("e", 1)], [], [("f", 2)]], "all": [[("x", (1, b"y"))], [], []]}
    (warning,) = committed(tmp_path, named=named, outputs=(("errors", "parquet"), ("all", "jsonl")))
    assert "the values of the output 'all' hold bytes" in warning
    assert json.loads((tmp_path / "_SUCCESS").read_text())["outputs"] == {"errors": 2, "all": 1}
    assert read_manifest(tmp_path).outputs == {"errors": 2, "all": 1}
    assert list(read_output(tmp_path / "errors")) == [("e", 1), ("f", 2)]
    assert list(read_output(tmp_path / "all")) == [("x", [1, "eQ=="])]
    assert sorted(tree(tmp_path / "errors")) == ["_SUCCESS", *(f"part-0000{i}.parquet" for i in range(3))]
    assert list(read_output(tmp_path)) == RECORDS


@pytest.mark.parametrize("overwrite", [False, True])
def test_parquet_parts_are_one_table(tmp_path, overwrite):
    """Those without records, or with None throughout, have the types of the others; the commit may run again."""
    options = options_of(tmp_path, output_format="parquet", overwrite=overwrite, outputs=(("none", "parquet"),))
    prepare(options)
    parts = [[], [("a", {"n": 1, "s": None})], [("b", {"n": 2, "s": "x"})], []]
    granted = write_parts(options, parts, named={"none": [[]] * 4})
    assert dies(tmp_path, options, granted, FragileDisk(12))
    assert dies(tmp_path, options, granted, FragileDisk(14))
    commit_job(tmp_path, options, granted, FACTS)
    before = tree(tmp_path)
    commit_job(tmp_path, options, granted, FACTS)
    assert tree(tmp_path) == before
    paths = [tmp_path / file.name for file in read_manifest(tmp_path).files]
    schema = {"key": pl.String, "value": pl.Struct({"n": pl.Int64, "s": pl.String})}
    assert [dict(pl.read_parquet_schema(path)) for path in paths] == [schema] * 4
    assert list(read_output(tmp_path)) == [record for part in parts for record in part]
    assert list(read_output(tmp_path / "none")) == []
    assert read_manifest(tmp_path).files[0].bytes == paths[0].stat().st_size


def test_parquet_parts_of_different_types(tmp_path):
    """Parts whose types differ are told: programs that read them as one table refuse them."""
    (text,) = committed(tmp_path, parts=[[("a", 1)], [("b", "x")]], output_format="parquet")
    assert "the values of the output are of several types (int, str)" in text
    assert list(read_output(tmp_path)) == [("a", 1), ("b", "x")]


def test_manifest_does_not_vary(tmp_path):
    """Two jobs of other ids, attempts and times over the same data write the same files, `_job.json` apart."""
    committed(tmp_path / "a")
    options = options_of(tmp_path / "b", "j2")
    prepare_output(tmp_path / "b", "j2", False)
    sources = write_parts(options, PARTS, number=9)
    commit_job(tmp_path / "b", options, sources[::-1], {"job": "j2", "finished_ms": 99})
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert first.pop("_job.json") != second.pop("_job.json")
    assert first == second


def test_overwriting_an_overwrite(tmp_path):
    """An output that was overwritten once can be overwritten again."""
    for job in ("j1", "j2", "j3"):
        committed(tmp_path, job, overwrite=True)
    assert [name for name in sorted(tree(tmp_path)) if name.startswith("part")] == [
        f"part-0000{i}-j3" for i in range(3)
    ]


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_lost_part(tmp_path, damage):
    """A part that is missing or is not what its attempt wrote names its producer, and nothing is moved."""
    options = options_of(tmp_path)
    prepare_output(tmp_path, "j1", False)
    sources = write_parts(options, PARTS)
    path = tmp_path / "_tmp-j1" / attempt_output_name(sources[2].attempt)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"c\t" if damage == "shorter" else b"c\t4\n")
    with pytest.raises(InputLostError) as caught:
        commit_job(tmp_path, options, sources, FACTS)
    assert caught.value.producer == sources[2].attempt
    assert names_in(tmp_path) == ["_tmp-j1"]
    again = write_parts(options, PARTS, number=2)
    commit_job(tmp_path, options, [*sources[:2], again[2]], FACTS)
    assert list(read_output(tmp_path)) == RECORDS


def test_another_jobs_output_is_kept(tmp_path):
    """A commit into a folder that meanwhile holds another job's output is refused and changes nothing."""
    options = options_of(tmp_path)
    prepare_output(tmp_path, "j1", False)
    sources = write_parts(options, PARTS)
    other = options_of(tmp_path, "j0")
    manifest.temporary_folder(tmp_path, "j0").mkdir()
    commit_job(tmp_path, other, write_parts(other, [[("other", 1)]]), {})
    with pytest.raises(OutputError, match="another job"):
        commit_job(tmp_path, options, sources, FACTS)
    assert list(read_output(tmp_path)) == [("other", 1)]


def test_warnings(tmp_path):
    """Columns that TSV does not bring back as they are, over all parts, are told when committed."""
    (text,) = committed(tmp_path / "a", parts=[[("a", 1)], [("b", "x")]])
    assert "int, str" in text
    assert [value for _, value in read_output(tmp_path / "a")] == ["1", "x"]
    (text,) = committed(tmp_path / "b", parts=[[("a", [b"x"])]])
    assert "base64" in text
    assert committed(tmp_path / "c", parts=[[("a", 1)], [("b", "x")]], output_format="records") == ()


def test_versioned_names():
    """Part names carry the job's id with overwrite only."""
    options = options_of("/o")
    assert manifest.part_name(3, options) == "part-00003"
    assert manifest.part_name(3, replace(options, overwrite=True)) == "part-00003-j1"
    assert manifest.part_name(3, replace(options, overwrite=True), "jsonl") == "part-00003-j1.jsonl"
    assert manifest.part_name(3, options, "parquet") == "part-00003.parquet"
