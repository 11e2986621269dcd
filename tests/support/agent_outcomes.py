"""Attempts of agents in tests, and what comes of them."""

from mapreduce.plan import AttemptId, Done, Failure, FailureKind, TaskId, TaskKind

DONE = Done(records_in=3, runs=1)
BROKEN = Failure(FailureKind.USER, "ValueError: no")


def attempt(index=0, number=1, kind=TaskKind.MAP, job="job-1"):
    return AttemptId(TaskId(job, 0, kind, index), number)
