"""What an agent knows of one attempt, and the text of its failures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace

from mapreduce.config import FAILURE_TEXT_CHARS, LOG_BYTES_PER_ATTEMPT, RECORD_CHARS
from mapreduce.plan import AttemptId, Failure, FailureKind
from mapreduce.protocol.messages import AttemptDone, AttemptFailed, Inventory, PrepareJob
from mapreduce.quick_dataclass import dataclass
from workers.agent_events import ProcessEnded
from workers.killers import Hunt, Mark
from workers.task_messages import Run

INVENTORY_IDS = 300  # in one Inventory, of each kind: 200 bytes or less each, so that all fit a control frame
LOG_CUT = "\n... (more output left out: {} KiB of an attempt are kept)\n"


@dataclass(slots=True)
class Running:
    """An attempt under way, and what is known of it. `process` is 0 while it waits for a slot.

    `again`: a process that had it is gone, and may have left files. `cancelled`: it is to stop, and has not yet.

    `log` is output not yet sent, and `log_room` how many bytes more may come.
    `hunt` is set where it runs with care: for the records that kill its processes.
    """

    attempt: AttemptId
    process: int
    previous: tuple[dict[str, int], ...] = ()
    hunt: Hunt | None = None
    again: bool = False
    cancelled: bool = False
    records: int = 0
    bytes_read: int = 0
    path: str | None = None
    offset: int | None = None
    news: bool = False
    log: list[str] = field(default_factory=list)
    log_room: int = LOG_BYTES_PER_ATTEMPT

    @property
    def is_plain(self) -> bool:
        """Whether it may be one of several that a process is handed."""
        return self.hunt is None and not self.again

    def order(self) -> Run:
        """What its process is told."""
        if self.hunt is None:
            return Run(self.attempt, self.previous, again=self.again)
        hunt = self.hunt
        return Run(
            self.attempt,
            self.previous,
            careful=True,
            skip=dict(hunt.skip),
            alone=tuple(sorted(hunt.alone)),
            again=hunt.again or self.again,
        )

    def died(self, how: str, mark: Mark | None) -> bool:
        """Its process is gone; whether another is to go on with it."""
        return self.hunt is not None and self.hunt.died(mark, how)

    def printed(self, text: str) -> None:
        """Keep what the attempt printed, as far as there is room."""
        if self.log_room <= 0:
            return
        data = text.encode("utf-8", "replace")
        if len(data) > self.log_room:
            text = data[: self.log_room].decode("utf-8", "ignore") + LOG_CUT.format(LOG_BYTES_PER_ATTEMPT >> 10)
        self.log_room -= len(data)
        self.log.append(text)


@dataclass(slots=True)
class Outcome:
    """An attempt's outcome that the coordinator has not answered; `number` is its message's in this session, or 0."""

    message: AttemptDone | AttemptFailed
    number: int = 0


@dataclass(slots=True)
class EndingJob:
    """A job that is over, whose processes are dying. `again` is set where it is to be prepared anew after that.

    `output`, `save` and `drop` are as in ForgetJob.
    """

    output: str
    save: bool = False
    drop: tuple[str, ...] = ()
    again: PrepareJob | None = None


def inventories(
    running: list[AttemptId], finished: list[AttemptId], kept: list[AttemptId], prepared: list[str]
) -> Iterator[Inventory]:
    """What is held, in as many messages as it takes; at least one."""
    longest = max(len(running), len(finished), len(kept), len(prepared))
    for start in range(0, max(1, longest), INVENTORY_IDS):
        end = start + INVENTORY_IDS
        yield Inventory(
            tuple(running[start:end]),
            tuple(finished[start:end]),
            tuple(kept[start:end]),
            tuple(prepared[start:end]),
            last=end >= longest,
        )


def signed(failure: Failure, worker: str, attempt: AttemptId | None) -> Failure:
    """The failure with the worker's name and the task's, its texts cut so that they fit a frame."""
    return replace(
        failure,
        worker=worker,
        task=failure.task or (None if attempt is None else str(attempt.task)),
        message=cut(failure.message, FAILURE_TEXT_CHARS // 4),
        traceback=cut(failure.traceback, FAILURE_TEXT_CHARS),
        stderr=cut(failure.stderr, FAILURE_TEXT_CHARS),
        path=failure.path and cut(failure.path, FAILURE_TEXT_CHARS),
        key=failure.key and cut(failure.key, RECORD_CHARS),
        record=failure.record and cut(failure.record, RECORD_CHARS),
    )


def death(running: Running, event: ProcessEnded, tail: str) -> Failure:
    """The failure of an attempt whose task process died; `tail` is its last output."""
    hint = " (out of memory?)" if event.how == "signal SIGKILL" else ""
    message = f"the task process died: {event.how}{hint}"
    failure = Failure(FailureKind.DIED, message, path=running.path, offset=running.offset, stderr=tail)
    return failure if running.hunt is None else running.hunt.story(failure, event.mark)


def cut(text: str, chars: int) -> str:
    """Text that fits a frame: its end is the part of a traceback that says what happened."""
    text = text.encode("utf-8", "backslashreplace").decode()  # a frame takes no lone surrogates
    return text if len(text) <= chars else "... " + text[-chars:]
