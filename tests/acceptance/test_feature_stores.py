"""Inputs and outputs in stores, on every runner and over tcp, under kills and trouble, against a real S3 server."""

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from cluster import Cluster, alive
from cluster import mapreduce as command
from everywhere import die_once
from s3 import Proxy, environment_of, now_and_then

import mapreduce
from mapreduce.dataflow.manifest.folder import read_manifest, read_output
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.errors import JobFailed, OutputError


def words(line, *, grave: str = "", agent: int = 0):
    """The words of a line; a task process dies once for each grave, or the agent with this process id does."""
    die_once(grave, "map")
    if agent:
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)
    return [(word, 1) for word in line.split()]


def total(word, ones, *, ctx, grave: str = ""):
    """How often a word is there; one-letter words to an output of their own."""
    die_once(grave, "reduce")
    count = sum(ones)
    if len(word) == 1:
        ctx.outputs["short"].write(word, count)
    yield word, count


JOB = mapreduce.Job(words, reducer=total, outputs={"short": "jsonl.gz"})


@pytest.fixture
def books(s3, texts):
    """The texts in the store: the URL of their folder."""
    if not s3.names("books/"):
        s3.put_tree(texts / "json", "books/json")
        for path in texts.glob("*.txt"):
            s3.put(f"books/{path.name}", path.read_bytes())
    return s3.url("books")


@pytest.fixture(scope="module")
def s3_cluster(s3_server, tmp_path_factory):
    """A coordinator and two workers that know the store."""
    with Cluster(tmp_path_factory.mktemp("s3-cluster")) as running:
        for _ in range(2):
            running.start_worker(slots=1, **s3_server.env)
        yield running


def contents(output):
    """The bytes of the parts of an output and of its named one, in order; of a folder or in a store."""
    found = []
    for folder in (str(output), f"{output}/short"):
        for file in read_manifest(folder).files:
            path = f"{folder}/{file.name}"
            found.append(store_of(path).read_small(path) if "://" in path else Path(path).read_bytes())
    return found


def test_s3_in_and_out(s3, s3_cluster, books, texts, tmp_path):
    """Parts in the store have the bytes of those on disk, with every runner, one under kills; nothing else is left."""
    files = _files(texts)
    counted = Counter(word for path in files for word in _words_of(path))
    options = {"reducers": 3, "split_size": "30KB"}
    wanted = contents(mapreduce.run(JOB, files, tmp_path / "out", **options).output)
    for name, where in {
        "inline": {"runner": "inline"},
        "tcp": {"runner": "cluster", "coordinator": s3_cluster.address},
        "local": {"params": {"grave": str(tmp_path)}},
    }.items():
        result = mapreduce.run(JOB, books, s3.url(f"out/{name}"), **options, **where)
        assert contents(result.output) == wanted, name
        assert dict(result) == counted
        assert dict(result.outputs["short"]) == {word: count for word, count in counted.items() if len(word) == 1}
        found = s3.names(f"out/{name}/")
        assert len(found) == 3 + 2 * 3, found
        assert not any(one.startswith("_tmp-") for one in found)
    assert {path.name for path in tmp_path.iterdir()} >= {"map", "reduce"}
    assert s3.uploads() == []


def _files(texts):
    """What is in the store of the texts, in the order in which it is found there."""
    return sorted([*texts.glob("json/*"), *texts.glob("*.txt")])


def _words_of(path):
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return [word for line in text.split("\n") for word in line.split()]


def test_a_reader_sees_the_old_output_or_the_new(s3, s3_cluster, books):
    """While a job overwrites an output, and one of its workers is killed, a reader sees no other records than these."""
    url = s3.url("out/replaced")
    mapreduce.run(JOB, [f"{books}/crlf.txt"], url)
    old = dict(read_output(url))
    worker = s3_cluster.start_worker(slots=2, **s3.env)
    seen, failed, stop = [], [], threading.Event()

    def look():
        while not stop.is_set():
            try:
                found = dict(read_output(url))
            except OutputError as error:
                failed.append(error)
            else:
                if not seen or seen[-1] != found:
                    seen.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        where = {"runner": "cluster", "coordinator": s3_cluster.address}
        options = {"overwrite": True, "reducers": 4, "split_size": "20KB"}
        mapreduce.run(JOB, books, url, params={"agent": worker.pid}, **where, **options)
    finally:
        stop.set()
        reader.join()
    new = dict(read_output(url))
    assert not alive(worker.pid)
    assert len(new) > len(old)
    assert seen in ([old], [old, new])
    # A reader in the middle of the old output may find its parts gone: that is an error, and no other records.
    assert all("removed" in str(error) or "no such object" in str(error) for error in failed)
    assert sorted(s3.names("out/replaced/part-")) == sorted(
        file.name.removeprefix("part-") for file in read_manifest(url).files
    )


def test_a_program_and_trouble_on_the_way(s3, books, texts, tmp_path):
    """A store that throttles, fails and cuts connections gives the same output; a second run must say --overwrite."""
    job = tmp_path / "job.py"
    job.write_text(
        "import mapreduce\n"
        "def total(word, ones, *, ctx):\n"
        "    ctx.outputs['short'].write(word[:1], 1)\n"
        "    yield word, sum(1 for _ in ones)\n"
        "job = mapreduce.Job(keys=str.split, reducer=total, outputs={'short': 'tsv'})\n"
    )
    wanted = contents(mapreduce.run(str(job), _files(texts), tmp_path / "out", reducers=2).output)
    url = s3.url("out/trouble")
    with Proxy(s3.endpoint, now_and_then(7, share=0.15)) as proxy, environment_of(s3, proxy.endpoint):
        done = command("run", job, books, "-o", f"{url}/", "--reducers", "2", timeout=120)
    assert proxy.troubles > 3
    assert f"output short: {url}/short" in done.stderr
    assert contents(url) == wanted
    done = command("run", job, books, "-o", url, check=False)
    assert (done.returncode, "holds another job's output" in done.stderr) == (2, True)


def test_a_failed_job_leaves_nothing(s3, s3_cluster, books):
    """What attempts of a job that fails have uploaded is removed, and the place can be used again."""

    def fails(word, ones, *, ctx):
        if ctx.task.endswith("1"):
            raise ValueError(word)
        yield word, sum(ones)

    where = {"runner": "cluster", "coordinator": s3_cluster.address}
    with pytest.raises(JobFailed, match="ValueError"):
        mapreduce.run(mapreduce.Job(words, reducer=fails), books, s3.url("out/fails"), reducers=2, **where)
    assert s3.names("out/fails/") == []


def test_a_former_output_as_input(s3, s3_cluster, books, tmp_path):
    """The parts of an output in the store are read by its manifest, whatever others lie there; columns too."""
    url = s3.url("out/former")
    where = {"runner": "cluster", "coordinator": s3_cluster.address}
    options = {"output_format": "parquet", "reducers": 2}
    mapreduce.run(mapreduce.Job(words, reducer=mapreduce.Sum()), books, url, **options, **where)
    s3.put("out/former/part-00000-dead-1.parquet", b"half")
    frame = pl.concat([_frame(s3, file.name) for file in read_manifest(url).files])
    job = mapreduce.Job(
        lambda row: [(len(row["key"]), row["value"])], reducer=mapreduce.Sum(), input=mapreduce.Parquet()
    )
    result = mapreduce.run(job, url, tmp_path / "out", split_size="10KB", runner="inline")
    wanted = Counter()
    for key, value in frame.iter_rows():
        wanted[len(key)] += value
    assert dict(result) == wanted


def _frame(s3, name):
    return pl.read_parquet(s3.get(f"out/former/{name}"))


def test_bad_records_in_a_store(s3, s3_cluster):
    """Records that are put aside lie in `_bad` of the output, and are read back from there."""
    url = s3.put("bad.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\nno\n')
    job = mapreduce.Job(lambda row: [("a", row["a"])], reducer=mapreduce.Sum(), input=mapreduce.JsonLines())
    where = {"runner": "cluster", "coordinator": s3_cluster.address}
    result = mapreduce.run(job, url, s3.url("out/bad"), max_bad=2, **where)
    assert dict(result) == {"a": 4}
    assert [(one["path"], one["offset"]) for one in result.bad] == [(url, 9), (url, 25)]
    assert len(s3.names("out/bad/_bad/")) == 1
    assert not any("_tmp-" in one for one in s3.names("out/bad/"))


def test_missing_credentials_are_named_before_the_job_starts(s3, books, tmp_path, monkeypatch):
    """The command ends as for a wrong path, says what to set, and leaves no output; so does a worker without any."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    done = command("run", "@word_count", books, "-o", tmp_path / "out", check=False)
    assert done.returncode == 2
    assert "no credentials were found" in done.stderr
    assert "set AWS_ACCESS_KEY_ID" in done.stderr
    assert not (tmp_path / "out").exists()
    with Cluster(tmp_path) as blind:
        blind.start_worker(slots=1)
        with environment_of(s3):
            done = command(
                *("submit", "@word_count", books, "-o", s3.url("out/blind"), "--coordinator", blind.address),
                check=False,
            )
    assert done.returncode == 1
    assert "no credentials were found" in done.stderr
    assert s3.names("out/blind/") == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    """The library's own web server."""

    def log_message(self, *_):
        pass


def test_files_of_a_web_server(texts, tmp_path):
    """They are counted as the same files on disk are."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(texts)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        urls = [f"{address}/{path.relative_to(texts)}" for path in sorted(texts.glob("json/*.py"))]
        result = mapreduce.run("@word_count", urls, tmp_path / "http")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert dict(result) == dict(mapreduce.run("@word_count", texts / "json", tmp_path / "local"))


def test_memory_is_for_the_inline_runner(tmp_path):
    """What lies in this process's memory can be read and written inline; other runners say that they cannot."""
    script = tmp_path / "program.py"
    script.write_text(
        "import fsspec, mapreduce\n"
        "fsspec.filesystem('memory').pipe_file('/in/x', b'a b a')\n"
        "job = mapreduce.Job(keys=str.split, reducer=mapreduce.Count())\n"
        "print(dict(mapreduce.run(job, 'memory://in', 'memory://out', runner='inline')))\n"
        "mapreduce.run(job, 'memory://in')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert done.stdout == "{'a': 2, 'b': 1}\n"
    assert "lies in the memory of the process that made it: the runner inline can use it" in done.stderr


FAILING = """
def mapper(line):
    for word in line.split():
        yield word, 1


def reducer(word, ones):
    count = sum(ones)
    yield word, count // (word != "be")
"""


@pytest.mark.parametrize("how", ["run", "submit"])
def test_a_job_between_urls_is_replayed_and_resumed(s3, s3_cluster, tmp_path, how):
    """Its failed task runs here on what is in the store, and leaves nothing there; mended it runs no map task again."""
    name = f"again/{how}"
    text = "to be or\nnot to be\n" * 20
    for number in range(3):
        s3.put(f"{name}/in/{number}.txt", text.encode())
    (tmp_path / "job.py").write_text(FAILING, encoding="utf-8")
    client = functools.partial(
        command, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path / "state"), MAPREDUCE_COORDINATOR=s3_cluster.address
    )
    inputs, output = s3.url(f"{name}/in"), s3.url(f"{name}/out")
    failed = client(how, "job.py", inputs, "-o", output, "--split-size", len(text), "--reducers", "2", check=False)
    assert (failed.returncode, s3.names(f"{name}/out/")) == (1, []), failed.stderr
    again = client("replay", "last", check=False)
    assert again.returncode == 1
    assert "key: 'be'" in again.stderr
    assert 'count // (word != "be")' in again.stderr
    mapped = client("replay", "last", "map", "1").stdout
    assert mapped.startswith("map 1 succeeded here: 40 records in, 120 records out")
    assert s3.names(f"{name}/out/") == []
    (tmp_path / "job.py").write_text(FAILING.replace(' // (word != "be")', ""), encoding="utf-8")
    assert "reducer edited: 3 of 3 maps kept" in client("resume", "last").stderr
    assert dict(read_output(output)) == {"to": 120, "be": 120, "or": 60, "not": 60}
    assert "no failed job is kept" in client("resume", "last", check=False).stderr
