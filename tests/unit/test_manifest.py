"""The output folder: reserved, committed from any interruption, read by its manifest."""

import errno
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.manifest import file as manifest_file
from mapreduce.dataflow.manifest import folder as manifest
from mapreduce.dataflow.manifest import reserve as manifest_reserve
from mapreduce.dataflow.manifest.folder import (
    Disk,
    Granted,
    commit_job,
    prepare_output,
    read_manifest,
    read_output,
    remove_attempts,
)
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


FACTS = {"job": "j1", "finished_ms": 5}


def options_of(folder, job="j1", **more):
    return TaskOptions(job=job, output=str(folder), **more)


def write_part(path, records, output_format):
    writer = PartWriter(path, output_format)
    writer.write_batch(make_batch([key for key, _ in records], [value for _, value in records]))
    return writer.close()


def write_parts(options, parts, number=1, named=None):
    """Write a part for each list of records; those of the named outputs (by name) are `named`, or two to each part."""
    granted = []
    folder = manifest.temporary_folder(options.output, options.job)
    for index, records in enumerate(parts):
        attempt = AttemptId(TaskId(options.job, 0, TaskKind.REDUCE, index), number)
        outputs = {
            name: write_part(
                folder / attempt_output_name(attempt, name),
                named[name][index] if named else [(f"{name} {index}", options.job)] * 2,
                output_format,
            )
            for name, output_format in options.outputs
        }
        info = write_part(folder / attempt_output_name(attempt), records, options.output_format)
        granted.append(Granted(attempt, info, outputs))
    return granted


PARTS = [[("a", 1), ("b", 2)], [], [("c", 3)]]
RECORDS = [record for part in PARTS for record in part]


def prepare(options):
    prepare_output(options.output, options.job, options.overwrite, [name for name, _ in options.outputs])


def committed(folder, job="j1", parts=PARTS, named=None, **more):
    options = options_of(folder, job, **more)
    prepare(options)
    return commit_job(folder, options, write_parts(options, parts, named=named), {"job": job})


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    assert _dies(tmp_path, options, granted, FragileDisk(12))
    assert _dies(tmp_path, options, granted, FragileDisk(14))
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


class Dies(BaseException):
    """The process dies here."""


@pytest.fixture
def no_sync(monkeypatch):
    """A process dies in these tests, hundreds of times, and not the machine."""
    monkeypatch.setattr(os, "fsync", lambda _fd: None)


class FragileDisk(Disk):
    """Dies right after the n-th change, which is right before the next; looks after each that a reader can see."""

    def __init__(self, left, look=None):
        self.left = left
        self.look = look

    def _step(self, change, *arguments, seen=True):
        change(*arguments)
        self.left -= 1
        if self.look and seen:
            self.look()
        if self.left == 0:
            raise Dies

    def rename(self, source, target):
        self._step(super().rename, source, target)

    def sync_folder(self, folder):
        self._step(super().sync_folder, folder, seen=False)

    def write(self, path, data):
        self._step(super().write, path, data, seen=False)

    def sync_file(self, path):
        self._step(super().sync_file, path, seen=False)

    def make_folder(self, path):
        self._step(super().make_folder, path, seen=False)

    def remove(self, path):
        self._step(super().remove, path)

    def remove_folder(self, path):
        self._step(super().remove_folder, path)

    def remove_tree(self, path):
        self._step(super().remove_tree, path)


NAMED = (("errors", "jsonl"), ("rare", "tsv"))
NEW = {"": RECORDS} | {name: [(f"{name} {i}", "j1") for i in range(3) for _ in range(2)] for name, _ in NAMED}


def interrupt_everywhere(tmp_path, start, **more):
    """Commit with a death after each change in turn, then run the commit again; yields the files that are left."""
    for point in range(1, 200):
        out = tmp_path / str(point)
        start(out)
        old = _seen(out)
        options = options_of(out, "j1", outputs=NAMED, **more)
        prepare(options)
        granted = write_parts(options, PARTS)
        looks = []
        died = _dies(out, options, granted, FragileDisk(point, lambda: looks.append(_seen(out))))  # noqa: B023 - used in this turn only
        for look in [*looks, _seen(out)]:
            assert all(found in (old.get(name), NEW[name]) for name, found in look.items() if name in NEW)
            assert look.get("") != RECORDS or all(look[name] == NEW[name] for name in NEW)
        commit_job(out, options, granted, FACTS)
        commit_job(out, options, granted, FACTS)
        assert _seen(out) == NEW
        yield tree(out)
        if not died:
            return
    raise AssertionError("the commit has no end")


def _dies(out, options, granted, disk):
    try:
        commit_job(out, options, granted, FACTS, disk)
    except Dies:
        return True
    return False


def _seen(out):
    """What a reader sees of all outputs by their names, "" being the job's own: records of those that are there."""
    below = [path for path in out.iterdir() if path.is_dir() and not path.name.startswith("_")] if out.exists() else []
    return {
        "" if folder == out else folder.name: list(read_output(folder))
        for folder in (out, *below)
        if (folder / "_SUCCESS").exists()
    }


@pytest.mark.usefixtures("no_sync")
def test_commit_survives_any_death(tmp_path):
    """A commit that dies before or after any change, and is run again, leaves the same bytes; no reader sees a part."""
    results = list(interrupt_everywhere(tmp_path, lambda _out: None))
    assert len(results) > 30
    assert all(result == results[0] for result in results)
    assert sorted(results[0]) == [
        *("_SUCCESS", "_job.json", "errors/_SUCCESS"),
        *(f"errors/part-0000{i}.jsonl" for i in range(3)),
        *(f"part-0000{i}" for i in range(3)),
        "rare/_SUCCESS",
        *(f"rare/part-0000{i}" for i in range(3)),
    ]


OLD = [[("old", 1)], [("older", 2)], [("x", 1)], [("z", 1)]]


@pytest.fixture
def start_old(tmp_path_factory):
    """Makes an output with two named ones, one of which the new job has too, and somebody's notes."""
    made = tmp_path_factory.mktemp("old") / "out"
    committed(made, "j0", OLD, outputs=(("errors", "tsv"), ("gone", "tsv")))
    (made / "notes.txt").write_text("mine")
    return lambda out: shutil.copytree(made, out)


@pytest.mark.usefixtures("no_sync")
def test_overwrite_survives_any_death(tmp_path, start_old):
    """With overwrite a reader sees the old output or the new at every moment, and at the end old parts are gone."""
    results = list(interrupt_everywhere(tmp_path, start_old, overwrite=True))
    assert all(result == results[0] for result in results)
    assert sorted(results[0]) == [
        *("_SUCCESS", "_job.json", "errors/_SUCCESS"),
        *(f"errors/part-0000{i}-j1.jsonl" for i in range(3)),
        "notes.txt",
        *(f"part-0000{i}-j1" for i in range(3)),
        "rare/_SUCCESS",
        *(f"rare/part-0000{i}-j1" for i in range(3)),
    ]


@pytest.mark.usefixtures("no_sync")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_half_commit_can_be_taken_back(tmp_path, overwrite, start_old):
    """A job that is cancelled while its commit is at work, leaves what was there, or all of its own."""
    taken_back = 0
    for point in range(1, 200):
        out = tmp_path / str(point)
        if overwrite:
            start_old(out)
        before = tree(out) if out.exists() else {}
        options = options_of(out, "j1", outputs=NAMED, overwrite=overwrite)
        prepare(options)
        died = _dies(out, options, write_parts(options, PARTS), FragileDisk(point))
        is_done = _seen(out).get("") == RECORDS
        remove_attempts(out, "j1")
        remove_attempts(out, "j1")
        if is_done:
            assert {name: records for name, records in _seen(out).items() if name in NEW} == NEW
        else:
            assert (tree(out) if out.exists() else {}) == before
            assert overwrite or not out.exists()
            taken_back += 1
        assert not (out / "_tmp-j1").exists()
        if not died:
            break
    assert taken_back > 15


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


def test_a_cleaner_that_was_stopped_is_no_reason_to_leave_folders(tmp_path):
    """Where another cleaner removed the note of what was made and was killed, the one that made it still knows."""
    made = prepare_output(tmp_path / "a" / "out", "j1", False)
    assert made == (str(tmp_path / "a" / "out"), str(tmp_path / "a"))
    (tmp_path / "a" / "out" / "_tmp-j1" / "_reserved").unlink()
    remove_attempts(tmp_path / "a" / "out", "j1", made)
    assert list(tmp_path.iterdir()) == []


def test_a_slow_cleaner_leaves_the_next_jobs_output_alone(tmp_path, monkeypatch):
    """One that falls asleep, while another cleans up and the next job runs in the same folder, deletes no result."""
    out = tmp_path / "out"
    prepare_output(out, "j1", False)

    def asleep(path):
        found = manifest_file.read_bytes(path)
        if path.name == "_SUCCESS":
            monkeypatch.setattr(manifest_reserve, "read_bytes", manifest_file.read_bytes)
            remove_attempts(out, "j1")
            committed(out, "j2")
        return found

    monkeypatch.setattr(manifest_reserve, "read_bytes", asleep)
    remove_attempts(out, "j1")
    assert list(read_output(out)) == RECORDS
    assert "_job.json" in names_in(out)


@pytest.mark.parametrize("other", ["removes", "adds"])
def test_what_others_do_in_a_folder_does_not_stop_its_removal(tmp_path, monkeypatch, other):
    """Where another cleaner removes the same files, or a dying task makes one more, all of it is gone in the end."""
    for name in "abc":
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / name).touch()
    unlink, seen = os.unlink, []

    def meanwhile(path, **more):
        seen.append(path)
        if len(seen) == 1 and other == "removes":
            unlink(tmp_path / "tree" / path)
        elif len(seen) == 1:
            (tmp_path / "tree" / "late").touch()
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", meanwhile)
    Disk().remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert len(seen) > 3 - (other == "removes")


def test_existing_output_is_refused(tmp_path):
    """A folder with something in it is refused, with what is there and what to do; an empty one is taken."""
    (tmp_path / "out").mkdir()
    prepare_output(tmp_path / "out", "j1", False)
    with pytest.raises(OutputError, match=r"the job j1, which is running or has died.*rm -r "):
        prepare_output(tmp_path / "out", "j2", False)
    committed(tmp_path / "b")
    with pytest.raises(OutputError, match=r"another job's output.*--overwrite"):
        prepare_output(tmp_path / "b", "j2", False)
    (tmp_path / "b" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match=r"letter\.txt\): name another folder$"):  # and not: remove this one
        prepare_output(tmp_path / "b", "j2", False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        prepare_output(tmp_path / "file", "j1", False)
    with pytest.raises(OutputError, match="file"):
        prepare_output(tmp_path / "file" / "below", "j1", False)


def test_a_read_only_file_system_is_no_full_disk(tmp_path, monkeypatch):
    """It is refused as a folder that cannot be used; freeing space would not help."""

    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "out"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="cannot be used: Read-only"):
        prepare_output(tmp_path / "out", "j1", False)


def test_overwrite_refuses_strangers(tmp_path):
    """--overwrite on a folder that no job wrote is refused: it must not be a way to lose one's files."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        prepare_output(tmp_path, "j1", True)


def test_named_outputs_refuse_strangers(tmp_path):
    """A named output never goes where somebody's files lie, or where a file is; an old one of its name is replaced."""
    committed(tmp_path, "j0")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    (tmp_path / "note").write_text("x")
    for name in ("mine", "note"):
        with pytest.raises(OutputError, match=rf"{tmp_path / name}.*name another"):
            prepare_output(tmp_path, "j1", True, [name])
    assert not (tmp_path / "_tmp-j1").exists()
    committed(tmp_path, "j2", overwrite=True, outputs=NAMED)
    committed(tmp_path, "j3", overwrite=True, outputs=NAMED[:1])
    assert not (tmp_path / "rare").exists()
    assert (tmp_path / "mine" / "thesis.tex").exists()
    with pytest.raises(OutputError, match="mine"):
        prepare_output(tmp_path, "j4", False)
    committed(tmp_path / "b", outputs=NAMED)
    with pytest.raises(OutputError, match=r"another job's output.*--overwrite"):
        prepare_output(tmp_path / "b", "j2", False)


def test_prepare_twice(tmp_path):
    """Reserving twice for the same job is reserving once."""
    for _ in range(2):
        prepare_output(tmp_path / "out", "j1", False)
    remove_attempts(tmp_path / "out", "j1")
    assert names_in(tmp_path) == []


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


def test_cleaning_up(tmp_path):
    """After a failure nothing of the job is left: not its files, nor half a commit, nor the folders that it made."""
    out = tmp_path / "x" / "y"
    options = options_of(out)
    prepare_output(out, "j1", False)
    sources = write_parts(options, PARTS)
    with pytest.raises(Dies):
        commit_job(out, options, sources, FACTS, FragileDisk(3))
    assert (out / "part-00000").exists()
    remove_attempts(out, "j1")
    assert names_in(tmp_path) == []
    remove_attempts(out, "j1")


def test_cleaning_up_keeps_others(tmp_path):
    """Cleaning up keeps a folder that was there, others' files in it, an old output, and a finished commit."""
    prepare_output(tmp_path, "j1", False)
    (tmp_path / "mine").write_text("x")
    remove_attempts(tmp_path, "j1")
    assert names_in(tmp_path) == ["mine"]
    (tmp_path / "mine").unlink()
    committed(tmp_path, "j1")
    remove_attempts(tmp_path, "j1")
    assert list(read_output(tmp_path)) == RECORDS
    before = tree(tmp_path)
    options = options_of(tmp_path, "j2", overwrite=True)
    prepare_output(tmp_path, "j2", True)
    with pytest.raises(Dies):
        commit_job(tmp_path, options, write_parts(options, PARTS), FACTS, FragileDisk(3))
    remove_attempts(tmp_path, "j2")
    assert tree(tmp_path) == before


def test_cleaning_up_a_made_folder_with_strangers(tmp_path):
    """A folder that the job made stays if somebody has put something there."""
    prepare_output(tmp_path / "out", "j1", False)
    (tmp_path / "out" / "mine").write_text("x")
    remove_attempts(tmp_path / "out", "j1")
    assert names_in(tmp_path / "out") == ["mine"]


def test_warnings(tmp_path):
    """Columns that TSV does not bring back as they are, over all parts, are told when committed."""
    (text,) = committed(tmp_path / "a", parts=[[("a", 1)], [("b", "x")]])
    assert "int, str" in text
    assert [value for _, value in read_output(tmp_path / "a")] == ["1", "x"]
    (text,) = committed(tmp_path / "b", parts=[[("a", [b"x"])]])
    assert "base64" in text
    assert committed(tmp_path / "c", parts=[[("a", 1)], [("b", "x")]], output_format="records") == ()


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_reading_a_damaged_output(tmp_path, damage):
    """A missing part, or one of another size, is an error that names it."""
    committed(tmp_path)
    if damage == "missing":
        (tmp_path / "part-00002").unlink()
    else:
        (tmp_path / "part-00002").write_bytes(b"c")
    with pytest.raises(OutputError, match="part-00002"):
        list(read_output(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 7}', '{"version": 1, "files": [{"name": "../x"}]}'])
def test_damaged_manifest(tmp_path, text):
    """A manifest that is none is an error that names it."""
    (tmp_path / "_SUCCESS").write_text(text)
    with pytest.raises(OutputError, match="_SUCCESS"):
        read_output(tmp_path).__next__()


def test_manifest_names_only_parts(tmp_path):
    """A manifest that names a file or an output elsewhere is refused."""
    committed(tmp_path)
    text = (tmp_path / "_SUCCESS").read_text()
    for old, new in (
        ("part-00000", "../secret"),
        ("part-00000", "part-00000-/../secret"),
        ('"outputs": {}', '"outputs": {"../secret": 1}'),
    ):
        (tmp_path / "_SUCCESS").write_text(text.replace(old, new))
        with pytest.raises(OutputError, match="secret"):
            read_manifest(tmp_path)


def test_no_output(tmp_path):
    """A folder without a manifest holds no output."""
    with pytest.raises(OutputError, match="no finished output"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("output_format", ["tsv", "jsonl", "parquet", "records"])
def test_to_a_stream(tmp_path, output_format):
    """An output goes to a stream as text, whole or its first records, else as TSV; what is left out is counted."""
    parts = [[("a", "x\ty\r"), ("b", "z")], [], [("c", "w")]]
    committed(tmp_path, parts=parts, output_format=output_format)
    lines = [b"a\tx\\ty\\r\n", b"b\tz\n", b"c\tw\n"]
    if output_format == "jsonl":
        lines = [b'{"key":"a","value":"x\\ty\\r"}\n', b'{"key":"b","value":"z"}\n', b'{"key":"c","value":"w"}\n']
    for limit in (None, 0, 1, 2, 3, 4):
        stream = io.BytesIO()
        left = manifest.write_text_to(stream, tmp_path, limit)
        expected = lines[:limit]
        assert stream.getvalue() == b"".join(expected)
        assert left == len(lines) - len(expected)


def test_reader_meets_an_overwrite(tmp_path, monkeypatch):
    """A reader whose parts vanish because the output was overwritten reads the new one."""
    committed(tmp_path, "j1", overwrite=True)
    real = manifest.part_paths
    seen = []

    def overwritten_meanwhile(output, facts):
        if not seen:
            seen.append(facts)
            committed(tmp_path, "j2", [[("new", 1)]], overwrite=True)
        return real(output, facts)

    monkeypatch.setattr(manifest, "part_paths", overwritten_meanwhile)
    assert list(read_output(tmp_path)) == [("new", 1)]


def test_versioned_names():
    """Part names carry the job's id with overwrite only."""
    options = options_of("/o")
    assert manifest.part_name(3, options) == "part-00003"
    assert manifest.part_name(3, replace(options, overwrite=True)) == "part-00003-j1"
    assert manifest.part_name(3, replace(options, overwrite=True), "jsonl") == "part-00003-j1.jsonl"
    assert manifest.part_name(3, options, "parquet") == "part-00003.parquet"
