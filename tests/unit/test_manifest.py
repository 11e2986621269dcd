"""The output folder: reserved, committed from any interruption, read by its manifest."""

import errno
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mapreduce.dataflow import manifest
from mapreduce.dataflow.manifest import Disk, commit_job, prepare_output, read_manifest, read_output, remove_attempts
from mapreduce.dataflow.outputs import PartWriter
from mapreduce.errors import InputLostError, OutputError
from mapreduce.plan import AttemptId, TaskId, TaskKind, TaskOptions, attempt_output_name


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


FACTS = {"job": "j1", "finished_ms": 5}


def options_of(folder, job="j1", **more):
    return TaskOptions(job=job, output=str(folder), **more)


def write_parts(options, parts, number=1):
    sources = []
    for index, records in enumerate(parts):
        task = TaskId(options.job, 0, TaskKind.REDUCE, index)
        attempt = AttemptId(task, number)
        folder = manifest.temporary_folder(options.output, options.job)
        writer = PartWriter(folder / attempt_output_name(attempt), options.output_format)
        writer.write_records([key for key, _ in records], [value for _, value in records])
        sources.append((task, attempt, writer.close()))
    return sources


PARTS = [[("a", 1), ("b", 2)], [], [("c", 3)]]
RECORDS = [record for part in PARTS for record in part]


def committed(folder, job="j1", parts=PARTS, **more):
    options = options_of(folder, job, **more)
    prepare_output(folder, job, options.overwrite)
    sources = write_parts(options, parts)
    return commit_job(folder, options, sources, {"job": job})


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("output_format", ["tsv", "records"])
def test_commit(tmp_path, output_format):
    """A commit leaves the parts, the manifest, the job's facts and nothing else; they read back in order."""
    out = tmp_path / "deep" / "out"
    assert committed(out, output_format=output_format) == ()
    assert sorted(tree(out)) == ["_SUCCESS", "_job.json", "part-00000", "part-00001", "part-00002"]
    assert list(read_output(out)) == RECORDS
    assert json.loads((out / "_job.json").read_text()) == {"job": "j1"}
    facts = json.loads((out / "_SUCCESS").read_text())
    assert (facts["records"], facts["format"], len(facts["files"])) == (3, output_format, 3)
    assert facts["columns"] == {"key": ["str"], "value": ["int"]}


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


class FragileDisk(Disk):
    """Dies before, or right after, the n-th change."""

    def __init__(self, left, after, look=None):
        self.left = left
        self.after = after
        self.look = look

    def _step(self, change, *arguments):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Dies
        change(*arguments)
        if self.look:
            self.look()
        if self.left == 0:
            raise Dies

    def rename(self, source, target):
        self._step(super().rename, source, target)

    def sync_folder(self, folder):
        self._step(super().sync_folder, folder)

    def write(self, path, data):
        self._step(super().write, path, data)

    def remove(self, path):
        self._step(super().remove, path)

    def remove_tree(self, path):
        self._step(super().remove_tree, path)


def interrupt_everywhere(tmp_path, start, **more):
    """Commit with a death at every change in turn, then run the commit again; yields (folder, its files)."""
    for after in (False, True):
        for point in range(1, 100):
            out = tmp_path / f"{after}-{point}"
            old = start(out)
            options = options_of(out, "j1", **more)
            prepare_output(out, "j1", options.overwrite)
            sources = write_parts(options, PARTS)
            looks = []
            disk = FragileDisk(point, after, lambda: looks.append(_seen(out)))  # noqa: B023 - used in this turn only
            try:
                commit_job(out, options, sources, FACTS, disk)
                died = False
            except Dies:
                died = True
            assert all(look in (old, RECORDS) for look in looks)
            assert _seen(out) in (old, RECORDS)
            commit_job(out, options, sources, FACTS)
            commit_job(out, options, sources, FACTS)
            assert _seen(out) == RECORDS
            yield tree(out)
            if not died:
                break
        else:
            raise AssertionError("the commit has no end")


def _seen(out):
    """What a reader sees: the records, or None for no output."""
    return list(read_output(out)) if (out / "_SUCCESS").exists() else None


def test_commit_survives_any_death(tmp_path):
    """A commit that dies before or after any change, and is run again, leaves the same bytes; no reader sees a part."""
    results = list(interrupt_everywhere(tmp_path, lambda _out: None))
    assert len(results) > 15
    assert all(result == results[0] for result in results)


def test_overwrite_survives_any_death(tmp_path):
    """With overwrite a reader sees the old output or the new at every moment, and at the end old parts are gone."""
    old = [[("old", 1)], [("older", 2)], [("x", 1)], [("y", 1)], [("z", 1)]]

    def start(out):
        committed(out, "j0", old)
        (out / "notes.txt").write_text("mine")
        return [record for part in old for record in part]

    results = list(interrupt_everywhere(tmp_path, start, overwrite=True))
    assert all(result == results[0] for result in results)
    assert sorted(results[0]) == [
        "_SUCCESS",
        "_job.json",
        "notes.txt",
        "part-00000-j1",
        "part-00001-j1",
        "part-00002-j1",
    ]


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
    path = tmp_path / "_tmp-j1" / attempt_output_name(sources[2][1])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"c\t" if damage == "shorter" else b"c\t4\n")
    with pytest.raises(InputLostError) as caught:
        commit_job(tmp_path, options, sources, FACTS)
    assert caught.value.producer == sources[2][1]
    assert names_in(tmp_path) == ["_tmp-j1"]
    again = write_parts(options, PARTS, number=2)
    commit_job(tmp_path, options, [*sources[:2], again[2]], FACTS)
    assert list(read_output(tmp_path)) == RECORDS


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
        commit_job(out, options, sources, FACTS, FragileDisk(3, True))
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
        commit_job(tmp_path, options, write_parts(options, PARTS), FACTS, FragileDisk(3, True))
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
    """A manifest that names a file elsewhere is refused."""
    committed(tmp_path)
    text = (tmp_path / "_SUCCESS").read_text().replace("part-00000", "../secret")
    (tmp_path / "_SUCCESS").write_text(text)
    with pytest.raises(OutputError, match="secret"):
        read_manifest(tmp_path)


def test_no_output(tmp_path):
    """A folder without a manifest holds no output."""
    with pytest.raises(OutputError, match="no finished output"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("output_format", ["tsv", "records"])
def test_to_a_stream(tmp_path, output_format):
    """An output goes to a stream as TSV whatever its format, whole or its first records; the rest is counted."""
    parts = [[("a", "x\ty\r"), ("b", "z")], [], [("c", "w")]]
    committed(tmp_path, parts=parts, output_format=output_format)
    lines = [b"a\tx\\ty\\r\n", b"b\tz\n", b"c\tw\n"]
    for limit in (None, 0, 1, 2, 3, 4):
        stream = io.BytesIO()
        left = manifest.write_tsv_to(stream, tmp_path, limit)
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
