"""Jobs on a cluster that runs already: handing them over, following them, asking about them.

Owns what a client does over tcp or ipc with a coordinator that is not its own. Every function opens its own connection,
so that all can be used from any thread.
"""

from __future__ import annotations

import time

from mapreduce.client import Connection, JobFollower, Listener, SilentListener
from mapreduce.client_state import ENDED_STATES
from mapreduce.dataflow.manifest.folder import remove_after_failure, remove_attempts
from mapreduce.failed import history
from mapreduce.planner import Planned, plan
from mapreduce.protocol.messages import (
    Accepted,
    Cancel,
    GetLogs,
    GetStatus,
    Jobs,
    JobStatus,
    ListJobs,
    ListWorkers,
    LogEntry,
    Logs,
    Workers,
    WorkerStatus,
)
from mapreduce.request import Request
from mapreduce.runners.local import error_of


class Submission:
    """One job handed to a coordinator by this process."""

    def __init__(self, address: str, request: Request) -> None:
        """Plan the job and reserve its output. Raises UsageError; nothing is left behind then."""
        self.address = address
        self._request = request
        self._planned: Planned = plan(request)
        self.spec = self._planned.spec
        self.job = self.spec.job
        self.output = self._planned.spec.output
        self.submitted = False

    def submit(self, listener: Listener) -> None:
        """Return when the coordinator has the job. Whatever prevents that is raised, and nothing is left behind."""
        history.save_submitted(self._planned, self._request, self.address)
        try:
            with Connection(self.address) as connection:
                spec, blobs = self._planned.spec, self._planned.blobs
                JobFollower(connection, self.job, listener, spec=spec, blobs=blobs, watch=False).follow()
                self.submitted = True
        except BaseException:
            # Ctrl-C may come just after the coordinator took it: its tasks then fail for want of the folder, as they
            # should, since the user was told of no job.
            self._planned.discard()
            history.remove(self.job)
            raise

    def wait(self, listener: Listener) -> JobStatus:
        """Follow the job to its end. Raises JobFailed and JobCancelled."""
        status = ended_well(follow(self.address, self.job, listener))
        history.forget_resumed(self.spec.resumes, self.job)  # by itself: what was submitted may not have been kept
        return status


def ended_well(status: JobStatus) -> JobStatus:
    """Give the status of a job that is done, or whose results are kept.

    Raises JobFailed and JobCancelled for others, cleaning up after them.
    """
    if status.state in {"done", "kept"}:
        return status
    if status.output:
        remove_after_failure(status.output, status.job)
    raise error_of(status)


def follow(address: str, job: str, listener: Listener | None = None, until_s: float | None = None) -> JobStatus:
    """Follow a job to its end and give its last status. Raises TimeoutError once `until_s` (monotonic) has passed."""
    with Connection(address) as connection:
        wanted = SilentListener() if listener is None else listener
        status = JobFollower(connection, job, wanted, logs=listener is not None).follow(until_s)
    if status is None:
        msg = f"{job} has not ended in time; it runs on"
        raise TimeoutError(msg)
    history.note(status)
    return status


def get_status(address: str, job: str) -> JobStatus:
    """One job: `job` is an id, a unique beginning of one, or "last". Raises UsageError for an unknown one."""
    with Connection(address) as connection:
        status = connection.ask(GetStatus(job), JobStatus)
    history.note(status)
    return status


def cancel_job(address: str, job: str) -> JobStatus:
    """Stop a job (a whole id), wait for its end, and remove what it left. One that has ended stays as it is.

    Kept results are dropped. Raises UsageError where the coordinator refuses.
    """
    status = get_status(address, job)
    if status.state in ENDED_STATES:
        return status
    if status.state == "kept":  # it ends with the answer, and is followed no further than to that state
        with Connection(address) as connection:
            connection.ask(Cancel(job), Accepted)
        return get_status(address, job)
    with Connection(address) as connection:
        follower = JobFollower(connection, job, SilentListener(), logs=False)
        follower.cancel()
        ended = follower.follow()
    assert ended is not None
    if ended.state != "done" and ended.output:
        remove_attempts(ended.output, ended.job)
    return ended


def get_logs(address: str, job: str) -> list[LogEntry]:
    """All that a job's tasks printed, as far as the coordinator kept it."""
    entries: list[LogEntry] = []
    with Connection(address) as connection:
        while True:
            page = connection.ask(GetLogs(job, len(entries)), Logs)
            entries += page.entries
            if not page.entries or len(entries) >= page.total:
                return entries


def list_jobs(address: str) -> list[JobStatus]:
    """All jobs that the coordinator remembers, newest last."""
    found: list[JobStatus] = []
    with Connection(address) as connection:
        while True:
            page = connection.ask(ListJobs(len(found)), Jobs)
            found += page.jobs
            if not page.more or not page.jobs:
                return found


def list_workers(address: str) -> list[WorkerStatus]:
    """All workers that have a session."""
    found: list[WorkerStatus] = []
    with Connection(address) as connection:
        while True:
            page = connection.ask(ListWorkers(len(found)), Workers)
            found += page.workers
            if not page.more or not page.workers:
                return found


def deadline(timeout_s: float | None) -> float | None:
    """A point of the monotonic clock, `timeout_s` from now."""
    return None if timeout_s is None else time.monotonic() + timeout_s
