"""Text from the disk to the mapper, in every runner: what a record is, whatever the bytes and the cuts."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys

import pytest
import zstandard
from cluster import environment, mapreduce
from reference import bytes_of

RUNNERS = ("inline", "local", "cluster")
# Lines come back as hexadecimal digits: so nothing of the output's own escapes is between a test and the text.
JOB = """
from pathlib import Path

def mapper(offset, line, *, ctx):
    yield f"{Path(ctx.path).name} {offset}", line.encode().hex()
"""
LENGTHS = "def mapper(line):\n    yield len(line), line[:5] + line[-5:]\n"

MARK = b"\xef\xbb\xbf"
TEXTS = {
    "crlf.txt": b"one\r\ntwo\r\n\r\nmixed\nlone\rreturn\r\nlast\r",
    "feeds.txt": "a\x0cb\x0bc\n\x1cd\x1de\x1ef\nnext\x85line\u2028separated\u2029twice\n".encode(),
    "unended.txt": "Grüße\n\n日本語の文\U0001f600".encode(),
    "marked.txt": MARK + b"first\r\nsecond\n" + MARK + b"inside\n",
    "only_mark.txt": MARK,
    "empty.txt": b"",
    "newline.txt": b"\n",
    "newlines.txt": b"\n\n\r\n\n",
}
MEMBERS = (b"one\r\ntwo, cut in t", b"", b"he middle\n\xe2\x80", b"\xa8 a separator, cut too\nlast")
CODECS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


def lines_of(data):
    """(offset, line) of each record, by the rules: a line ends at a newline, a carriage return before it is dropped."""
    found, offset = [], 0
    for line in data.split(b"\n"):
        ended = offset + len(line) < len(data)
        if ended or line:
            text = line.removesuffix(b"\r") if ended else line
            found.append((offset, text.removeprefix(MARK) if offset == 0 else text))
        offset += len(line) + 1
    return found if data != MARK else []


@pytest.fixture
def run_all(cluster, tmp_path):
    """Run a job's source over inputs in every runner; gives the records' (key, value) texts, after comparing bytes."""

    def run(source, *arguments):
        job = tmp_path / "job.py"
        job.write_text(source, encoding="utf-8")
        seen = {}
        for runner in RUNNERS:
            output = tmp_path / runner
            command = ["submit"] if runner == "cluster" else ["run", "-r", runner]
            mapreduce(*command, job, *arguments, "-o", output, "--overwrite", MAPREDUCE_COORDINATOR=cluster.address)
            seen[runner] = bytes_of(output)
        # With --overwrite a part's name carries its job's id; the bytes are the same.
        parts = {r: [b for n, b in sorted(found.items()) if n != "_SUCCESS"] for r, found in seen.items()}
        assert parts["local"] == parts["inline"]
        assert parts["cluster"] == parts["inline"]
        text = b"".join(parts["inline"]).decode("utf-8")
        return [tuple(line.split("\t")) for line in text.split("\n")[:-1]]

    return run


@pytest.fixture
def folder(tmp_path):
    """An empty folder for inputs."""
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.mark.parametrize("split_size", ["7", "64MB"])
def test_every_line_of_every_text_comes_once(split_size, run_all, folder):
    """All line ends, separators that are none, marks and empty files: exact lines and offsets, however finely cut."""
    for name, data in TEXTS.items():
        (folder / name).write_bytes(data)
    for suffix, compress in CODECS.items():
        (folder / f"members.txt.{suffix}").write_bytes(b"".join(map(compress, MEMBERS)))
    contents = TEXTS | {f"members.txt.{suffix}": b"".join(MEMBERS) for suffix in CODECS}
    expected = [
        (f"{name} {offset}", line.hex()) for name in sorted(contents) for offset, line in lines_of(contents[name])
    ]
    assert run_all(JOB, folder, "--split-size", split_size) == expected


@pytest.mark.parametrize("inputs", ["an empty folder", "an empty file among hidden ones"])
def test_nothing_in_is_nothing_out(inputs, run_all, folder):
    """An empty folder, and one that has only a file without a byte and hidden files, give an output without records."""
    if inputs != "an empty folder":
        (folder / "empty.txt").touch()
        (folder / ".hidden").write_text("no\n")
        (folder / "_logs").mkdir()
        (folder / "_logs" / "log.txt").write_text("no\n")
    assert run_all("from mapreduce import Count, Job\njob = Job(keys=str.split, reducer=Count())\n", folder) == []


def test_a_line_of_100_mb_is_one_record(run_all, folder):
    """A line of 100 MB among short ones, over 26 splits, comes once and whole."""
    size = 100_000_000
    with (folder / "long.txt").open("wb") as file:
        file.write(b"short\nbegin")
        for _ in range(100):
            file.write(b"x" * ((size - 10) // 100))
        file.write(b"x" * ((size - 10) % 100) + b"ended\nlast\n")
    found = run_all(LENGTHS, folder, "--split-size", "4MB")
    assert found == [("5", "shortshort"), (str(size), "beginended"), ("4", "lastlast")]


def test_a_bad_byte_in_each_mode_and_runner(run_all, folder, cluster, tmp_path):
    """A bad byte ends a strict job with its place, everywhere; replaced or skipped, the runners agree."""
    (folder / "bad.txt").write_bytes(b"fine\ncaf\xe9 au lait\nfine again\n")
    assert run_all(JOB, folder, "--encoding-errors", "skip") == [
        ("bad.txt 0", b"fine".hex()),
        ("bad.txt 18", b"fine again".hex()),
    ]
    assert run_all(JOB, folder, "--encoding-errors", "replace")[1] == ("bad.txt 5", "caf\ufffd au lait".encode().hex())
    assert run_all(JOB, folder, "--encoding", "latin-1")[1] == ("bad.txt 5", "café au lait".encode().hex())
    output = tmp_path / "never"
    for command in (["run", "-r", "inline"], ["run"], ["submit"]):
        done = mapreduce(
            *command,
            tmp_path / "job.py",
            folder,
            "-o",
            tmp_path / "no",
            check=False,
            MAPREDUCE_COORDINATOR=cluster.address,
        )
        assert done.returncode == 1
        for words in ("bad.txt", "byte 8", "--encoding", "--encoding-errors"):
            assert words in done.stderr, done.stderr
        assert not output.exists()


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_standard_input_is_text_like_any_other(runner, tmp_path):
    """What is piped in is spooled: mark, carriage returns, separators, a last line without newline."""
    data = MARK + b"one\r\ntwo\x0c\xe2\x80\xa8three\n\nlast"
    (tmp_path / "job.py").write_text(JOB, encoding="utf-8")
    (tmp_path / "other.txt").write_bytes(b"a file beside it\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mapreduce", "run", "job.py", "-", "other.txt", "-r", runner],
        cwd=tmp_path,
        env=environment(TMPDIR=os.fspath(tmp_path)),
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split("\t") for line in done.stdout.decode().split("\n")[:-1]]
    assert [bytes.fromhex(line) for _, line in found] == [line for _, line in lines_of(data)] + [b"a file beside it"]
    assert [key.rpartition(" ")[2] for key, _ in found] == [str(offset) for offset, _ in lines_of(data)] + ["0"]
