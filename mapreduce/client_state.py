"""The client's side of its conversations with a coordinator: pure machines.

Owns what is said, when it is said again, when silence is worth a word, and when a conversation is over. Knows no
clock, socket or terminal: time is an argument, and `client` carries the effects out. A retry is the same message under
the same number, so that the answer to either is taken once and late doubles are ignored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

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
from mapreduce.config import (
    BLOB_PIECE_BYTES,
    CLIENT_CONNECT_S,
    CLIENT_RETRY_S,
    CLIENT_SILENCE_S,
    WATCH_RENEW_S,
)
from mapreduce.plan import JobSpec
from mapreduce.protocol.messages import (
    Accepted,
    BlobData,
    BlobStored,
    Cancel,
    FromClient,
    GetLogs,
    JobStatus,
    Logs,
    NeedBlobs,
    Rejected,
    Submit,
    ToClient,
    Watch,
)

CLIENT_RETRY_MAX_S = 4.0  # retries slow down to this, so that a thin line is not filled with doubles
SILENCE_AGAIN_S = 60.0  # a coordinator that stays silent is mentioned again so often
LOGS_PATIENCE_S = 2.0  # an ended job's last log lines are waited for so long, then the result matters more

ENDED_STATES = frozenset({"done", "failed", "cancelled"})
SETTLED_STATES = ENDED_STATES | {"kept"}  # the results are there, or will never be: what a client follows a job to


# ------------------------------------------------------------------------------------------- machinery


class _Request:
    """One message that is repeated under one number until it is answered."""

    __slots__ = ("_due_s", "_wait_s", "message", "number")

    def __init__(self, number: int, message: FromClient, now_s: float) -> None:
        self.number = number
        self.message = message
        self._wait_s = CLIENT_RETRY_S
        self._due_s = now_s

    def due(self, now_s: float) -> list[Effect]:
        """Give the message to send, if it is time to send it (again)."""
        if now_s < self._due_s:
            return []
        self._due_s = now_s + self._wait_s
        self._wait_s = min(self._wait_s * 2, CLIENT_RETRY_MAX_S)
        return [Send(self.number, self.message)]


class _Line:
    """Whether the other side is heard: unreachable at first contact, silent or back later."""

    def __init__(self, address: str, now_s: float) -> None:
        self._address = address
        self._heard_s = now_s
        self._ever = False
        self._mention_s: float | None = None

    def heard(self, now_s: float) -> list[Effect]:
        silent = self._mention_s is not None
        self._heard_s, self._ever, self._mention_s = now_s, True, None
        return [Notice(f"the coordinator at {self._address} answers again")] if silent else []

    def unreachable(self, now_s: float) -> bool:
        return not self._ever and now_s - self._heard_s >= CLIENT_CONNECT_S

    def silence(self, now_s: float) -> list[Effect]:
        silent_s = now_s - self._heard_s
        if silent_s < CLIENT_SILENCE_S or (self._mention_s is not None and now_s < self._mention_s):
            return []
        self._mention_s = now_s + SILENCE_AGAIN_S
        return [Notice(f"the coordinator at {self._address} has been silent for {silent_s:.0f} s; still trying")]


# ------------------------------------------------------------------------------------------- conversations


class Question:
    """One request and its one answer."""

    def __init__(self, address: str, message: FromClient, number: int, now_s: float) -> None:
        self._line = _Line(address, now_s)
        self._request = _Request(number, message, now_s)
        self._over = False

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take an event; the last effect is `Answered`, `Refused` or `Unreachable` when it is over."""
        if self._over:
            return []
        if isinstance(event, Received):
            effects = self._line.heard(now_s)
            if event.number != self._request.number:
                return effects
            self._over = True
            message = event.message
            return [*effects, Refused(message.reason) if isinstance(message, Rejected) else Answered(message)]
        if self._line.unreachable(now_s):
            self._over = True
            return [Unreachable()]
        return [*self._request.due(now_s), *self._line.silence(now_s)]


class Phase(enum.Enum):
    """How far the conversation about a job is."""

    SUBMIT = enum.auto()
    UPLOAD = enum.auto()
    WATCH = enum.auto()
    LAST_LOGS = enum.auto()
    OVER = enum.auto()


class JobConversation:
    """Submits a job (unless `spec` is None) and follows it to its end (unless `watch` is False).

    `blobs` maps SHA-256 to bytes: what the coordinator may ask for. Submitting is idempotent, so whatever is lost on
    the way, or forgotten by a restarted coordinator, is simply said again.
    """

    def __init__(
        self,
        address: str,
        job: str,
        now_s: float,
        *,
        spec: JobSpec | None = None,
        blobs: Mapping[str, bytes] | None = None,
        watch: bool = True,
        logs: bool = True,
    ) -> None:
        self._line = _Line(address, now_s)
        self._job = job
        self._spec = spec
        self._blobs = dict(blobs or {})
        self._watch = watch
        self._want_logs = logs
        self._number = 0
        self._missing: list[str] = []
        self._logs_have = 0
        self._logs_request: _Request | None = None
        self._cancel_request: _Request | None = None
        self._status: JobStatus | None = None
        self._ended_s = 0.0
        self._watch_due_s = now_s
        self._watch_number = 0
        self.phase = Phase.WATCH if spec is None else Phase.SUBMIT
        self._request: _Request | None = None if spec is None else self._ask(Submit(spec), now_s)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take an event; the last effect is `Ended`, `Submitted`, `Refused` or `Unreachable` when it is over."""
        if self.is_over:
            return []
        match event:
            case Received(number, message):
                effects = [*self._line.heard(now_s), *self._receive(number, message, now_s)]
            case CancelWanted():
                effects = []
                if self._cancel_request is None:
                    self._cancel_request = self._ask(Cancel(self._job), now_s)
            case Tick():
                effects = []
        return effects if self.is_over else [*effects, *self._time(now_s)]

    @property
    def is_over(self) -> bool:
        """Whether the conversation has ended; it then ignores every event."""
        return self.phase is Phase.OVER

    @property
    def _submitting(self) -> bool:
        return self.phase in {Phase.SUBMIT, Phase.UPLOAD}

    def _ask(self, message: FromClient, now_s: float) -> _Request:
        self._number += 1
        return _Request(self._number, message, now_s)

    def _end(self, effect: Effect) -> list[Effect]:
        self.phase = Phase.OVER
        return [effect]

    def _time(self, now_s: float) -> list[Effect]:
        if self._line.unreachable(now_s):
            return self._end(Unreachable())
        effects: list[Effect] = []
        # A job that is still being handed over could not be cancelled, and would run on: first it is.
        cancel = None if self._submitting else self._cancel_request
        for request in (self._request, cancel, self._logs_request):
            if request is not None:
                effects += request.due(now_s)
        if self.phase is Phase.WATCH and now_s >= self._watch_due_s:
            self._watch_number = self._watch_number or self._ask(Watch(self._job), now_s).number
            # Until the first status comes, at the pace of a retry: the first Watch may have been lost.
            self._watch_due_s = now_s + (WATCH_RENEW_S if self._status is not None else CLIENT_RETRY_S)
            effects.append(Send(self._watch_number, Watch(self._job, self._logs_have)))
        effects += self._line.silence(now_s)
        if self.phase is Phase.LAST_LOGS and now_s - self._ended_s >= LOGS_PATIENCE_S:
            assert self._status is not None
            effects.append(Notice("the last lines that the job printed could not be fetched"))
            effects += self._end(Ended(self._status))
        return effects

    def _receive(self, number: int, message: ToClient, now_s: float) -> list[Effect]:
        match message:
            case JobStatus() if message.job == self._job:
                return self._on_status(message, now_s)
            case Logs(job) if job == self._job and self._answers(self._logs_request, number):
                return self._on_logs(message, now_s)
            case Rejected(reason):
                return self._on_rejected(number, reason)
            case Accepted(job) if job == self._job:
                return self._on_accepted(number, now_s)
            case NeedBlobs(sha256s) if self._answers(self._request, number) and self.phase is Phase.SUBMIT:
                self._missing = list(sha256s)
                return self._upload_next(now_s)
            case BlobStored(sha256, stored) if self._answers(self._request, number) and self.phase is Phase.UPLOAD:
                return self._on_stored(sha256, stored, now_s)
            case _:
                return []  # a late double, or about another job

    @staticmethod
    def _answers(request: _Request | None, number: int) -> bool:
        return request is not None and number == request.number

    # ---- submitting

    def _on_accepted(self, number: int, now_s: float) -> list[Effect]:
        if self._cancel_request is not None and number == self._cancel_request.number:
            self._cancel_request = None
            return []
        if not self._submitting:
            return []
        self._request = None
        if not self._watch:
            return self._end(Submitted(self._job))
        self.phase, self._watch_due_s = Phase.WATCH, now_s
        return [Submitted(self._job)]

    def _upload_next(self, now_s: float) -> list[Effect]:
        if not self._missing:
            assert self._spec is not None
            self.phase = Phase.SUBMIT
            self._request = self._ask(Submit(self._spec), now_s)
            return []
        if self._missing[0] not in self._blobs:
            return self._end(Refused(f"the coordinator asks for {self._missing[0]}, which is no part of the job"))
        self.phase = Phase.UPLOAD
        return self._send_piece(0, now_s)

    def _send_piece(self, offset: int, now_s: float) -> list[Effect]:
        sha256 = self._missing[0]
        blob = self._blobs[sha256]
        piece = BlobData(sha256, offset, len(blob), blob[offset : offset + BLOB_PIECE_BYTES])
        self._request = self._ask(piece, now_s)
        return []

    def _on_stored(self, sha256: str, stored: int, now_s: float) -> list[Effect]:
        if not self._missing or sha256 != self._missing[0]:
            return []
        if stored < len(self._blobs[sha256]):
            return self._send_piece(stored, now_s)
        del self._missing[0]
        return self._upload_next(now_s)

    def _on_rejected(self, number: int, reason: str) -> list[Effect]:
        if self._cancel_request is not None and number == self._cancel_request.number:
            self._cancel_request = None
            return [Notice(reason)]
        if self._logs_request is not None and number == self._logs_request.number:
            self._logs_request = None
            return [Notice(reason)]
        if self._answers(self._request, number) or (self._watch_number and number == self._watch_number):
            return self._end(Refused(reason))
        return []

    # ---- watching

    def _on_status(self, status: JobStatus, now_s: float) -> list[Effect]:
        if self.phase is not Phase.WATCH:
            return []
        self._status = status
        effects: list[Effect] = [NewStatus(status)]
        self._ask_for_logs(now_s)
        if status.state not in SETTLED_STATES:
            return effects
        self._cancel_request = None
        if self._logs_request is None:
            return [*effects, *self._end(Ended(status))]
        self.phase, self._ended_s = Phase.LAST_LOGS, now_s
        return effects

    def _ask_for_logs(self, now_s: float) -> None:
        assert self._status is not None
        if self._want_logs and self._logs_request is None and self._logs_have < self._status.log_entries:
            self._logs_request = self._ask(GetLogs(self._job, self._logs_have), now_s)

    def _on_logs(self, logs: Logs, now_s: float) -> list[Effect]:
        self._logs_request = None
        assert self._status is not None
        new = logs.entries[max(0, self._logs_have - logs.start) :] if logs.start <= self._logs_have else ()
        effects: list[Effect] = [NewLogs(new)] if new else []
        self._logs_have += len(new)
        if new:  # else the coordinator has no more than it gave: asking on would never end
            self._ask_for_logs(now_s)
        if self.phase is Phase.LAST_LOGS and self._logs_request is None:
            effects += self._end(Ended(self._status))
        return effects
