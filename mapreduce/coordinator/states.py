"""The states of a job and which may follow which; the bounds on attempts by kind of failure."""

from __future__ import annotations

import enum

from mapreduce.config import DIED_ATTEMPTS, DISK_ATTEMPTS, LOST_ATTEMPTS
from mapreduce.errors import IllegalTransition
from mapreduce.plan import FailureKind, JobSpec


class JobState(enum.StrEnum):
    """Where a job is in its life."""

    PREPARING = "preparing"  # the workers fetch its code and look whether they see its files
    RUNNING = "running"  # its steps, one after the other
    COMMITTING = "committing"  # all tasks are committed; the job commit moves the parts into place
    KEPT = "kept"  # all tasks are committed; the results stay on the workers, for other jobs to read
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})

# A commit that finds a part damaged sends its job back to RUNNING. It is not cancelled any more: half of its parts may
# be in place. A kept job goes back to RUNNING when some of its results are lost; to end it is to be done with it.
TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.PREPARING: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.COMMITTING, JobState.KEPT, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMMITTING: frozenset({JobState.RUNNING, JobState.DONE, JobState.FAILED}),
    JobState.KEPT: frozenset({JobState.RUNNING, JobState.DONE}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


def check_transition(job: str, old: JobState, new: JobState) -> None:
    """Raise IllegalTransition unless `new` may follow `old`."""
    if new not in TRANSITIONS[old]:
        msg = f"job {job} cannot go from {old} to {new}"
        raise IllegalTransition(msg)


def attempts_allowed(spec: JobSpec, kind: FailureKind) -> int:
    """How many attempts of one task may fail in this way: the last of them fails the job."""
    if kind is FailureKind.USER:
        return spec.user_attempts
    return _ATTEMPTS[kind]


_ATTEMPTS = {
    FailureKind.DIED: DIED_ATTEMPTS,
    FailureKind.LOST: LOST_ATTEMPTS,
    FailureKind.INPUT_LOST: LOST_ATTEMPTS,
    FailureKind.DISK: DISK_ATTEMPTS,
    FailureKind.FATAL: 1,
}
