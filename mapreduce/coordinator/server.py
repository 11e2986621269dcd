"""The shell around the coordinator's core: one thread with a ROUTER socket, the journal and the blobs.

Each round takes what has come, hands it to the core, makes the entries durable in one transaction, and only then sends
the messages. Time passes for the core (Tick) only after all that had come was handed over: a busy coordinator does not
take its own delay for somebody's silence. A frame that cannot be read is dropped with a log line. If the journal
fails, or the core meets a defect, the server stops: what it has sent is on the disk, and the next start goes on.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from pathlib import Path

import zmq

from mapreduce.config import CONTROL_FRAME_BYTES, DEFAULT_LISTEN, TICK_S
from mapreduce.coordinator.blobs import BlobStore
from mapreduce.coordinator.effects import Effects, Send
from mapreduce.coordinator.entries import Entry
from mapreduce.coordinator.events import Event, Proceed, Received, Tick
from mapreduce.coordinator.journal import Journal
from mapreduce.coordinator.state_machine import Coordinator
from mapreduce.errors import IllegalTransition, JournalError, UsageError, WireError
from mapreduce.protocol.messages import (
    BlobData,
    BlobStored,
    GetBlob,
    GetLogs,
    LogEntry,
    Logs,
    NoBlob,
    Rejected,
    SessionEnded,
    Submit,
)
from mapreduce.protocol.wire import FRAMES_TOGETHER, Encoder, Envelope, decode, together
from mapreduce.versions import own_versions

BATCH_FRAMES = 500  # handed over before a journal transaction: one fsync for many, and still only milliseconds
WRITES_APART_S = 0.004  # under load: a commit costs the machine a millisecond or two, whatever is in it
DRAIN_BATCHES = 20  # of frames at most before a Tick is due all the same: nobody can hold up the clock for ever
SEND_QUEUE = 10_000  # messages for one peer: more than any burst of ours; a peer that takes none loses the rest
RECEIVE_QUEUE = 10_000  # frames from one peer that wait here; more wait on its side
LARGEST_FRAME = 4 * CONTROL_FRAME_BYTES  # the transport cuts off who sends more; what is merely too large is logged
KEEPALIVE_S = 30  # idle connections are probed, so that those of dead hosts do not pile up
LINGER_MS = 500  # for the last messages when the server stops
SWEEP_S = 30.0  # how often unused blobs are looked for
STOP_S = 20.0  # for the thread to end: a round takes milliseconds, a snapshot a few seconds at worst

_log = logging.getLogger(__name__)


class CoordinatorServer:
    """A coordinator on `address` (ipc://... or tcp://...; `*` or 0 as the port takes a free one).

    `state_dir` holds journal and blobs; with `durable` False only the blobs, and nothing outlives the server.
    `start` raises UsageError for an address that cannot be had, JournalError for a state folder that cannot be used.
    """

    def __init__(self, address: str = DEFAULT_LISTEN, state_dir: Path | str = ".", *, durable: bool = True) -> None:
        self.address = address
        self.failure: BaseException | None = None  # why the thread ended by itself
        self._state_dir = Path(state_dir)
        self._durable = durable
        self._thread: threading.Thread | None = None
        self._pipe: tuple[int, int] | None = None  # what wakes the thread when it is to end

    def start(self) -> None:
        """Recover the state, bind, and serve in a thread of its own. `address` is then where to connect to."""
        assert self._thread is None
        journal = Journal(self._state_dir, durable=self._durable)
        try:
            coordinator = _recover(journal)
            blobs = BlobStore(self._state_dir / "blobs", durable=self._durable)
            context = zmq.Context()
            socket = _bind(context, self.address)
        except BaseException:
            journal.close()
            raise
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._pipe = os.pipe()
        loop = _Loop(coordinator, journal, blobs, socket, self._pipe[0])
        loop.writes_apart_s = WRITES_APART_S if self._durable else 0.0
        # An embedded one must not keep its program from ending, which stops it at its exit.
        daemon = not self._durable
        self._thread = threading.Thread(
            target=self._run, args=(loop, context), name="mapreduce-coordinator", daemon=daemon
        )
        self._thread.start()

    def _run(self, loop: _Loop, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        try:
            loop.run()
        except BaseException as error:  # noqa: BLE001 - kept for whoever waits, and logged: the thread has no caller
            self.failure = error
            _log.critical("the coordinator stops: %s", error, exc_info=not isinstance(error, JournalError))
        finally:
            loop.close()
            context.term()

    @property
    def is_own_thread(self) -> bool:
        """Whether the current thread is the one that serves."""
        return threading.current_thread() is self._thread

    def wait(self) -> None:
        """Wait until the server has ended by itself or was stopped from another thread."""
        if self._thread is not None:
            self._thread.join()

    def request_stop(self) -> None:
        """Have the server end soon; may be called from a signal handler."""
        if self._pipe is not None:
            os.write(self._pipe[1], b"x")

    def stop(self) -> None:
        """End the server and let go of address and state folder; may be called twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.request_stop()
        thread.join(STOP_S)
        if thread.is_alive():
            msg = f"the coordinator's thread did not end within {STOP_S:.0f} s"
            raise JournalError(msg)
        pipe, self._pipe = self._pipe, None
        assert pipe is not None
        for end in pipe:
            os.close(end)


def _recover(journal: Journal) -> Coordinator:
    """Build the core from the journal. Raises JournalError if that cannot be."""
    snapshot, entries = journal.read()
    try:
        return Coordinator.recover(
            journal.epoch,
            own_versions(),
            time.monotonic(),
            snapshot=snapshot,
            entries=entries,
            log_sizes=journal.log_sizes(),
        )
    except (WireError, IllegalTransition) as error:
        msg = f"the journal in {journal.folder} makes no sense ({error}): move the folder away to start afresh"
        raise JournalError(msg) from error


def _bind(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_FRAME)
    # Not ROUTER_MANDATORY: a message for a peer that is gone, or takes none, is lost, and its session with it.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that reconnects takes over from its dead connection
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S)
    socket.setsockopt(zmq.IPV6, int("[" in address))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        context.term()
        hint = "is another coordinator there? " if error.errno == zmq.EADDRINUSE else ""
        msg = f"cannot listen on {address}: {error.strerror}; {hint}Give another address with --listen"
        raise UsageError(msg) from error
    return socket


class _Loop:
    """What the server's thread does. Owns all of its parts, and closes them."""

    def __init__(
        self, coordinator: Coordinator, journal: Journal, blobs: BlobStore, socket: zmq.Socket[bytes], woken: int
    ) -> None:
        self._coordinator = coordinator
        self._journal = journal
        self._blobs = blobs
        self._socket = socket
        self._woken = woken
        self._entries: list[Entry] = []
        self._logs: list[LogEntry] = []
        self._messages: list[Send] = []
        self._encoder = Encoder()
        self._unfinished = False  # whether the core has more to do at once
        self._written_s = 0.0
        self.writes_apart_s = WRITES_APART_S  # nothing where the journal is not on a disk
        self._next_tick_s = time.monotonic()
        self._next_sweep_s = time.monotonic()

    def run(self) -> None:
        """Serve until woken."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while True:
            wait_s = max(0.0, self._next_tick_s - time.monotonic())
            ready = dict(poller.poll(0 if self._unfinished else int(wait_s * 1000) + 1))
            if self._woken in ready:
                return
            for _ in range(DRAIN_BATCHES):
                if self._take_batch() < BATCH_FRAMES and not self._unfinished:
                    break
            if time.monotonic() >= self._next_tick_s:
                self._tick()

    def close(self) -> None:
        """Close socket and journal."""
        self._socket.close()
        self._journal.close()

    def _tick(self) -> None:
        now_s = time.monotonic()
        self._next_tick_s = now_s + TICK_S
        self._handle(Tick())
        self._flush()
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + SWEEP_S
            self._blobs.sweep(self._coordinator.blobs_in_use(), now_s)
        if self._journal.wants_snapshot(self._coordinator.commits):
            self._journal.write_snapshot(self._coordinator.snapshot())

    def _take_batch(self) -> int:
        """Handle the frames that are there, up to about a batch; give how many."""
        count = 0
        if self._unfinished:
            self._handle(Proceed())
        while count < BATCH_FRAMES:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                if self._may_wait_for_more():
                    continue
                break
            if not 1 < len(parts) <= FRAMES_TOGETHER + 1:
                count += 1
                said = "dropped a message of %d frames from %s: ours have 1 to %d"
                _log.warning(said, len(parts) - 1, parts[0].hex(), FRAMES_TOGETHER)
                continue
            identity, *frames = parts
            count += len(frames)
            for frame in frames:
                try:
                    envelope = decode(frame)
                except WireError as error:
                    _log.warning("dropped a frame from %s: %s", identity.hex(), error)
                    continue
                self._receive(identity, envelope)
        self._flush()
        return count

    def _may_wait_for_more(self) -> bool:
        """Where the disk was just made to write, wait for more to write with what there is; True if something came."""
        left_s = self._written_s + self.writes_apart_s - time.monotonic()
        return bool(self._entries) and left_s > 0 and bool(self._socket.poll(math.ceil(left_s * 1000)))

    def _handle(self, event: Event) -> None:
        effects: Effects = self._coordinator.handle(event, time.monotonic())
        self._entries += effects.entries
        self._logs += effects.logs
        self._messages += effects.messages
        self._unfinished = effects.unfinished
        for complaint in effects.complaints:
            _log.warning("%s", complaint)

    def _flush(self) -> None:
        """Make everything durable, then send."""
        if self._entries or self._logs:
            self._journal.append(self._entries, self._logs)
            self._written_s = time.monotonic()
        by_peer: dict[bytes, list[bytes]] = {}
        for send in self._messages:
            try:
                by_peer.setdefault(send.identity, []).append(self._encoder.encode(send.envelope))
            except WireError as error:  # a defect, but no reason to stop for all; its session ends by the gap
                _log.error("not sent to %s: %s", send.identity.hex(), error)
        for identity, frames in by_peer.items():
            for some in together(frames):
                self._socket.send_multipart([identity, *some])
        for box in (self._entries, self._logs, self._messages):
            box.clear()

    def _receive(self, identity: bytes, envelope: Envelope) -> None:
        message = envelope.message
        match message:
            case GetBlob():
                self._get_blob(identity, envelope.session, message)
            case BlobData():
                self._put_blob(identity, envelope.number, message)
            case GetLogs():
                self._get_logs(identity, envelope.number, message)
            case Submit(spec):
                missing = self._blobs.missing(spec.blobs)
                self._handle(Received(identity, envelope, missing))
            case _:
                self._handle(Received(identity, envelope))

    def _get_blob(self, identity: bytes, session: str, message: GetBlob) -> None:
        answer: BlobData | NoBlob | SessionEnded
        if not self._coordinator.knows_session(identity, session):
            answer = SessionEnded("the coordinator does not know this session (any more)")
        else:
            answer = NoBlob(message.sha256)
            try:
                found = self._blobs.get(message.sha256, message.offset)
            except (WireError, JournalError) as error:
                _log.warning("no blob for %s: %s", identity.hex(), error)
                found = None
            if found is not None:
                answer = BlobData(message.sha256, message.offset, *found)
        self._messages.append(Send(identity, Envelope(session, 0, answer)))

    def _put_blob(self, identity: bytes, number: int, piece: BlobData) -> None:
        answer: BlobStored | Rejected
        try:
            answer = BlobStored(piece.sha256, self._blobs.put(piece.sha256, piece.offset, piece.total, piece.data))
        except (WireError, JournalError) as error:
            answer = Rejected(str(error))
        self._messages.append(Send(identity, Envelope("", number, answer)))

    def _get_logs(self, identity: bytes, number: int, message: GetLogs) -> None:
        job = self._coordinator.resolve(message.job)
        answer: Logs | Rejected
        if isinstance(job, Rejected):
            answer = job
        else:
            # Lines of this round are not in the journal yet: the answer must not be older than a status sent before.
            self._flush()
            start = max(0, message.start)
            total, entries = self._journal.read_logs(job, start)
            answer = Logs(job, start, total, entries)
        self._messages.append(Send(identity, Envelope("", number, answer)))
