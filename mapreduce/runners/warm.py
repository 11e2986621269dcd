"""Jobs one after the other on workers that stay: what `mapreduce.Cluster` runs on.

Owns an embedded cluster that is started for the first job, and anew after it has failed; or the address of a cluster
that runs anyway. All its jobs carry one token, by which workers know that these may share task processes. Holds the
results that jobs have kept there, until they are dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mapreduce.config import CTRL_C_S, USER_ATTEMPTS_LOCAL
from mapreduce.errors import CoordinatorUnreachable, MapReduceError, UsageError
from mapreduce.quick_dataclass import dataclass
from mapreduce.runners.local import LocalCluster, raise_unless_done

if TYPE_CHECKING:
    from mapreduce.client import Connection, JobFollower, Listener
    from mapreduce.plan import JobSpec
    from mapreduce.protocol.messages import JobStatus
    from mapreduce.request import Request

TOKEN_BYTES = 16  # of chance: nobody else's jobs get our processes
CANCEL_S = CTRL_C_S / 2  # an interrupted job that has not stopped by then is stopped with the whole embedded cluster

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A job whose results are kept: what it reads of others, and whether it is to be dropped."""

    reads: tuple[str, ...]
    is_marked: bool = False


class WarmRunner:
    """Runs one job at a time. Nothing is started before the first."""

    def __init__(self, slots: int | None, coordinator: str | None) -> None:
        """`coordinator` is the address of a cluster to use; without one an embedded cluster has `slots` slots."""
        if coordinator is not None and slots is not None:
            raise UsageError("slots= is for workers on this machine; a cluster's workers have slots of their own")
        self.coordinator = coordinator
        self._slots = LocalCluster(slots).slots
        self._token = secrets.token_hex(TOKEN_BYTES)
        self._lock = threading.Lock()
        self._dropping = threading.RLock()  # again and again: the garbage collector may come in between
        self._owner = os.getpid()
        self._local: LocalCluster | None = None
        self._connection: Connection | None = None
        self._closed = False
        self._held: dict[str, _Held] = {}  # in the order in which they were made

    def __repr__(self) -> str:
        if self._closed:
            return "closed"
        if self.coordinator is not None:
            return f"coordinator={self.coordinator!r}"
        return f"slots={self._slots}" + ("" if self._local is not None else ", not started yet")

    def run(self, request: Request, listener: Listener) -> JobStatus:
        """Run a job and give its last status: "done", or "kept" with `keep`.

        Raises as `mapreduce.run` does; the workers stay.
        """
        with self._alone():
            if self._closed:
                raise UsageError("this Cluster is closed: make another one")
            with self._dropping:
                self._drop_marked()
            request = replace(request, warm=self._token)
            if self.coordinator is not None:
                return self._run_there(request, listener)
            return self._run_here(request, listener)

    def close(self) -> None:
        """Stop what was started; may be called twice. Raises UsageError while another thread runs a job.

        What is kept on a cluster that runs on is dropped there.
        """
        if os.getpid() != self._owner:
            return  # a fork of the owner ends, or lets go of it: the workers are not its
        with self._alone():
            self._closed = True
            if self.coordinator is not None:
                for held in self._held.values():
                    held.is_marked = True
                self._drop_quietly()
            self._stop()

    def abandon(self) -> None:
        """The object of this cluster is lost, or the program ends: as `close`, but nobody is there to be told."""
        # A thread that runs a job yet is one that the program's end cuts off, and the workers end with the program.
        with contextlib.suppress(UsageError):
            self._aside(self.close)

    # ---- kept results

    def holds(self, job: str) -> bool:
        """Whether this job's results are kept here."""
        return not self._closed and job in self._held and not self._held[job].is_marked

    def drop(self, job: str) -> None:
        """Drop a job's kept results; while another thread runs a job, as soon as that has ended."""
        if self._mark(job):
            with self._dropping:
                self._drop_marked()

    def let_go(self, job: str) -> None:
        """The object of a job's kept results is lost: as `drop`, but nobody is there to be told of trouble."""
        if self._mark(job):
            self._aside(self._drop_quietly)

    def _mark(self, job: str) -> bool:
        """Have a job's kept results dropped; whether that can be at once."""
        held = self._held.get(job) if os.getpid() == self._owner else None
        if held is None:
            return False
        held.is_marked = True
        return not self._lock.locked()

    def _aside(self, act: Callable[[], None]) -> None:
        """Do what the garbage collector asks for, in whichever thread that runs: the coordinator has to serve it."""
        if self._local is not None and self._local.is_serving_thread:
            threading.Thread(target=act, name="mapreduce-aside", daemon=True).start()
        else:
            act()

    def _drop_quietly(self) -> None:
        if not self._dropping.acquire(blocking=False):
            return  # it is being done; who waited here might hold what that needs
        try:
            self._drop_marked()
        except MapReduceError as error:  # they stay marked, and it is tried again
            marked = ", ".join(job for job, held in self._held.items() if held.is_marked)
            _log.warning("the kept results of %s are not dropped yet: %s", marked, error)
        finally:
            self._dropping.release()

    def _drop_marked(self) -> None:
        """Drop what is to be dropped and not needed by another that is kept: the newest first, it may need others."""
        address = self.coordinator or (self._local.address if self._local is not None else "")
        marked = [job for job, held in self._held.items() if held.is_marked]
        if not address or all(map(self._is_needed, marked)):
            return
        from mapreduce.client import Connection  # noqa: PLC0415 - imports the sockets

        with Connection(address) as connection:
            for job in reversed(marked):
                if not self._is_needed(job) and _drop(connection, job):
                    self._held.pop(job, None)

    def _is_needed(self, job: str) -> bool:
        return any(job in held.reads for held in tuple(self._held.values()))

    @contextlib.contextmanager
    def _holding(self, spec: JobSpec) -> Iterator[None]:
        """Hold what a job keeps; if it comes to nothing, drop what there is of it."""
        if spec.keep:
            self._held[spec.job] = _Held(spec.reads)
        try:
            yield
        except BaseException:
            if spec.job in self._held:
                self._held[spec.job].is_marked = True
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if os.getpid() != self._owner:
            raise UsageError("this Cluster belongs to another process: make one in the process that uses it")
        if not self._lock.acquire(blocking=False):
            raise UsageError("this Cluster is busy with a job of another thread: make a Cluster for each thread")
        try:
            yield
        finally:
            self._lock.release()

    # ---- a cluster that runs anyway

    def _run_there(self, request: Request, listener: Listener) -> JobStatus:
        from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - imports the sockets

        assert self.coordinator is not None
        submission = Submission(self.coordinator, request)
        with self._holding(submission.spec):
            submission.submit(listener)
            return submission.wait(listener)

    # ---- the embedded cluster

    def _run_here(self, request: Request, listener: Listener) -> JobStatus:
        local = self._started()
        # These load while the agent starts, at the first run.
        from mapreduce.client import Connection, JobFollower  # noqa: PLC0415 - see above
        from mapreduce.failed.history import save_failed  # noqa: PLC0415 - see above
        from mapreduce.planner import plan  # noqa: PLC0415 - see above

        listener.tick()  # the job's module may take long to import
        wanted = replace(request, slots=self._slots, user_attempts=USER_ATTEMPTS_LOCAL)
        planned = plan(wanted, will_write=local.will_write)
        try:
            self._connection = self._connection or Connection(local.address)
            spec = planned.spec
            follower = JobFollower(
                self._connection, spec.job, listener, spec=spec, blobs=planned.blobs, check=local.check
            )
            with self._holding(spec):
                with self._stopping_on_trouble(follower):
                    status = follower.follow()
                raise_unless_done(status)
        except BaseException as error:
            planned.discard()
            save_failed(planned, request, error, "local")
            raise
        assert status is not None
        return status

    def _started(self) -> LocalCluster:
        if self._local is not None and not self._local.renew() and not self._has_revived(self._local):
            self._stop()  # it died between two jobs: nothing is lost with it
        if self._local is None:
            local = LocalCluster(self._slots)
            local.start()
            self._local = local
        return self._local

    def _has_revived(self, local: LocalCluster) -> bool:
        """Start another agent where ours was killed, since the coordinator has kept results made again by it."""
        if not self._held or not local.serves:
            return False
        try:
            local.check()
        except MapReduceError as error:
            _log.warning("kept results are lost: %s", error)
            return False
        return True

    @contextlib.contextmanager
    def _stopping_on_trouble(self, follower: JobFollower) -> Iterator[None]:
        """Have no job run on whose caller has left: cancel it where the user interrupts, else stop all."""
        try:
            yield
        except BaseException as error:
            # A job that was refused does not run.
            stopped = isinstance(error, UsageError) and not isinstance(error, CoordinatorUnreachable)
            try:
                if isinstance(error, KeyboardInterrupt):
                    follower.cancel()
                    stopped = follower.follow(time.monotonic() + CANCEL_S) is not None
            finally:
                if not stopped:
                    self._stop()
            raise

    def _stop(self) -> None:
        connection, self._connection = self._connection, None
        local, self._local = self._local, None
        self._held = {}
        try:
            if connection is not None:
                connection.close()
        finally:
            if local is not None:
                local.stop()


def _drop(connection: Connection, job: str) -> bool:
    """Have a kept job ended; False while another one that is kept needs it."""
    from mapreduce.client_state import ENDED_STATES  # noqa: PLC0415 - as its connection
    from mapreduce.protocol.messages import Accepted, Cancel, GetStatus, JobStatus  # noqa: PLC0415 - as above

    for question, answer in ((Cancel(job), Accepted), (GetStatus(job), JobStatus)):
        try:
            got = connection.ask(question, answer)
        except CoordinatorUnreachable:
            raise
        except UsageError:
            continue  # it is needed, or forgotten: its status tells
        return not isinstance(got, JobStatus) or got.state in ENDED_STATES
    return True
