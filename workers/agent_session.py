"""The agent's session with its coordinator: registering, numbering, heartbeats, gaps. Pure.

Owns when there is a session and what number a message has. A message lost in either direction shows as a gap; then
the session is dropped and the agent registers anew, as the same worker, with all that it holds.
"""

from __future__ import annotations

from mapreduce.config import HEARTBEAT_S, REGISTER_RETRY_S
from mapreduce.protocol.messages import (
    BlobData,
    GetBlob,
    Heartbeat,
    Message,
    NoBlob,
    Refused,
    Register,
    SessionEnded,
    Welcome,
)
from mapreduce.protocol.wire import Envelope, encode
from mapreduce.quick_dataclass import dataclass
from workers.agent_events import Effect, Note, Send

UNNUMBERED = (Register, Heartbeat, GetBlob)  # what may be lost or come twice without harm


@dataclass(frozen=True, slots=True)
class SessionBegun:
    """A new session: everything held is to be told."""


Delivery = Message | SessionBegun


class Session:
    """One side of a numbered conversation; `id` is "" while there is no session."""

    def __init__(self, register: Register) -> None:
        """Make the session of the worker that `register` describes; it asks for one at the first tick."""
        self._register = register
        self._next_register_s = float("-inf")
        self._next_heartbeat_s = 0.0
        self._heartbeat_s = HEARTBEAT_S
        self.id = ""
        self.sent = 0
        self.received = 0

    def tick(self, now_s: float) -> list[Effect]:
        """Register or send a heartbeat where it is time."""
        if not self.id:
            if now_s < self._next_register_s:
                return []
            self._next_register_s = now_s + REGISTER_RETRY_S
            return [Send(encode(Envelope("", 0, self._register)), numbered=False)]
        if now_s < self._next_heartbeat_s:
            return []
        self._next_heartbeat_s = now_s + self._heartbeat_s
        return self.send(Heartbeat(self.sent, self.received))

    def line_open(self, now_s: float) -> list[Effect]:
        """Say something at once where a connection has just come about."""
        self._next_register_s = self._next_heartbeat_s = now_s
        return self.tick(now_s)

    def send(self, message: Message) -> list[Effect]:
        """Send within the session. Without one nothing is sent: whoever must be sure sends again in the next.

        Raises WireError, and counts nothing, where the message makes too large a frame.
        """
        if not self.id:
            return []
        if isinstance(message, UNNUMBERED):
            return [Send(encode(Envelope(self.id, 0, message)), numbered=False)]
        frame = encode(Envelope(self.id, self.sent + 1, message))
        self.sent += 1
        return [Send(frame, numbered=True)]

    def drop(self, reason: str, now_s: float) -> list[Effect]:
        """End the session here and ask for another."""
        if not self.id:
            return []
        self.id = ""
        self._next_register_s = max(now_s, self._next_register_s)
        return [Note(f"session over: {reason}; registering anew"), *self.tick(now_s)]

    def receive(self, envelope: Envelope, now_s: float) -> tuple[list[Delivery], list[Effect]]:
        """Take a frame; give what is to be acted upon, and effects."""
        message = envelope.message
        if isinstance(message, Welcome):
            return self._welcome(envelope, message, now_s)
        if isinstance(message, Refused):
            return [message], []
        if not self.id or envelope.session != self.id:
            return [], []
        if isinstance(message, SessionEnded):
            return [], self.drop(message.reason or "the coordinator ended it", now_s)
        if isinstance(message, Heartbeat):
            if message.sent > self.received:
                return [], self.drop(f"message {self.received + 1} of the coordinator was lost", now_s)
            return [message], []
        if isinstance(message, BlobData | NoBlob):
            return [message], []
        if envelope.number <= self.received:
            return [], []
        if envelope.number != self.received + 1:
            return [], self.drop(f"message {self.received + 1} of the coordinator was lost", now_s)
        self.received = envelope.number
        return [message], []

    def _welcome(self, envelope: Envelope, welcome: Welcome, now_s: float) -> tuple[list[Delivery], list[Effect]]:
        if envelope.session == self.id or welcome.worker not in {"", self._register.worker}:
            return [], []
        # A second Register makes the coordinator end the first session: its latest word counts.
        self.id = envelope.session
        self.sent = 0
        self.received = envelope.number  # 0, or 1 where the Welcome counts as the first message
        self._heartbeat_s = welcome.heartbeat_s
        self._next_heartbeat_s = now_s + self._heartbeat_s
        note = Note(f"joined the coordinator: session {self.id} of its epoch {welcome.epoch}")
        return [SessionBegun()], [note]
