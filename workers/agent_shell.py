"""The agent's thin shell: one poller over the coordinator's socket, task processes, fork server, disk and life pipe.

Owns I/O and time; every decision is `agent_state`'s. A turn reads a bounded amount from each peer, so that neither
chatty tasks nor a flood of messages hold up heartbeats.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from mapreduce.config import CONTROL_FRAME_BYTES, TICK_S
from mapreduce.dataflow.saved import SWEEP_S
from mapreduce.errors import UsageError, WireError
from mapreduce.protocol import wire
from workers.agent_events import (
    DeleteAttempt,
    DeleteJob,
    DeleteShared,
    Effect,
    Event,
    Exit,
    KillProcess,
    LineBlocked,
    LineOpen,
    Note,
    ProcessEnded,
    ProcessSaid,
    Received,
    Send,
    StartProcess,
    StopAsked,
    StorePiece,
    TakeBack,
    Tell,
    Tick,
)
from workers.agent_state import AgentState
from workers.disk import Disk
from workers.processes import Processes
from workers.shuffle_process import ShuffleProcess
from workers.task_messages import CleanOutput, OutputCleaned

FRAMES_PER_TURN = 100  # taken from the coordinator before others have their turn
RECONNECT_MS = 20  # a start-up waits for the first connection
RECONNECT_MAX_MS = 1000  # a coordinator that is away is asked for once a second
TRANSPORT_BEAT_MS = 5000  # a connection that a router forgot is noticed so, and made anew
LEAVE_LINGER_MS = 200  # for the last word to go out
CLEAN_S = 30.0  # for removing a killed client's output: nobody waits, and a store may be slow or away for a while
POLLIN, POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)  # plain ints: flags of an enumeration take microseconds each
LAST_PROCESS = 1 << 62  # a number for the process that cleans up at the end

log = logging.getLogger("mapreduce.worker")


def connect(context: zmq.Context[Any], address: str) -> zmq.Socket[bytes]:
    """Make the socket to the coordinator. Raises UsageError for an address that is none."""
    sock: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    sock.linger = 0
    sock.immediate = 1  # nothing is queued for a coordinator that is not there
    sock.maxmsgsize = CONTROL_FRAME_BYTES
    sock.reconnect_ivl = RECONNECT_MS
    sock.reconnect_ivl_max = RECONNECT_MAX_MS
    sock.ipv6 = "[" in address
    if address.startswith("tcp:"):
        sock.heartbeat_ivl = TRANSPORT_BEAT_MS
        sock.heartbeat_timeout = 3 * TRANSPORT_BEAT_MS
    try:
        sock.connect(address)
    except zmq.ZMQError as error:
        sock.close()
        msg = f"coordinator address {address!r}: {error.strerror}; it looks like tcp://HOST:PORT"
        raise UsageError(msg) from error
    return sock


class AgentShell:
    """Runs an agent until it is to stop; `run` gives the exit code."""

    def __init__(
        self,
        state: AgentState,
        sock: zmq.Socket[bytes],
        processes: Processes,
        disk: Disk,
        shuffle: ShuffleProcess | None,
        *,
        life_fd: int | None,
        clean_at_end: bool,
    ) -> None:
        """`clean_at_end`: when the life pipe closes, nobody else is left to remove half-written output.

        Through the pipe come lines of JSON: a job with its output folder (before that is reserved), or null once the
        other end cleans up by itself.
        """
        self._state = state
        self._socket = sock
        self._processes = processes
        self._disk = disk
        self._shuffle = shuffle
        self._life_fd = life_fd
        self._clean_at_end = clean_at_end
        self._told = b""
        self._line_blocked = False
        self._exit: Exit | None = None
        self._events: deque[Event] = deque()
        self._sends: list[Send] = []
        self._wanted: dict[Any, int] = {}
        self._poller = zmq.Poller()
        self._wake, self._wake_end = socket.socketpair()
        self._stop_reason = ""
        self._perform_by_type: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            StartProcess: lambda effect: processes.start(effect.process),
            KillProcess: lambda effect: processes.kill(effect.process),
            Tell: lambda effect: processes.tell(effect.process, effect.message),
            TakeBack: lambda effect: self._events.extendleft(processes.take_back(effect.process)),
            StorePiece: disk.store,
            DeleteAttempt: disk.delete_attempt,
            DeleteJob: disk.delete_job,
            DeleteShared: disk.delete_shared,
            Note: lambda effect: log.info("%s", effect.text),
            Exit: self._leave,
        }

    @property
    def exit_reason(self) -> str:
        """Why it stopped, once it has."""
        return self._exit.reason if self._exit is not None else ""

    def run(self) -> int:
        """Work until told to stop; give the exit code."""
        self._handle_signals()
        self._perform(self._state.start())
        next_tick_s = next_sweep_s = 0.0
        while self._exit is None:
            now_s = time.monotonic()
            if now_s >= next_sweep_s:
                next_sweep_s = now_s + SWEEP_S
                self._disk.sweep_saved()
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                self._events.append(Tick())
            while self._events and self._exit is None:
                self._perform(self._state.handle(self._events.popleft(), time.monotonic()))
            self._send_all()
            if self._exit is None and not self._events:
                self._turn(max(0.0, next_tick_s - time.monotonic()))
        log.info("leaving: %s", self._exit.reason)
        return self._exit.code

    def close(self) -> None:
        """End all that was started. The last word to the coordinator goes out first."""
        signal.set_wakeup_fd(-1)
        self._socket.close(linger=LEAVE_LINGER_MS)
        if self._clean_at_end and self._stop_reason == LIFE_OVER:
            self._clean_outputs()
        self._processes.stop()
        if self._shuffle is not None:
            self._shuffle.stop()

    # --------------------------------------------------------------------------------------- events

    def _turn(self, timeout_s: float) -> None:
        """Wait until something happens, and take a bounded amount of it from everyone."""
        control, links, logs = self._processes.control, self._processes.links(), self._processes.log_fds()
        wanted: dict[Any, int] = {self._socket: POLLIN | (POLLOUT if self._line_blocked else 0)}
        wanted[control.fileno()] = _interest(control.wants_write)
        for fd, (_, link) in links.items():
            wanted[fd] = _interest(link.wants_write)
        for fd in (*logs, *self._other_fds()):
            wanted[fd] = POLLIN
        if wanted != self._wanted:  # seldom: a poller is costly to make
            self._wanted, self._poller = wanted, zmq.Poller()
            for peer, interest in wanted.items():
                self._poller.register(peer, interest)
        ready = dict(self._poller.poll(round(timeout_s * 1000) + 1))
        self._receive(ready.pop(self._socket, 0))
        for fd, (process, link) in links.items():
            if ready.get(fd, 0) & POLLOUT:
                link.flush()
            if ready.get(fd, 0) & ~POLLOUT:
                self._events += self._processes.read_link(process)
        for fd in ready.keys() & logs.keys():
            self._events += self._processes.read_log(logs[fd])
        if control.fileno() in ready:
            control.flush()
            self._events += self._processes.read_control()
        self._other_news(ready)

    def _other_fds(self) -> list[int]:
        fds = [self._disk.fileno(), self._wake.fileno()]
        if self._life_fd is not None:
            fds.append(self._life_fd)
        if self._shuffle is not None:
            fds.append(self._shuffle.fileno())
        return fds

    def _receive(self, what: int) -> None:
        if what & POLLOUT and self._line_blocked:
            self._line_blocked = False
            self._events.append(LineOpen())
        if not what & POLLIN:
            return
        for _ in range(FRAMES_PER_TURN):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            for frame in frames:
                try:
                    self._events.append(Received(wire.decode(frame)))
                except WireError as error:
                    log.warning("dropped a frame of the coordinator: %s", error)

    def _other_news(self, ready: dict[Any, int]) -> None:
        if self._disk.fileno() in ready:
            self._events += self._disk.events()
        if self._wake.fileno() in ready:
            self._wake.recv(4096)
        if self._shuffle is not None and self._shuffle.fileno() in ready:
            self._shuffle.died()
        if self._life_fd is not None and self._life_fd in ready:
            data = os.read(self._life_fd, 4096)
            self._told = b"\n".join((self._told + data).split(b"\n")[-2:])  # the last line: it runs one job at a time
            if not data:
                self._stop(LIFE_OVER)
        if self._stop_reason:
            self._events.append(StopAsked(self._stop_reason))

    def _handle_signals(self) -> None:
        self._wake.setblocking(False)
        self._wake_end.setblocking(False)
        signal.set_wakeup_fd(self._wake_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._stop(signal.Signals(number).name))
        if self._life_fd is None:  # in a terminal of its own; else Ctrl-C is for whoever holds the life pipe
            signal.signal(signal.SIGINT, lambda _number, _frame: self._stop("SIGINT"))

    def _stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason

    # --------------------------------------------------------------------------------------- effects

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform_by_type[type(effect)](effect)

    def _send(self, effect: Send) -> None:
        self._sends.append(effect)

    def _send_all(self) -> None:
        """Send what the events of this turn have brought about."""
        sends, self._sends = self._sends, []
        for frames in wire.together(effect.frame for effect in sends):
            try:
                self._socket.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                self._line_blocked = True
                self._events.append(LineBlocked(any(effect.numbered for effect in sends)))
                return

    def _leave(self, effect: Exit) -> None:
        self._exit = effect

    def _outputs_left(self) -> dict[str, str]:
        """The output folders that nobody else cleans up, by their jobs."""
        told = json.loads(self._told.split(b"\n")[0]) if b"\n" in self._told else ()
        return {} if told is None else dict(self._state.outputs()) | dict([told] if told else [])

    def _clean_outputs(self) -> None:
        """Remove what unfinished attempts have written below output folders: the embedded cluster ends with us."""
        outputs = self._outputs_left()
        if not outputs:
            return
        for process, _ in self._processes.links().values():
            self._processes.kill(process)
        self._processes.start(LAST_PROCESS)
        for job, output in outputs.items():
            self._processes.tell(LAST_PROCESS, CleanOutput(job, output))
        for event in self._last_events(time.monotonic() + CLEAN_S):
            if isinstance(event, ProcessSaid) and isinstance(event.message, OutputCleaned):
                outputs.pop(event.message.job, None)
                if event.message.problem:
                    log.warning("%s", event.message.problem)
            if not outputs:
                return
        for job, output in outputs.items():
            log.warning("what the job %s has left in %s stays there: it could not be removed in time", job, output)

    def _last_events(self, deadline_s: float) -> Iterator[Event]:
        """What comes of the process that cleans up, until it ends or it is too late."""
        poller = zmq.Poller()
        for fd, (process, _) in self._processes.links().items():
            if process == LAST_PROCESS:
                poller.register(fd, POLLIN)
        poller.register(self._processes.control.fileno(), POLLIN)
        while (left_s := deadline_s - time.monotonic()) > 0:
            poller.poll(round(left_s * 1000))
            for event in (*self._processes.read_link(LAST_PROCESS), *self._processes.read_control()):
                yield event
                if isinstance(event, ProcessEnded) and event.process == LAST_PROCESS:
                    return


def _interest(wants_write: bool) -> int:
    return POLLIN | (POLLOUT if wants_write else 0)


LIFE_OVER = "the life pipe closed"
