"""The client's socket: a thin ZeroMQ DEALER around the machines of `client_state`.

Owns one connection at a time, used by one thread. Decides nothing: it turns frames into events and effects into
frames, and hands what concerns people to a `Listener`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self, TypeVar

import zmq

from mapreduce.client_events import (
    Answered,
    CancelWanted,
    Effect,
    Ended,
    Event,
    NewLogs,
    NewStatus,
    Notice,
    Received,
    Refused,
    Send,
    Submitted,
    Tick,
    Unreachable,
)
from mapreduce.client_state import JobConversation, Question
from mapreduce.errors import CoordinatorUnreachable, MapReduceError, UsageError, WireError
from mapreduce.plan import JobSpec
from mapreduce.protocol.messages import FromClient, JobStatus, LogEntry, ToClient
from mapreduce.protocol.wire import Envelope, decode, encode

POLL_S = 0.1  # how often a waiting client looks at its clock: fine beside its shortest interval of a second
BATCH = 100  # frames taken between two looks at the clock

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """What wants to know how a job goes."""

    def status(self, status: JobStatus) -> None:
        """Take the job's newest status."""

    def logs(self, entries: tuple[LogEntry, ...]) -> None:
        """Take what tasks printed."""

    def notice(self, text: str) -> None:
        """Take a word of the client about the connection."""

    def tick(self) -> None:
        """Be called about every `POLL_S`, to redraw a clock."""


class SilentListener:
    """Wants to know nothing."""

    def status(self, status: JobStatus) -> None:
        """Ignore it."""

    def logs(self, entries: tuple[LogEntry, ...]) -> None:
        """Ignore them."""

    def notice(self, text: str) -> None:
        """Ignore it."""

    def tick(self) -> None:
        """Do nothing."""


class Connection:
    """A DEALER socket to a coordinator. Not for several threads at once; close it, or use it as a context manager.

    Raises UsageError for an address that is not one.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._numbers = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        # Whatever is unsent when we leave is of no use to anybody: a request without an asker, or a double.
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            msg = f"{address!r} is not an address ({error.strerror}): write it as tcp://HOST:PORT"
            raise UsageError(msg) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._socket.close()
        self._context.term()

    def unreachable(self) -> CoordinatorUnreachable:
        """The error for a first contact without an answer."""
        return CoordinatorUnreachable(
            f"no coordinator answers at {self.address}: start one with `mapreduce coordinator --listen "
            f"{self.address}`, or give the address of one with --coordinator (or MAPREDUCE_COORDINATOR)"
        )

    def send(self, number: int, message: FromClient) -> None:
        """Hand a frame to the socket. One that it has no room for is dropped: it will be said again."""
        with contextlib.suppress(zmq.Again):
            self._socket.send(encode(Envelope("", number, message)), zmq.NOBLOCK)

    def receive(self, timeout_s: float) -> list[Received]:
        """Wait up to `timeout_s` for frames and give those that came; what cannot be read is logged and dropped."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return []
        events = []
        for _ in range(BATCH):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                envelope = decode(frame)
            except WireError as error:
                _log.warning("dropped a frame from %s: %s", self.address, error)
                continue
            # Which types a coordinator sends to a client is for the machine to know: it ignores all others.
            events.append(Received(envelope.number, envelope.message))  # type: ignore[arg-type]
        return events

    def events(self, tick: Callable[[], None] | None = None) -> Iterator[Event]:
        """Yield what comes, and a Tick at least every `POLL_S`."""
        yield Tick()
        while True:
            yield from self.receive(POLL_S)
            if tick is not None:
                tick()
            yield Tick()

    def ask(self, message: FromClient, answer: type[T]) -> T:
        """Ask, and wait for an answer of the type `answer`.

        Raises CoordinatorUnreachable, and UsageError with the coordinator's reason if it refuses.
        """
        self._numbers += 1
        question = Question(self.address, message, self._numbers, time.monotonic())
        for event in self.events():
            for effect in question.handle(event, time.monotonic()):
                got = self._question_effect(effect)
                if isinstance(got, answer):
                    return got
                if got is not None:
                    msg = f"{self.address} answered {type(message).__name__} with {type(got).__name__}"
                    raise MapReduceError(msg)
        raise AssertionError("events() never ends")

    def _question_effect(self, effect: Effect) -> ToClient | None:
        match effect:
            case Send(number, message):
                self.send(number, message)
            case Answered(message):
                return message
            case Refused(reason):
                raise UsageError(reason)
            case Unreachable():
                raise self.unreachable()
            case _:
                pass  # a silence: the question ends by an answer or by Ctrl-C
        return None


class JobFollower:
    """A conversation about one job over one connection.

    `check` is called about every `POLL_S` and may raise to end it, as when a process of ours has died.
    """

    def __init__(
        self,
        connection: Connection,
        job: str,
        listener: Listener,
        *,
        spec: JobSpec | None = None,
        blobs: Mapping[str, bytes] | None = None,
        watch: bool = True,
        logs: bool = True,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._check = check
        self._machine = JobConversation(
            connection.address, job, time.monotonic(), spec=spec, blobs=blobs, watch=watch, logs=logs
        )
        self.submitted = spec is None  # whether the coordinator has it
        self._final: JobStatus | None = None

    def follow(self, until_s: float | None = None) -> JobStatus | None:
        """Converse until the job ends, and give its last status; None when it was only to be submitted.

        None, too, once `until_s` (of time.monotonic) has passed. Raises CoordinatorUnreachable, and UsageError where
        the coordinator refuses the job or does not know it.
        """
        for event in self._connection.events(self._tick):
            if self._handle(event):
                return self._final
            if until_s is not None and time.monotonic() >= until_s:
                return None
        raise AssertionError("events() never ends")

    def cancel(self) -> None:
        """Ask for the job's end; `follow` then sees it end."""
        self._handle(CancelWanted())

    def _tick(self) -> None:
        self._listener.tick()
        if self._check is not None:
            self._check()

    def _handle(self, event: Event) -> bool:
        over = False
        for effect in self._machine.handle(event, time.monotonic()):
            over = self._effect(effect) or over
        return over

    def _effect(self, effect: Effect) -> bool:
        """Carry out one effect; True when the conversation is over."""
        match effect:
            case Send(number, message):
                self._connection.send(number, message)
            case NewStatus(status):
                self._listener.status(status)
            case NewLogs(entries):
                self._listener.logs(entries)
            case Notice(text):
                self._listener.notice(text)
            case Submitted():
                self.submitted = True
                return self._machine.is_over
            case Ended(status):
                self._final = status
                return True
            case Refused(reason):
                raise UsageError(reason)
            case Unreachable():
                raise self._connection.unreachable()
            case Answered():
                pass  # only questions are answered so
        return False
