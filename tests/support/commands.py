"""The command line, run many times: each command in a process of its own, which needs not load the libraries anew."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

SERVER = Path(__file__).with_name("command_server.py")
INLINE = {"PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"}  # with which the inline runner starts itself again
AT_START = ("PYTHON", "POLARS", "LC_", "LANG", "TZ")  # variables that are read when a process starts


class CommandServer:
    """A process that starts commands, with variables of its environment that only a new process can take."""

    def __init__(self, **env):
        self._env = env
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAPREDUCE", "POLARS", "PYTEST"))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", SERVER, str(theirs.fileno())], env=kept | env, pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def close(self):
        """Let it end."""
        self._socket.close()
        self._process.wait(60)

    def start(self, arguments, cwd, env, streams):
        """Start a command with three standard streams; gives a file of two lines: its process id, its exit code."""
        told, pipe = os.pipe()
        request = {"arguments": arguments, "cwd": os.fspath(cwd or Path.cwd()), "env": env | self._env}
        try:
            with self._lock:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, pipe])
        finally:
            os.close(pipe)
        return os.fdopen(told, encoding="ascii")


_servers: dict[bool, CommandServer] = {}  # by whether they are for inline runs


def close_servers():
    """End the servers that were started."""
    while _servers:
        _servers.popitem()[1].close()


def run_command(*arguments, cwd=None, env, stdin=b"", timeout):
    """Run `mapreduce ARGUMENTS` as subprocess.run does, with exactly this environment; gives bytes of its streams.

    Raises subprocess.TimeoutExpired after killing it.
    """
    arguments = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
    if any(name.startswith(AT_START) and os.environ.get(name) != value for name, value in env.items()):
        command = [sys.executable, "-P", "-m", "mapreduce", *arguments]
        return subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, timeout=timeout, check=False)
    inline = "inline" in arguments or arguments[:1] == ["replay"]
    if inline not in _servers:
        _servers[inline] = CommandServer(**(INLINE if inline else {}))
    pipes = [os.pipe() for _ in range(3)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    try:
        told = _servers[inline].start(arguments, cwd, env, theirs)
    finally:
        for stream in theirs:
            os.close(stream)
    with told:
        process = int(told.readline())
        outs = _communicate(pipes[0][1], pipes[1][0], pipes[2][0], stdin, process, timeout)
        return subprocess.CompletedProcess(arguments, int(told.readline()), *outs)


def run_text(*arguments, stdin="", **options):
    """The same with text in UTF-8, whose line ends are newlines."""
    done = run_command(*arguments, stdin=(stdin or "").encode(), **options)
    for name in ("stdout", "stderr"):
        setattr(done, name, io.TextIOWrapper(io.BytesIO(getattr(done, name)), encoding="utf-8").read())
    return done


def _communicate(stdin, stdout, stderr, data, process, timeout):
    """Give a command its input and collect its output, as Popen.communicate does."""
    found = {}

    def write():
        with contextlib.suppress(BrokenPipeError), os.fdopen(stdin, "wb") as file:
            file.write(data)

    def read(stream):
        with os.fdopen(stream, "rb") as file:
            found[stream] = file.read()

    threads = [threading.Thread(target=write), *(threading.Thread(target=read, args=(s,)) for s in (stdout, stderr))]
    for thread in threads:
        thread.start()
    threads[1].join(timeout)
    threads[2].join(timeout)
    late = threads[1].is_alive() or threads[2].is_alive()
    if late:
        os.kill(process, signal.SIGKILL)
    for thread in threads:
        thread.join()
    if late:
        raise subprocess.TimeoutExpired(["mapreduce"], timeout, found.get(stdout), found.get(stderr))
    return found[stdout], found[stderr]
