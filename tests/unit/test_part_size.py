"""Parts that are several files: where they are cut, what the commit makes of them, and their bounds."""

import datetime as dt
import io
import json
import zoneinfo

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce.config import CONTROL_FRAME_BYTES
from mapreduce.coordinator import results
from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.inputs.codecs import Codec
from mapreduce.dataflow.manifest import folder as manifest
from mapreduce.dataflow.manifest.folder import Granted, commit_job, prepare_output, read_manifest, read_output
from mapreduce.dataflow.outputs import columnar as outputs_columns
from mapreduce.dataflow.outputs import files as outputs_files
from mapreduce.dataflow.outputs.column_types import NAME_CHARS
from mapreduce.dataflow.outputs.files import FILES, TYPES_CHARS, WRITE_BYTES, ByteFiles, Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.outputs.read import read_part_records
from mapreduce.errors import JobDefinitionError, OutputError, UsageError
from mapreduce.file_names import attempt_output_name, numbered
from mapreduce.job import NAMED_OUTPUTS, Job
from mapreduce.plan import AttemptId, Done, PartFile, PartInfo, TaskId, TaskKind, TaskOptions
from mapreduce.planner import plan
from mapreduce.protocol import plain
from mapreduce.protocol.messages import Source
from mapreduce.request import Request

LINES = ["tsv", "jsonl", "csv", "msgpack", "text"]
shared_folder = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder, output_format, values, cuts=(), **writing):
    """Write these str as keys and values in a batch between each two cuts; give the facts and the files' bytes."""
    for path in folder.iterdir():
        path.unlink()
    writer = PartWriter(folder / "p", output_format, writing=Writing(durable=False, **writing))
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        writer.write_batch(make_batch(values[start:stop], values[start:stop]))
    info = writer.close()
    names = sorted(path.name for path in folder.iterdir())
    assert names == [numbered("p", number) for number in range(len(info.files))]
    return info, [(folder / name).read_bytes() for name in names]


@pytest.mark.parametrize("output_format", LINES)
def test_files_hold_what_fits(tmp_path, output_format):
    """No file is larger than the size unless it has one record; none could take the next one; all are the part."""

    @shared_folder
    @given(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=20), max_size=30),
        st.integers(1, 150),
        st.lists(st.integers(0, 30), max_size=3),
    )
    def check(values, part_size, cuts):
        cuts = sorted(min(cut, len(values)) for cut in cuts)
        info, files = write(tmp_path, output_format, values, cuts, part_size=part_size)
        writer = PartWriter(tmp_path / "p", output_format, writing=Writing(durable=False))
        writer.write_batch(make_batch(values, values))
        whole = writer.close()
        begin = b"key,value\n" if output_format == "csv" else b""
        assert b"".join(data.removeprefix(begin) for data in files) == (tmp_path / "p").read_bytes().removeprefix(begin)
        assert [file.size for file in info.files] == list(map(len, files))
        assert (info.records, info.size) == (whole.records, sum(map(len, files)))
        assert sum(file.records for file in info.files) == len(values)
        for file, data, following in zip(info.files, files, files[1:], strict=False):
            assert file.size <= part_size or file.records == 1
            first = next(iter(_pieces(tmp_path, output_format, following, begin)))
            assert len(data) + len(first) > part_size
        # how records arrive is no matter
        assert write(tmp_path, output_format, values, part_size=part_size) == (info, files)

    check()


def _pieces(folder, output_format, data, begin):
    """The bytes of each record of a file."""
    types = () if output_format == "text" else ("str",)
    (folder / "x").write_bytes(data)
    values = [value for _, value in read_part_records(folder / "x", output_format, types, ("str",))]
    (folder / "x").unlink()
    for value in values:
        writer = PartWriter(folder / "y", output_format, writing=Writing(durable=False))
        writer.write_batch(make_batch([value], [value]))
        writer.close()
        yield (folder / "y").read_bytes().removeprefix(begin)
        (folder / "y").unlink()


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst", "lz4"])
def test_compressed_files_are_about_the_size(tmp_path, packed):
    """Each is a member of its own, as large as was asked and little more; how records arrive is no matter."""
    values = [f"{n} {n * 2654435761 % 2**32:x}" for n in range(40_000)]
    info, files = write(tmp_path, f"jsonl.{packed}", values, part_size=20_000)
    assert len(files) > (1 if packed in {"bz2", "xz"} else 8)
    assert all(file.size >= 20_000 for file in info.files[:-1])
    if packed in {"gz", "zst", "lz4"}:
        assert all(file.size < 150_000 for file in info.files)
    found = []
    for number, file in enumerate(info.files):
        path = tmp_path / numbered("p", number)
        records = list(read_part_records(path, f"jsonl.{packed}", info.key_types, info.value_types))
        assert len(records) == file.records
        found += records
    assert found == [(value, value) for value in values]
    assert write(tmp_path, f"jsonl.{packed}", values, [1, 39_000], part_size=20_000) == (info, files)


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
def test_files_of_columns(tmp_path, output_format):
    """They are about the size, of the same types throughout, and together the records in order."""
    values = [f"{n * 2654435761 % 2**32:x}" * 3 for n in range(30_000)]
    info, files = write(tmp_path, output_format, values, range(500, 30_000, 500), part_size=50_000)
    assert len(files) > 5
    assert all(20_000 < file.size < 100_000 for file in info.files[:-1])
    read = pl.read_parquet if output_format == "parquet" else pl.read_ipc
    frames = [read(tmp_path / numbered("p", number)) for number in range(len(files))]
    assert [frame.height for frame in frames] == [file.records for file in info.files]
    assert pl.concat(frames)["value"].to_list() == values


def test_a_part_of_columns_has_one_type_in_all_files(tmp_path, monkeypatch):
    """Files that could not know the type of later records are written again."""
    monkeypatch.setattr(outputs_columns, "FRAME_BYTES", 200)
    writer = PartWriter(tmp_path / "p", "parquet", writing=Writing(durable=False, part_size=1000))
    records = [{"n": n, "s": None if n < 90 else "x"} for n in range(100)]
    for start in range(0, 100, 10):
        writer.write_batch(make_batch(list(range(start, start + 10)), records[start : start + 10]))
    info = writer.close()
    assert len(info.files) > 2
    paths = [tmp_path / numbered("p", number) for number, _ in info.each()]
    assert sorted(tmp_path.iterdir()) == paths
    assert {pq.read_schema(path).field("value").type.field("s").type for path in paths} == {
        pq.read_schema(paths[-1]).field("value").type.field("s").type
    }
    assert info.value_types == ('{"dict":{"n":"int","s":"str"}}',)
    assert [(file.size, file.checksum) for file in info.files] == [
        (path.stat().st_size, file_checksum(path)) for path in paths
    ]
    assert [pair for path in paths for pair in read_part_records(path, "parquet", ("int",), ("x",))] == list(
        enumerate(records)
    )


@pytest.mark.parametrize("output_format", ["tsv", "csv.gz", "parquet"])
def test_nothing_is_one_file(tmp_path, output_format):
    """A part without records is one file, with a number like any other."""
    info, files = write(tmp_path, output_format, [], part_size=100)
    assert (len(info.files), len(files), info.records) == (1, 1, 0)


def test_aborting_removes_all_files(tmp_path):
    """Also those that were full."""
    for output_format in ("tsv", "parquet"):
        writer = PartWriter(tmp_path / "p", output_format, writing=Writing(part_size=5))
        writer.write_batch(make_batch(["abcdef"] * 5, [1] * 5))
        assert list(tmp_path.iterdir())
        writer.abort()
        assert list(tmp_path.iterdir()) == []


def test_too_many_files(tmp_path, monkeypatch):
    """All parts of an attempt have a bound in common; the error says what to choose."""
    monkeypatch.setattr(outputs_files, "FILES", 5)
    writing = Writing(part_size=1)
    writers = [PartWriter(tmp_path / name, writing=writing) for name in ("a", "b")]
    writers[0].write_batch(make_batch([1, 2, 3], [1, 2, 3]))
    with pytest.raises(OutputError, match="part size of 1 bytes this task's results are more than 5 files: choose"):
        writers[1].write_batch(make_batch([1, 2, 3], [1, 2, 3]))
    for writer in writers:
        writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_results_of_many_files_and_types_fit_a_frame():
    """As many files and as long names of types as an attempt may have are within what the coordinator reckons."""
    name = "é" * (TYPES_CHARS // (1 + NAMED_OUTPUTS))
    attempt = AttemptId(TaskId("job", 0, TaskKind.REDUCE, 3), 2)
    one = tuple(PartFile(2**40, 2**50, "f" * 16) for _ in range(FILES // (1 + NAMED_OUTPUTS)))
    part = PartInfo(2**40, 2**50, "f" * 16, (name[:NAME_CHARS],), (name[NAME_CHARS:],), one)
    outputs = {f"{n:a>64}": part for n in range(NAMED_OUTPUTS)}
    source = Source(attempt, "worker", "tcp://worker", "/folder", Done(part=part, outputs=outputs))
    assert len(plain.pack(source)) <= results._length(source) < CONTROL_FRAME_BYTES


# ---------------------------------------------------------------------------------------------------- the commit


def committed(out, output_format, parts, *, job="j1", overwrite=False, part_size=40, outputs=()):
    """Commit a part for each list of records, in files of this size, with these named outputs beside each."""
    options = TaskOptions(
        job, str(out), output_format, overwrite=overwrite, durable=False, part_size=part_size, outputs=outputs
    )
    prepare_output(out, job, overwrite, [name for name, _ in outputs])
    folder = manifest.temporary_folder(out, job)
    granted = []
    for index, records in enumerate(parts):
        attempt = AttemptId(TaskId(job, 0, TaskKind.REDUCE, index), 1)
        writing, infos = Writing.of(options), {}
        for name, its_format in (("", output_format), *outputs):
            writer = PartWriter(folder / attempt_output_name(attempt, name), its_format, writing=writing)
            writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
            infos[name] = writer.close()
        granted.append(Granted(attempt, infos.pop(""), infos))
    return commit_job(out, options, granted, {"job": job}), granted, options


PARTS = [[(n, f"text {n}") for n in range(9)], [], [(n, f"more {n}") for n in range(5)]]
RECORDS = [record for part in PARTS for record in part]


@pytest.mark.parametrize("output_format", ["tsv", "jsonl.gz", "csv", "parquet", "arrow", "msgpack.zst"])
def test_the_commit_of_several_files(tmp_path, output_format):
    """All files are in place under numbers, in order, with the sums of the manifest; a commit may run again."""
    warnings, granted, options = committed(tmp_path / "out", output_format, PARTS, outputs=(("more", "tsv"),))
    assert warnings == ()
    files = [path.name for path in sorted((tmp_path / "out").glob("part-*"))]
    assert files == [file.name for file in read_manifest(tmp_path / "out").files]
    assert {name[:16] for name in files} >= {"part-00000-00000", "part-00001-00000", "part-00002-00000"}
    assert list(read_output(tmp_path / "out")) == RECORDS
    assert list(read_output(tmp_path / "out" / "more")) == RECORDS
    assert sorted(path.name for path in (tmp_path / "out" / "more").iterdir())[1] == "part-00000-00000"
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    commit_job(tmp_path / "out", options, granted, {"job": "j1"})
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_overwriting_replaces_all_files(tmp_path):
    """Files of the old output go, also those whose numbers the new one does not have."""
    committed(tmp_path, "tsv", PARTS, part_size=10, outputs=(("old", "csv.gz"),))
    committed(tmp_path, "csv", PARTS[2:], job="j2", overwrite=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0:2] == ["_SUCCESS", "_job.json"]
    assert all(name.endswith("-j2.csv") for name in names[2:])
    assert len(names) > 3
    assert list(read_output(tmp_path)) == PARTS[2]
    manifest.remove_attempts(tmp_path, "j2")
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_what_a_failed_job_had_moved_goes(tmp_path):
    """Of a half commit no file is left."""
    options = TaskOptions("j1", str(tmp_path / "out"), "csv.gz", part_size=10)
    prepare_output(tmp_path / "out", "j1", False)
    for name in ("part-00000-00000.csv.gz", "part-00000-00001.csv.gz", "part-00012-00000.csv.gz"):
        (tmp_path / "out" / name).touch()
    manifest.remove_attempts(options.output, "j1")
    assert not (tmp_path / "out").exists()


def test_parts_without_records_have_the_columns_of_the_others(tmp_path):
    """A CSV part that had nothing to tell its columns by gets the header of the others, compressed or not."""
    rows = [[("a", {"n": 1, "s": "x"})], [], [("b", {"n": None, "s": "y"})]]
    for output_format in ("csv", "csv.gz"):
        out = tmp_path / output_format
        warnings, _, _ = committed(out, output_format, rows, part_size=None)
        assert warnings == ()
        stream = io.BytesIO()
        manifest.write_text_to(stream, out)
        assert stream.getvalue() == b"key,n,s\na,1,x\nb,,y\n"
        assert list(read_output(out)) == [record for part in rows for record in part]
        frames = [pl.read_csv(path) for path in sorted(out.glob("part-*"))]
        assert [frame.columns for frame in frames] == [["key", "n", "s"]] * 3
        assert json.loads((out / "_SUCCESS").read_text())["columns"]["value"] == ['{"n":["int","none"],"s":["str"]}']


@pytest.mark.parametrize("output_format", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "value",
    [
        dt.date(2024, 5, 1),
        dt.datetime(2024, 5, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        [dt.timedelta(days=1)],
        {f"a column of number {n}": n for n in range(50)},
        (1, 2),
    ],
)
def test_parts_without_records_have_the_types_of_the_others(tmp_path, output_format, value):
    """Also where these are dates, tuples or many columns; whole parts are as they were."""
    warnings, granted, _ = committed(tmp_path, output_format, [[], [("a", value)], [("b", None)]], part_size=None)
    assert warnings == ()
    parts = sorted(tmp_path.glob("part-*"))
    read_schema = pl.read_parquet_schema if output_format == "parquet" else pl.read_ipc_schema
    assert len({tuple(read_schema(part).items()) for part in parts}) == 1
    assert file_checksum(parts[1]) == granted[1].part.checksum
    assert list(read_output(tmp_path)) == [("a", value), ("b", None)]


def test_parts_with_other_columns_are_told(tmp_path):
    """Tables of different columns in the parts of one output are read back part by part, with a warning."""
    rows = [[("a", {"n": 1})], [("b", {"m": 2})], [("c", 3)]]
    (warning,), _, _ = committed(tmp_path, "csv", rows, part_size=None)
    assert "the values of the output are rows of other columns" in warning
    assert list(read_output(tmp_path)) == [("a", {"n": "1"}), ("b", {"m": "2"}), ("c", "3")]
    stream = io.BytesIO()
    manifest.write_text_to(stream, tmp_path)  # no field below the name of another column
    assert stream.getvalue() == b"key,n\na,1\nkey,m\nb,2\nkey,value\nc,3\n"


def test_a_damaged_part_is_named_before_its_records(tmp_path):
    """No record of it is given, and those of the parts before are."""
    committed(tmp_path, "tsv", PARTS, part_size=None)
    part = tmp_path / "part-00002"
    part.write_bytes(part.read_bytes().replace(b"more 1", b"more 9"))
    reader = read_output(tmp_path)
    assert [next(reader) for _ in PARTS[0]] == PARTS[0]
    with pytest.raises(OutputError, match=f"the part {part} is not what the job wrote .*Run the job again"):
        next(reader)
    with pytest.raises(OutputError, match=str(part)):
        manifest.write_text_to(io.BytesIO(), tmp_path)


@pytest.mark.parametrize("part_size", [None, 30])
def test_csv_to_a_stream_has_one_header(tmp_path, part_size):
    """As many records as are asked for, those with line breaks being one, and the first header."""
    parts = [[], [(1, "a\nb"), (2, 'c"\n')], [(3, "d"), (4, "e")]]
    committed(tmp_path, "csv", parts, part_size=part_size)
    lines = [b'1,"a\nb"\n', b'2,"c""\n"\n', b"3,d\n", b"4,e\n"]
    for limit in (0, 1, 2, 3, 4, 5, None):
        stream = io.BytesIO()
        left_out = manifest.write_text_to(stream, tmp_path, limit)
        assert stream.getvalue() == b"key,value\n" + b"".join(lines[:limit])
        assert left_out == 4 - len(lines[:limit])


# ------------------------------------------------------------------------------------------------------ options


def test_the_size_of_a_run(tmp_path):
    """The run's, else the job's; results that go to no folder are not cut."""
    (tmp_path / "in").write_text("x\n")
    job = Job(keys=str.split, part_size="1KB")

    def size(**given):
        planned = plan(Request(job=job, inputs=(str(tmp_path / "in"),), output=str(tmp_path / "out"), **given))
        planned.discard()
        return planned.options.part_size

    assert (size(), size(part_size="2MB"), size(output_format="records")) == (1024, 2 << 20, None)
    for wrong in ("much", 0):
        with pytest.raises(JobDefinitionError, match="part_size="):
            size(part_size=wrong)
    with pytest.raises(UsageError, match="part_size= is for output="):
        mapreduce.run(job, tmp_path / "in", part_size=5)


def test_what_is_written_at_once_does_not_matter(tmp_path):
    """Bytes beyond those of one write are all there, in their order, and in the sum."""
    data = b"".join(b"%d\n" % i for i in range(WRITE_BYTES // 2))
    assert len(data) > 3 * WRITE_BYTES
    files = ByteFiles(tmp_path / "part", Codec.NONE, Writing())
    files.put(data, 1, lambda: np.array([len(data)]))
    (found,) = files.close()
    assert (tmp_path / "part").read_bytes() == data
    assert (found.size, found.checksum) == (len(data), xxhash.xxh3_64_hexdigest(data))
