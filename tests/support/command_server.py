"""Starts commands for tests: a process that has loaded the libraries, and forks one that runs `mapreduce` for each.

It loads what others wrote and nothing of ours, so that a command begins as a user's does, without the half second in
which Python reads Polars and NumPy. Requests come over the socket whose number is the first argument; each brings the
command's three standard streams, and a pipe for its process id and its end.
"""

import contextlib
import json
import os
import runpy
import socket
import sys

import click
import cloudpickle
import fsspec
import lz4.frame
import msgpack
import numpy as np
import polars as pl
import xxhash
import zmq
import zstandard

LOADED = (click, cloudpickle, fsspec, lz4.frame, msgpack, np, pl, xxhash, zmq, zstandard)
REQUEST_BYTES = 1 << 20  # arguments and environment of one command


def requests(channel):
    """Yield what is asked for: folder, environment, arguments, the streams and the pipe."""
    while True:
        text, streams, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 4)
        if not text:
            return
        yield json.loads(text), streams
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def begins(wanted, streams, channel):
    """Fork a process that waits for the command's end and tells it, and the command itself: True in that."""
    if os.fork():
        for stream in streams:
            os.close(stream)
        return False
    channel.close()
    *standard, pipe = streams
    command = os.fork()
    if command:
        for stream in standard:
            os.close(stream)
        os.write(pipe, f"{command}\n".encode())
        os.write(pipe, f"{os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])}\n".encode())
        os._exit(0)
    os.close(pipe)
    for number, stream in enumerate(standard):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.argv = ["mapreduce", *wanted["arguments"]]
    sys.orig_argv = [sys.executable, "-P", "-m", *sys.argv]
    return True


with socket.socket(fileno=int(sys.argv[1])) as server:
    mine = any(begins(wanted, streams, server) for wanted, streams in requests(server))
if mine:
    runpy.run_module("mapreduce", run_name="__main__", alter_sys=True)
else:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
