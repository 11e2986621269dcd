"""The thin shell of `shuffle_fetch` in a task process: one ZeroMQ socket for each server, one local file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import zmq

from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.errors import DiskFullError, InputLostError, WireError
from workers.shuffle_fetch import Ask, FetchEffect, FetchMachine, Wanted
from workers.shuffle_messages import (
    FRAME_BYTES,
    REQUEST_BYTES,
    BytesReply,
    Gone,
    Request,
    SliceReply,
    decode_all,
    frames,
)

POLL_S = 0.5  # between looks at who is silent: small beside the times that count

log = logging.getLogger("mapreduce.worker")


def fetch(wanted: Sequence[Wanted], path: Path) -> dict[int, Slice]:
    """Fetch slices into the new file `path`; give them by their places.

    Raises InputLostError where one cannot be had, DiskFullError where the file cannot be written.
    """
    machine = FetchMachine(wanted, str(path))
    with zmq.Context() as context, _Sockets(context) as sockets:
        fd = _guard(path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        try:
            _run(machine, sockets, fd, path)
        finally:
            os.close(fd)
    return machine.slices


def _run(machine: FetchMachine, sockets: _Sockets, fd: int, path: Path) -> None:
    effects = machine.tick(time.monotonic())
    next_tick_s = time.monotonic() + POLL_S
    while True:
        _perform(effects, sockets, fd, path)
        if machine.done:
            return
        effects = []
        for address, frame in sockets.receive(max(0.0, next_tick_s - time.monotonic())):
            try:
                replies = decode_all(frame)
            except WireError as error:
                log.warning("dropped a frame of the shuffle server %s: %s", address, error)
                continue
            for reply in replies:
                if isinstance(reply, SliceReply | BytesReply | Gone):
                    effects += machine.answer(address, reply, time.monotonic())
            _perform(effects, sockets, fd, path)
            effects = []
        if time.monotonic() >= next_tick_s:
            next_tick_s = time.monotonic() + POLL_S
            effects = machine.tick(time.monotonic())


def _perform(effects: list[FetchEffect], sockets: _Sockets, fd: int, path: Path) -> None:
    asked: dict[str, list[Request]] = {}
    for effect in effects:
        if isinstance(effect, Ask):
            asked.setdefault(effect.address, []).append(effect.request)
        else:
            data, offset = memoryview(effect.data), effect.offset
            while data:
                written = _guard(path, lambda data=data, offset=offset: os.pwrite(fd, data, offset))
                data, offset = data[written:], offset + written
    for address, requests in asked.items():
        sockets.send(address, requests)


def _guard(path: Path, write: Any) -> int:
    try:
        number: int = write()
    except OSError as error:
        if error.errno in DISK_ERRORS:
            msg = f"cannot write fetched data to {path.parent}: {error.strerror}; free space there"
            raise DiskFullError(msg) from error
        raise
    return number


class _Sockets:
    """One DEALER for each server, made when it is first asked."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._context = context
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._addresses: dict[Any, str] = {}
        self._poller = zmq.Poller()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for sock in self._sockets.values():
            sock.close(linger=0)

    def send(self, address: str, requests: Sequence[Request]) -> None:
        """Send requests. What the socket has no room for is lost, and asked for again later."""
        sock = self._sockets.get(address) or self._open(address, requests[0])
        try:
            for frame in frames(requests, REQUEST_BYTES // 2):
                sock.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            log.warning("the shuffle server %s takes no more requests", address)

    def receive(self, timeout_s: float) -> list[tuple[str, bytes]]:
        """Wait for answers; at most one of each server, so that they are written as they come."""
        found = []
        for sock, _ in self._poller.poll(round(timeout_s * 1000)):
            found.append((self._addresses[sock], sock.recv(zmq.NOBLOCK)))
        return found

    def _open(self, address: str, request: Request) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        sock.linger = 0
        sock.sndhwm = sock.rcvhwm = 0  # the machine's credits are the bound
        sock.maxmsgsize = FRAME_BYTES
        sock.ipv6 = "[" in address
        try:
            sock.connect(address)
        except zmq.ZMQError as error:
            sock.close()
            msg = f"the shuffle server's address {address!r} cannot be used: {error.strerror}"
            raise InputLostError(request.attempt, msg) from error
        self._sockets[address] = sock
        self._addresses[sock] = address
        self._poller.register(sock, zmq.POLLIN)
        return sock
