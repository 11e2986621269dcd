"""A real S3 server on loopback for tests, a client of its own to look into it, and a proxy that makes trouble."""

import contextlib
import http.client
import http.server
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # nobody else is asked for credentials
    "no_proxy": "127.0.0.1",
}


class S3Server:
    """Moto's server, with a bucket."""

    def __init__(self, bucket="tests"):
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("s3_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        port = int(self._process.stdout.readline())
        self.endpoint = f"http://127.0.0.1:{port}"
        self.env = SETTINGS | {"AWS_ENDPOINT_URL": self.endpoint}
        self.bucket = bucket
        config = Config(retries={"total_max_attempts": 3})
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )
        self.client.create_bucket(Bucket=bucket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)

    def url(self, name):
        return f"s3://{self.bucket}/{name}"

    def put(self, name, data):
        """Make an object, and give its URL."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=data)
        return self.url(name)

    def put_tree(self, folder, name):
        """Make an object of each file below a folder."""
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder)}", path.read_bytes())
        return self.url(name)

    def get(self, name):
        return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()

    def names(self, prefix=""):
        """The names of all objects below a prefix, without it."""
        found = []
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            found += [one["Key"].removeprefix(prefix) for one in page.get("Contents", ())]
        return sorted(found)

    def tree(self, prefix):
        """All objects below a prefix: their contents by their names."""
        return {name: self.get(prefix + name) for name in self.names(prefix)}

    def uploads(self):
        """The names of all uploads that nobody ended."""
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]


@contextlib.contextmanager
def environment_of(server, endpoint=None):
    """Let this process, and those that it starts, find a server."""
    wanted = server.env | ({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Proxy:
    """Passes requests on to a server, but for those that `trouble` names: a status, "cut" or "short".

    `trouble(number, method, path)` is asked about each request in the order in which they come; None passes it on.
    """

    def __init__(self, endpoint, trouble):
        self.requests = []
        self.troubles = 0
        lock = threading.Lock()
        proxy = self
        target = urlsplit(endpoint)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _pass_on(self):
                with lock:
                    kind = trouble(len(proxy.requests), self.command, self.path)
                    proxy.requests.append((self.command, self.path))
                    proxy.troubles += kind is not None
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if kind == "cut":
                    self.close_connection = True
                    return
                if isinstance(kind, int):
                    self._refuse(kind)
                    return
                connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
                with contextlib.closing(connection):
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    self._give(answer.status, answer.getheaders(), answer.read(), short=kind == "short")

            def _refuse(self, status):
                code = {503: "SlowDown", 500: "InternalError", 403: "AccessDenied", 501: "NotImplemented"}[status]
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Please.</Message></Error>".encode()
                self._give(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))], text)

            def _give(self, status, headers, body, *, short=False):
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                        self.send_header(name, value)
                length = {name.lower(): value for name, value in headers}.get("content-length", str(len(body)))
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body[: len(body) // 2] if short else body)
                self.close_connection = short or self.close_connection

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815 - the library's names

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)


def now_and_then(seed, share=0.2, kinds=(503, 500, "cut", "short")):
    """Trouble on a seeded schedule, never with the same request twice in a row."""
    chance = random.Random(seed)
    last = []

    def trouble(_number, method, path):
        if chance.random() > share or last == [method, path]:
            last[:] = []
            return None
        last[:] = [method, path]
        return chance.choice(kinds)

    return trouble
