"""Stores without a server: URLs, what errors mean, waits, finding and reading by windows, in memory and over HTTP."""

import errno
import functools
import gzip
import http.server
import os
import random
import ssl
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mapreduce
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.inputs.codecs import Codec, codec_of
from mapreduce.dataflow.inputs.copies import copies_below
from mapreduce.dataflow.inputs.find import find_inputs, notes, plan_splits
from mapreduce.dataflow.inputs.input_file import open_piece, read_on
from mapreduce.dataflow.inputs.probe import check_probe, make_probe
from mapreduce.dataflow.stores import drivers
from mapreduce.dataflow.stores import errors as store_errors
from mapreduce.dataflow.stores import file as store_file
from mapreduce.dataflow.stores.by_fsspec import FsspecStore
from mapreduce.dataflow.stores.errors import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    TRIES,
    Meaning,
    meaning_of,
    persistently,
    waits,
)
from mapreduce.dataflow.stores.store import version_of
from mapreduce.dataflow.tasks.failures import _kind_of
from mapreduce.errors import DiskFullError, InputChangedError, InputError, JobFailed, StoreError, StoreUnavailable
from mapreduce.formats import Text
from mapreduce.plan import Failure, FailureKind, Piece
from mapreduce.urls import is_url, join, settled, whole_place


@pytest.fixture
def memory():
    """The objects of memory://, none at first."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


@pytest.fixture
def no_pauses(monkeypatch):
    """Waits between tries are noted, and not waited."""
    slept = []
    monkeypatch.setattr(store_errors.time, "sleep", slept.append)
    return slept


# ------------------------------------------------------------------------------------------------------------ URLs


def test_what_is_a_url():
    """A scheme and two slashes make a URL; file:// is a local path, and a letter or a name with an equals none."""
    assert is_url("s3://bucket/key")
    assert is_url("abfs://container@account.dfs.core.windows.net/x")
    assert not any(map(is_url, ("file:///a/b", "a/b", "/a://b", "clicks=s3", "c://x", "s3:/bucket")))
    assert settled("file:///a%20b/c") == "/a b/c"
    assert settled("file://localhost/a") == "/a"
    assert settled("s3://b/k") == "s3://b/k"
    with pytest.raises(StoreError, match="the machine host"):
        settled("file://host/a")
    assert settled("S3A://Bucket/Key") == settled("s3://Bucket/Key") == "s3://Bucket/Key"
    for nowhere in ("s3://", "s3:///"):
        with pytest.raises(StoreError, match="names no place"):
            whole_place(nowhere)
    assert not is_url("FILE:///a/b")
    assert whole_place("s3://b/out/") == "s3://b/out"
    assert whole_place("file:///a/b") == "/a/b"
    assert whole_place("x") == str(Path("x").absolute())
    assert join("s3://b/out/", "x") == "s3://b/out/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a?X-Amz-Signature=0f&part=3", "https://h/a?X-Amz-Signature=***&part=3"),
        ("https://h/a?part=3&sig=a%2Fb is", "https://h/a?part=3&sig=*** is"),
        ("two: http://h/a?token=x, http://me:pass@h/b", "two: http://h/a?token=***, http://me:***@h/b"),
        ("abfs://box@account/x s3://b/a?x=1", "abfs://box@account/x s3://b/a?x=1"),
    ],
)
def test_secrets_in_urls_are_not_shown(text, shown):
    """Passwords and tokens are left out of the messages of errors and failures, whatever part of these they are in."""
    assert str(StoreError(text)) == shown
    failure = Failure(FailureKind.FATAL, text, path=text, key=text)
    assert (failure.message, failure.path, failure.key) == (shown, shown, shown)


def test_secrets_in_urls_are_not_logged(no_pauses, caplog):
    """Nor are they in the lines of the log about further tries."""
    caplog.set_level("INFO")
    with pytest.raises(StoreUnavailable):
        persistently("read", "https://h/a?sig=0f", lambda: (_ for _ in ()).throw(ConnectionError("https://h/?sig=0f")))
    assert "next try" in caplog.text
    assert "0f" not in caplog.text


def test_a_missing_driver_is_named():
    """What is to be installed is said for schemes that have an extra, and for others."""
    with pytest.raises(StoreError, match=r"pip install 'mapreduce-engine\[gs\]', here and on every worker"):
        drivers.store_of("gs://bucket/x")
    with pytest.raises(StoreError, match="no driver for nonsense:// URLs"):
        drivers.store_of("nonsense://x")


# ---------------------------------------------------------------------------------------------------------- errors


class Answered(Exception):
    """As botocore's ClientError."""

    def __init__(self, status, code):
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status):
        super().__init__("no")
        self.status = status


class NoCredentialsError(Exception):
    """As botocore's."""


class ClientPayloadError(Exception):
    """As aiohttp's."""


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (FileNotFoundError("x"), Meaning.MISSING),
        (Answered(404, "NoSuchKey"), Meaning.MISSING),
        (caused(FileNotFoundError("x"), ClientResponseError(403)), Meaning.DENIED),
        (caused(FileNotFoundError("x"), ConnectionResetError()), Meaning.PASSING),
        (caused(PermissionError("x"), Answered(403, "AccessDenied")), Meaning.DENIED),
        (PermissionError("x"), Meaning.DENIED),
        (caused(OSError(errno.EBUSY, "Please"), Answered(503, "SlowDown")), Meaning.PASSING),
        (caused(OSError(errno.EIO, "Oh"), Answered(500, "InternalError")), Meaning.PASSING),
        (Answered(400, "RequestTimeout"), Meaning.PASSING),
        (Answered(429, "TooManyRequests"), Meaning.PASSING),
        (Answered(400, "InvalidRequest"), Meaning.FINAL),
        (Answered(301, "PermanentRedirect"), Meaning.FINAL),
        (ClientResponseError(502), Meaning.PASSING),
        (ClientPayloadError(), Meaning.PASSING),
        (TimeoutError(), Meaning.PASSING),
        (BrokenPipeError(), Meaning.PASSING),
        (NoCredentialsError("Unable to locate credentials"), Meaning.NO_CREDENTIALS),
        (caused(ConnectionError(), ssl.SSLCertVerificationError()), Meaning.FINAL),
        (ValueError("x"), Meaning.FINAL),
    ],
    ids=repr,
)
def test_what_errors_mean(error, meaning):
    """Throttling, failures of the server and cut connections pass; refusals and mistakes do not."""
    assert meaning_of(error) is meaning


def test_a_passing_error_is_tried_again(no_pauses):
    """A function that fails now and then gives its result, after waits that are bounded."""
    left = [ConnectionResetError(), Answered(503, "SlowDown"), TimeoutError()]

    def ask():
        if left:
            raise left.pop()
        return "it"

    assert persistently("read", "s3://b/k", ask) == "it"
    assert len(no_pauses) == 3
    assert all(0 <= pause <= LONGEST_WAIT_S for pause in no_pauses)


def test_tries_have_an_end(no_pauses):
    """A store that stays away is given up after TRIES tries; the error says so, and is another kind than a refusal."""
    asked = []

    def ask():
        asked.append(1)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.raises(StoreUnavailable, match=f"s3://b/k cannot be read: .* in {TRIES} tries, at last: .*refused"):
        persistently("read", "s3://b/k", ask)
    assert (len(asked), len(no_pauses)) == (TRIES, TRIES - 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoCredentialsError("Unable to locate"), r"no credentials were found .*: set AWS_ACCESS_KEY_ID and AWS_SECRET"),
        (PermissionError("no"), "access was denied .*AWS_PROFILE"),
        (ValueError("odd"), "cannot be read: ValueError: odd"),
    ],
)
def test_final_errors_are_told_at_once(no_pauses, error, text):
    """What no other try can change is raised at the first, with what to set."""

    def ask():
        raise error

    with pytest.raises(StoreError, match=text) as caught:
        persistently("read", "s3://b/k", ask)
    assert not isinstance(caught.value, StoreUnavailable)
    assert no_pauses == []


def test_a_store_that_stays_away_is_no_fault_of_the_job():
    """An attempt that cannot reach a store is tried on other workers, as with a full disk; a refusal fails the job."""
    assert _kind_of(StoreUnavailable("x"), Site()) is FailureKind.DISK
    assert _kind_of(StoreError("x"), Site()) is FailureKind.FATAL


@given(st.integers())
def test_waits_grow_and_are_bounded(seed):
    """Each wait is a part of twice the one before, up to LONGEST_WAIT_S, and they are one less than the tries."""
    found = list(waits(random.Random(seed)))
    assert len(found) == TRIES - 1
    assert all(pause <= min(FIRST_WAIT_S * 2**i, LONGEST_WAIT_S) for i, pause in enumerate(found))


# --------------------------------------------------------------------------------------------------------- finding


def fill(memory, names):
    for name in names:
        memory.pipe_file(f"/{name}", name.encode())


def found_below(*arguments):
    return [file.path.removeprefix("memory://b/") for file in find_inputs([f"memory://b/{one}" for one in arguments])]


def test_files_folders_and_globs(memory):
    """Objects are found as local files are: by name, below a prefix, by a glob; hidden ones only if asked for."""
    fill(memory, ["b/x/b.txt", "b/x/a.txt", "b/x/y/c.txt", "b/x/_h/d.txt", "b/x/.e", "b/xx", "b/x*"])
    assert found_below("x/a.txt") == ["x/a.txt"]
    assert found_below("x") == found_below("x/") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/*.txt") == ["x/a.txt", "x/b.txt"]
    assert found_below("x/**/*.txt") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/*") == ["x/a.txt", "x/b.txt", "x/y/c.txt"]
    assert found_below("x/_*/*") == ["x/_h/d.txt"]
    assert found_below("x/[ac]*", "x/y", "x/*/c.txt") == ["x/a.txt", "x/y/c.txt"]
    assert found_below("x*") == ["x*"]
    assert found_below("x?") == ["x*", "xx"]
    for wrong, text in {
        "z": "no such input: memory://b/z",
        "z*": "no input matches",
        "x/y/*.q": "no input matches",
    }.items():
        with pytest.raises(InputError, match=text):
            found_below(wrong)


NAME = st.text("ab_.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
NAMES = st.lists(st.lists(NAME, min_size=1, max_size=3).map("/".join), max_size=6, unique=True)
GLOB = st.lists(st.sampled_from(["*", "?", "a*", "[ab]", "_*", ".*", "*b", "**", "a", "b"]), min_size=1, max_size=3)


@given(NAMES, GLOB.map("/".join))
@settings(max_examples=100, deadline=None)
def test_globs_are_those_of_local_files(names, pattern):
    """What a glob finds among local files it finds among objects of the same names."""
    names = [one for one in names if not any(other.startswith(f"{one}/") for other in names)]
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    fill(memory, [f"b/x/{name}" for name in names])
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, "x", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = outcome(lambda: found_below(f"x/{pattern}"))
        assert found == outcome(
            lambda: [file.path.removeprefix(f"{folder}/") for file in find_inputs([f"{folder}/x/{pattern}"])]
        )


def outcome(find):
    """What is found; None for nothing."""
    try:
        return find() or None
    except InputError:
        return None


def test_only_the_parts_of_a_manifest_are_input(memory):
    """Of a former output its parts are read, not what other attempts left; named outputs only where asked for."""
    manifest = (
        b'{"version": 1, "format": "tsv", "columns": {"key": [], "value": []}, "outputs": {"rare": 0}, "files": '
        b'[{"name": "part-00000-j-1", "records": 0, "bytes": 0, "checksum": ""}]}'
    )
    fill(memory, ["b/o/part-00000-j-1", "b/o/part-00000-j-2", "b/o/notes", "b/o/rare/part-00000-j-1"])
    memory.pipe_file("/b/o/_SUCCESS", manifest)
    memory.pipe_file("/b/o/rare/_SUCCESS", manifest)
    assert found_below("o") == found_below("o/*") == ["o/notes", "o/part-00000-j-1"]
    assert found_below("o/part-*") == ["o/part-00000-j-1"]
    assert found_below("o/rare") == ["o/rare/part-00000-j-1"]
    assert found_below("o/rare/*") == ["o/rare/part-00000-j-1"]
    assert found_below("") == ["o/notes", "o/part-00000-j-1"]


def test_an_output_in_the_making_is_no_input(memory):
    """What a running or dead job has written is refused: no manifest says what of it counts."""
    fill(memory, ["b/o/part-00000-j-1", "b/o/_tmp-j/_reserved"])
    with pytest.raises(InputError, match="memory://b/o is the output folder of a job that is running or has died"):
        found_below("o")


def test_a_version_changes_with_the_content(memory):
    """The same object has the same version in a list and by itself; another content has another."""
    memory.pipe_file("/b/x/a", b"one")
    (listed,), (alone,) = find_inputs(["memory://b/x"]), find_inputs(["memory://b/x/a"])
    assert listed == alone
    memory.pipe_file("/b/x/a", b"two")
    assert find_inputs(["memory://b/x/a"])[0].version != alone.version
    assert 0 <= alone.version < 1 << 63
    tagged = [{"ETag": tag, "size": 3} for tag in ('"x"', "x", 'W/"x"', "y")]
    assert [version_of(one) == version_of(tagged[0]) for one in tagged] == [True, True, True, False]


# --------------------------------------------------------------------------------------------------------- reading


def piece_of(url, start=0, size=None):
    (file,) = find_inputs([url])
    return Piece(file.path, start, file.size - start if size is None else size, file.size, file.version)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_reads_give_the_bytes_that_are_there(data):
    """Whatever is read, in whatever order, is what a local file would give; windows are small here."""
    content = random.Random(0).randbytes(1000)
    fsspec.filesystem("memory").pipe_file("/b/r", content)
    start = data.draw(st.integers(0, 1000))
    reads = data.draw(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1100)), max_size=12))
    ahead = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_file, "WINDOW_BYTES", 64)
        with open_piece(piece_of("memory://b/r", start, data.draw(st.integers(0, 1000 - start)))) as file:
            position = 0
            for size, anywhere in reads:
                offset = position if ahead else anywhere
                found = file.read_at(size, offset)
                assert found == content[offset : offset + size]
                position = offset + len(found)


def test_reading_on_asks_for_large_ranges_once(memory, monkeypatch):
    """A piece is read in windows, each asked for once, and no further than it goes; anything else to the byte."""
    content = random.Random(1).randbytes(100_000)
    memory.pipe_file("/b/r", content)
    asked = []
    real = FsspecStore.read
    monkeypatch.setattr(
        FsspecStore,
        "read",
        lambda self, url, start, size: asked.append((start, size)) or real(self, url, start, size),
    )
    monkeypatch.setattr(store_file, "WINDOW_BYTES", 20_000)
    with open_piece(piece_of("memory://b/r", 10_000, 50_000)) as file:
        assert file.read_at(100, 0) == content[:100]
        got = b"".join(file.read_at(1000, offset) for offset in range(10_000, 60_000, 1000))
        assert got == content[10_000:60_000]
        assert file.read_at(50, 60_000) == content[60_000:60_050]
    assert sorted(asked) == [(0, 100), (10_000, 20_000), (30_000, 20_000), (50_000, 10_000), (60_000, 50)]


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 300)), max_size=5), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_a_copy_has_the_ranges_that_were_asked_for(pairs, near):
    """A copy in scratch has the file's size and at least the ranges' bytes, and goes away with the piece."""
    content = random.Random(2).randbytes(1000)
    fsspec.filesystem("memory").pipe_file("/b/c", content)
    ranges = [range(start, min(1000, start + size)) for start, size in pairs]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(store_file, "JOINED_BYTES", near)
        patch.setattr(store_file, "COPY_BYTES", 100)
        with copies_below(Path(folder)), open_piece(piece_of("memory://b/c")) as file:
            path = Path(file.local_path(ranges))
            assert path.parent == Path(folder)
            copy = path.read_bytes()
            assert len(copy) == 1000
            assert all(copy[one.start : one.stop] == content[one.start : one.stop] for one in ranges)
            assert Path(file.local_path()).read_bytes() == content
        assert list(Path(folder).iterdir()) == []


def test_a_changed_object_is_an_error(memory):
    """An object that was written again or removed, before it is opened or while it is read, fails the reader."""
    memory.pipe_file("/b/x", b"one")
    piece = piece_of("memory://b/x")
    with pytest.raises(InputChangedError, match="written again"), open_piece(piece) as file:  # noqa: PT012 - its end
        assert file.read_at(3, 0) == b"one"
        memory.pipe_file("/b/x", b"two")
    with pytest.raises(InputChangedError, match="written again"), open_piece(piece):
        pass
    memory.pipe_file("/b/x", b"three")
    with pytest.raises(InputChangedError, match="it had 3 bytes and has 5"), open_piece(piece):
        pass
    memory.rm_file("/b/x")
    with pytest.raises(InputChangedError, match="was removed"), open_piece(piece):
        pass


def test_a_probe_tells_of_objects_that_are_others(memory):
    """A worker that sees another object, or none, or one of another process's memory, says so."""
    memory.pipe_file("/b/x", b"one")
    probe = make_probe(find_inputs(["memory://b/x"]), "", "j1")
    with pytest.raises(InputError, match="in the memory of the process that made it: the runner inline can use it"):
        check_probe(probe)


# ------------------------------------------------------------------------------------------------------------ HTTP


class Files(http.server.SimpleHTTPRequestHandler):
    """The library's own server, which gives whole files only."""

    def log_message(self, *_):
        pass


class Ranges(Files):
    """One that gives ranges."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1]
        self.send_response(206 if part else 416)
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header(
            "Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}" if part else "bytes */0"
        )
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


@contextmanager
def serving(folder, handler):
    """The URL of a web server with the files of a folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("handler", "splits"), [(Ranges, 5), (Files, 1)])
def test_files_of_a_web_server(tmp_path, handler, splits):
    """They are read by ranges where the server gives them; else from their beginning, by one task that says why."""
    content = b"".join(b"line %d\n" % i for i in range(500))
    (tmp_path / "a b.txt").write_bytes(content)
    (tmp_path / "empty.txt").touch()
    with serving(tmp_path, handler) as address:
        files = find_inputs([f"{address}/a%20b.txt", f"{address}/empty.txt"])
        assert [file.size for file in files] == [len(content), 0]
        planned = plan_splits(files[:1], 1000)
        assert len(planned) == splits
        assert bool(notes(planned, 8, 1000, [Text()])) == (splits == 1)
        for split in planned:
            for piece in split.pieces:
                with open_piece(piece) as file:
                    assert file.read_at(piece.size, piece.start) == content[piece.start : piece.start + piece.size]
                    assert Path(file.local_path()).read_bytes() == content
        with open_piece(piece_of(f"{address}/empty.txt")) as file:
            assert read_on(file)(100) == b""
        with pytest.raises(InputError, match=r"no such input: http://.*/none .web servers do not list"):
            find_inputs([f"{address}/none"])


def test_a_changed_file_of_a_web_server(tmp_path):
    """One that was written again since the job was planned is refused."""
    path = tmp_path / "x"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    with serving(tmp_path, Files) as address:
        piece = piece_of(f"{address}/x")
        path.write_bytes(b"two")
        with pytest.raises(InputChangedError, match="written again"), open_piece(piece):
            pass


class Odd(Files):
    """One that gives ranges without saying how large the file is, or calls what is packed by itself packed."""

    def do_GET(self):
        content = (Path(self.directory) / self.path.partition("?")[0].strip("/")).read_bytes()
        self.send_response(206 if "unsized" in self.path else 200)
        self.send_header("Content-Range", f"bytes 0-0/{'*' if 'unsized' in self.path else len(content)}")
        self.send_header("Content-Encoding", "x-gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def test_odd_web_servers(tmp_path):
    """A file of unknown size is refused, never taken for an empty one; one that is packed by itself is read."""
    (tmp_path / "unsized.gz").write_bytes(gzip.compress(b"x"))
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"words\n"))
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"words\n"))
    with serving(tmp_path, Odd) as address:
        with pytest.raises(StoreError, match="does not say how large it is"):
            find_inputs([f"{address}/unsized.gz"])
        with pytest.raises(StoreError, match="the server packs it"):
            find_inputs([f"{address}/a.txt"])
        result = mapreduce.run(
            mapreduce.Job(keys=str.split, reducer=mapreduce.Count()), f"{address}/a.gz?x=1", runner="inline"
        )
        assert dict(result) == {"words": 1}


def test_urls_as_people_write_them(tmp_path):
    """Letters and spaces that a URL has to escape are escaped; what is escaped stays; names in a URL are refused."""
    (tmp_path / "日 b.txt").write_bytes(b"x")
    with serving(tmp_path, Ranges) as address:
        for name in ("日 b.txt", "%E6%97%A5%20b.txt"):
            with open_piece(piece_of(f"{address}/{name}")) as file:
                assert file.read_at(1, 0) == b"x"
        with pytest.raises(
            StoreError, match=r"me:\*\*\*@.*names and passwords in URLs of web servers are not supported"
        ):
            find_inputs([f"{address}/x".replace("//", "//me:pass@")])


@pytest.mark.parametrize("suffix", ["", "?sig=a.b/c", "#x.txt"])
def test_how_a_file_of_a_web_server_is_compressed(suffix):
    """Its name says so, not what follows behind that in the URL."""
    assert codec_of(f"https://h/a.txt.gz{suffix}") is Codec.GZIP
    assert codec_of(f"https://h/a.txt{suffix}") is Codec.NONE


def test_a_full_disk_is_no_fault_of_the_input(memory, monkeypatch):
    """Where a copy of an object cannot be written, the attempt is tried elsewhere."""
    memory.pipe_file("/b/x", b"one")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_file.os, "pwrite", full)
    told = pytest.raises(DiskFullError, match="a copy of memory://b/x cannot be written")
    with told, open_piece(piece_of("memory://b/x")) as file:
        file.local_path()


def test_stores_after_a_fork(memory):
    """A process that is forked sets its drivers up anew: most cannot be used on both sides of a fork."""
    found = drivers.store_of("memory://b/x")
    assert drivers.store_of("memory://b/y") is found
    child = os.fork()
    if not child:
        os._exit(drivers.store_of("memory://b/x") is found)
    assert os.waitpid(child, 0)[1] == 0


def test_what_a_job_failed_of_is_told(memory, monkeypatch, caplog):
    """A store that goes away takes the cleaning up with it, not the failure: that is told, and the rest is logged."""

    def fails(_line):
        monkeypatch.setattr(FsspecStore, "below", refuse)
        raise ValueError("mine")

    def refuse(_self, url):
        raise StoreError(f"{url} cannot be listed: it went away")

    memory.pipe_file("/b/x", b"one")
    with pytest.raises(JobFailed, match="mine"):
        mapreduce.run(mapreduce.Job(fails), "memory://b/x", "memory://b/out", runner="inline")
    assert "has left in memory://b/out stays there: memory://b/out/_bad cannot be listed: it went away" in caplog.text


def test_nothing_is_written_to_a_web_server():
    """An output there is refused by name."""
    with pytest.raises(StoreError, match="web servers are for inputs"):
        drivers.store_of("http://127.0.0.1:1/out").write("http://127.0.0.1:1/out", b"")
