"""S3 by way of its driver, against a real server: objects, uploads in parts, trouble on the way, and refusals."""

import asyncio
import os
import random
import signal
import threading
from contextlib import contextmanager

import pytest
from s3 import Proxy, environment_of, now_and_then

from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.inputs.find import find_inputs
from mapreduce.dataflow.inputs.input_file import open_piece
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.dataflow.stores import errors as store_errors
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.errors import TRIES
from mapreduce.dataflow.stores.s3 import S3Store
from mapreduce.dataflow.stores.store import Small
from mapreduce.errors import InputChangedError, StoreError, StoreUnavailable
from mapreduce.plan import Piece

PART_BYTES = 5 << 20  # S3's own least


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries are short here."""
    monkeypatch.setattr(store_errors, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(store_errors, "LONGEST_WAIT_S", 0.002)


@contextmanager
def through(s3, trouble):
    """Ask the server by way of a proxy that makes trouble."""
    with Proxy(s3.endpoint, trouble) as proxy, environment_of(s3, proxy.endpoint):
        yield proxy


def check_everything(s3, store, prefix, path):
    """Use each method of a store once, with what it is for."""
    url = s3.url(prefix)
    store.write(f"{url}/a b/x", b"one")
    store.write(f"{url}/y%", b"two")
    assert store.read_small(f"{url}/a b/x") == b"one"
    assert store.read_small(f"{url}/none") is None
    assert store.facts(f"{url}/y%").size == 3
    assert store.facts(f"{url}/a b") is None
    assert store.facts(f"{url}/none") is None
    assert [(name, facts.size) for name, facts in store.below(url)] == [(f"{url}/a b/x", 3), (f"{url}/y%", 3)]
    assert {facts for _, facts in store.below(url)} == {store.facts(f"{url}/a b/x"), store.facts(f"{url}/y%")}
    assert store.names(url) == ["a b/", "y%"]
    assert store.names(f"{url}/none") == []
    assert store.read(f"{url}/y%", 1, 2) == b"wo"
    store.upload(path, f"{url}/large", file_checksum(path))
    assert store.checksum(f"{url}/large") == file_checksum(path)
    assert s3.get(f"{prefix}/large") == path.read_bytes()
    assert store.checksum(f"{url}/y%") is None
    store.remove(f"{url}/a b/x")
    store.remove(f"{url}/a b/x")
    assert s3.names(f"{prefix}/") == ["large", "y%"]
    with pytest.raises(FileNotFoundError):
        store.read(f"{url}/none", 0, 1)


@pytest.fixture
def large(tmp_path):
    """A file that is uploaded in three parts."""
    path = tmp_path / "large"
    path.write_bytes(random.Random(0).randbytes(2 * PART_BYTES + 12345))
    return path


def s3_store():
    """A driver with small parts."""
    store = S3Store("s3")
    store._part_bytes = PART_BYTES
    return store


def test_objects(s3, large):
    """Objects are made, read, listed and removed as asked for, large ones in parts; nothing is left of the uploads."""
    check_everything(s3, s3_store(), "objects", large)
    assert s3.uploads() == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", [1, 2])
def test_trouble_on_the_way(s3, large, seed):
    """A proxy that answers 503 and 500, cuts connections and gives half an answer makes no difference."""
    with through(s3, now_and_then(seed, share=0.4)) as proxy:
        check_everything(s3, s3_store(), f"trouble-{seed}", large)
    assert proxy.troubles > 5
    assert s3.uploads() == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", [503, 500, "cut", "short"])
def test_trouble_without_end(s3, kind):
    """A server that never answers as it should is given up after TRIES requests, each of which counts."""
    url = s3.put("endless", b"content")
    told = f"s3://tests/endless cannot be read: .* in {TRIES} tries"
    with through(s3, lambda *_: kind) as proxy, pytest.raises(StoreUnavailable, match=told):
        S3Store("s3").read(url, 0, 7)
    # Where a connection is cut before any answer, the HTTP library tries once more by itself.
    assert len(proxy.requests) == TRIES or (kind == "cut" and TRIES < len(proxy.requests) <= 2 * TRIES)


def test_a_refusal_is_told_at_once(s3):
    """Access that is denied is not asked for again, and the message says which credentials are used."""
    told = r"access was denied .*Please.*AWS_ACCESS_KEY_ID"
    with through(s3, lambda *_: 403) as proxy, pytest.raises(StoreError, match=told):
        S3Store("s3").read(s3.url("x"), 0, 1)
    assert len(proxy.requests) == 1


def test_missing_credentials_are_named(s3, monkeypatch, tmp_path):
    """Without credentials nothing is asked of the server, and the message says what to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"no credentials were found .*: set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        find_inputs([s3.url("x")])


def test_unfinished_uploads_are_dropped(s3):
    """What a killed task has uploaded in part is dropped with its job, that of other jobs is not."""
    for name in ("up/part-00000-j1-1", "up/part-00000-j2-1", "upper/part-00000-j1-1"):
        s3.client.create_multipart_upload(Bucket=s3.bucket, Key=name)
    store_of(s3.url("")).forget_uploads(s3.url("up"), "-j1-")
    assert sorted(s3.uploads()) == ["up/part-00000-j2-1", "upper/part-00000-j1-1"]
    store_of(s3.url("")).forget_uploads(s3.url("up"), "-j2-")
    store_of(s3.url("")).forget_uploads(s3.url("upper"), "-j1-")
    assert s3.uploads() == []


def test_a_failed_upload_leaves_nothing(s3, large):
    """An upload that cannot be ended is dropped, and no object is there."""

    def trouble(_number, method, path):
        return 403 if method == "PUT" and "partNumber=3" in path else None

    with through(s3, trouble), pytest.raises(StoreError, match="access was denied"):
        s3_store().upload(large, s3.url("failed/x"), "")
    assert s3.names("failed/") == []
    assert s3.uploads() == []


def test_a_changed_object_is_an_error(s3):
    """An object that was written again while it is read fails the reader; one of the same content does not."""
    url = s3.put("changed", b"one")
    (file,) = find_inputs([url])
    piece = Piece(file.path, 0, file.size, file.size, file.version)
    with open_piece(piece) as opened:
        s3.put("changed", b"one")
        assert opened.read_at(10, 0) == b"one"
    with pytest.raises(InputChangedError, match="written again"), open_piece(piece):
        s3.put("changed", b"two")
    assert os.environ["AWS_ENDPOINT_URL"] == s3.endpoint


def test_long_lists_come_in_pages(s3, monkeypatch):
    """A list of more objects than one answer holds is whole; a bucket that is not there has none."""
    for number in range(5):
        s3.put(f"pages/{number}/x", b"")
    store = S3Store("s3")
    real = store._ask
    monkeypatch.setattr(
        store,
        "_ask",
        lambda what, url, method, **given: real(
            what, url, method, **given, **({"MaxKeys": 2} if method.startswith("list_objects") else {})
        ),
    )
    assert [url for url, _ in store.below(s3.url("pages"))] == [s3.url(f"pages/{number}/x") for number in range(5)]
    assert store.names(s3.url("pages/")) == [f"{number}/" for number in range(5)]
    assert "pages/" in store.names(s3.url(""))


def test_a_bucket_that_is_not_there(s3, large):
    """It is named, whatever is to be done with it."""
    store, url = s3_store(), "s3://nobody/x"
    assert store.facts(url) is None
    for action in (
        lambda: store.names(url),
        lambda: find_inputs([url]),
        lambda: store.write(url, b""),
        lambda: store.replace(url, b"", Small(None)),
        lambda: store.upload(large, url, ""),
        lambda: prepare_output("s3://nobody/out", "j1", False),
    ):
        with pytest.raises(StoreError, match="there is no bucket nobody"):
            action()
    assert s3.uploads() == []


def test_odd_names(s3):
    """Whatever characters a name has, the object is found in a list, by its URL, and read."""
    names = ["a b", "q?x=1", "v?versionId=3", "h#x", "pl+us%20", "ü日", "a//b", "tail /x", "[b]", "star*", "~'()&;,@=:"]
    for name in names:
        s3.put(f"odd/{name}", name.encode())
    files = find_inputs([s3.url("odd")])
    assert {file.path for file in files} == {s3.url(f"odd/{name}") for name in names}
    for file in files:
        assert find_inputs([file.path]) == [file]
        with open_piece(Piece(file.path, 0, file.size, file.size, file.version)) as opened:
            assert opened.read_at(100, 0) == file.path.partition("odd/")[2].encode()


def test_only_what_was_seen_is_replaced(s3):
    """A small object is replaced only if it is still as it was; so is its absence; trouble makes no difference."""
    store, url = s3_store(), s3.url("seen/x")
    nothing = store.look(url)
    store.replace(url, b"one", nothing)
    one = store.look(url)
    assert (nothing, one.data) == (Small(None), b"one")
    with pytest.raises(FileExistsError):
        store.replace(url, b"two", nothing)
    store.replace(url, b"two", one)
    for seen in (one, nothing):
        with pytest.raises(FileExistsError):
            store.replace(url, b"three", seen)
    two = store.look(url)
    store.remove(url)
    with pytest.raises(FileExistsError):
        store.replace(url, b"three", two)
    assert s3.names("seen/") == []


def test_a_store_without_conditions(s3):
    """One that says that it knows none gets the object without."""
    url = s3.put("plain", b"one")
    asked = []

    def trouble(_number, method, _path):
        asked.append(method)
        return 501 if asked.count("PUT") == 1 else None

    with through(s3, trouble) as proxy:
        store = s3_store()
        store.replace(url, b"two", store.look(url))
        assert (s3.get("plain"), proxy.troubles) == (b"two", 1)


def test_no_right_to_list_uploads(s3, caplog):
    """Where unfinished uploads cannot be listed, a job does not fail for it, and the log says what may be left."""
    with through(s3, lambda _number, method, path: 403 if method == "GET" and "uploads" in path else None):
        S3Store("s3").forget_uploads(s3.url("up"), "-j1-")
    assert "unfinished uploads to s3://tests/up may be left over" in caplog.text


def test_a_request_ends_with_the_waiting(s3):
    """What waits for an answer and is interrupted takes its request back: no object comes to be afterwards."""
    released = threading.Event()
    asked = threading.Event()

    def trouble(_number, method, _path):
        if method == "PUT":
            asked.set()
            released.wait(60)
            return "cut"
        return None

    with through(s3, trouble):
        store, ended = s3_store(), threading.Event()
        real = store._wait

        async def noted(request):
            try:
                return await request
            except asyncio.CancelledError:
                ended.set()
                raise

        store._wait = lambda request: real(noted(request))
        main = threading.get_ident()

        def interrupt():
            asked.wait(60)
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        # Whatever starts the tests may have had them ignore it, as shells do with what runs in the background.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                store.write(s3.url("late"), b"x" * 1000)
            thread.join()
        finally:
            signal.signal(signal.SIGINT, before)
        assert ended.wait(60)
        released.set()


def test_an_object_that_was_cut_off(s3):
    """One that is shorter by now is told to be changed, not to be refused by the store."""
    url = s3.put("shrinks", b"x" * 100)
    (file,) = find_inputs([url])
    piece = Piece(file.path, 0, file.size, file.size, file.version)
    with pytest.raises(InputChangedError, match="it had 100 bytes and has 3"), open_piece(piece) as opened:  # noqa: PT012 - while it is open
        s3.put("shrinks", b"xxx")
        opened.read_at(50, 50)
