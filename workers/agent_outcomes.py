"""Outcomes of attempts until the coordinator has answered them, what it granted, and what attempts print. Pure."""

from __future__ import annotations

from collections import deque

from mapreduce.errors import WireError
from mapreduce.plan import AttemptId, Failure, FailureKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, Heartbeat, LogLines
from workers.agent_attempts import Outcome, Running, signed
from workers.agent_events import Effect
from workers.agent_session import Session

LOG_BACKLOG = 100  # LogLines kept while there is no session: a session is back within seconds, or nobody reads them
CANCELLED = Failure(FailureKind.LOST, "the attempt was stopped at the coordinator's wish")


class Outcomes:
    """What is told of attempts that are over. `waiting` are those without an answer, `kept` in the order of grants."""

    def __init__(self, session: Session, worker: str) -> None:
        self._session = session
        self._worker = worker
        self._log_backlog: deque[LogLines] = deque(maxlen=LOG_BACKLOG)
        self.waiting: dict[AttemptId, Outcome] = {}
        self.kept: dict[AttemptId, None] = {}

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self.waiting or attempt in self.kept

    def finish(self, running: Running | None, message: AttemptDone | AttemptFailed) -> list[Effect]:
        """An attempt is over: tell what it printed, then its outcome."""
        effects = self.flush_log(running) if running is not None else []
        self.waiting[message.attempt] = Outcome(message)
        return effects + self._tell(message.attempt)

    def tell_again(self) -> list[Effect]:
        """There is a new session: tell what has no answer yet."""
        effects: list[Effect] = []
        while self._log_backlog:
            effects += self._session.send(self._log_backlog.popleft())
        for attempt in list(self.waiting):
            effects += self._tell(attempt)
        return effects

    def heartbeat(self, message: Heartbeat) -> list[Effect]:
        """A failure is answered by the next heartbeat that has it received; a success by its grant or drop."""
        for attempt, outcome in list(self.waiting.items()):
            if isinstance(outcome.message, AttemptFailed) and 0 < outcome.number <= message.received:
                del self.waiting[attempt]
        return []

    def granted(self, attempt: AttemptId) -> list[Effect]:
        """The attempt is its task's commit."""
        if self.waiting.pop(attempt, None) is not None:
            self.kept[attempt] = None
        return []

    def drop(self, attempt: AttemptId) -> bool:
        """The attempt is no commit; whether it was one of these."""
        known = attempt in self
        self.waiting.pop(attempt, None)
        self.kept.pop(attempt, None)
        return known

    def forget(self, job: str) -> None:
        """The job is over."""
        for table in (self.waiting, self.kept):
            for attempt in [attempt for attempt in table if attempt.task.job == job]:
                del table[attempt]

    def flush_log(self, running: Running) -> list[Effect]:
        """Send what the attempt has printed."""
        if not running.log:
            return []
        lines = LogLines(running.attempt, "".join(running.log))
        running.log.clear()
        if not self._session.id:
            self._log_backlog.append(lines)
        return self._session.send(lines)

    def _tell(self, attempt: AttemptId) -> list[Effect]:
        outcome = self.waiting[attempt]
        try:
            effects = self._session.send(outcome.message)
        except WireError as error:  # counters, warnings or digests beyond what a frame may hold
            failure = Failure(FailureKind.FATAL, f"the attempt's outcome cannot be told: {error}")
            outcome.message = AttemptFailed(attempt, self.signed(failure, attempt))
            effects = self._session.send(outcome.message)
        outcome.number = self._session.sent if self._session.id else 0
        return effects

    def signed(self, failure: Failure, attempt: AttemptId | None = None) -> Failure:
        """The failure with this worker's name."""
        return signed(failure, self._worker, attempt)

    def say_stopped(self, attempt: AttemptId) -> list[Effect]:
        """Tell the coordinator that an attempt has stopped, as it wished: its slot is free."""
        return self._session.send(AttemptFailed(attempt, self.signed(CANCELLED, attempt)))
