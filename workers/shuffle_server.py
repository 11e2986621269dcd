"""The shuffle server: serves slices of this worker's runs and parts to other workers' task processes.

    python -P -m workers.shuffle_server --listen ADDRESS --folder JOBS --life-fd N

A process of its own, so that serving never delays the agent's heartbeats. It prints the address that it is bound to as
its first line, and exits when the life pipe closes. Reads only: files are named by integers and a checked job id.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq

from mapreduce.config import FETCH_PIECE_BYTES
from mapreduce.dataflow.shuffle.block_index import read_small_slice
from mapreduce.errors import CorruptBlockError, WireError
from mapreduce.file_names import part_file_name, run_file_name
from mapreduce.plan import JOB_ID, AttemptId
from workers.shuffle_messages import (
    INLINE_BYTES,
    PART,
    REPLY_BYTES,
    REQUEST_BYTES,
    BytesReply,
    BytesRequest,
    Gone,
    Reply,
    SliceReply,
    SliceRequest,
    decode_all,
    frames,
)

MOST_OFFSET = (1 << 63) - 1 - FETCH_PIECE_BYTES  # files end earlier; the system call takes 63 bits, the wire 64
FRAMES_PER_TURN = 8  # answered before the life pipe is looked at again


class ShuffleServer:
    """Answers requests for the files below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, request: SliceRequest | BytesRequest) -> Reply:
        """Look up or read what was asked for; whatever hinders is told as Gone."""
        try:
            path = self._path(request.attempt, request.spill)
            if isinstance(request, SliceRequest):
                found, data = read_small_slice(path, request.partition, request.low, request.high, INLINE_BYTES)
                return SliceReply(request.request, replace(found, path=""), data)
            return BytesReply(request.request, self._read(path, request))
        except FileNotFoundError:
            return Gone(request.request, "the file is not there")
        except OSError as error:
            return Gone(request.request, f"the file cannot be read: {error.strerror}")
        except (CorruptBlockError, IndexError, WireError) as error:
            return Gone(request.request, str(error))

    def _path(self, attempt: AttemptId, spill: int) -> str:
        if not JOB_ID.fullmatch(attempt.task.job):
            msg = "not the id of a job"
            raise WireError(msg)
        name = part_file_name(attempt) if spill == PART else run_file_name(attempt, spill)
        return f"{self._folder}/{attempt.task.job}/{name}"

    def _read(self, path: str, request: BytesRequest) -> bytes:
        if not 0 < request.length <= FETCH_PIECE_BYTES or not 0 <= request.offset <= MOST_OFFSET:
            msg = f"a piece has 1 to {FETCH_PIECE_BYTES} bytes, not {request.length} at {request.offset}"
            raise WireError(msg)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(fd, request.length, request.offset)
        finally:
            os.close(fd)
        if len(data) < request.length:
            msg = f"the file ends before byte {request.offset + request.length}"
            raise WireError(msg)
        return data


def serve(sock: zmq.Socket[bytes], server: ShuffleServer, life_fd: int) -> None:
    """Answer until the life pipe closes."""
    poller = zmq.Poller()
    poller.register(sock, zmq.POLLIN)
    poller.register(life_fd, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if life_fd in ready and not os.read(life_fd, 4096):
            return
        for _ in range(FRAMES_PER_TURN):
            try:
                identity, *parts = sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                (part,) = parts
                requests = decode_all(part)
            except (WireError, ValueError) as error:
                print(f"shuffle server: dropped a frame: {error}", file=sys.stderr)  # noqa: T201 - its log
                continue
            answers = (server.answer(one) for one in requests if isinstance(one, SliceRequest | BytesRequest))
            for frame in frames(answers, REPLY_BYTES):
                sock.send_multipart([identity, frame])


def bind(context: zmq.Context[Any], address: str) -> zmq.Socket[bytes]:
    """Make the listening socket. Raises ZMQError for an address that cannot be used."""
    sock: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    sock.linger = 0
    sock.sndhwm = 0  # what waits for a peer is bounded by the credits of its fetch machine
    sock.maxmsgsize = REQUEST_BYTES
    sock.ipv6 = "[" in address
    sock.bind(address)
    return sock


def main(arguments: list[str]) -> int:
    """Serve; give the exit code: 0 when the life pipe closed, 2 when the address cannot be used."""
    parser = argparse.ArgumentParser(prog="workers.shuffle_server", description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--life-fd", required=True, type=int)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with zmq.Context() as context:
        try:
            sock = bind(context, options.listen)
        except zmq.ZMQError as error:
            print(f"--listen {options.listen}: {error.strerror}", file=sys.stderr)  # noqa: T201 - its log
            return 2
        sys.stdout.write(sock.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0") + "\n")
        sys.stdout.flush()
        with sock:
            serve(sock, ShuffleServer(options.folder), options.life_fd)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
