"""Files of web servers, read over HTTP from real ones on loopback."""

import functools
import gzip
import http.server
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from pieces import piece_of

import mapreduce
from mapreduce.dataflow.inputs.codecs import Codec, codec_of
from mapreduce.dataflow.inputs.find import find_inputs, notes, plan_splits
from mapreduce.dataflow.inputs.input_file import open_piece, read_on
from mapreduce.dataflow.stores import drivers
from mapreduce.errors import InputChangedError, InputError, StoreError
from mapreduce.formats import Text


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


def test_nothing_is_written_to_a_web_server():
    """An output there is refused by name."""
    with pytest.raises(StoreError, match="web servers are for inputs"):
        drivers.store_of("http://127.0.0.1:1/out").write("http://127.0.0.1:1/out", b"")
