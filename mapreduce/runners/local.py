"""The embedded cluster of `mapreduce run`: a coordinator in a thread and one agent process, over ipc sockets.

Owns their lives: everything lies in a private folder, nothing listens on a port, and an inherited pipe makes the agent
exit when this process ends in any way. The agent is started first, since its start-up takes the longest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mapreduce.config import USER_ATTEMPTS_LOCAL
from mapreduce.errors import JobCancelled, JobFailed, MapReduceError, UsageError
from mapreduce.failed.saved_folder import ON_WORKERS, forget_saved, saved_folder, with_saved
from mapreduce.process_end import has_ended
from mapreduce.runners.agent_process import AgentProcess, take_started
from mapreduce.runners.private import PrivateFolder, short_parent

if TYPE_CHECKING:
    from mapreduce.client import Listener
    from mapreduce.coordinator.server import CoordinatorServer
    from mapreduce.plan import Failure
    from mapreduce.planner import Planned
    from mapreduce.protocol.messages import JobStatus
    from mapreduce.request import Request

AGENT_STARTS = 4  # an agent that dies is started again: its tasks may have been killed by a neighbour's memory use
AGENT_EXIT_S = 1.0  # an agent that has not gone by then is killed; well within config.CTRL_C_S
SAVING_S = 5.0  # for the agent to put a failed job's results aside: ten thousand renames on a busy machine
SAVING_POLL_S = 0.01
LOG_TAIL_LINES = 20  # of the agent's own log, shown when it dies
LOG_TAIL_BYTES = 64 << 10  # more than so many lines have


def usable_cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalCluster:
    """A coordinator and a worker. `start` it, give `address` to a client, and `stop` it in any case."""

    def __init__(self, slots: int | None = None, *, one_job: bool = False) -> None:
        """Make a cluster of `slots` task processes (default: one for each usable processor). Nothing starts yet.

        With `one_job` it makes nothing ready for another.
        """
        self.slots = usable_cpus() if slots is None else slots
        if type(self.slots) is not int or self.slots < 1:
            raise UsageError(f"slots must be a whole number from 1 on, not {self.slots!r}")
        self._one_job = one_job
        self._folders = contextlib.ExitStack()
        self._agent: AgentProcess | None = None
        self._server: CoordinatorServer | None = None
        self._output: tuple[str, str] | None = None
        self._starts = 0
        self.address = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the agent, then the coordinator. Raises UsageError where folders or processes cannot be had."""
        try:
            self._make_folders()
            self._start_agent()
            from mapreduce.coordinator.server import CoordinatorServer  # noqa: PLC0415 - loads while the agent starts

            self._server = CoordinatorServer(self.address, self._private / "state", durable=False)
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def _make_folders(self) -> None:
        """Scratch lies where TMPDIR says; sockets too, unless their paths would be too long there."""
        large = self._folders.enter_context(PrivateFolder())
        parent = short_parent()
        if parent is None:
            raise UsageError("no writable folder has a path short enough for a socket: set TMPDIR to such as /tmp")
        short = large
        if large.path.parent != Path(parent):
            short = self._folders.enter_context(PrivateFolder(parent))
        self._private, self._scratch = short.path, large.path / "scratch"
        self.address = f"ipc://{short.path}/c"

    def _start_agent(self) -> None:
        self._starts += 1
        self._agent = take_started()
        options = {"coordinator": self.address, "slots": self.slots, "one_job": self._one_job}
        self._tell_agent({**options, "scratch": str(self._scratch), "saved": str(saved_folder())})
        if self._output is not None:
            self.will_write(*self._output)

    def will_write(self, job: str, output: str) -> None:
        """Have the agent clean up this job's output folder, which is not reserved yet, if our process is killed."""
        self._output = job, output
        self._tell_agent(self._output)

    def _tell_agent(self, what: tuple[str, str] | dict[str, object] | None) -> None:
        if self._agent is not None:
            os.write(self._agent.life[1], json.dumps(what).encode() + b"\n")

    def check(self) -> None:
        """See that both live, and start another agent if ours was killed. Raises MapReduceError when that is no use.

        The coordinator gives the dead one's work to the new one once its lease is over.
        """
        if self._server is not None and self._server.failure is not None:
            raise self._server.failure
        code = None if self._agent is None else self._agent.process.poll()
        if code is None:
            return
        if self._starts >= AGENT_STARTS or not killed(code):
            msg = f"the worker process ended by itself ({how_it_ended(code)}); {self._log_tail()}"
            raise MapReduceError(msg)
        self._end_agent()
        self._start_agent()

    def renew(self) -> bool:
        """Before another job: forget the agent's former deaths. False where one of both is dead: then start anew."""
        self._starts = 1
        alive = self._agent is not None and self._agent.process.poll() is None
        return alive and self.serves

    @property
    def is_serving_thread(self) -> bool:
        """Whether the current thread is the coordinator's: it can neither ask the coordinator nor wait for its end."""
        return self._server is not None and self._server.is_own_thread

    @property
    def serves(self) -> bool:
        """Whether the coordinator lives, and with it all that it knows."""
        return self._server is not None and self._server.failure is None

    def _log_tail(self) -> str:
        assert self._agent is not None, "it is its log"
        start = max(0, os.fstat(self._agent.log).st_size - LOG_TAIL_BYTES)
        lines = os.pread(self._agent.log, LOG_TAIL_BYTES, start).decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "its last words:\n" + "\n".join(f"  {line}" for line in lines) if lines else "it said nothing"

    def await_saving(self, job: str) -> None:
        """Wait until the agent has put aside what a job that has failed leaves, unless it is dead."""
        until_s = time.monotonic() + SAVING_S
        while self._agent is not None and self._agent.process.poll() is None and time.monotonic() < until_s:
            if not any(self._scratch.glob(f"agent-*/jobs/{job}")):
                return
            time.sleep(SAVING_POLL_S)

    def stop(self) -> None:
        """End both and remove the folder; may be called twice, and at any stage of starting."""
        server, self._server = self._server, None
        try:
            # The server first: it would take the agent's end for a loss, and say so.
            if server is not None:
                server.stop()
        finally:
            self._end_agent()
            self._folders.close()

    def _end_agent(self) -> None:
        self._tell_agent(None)  # our process lives, and cleans up by itself
        agent, self._agent = self._agent, None
        if agent is None:
            return
        agent.close()
        if not has_ended(agent.process, AGENT_EXIT_S):
            agent.process.send_signal(signal.SIGKILL)
        # What is left of its session (a fork server that was stopped, say) must not outlive it. The agent has not been
        # waited for yet, so its number is not another's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(agent.process.pid, signal.SIGKILL)
        agent.process.wait()

    @property
    def agent_pid(self) -> int:
        """The agent's process id, for tests that kill it."""
        assert self._agent is not None
        return self._agent.process.pid

    @property
    def folder(self) -> Path:
        """The private folder with the sockets."""
        return self._private


def run_local(request: Request, listener: Listener) -> JobStatus:
    """Run a job on an embedded cluster and give its last status, which is "done".

    Raises JobFailed, JobCancelled, UsageError; then, and on Ctrl-C, everything has been stopped and nothing is left in
    the output folder.
    """
    cluster = LocalCluster(request.slots, one_job=True)
    planned: Planned | None = None
    status: JobStatus | None = None
    try:
        cluster.start()
        # These load while the agent starts.
        from mapreduce.client import Connection, JobFollower  # noqa: PLC0415 - see above
        from mapreduce.failed.history import forget_resumed, save_failed  # noqa: PLC0415 - see above
        from mapreduce.planner import plan  # noqa: PLC0415 - see above

        listener.tick()  # the job's module may take long to import
        wanted = replace(request, slots=cluster.slots, user_attempts=USER_ATTEMPTS_LOCAL)
        planned = plan(wanted, will_write=cluster.will_write)
        spec, blobs = planned.spec, planned.blobs
        with Connection(cluster.address) as connection:
            follower = JobFollower(connection, spec.job, listener, spec=spec, blobs=blobs, check=cluster.check)
            status = follower.follow()
        raise_unless_done(_with_what_is_saved(status, cluster))
    except BaseException as error:
        cluster.stop()
        if planned is not None:
            planned.discard()
            save_failed(planned, request, error, "local")
        raise
    cluster.stop()
    assert status is not None
    forget_saved(request.resumes)
    forget_resumed(request.resumes, status.job)
    return status


def _with_what_is_saved(status: JobStatus | None, cluster: LocalCluster) -> JobStatus | None:
    """The last status of a job, with what its agent has indeed put aside where the job has failed."""
    if status is None or not status.saved_maps:
        return status
    from mapreduce.dataflow.saved import size_of  # noqa: PLC0415 - for failures alone

    cluster.await_saving(status.job)
    found = size_of(saved_folder(), status.job)
    return replace(status, saved_maps=found.maps, saved_bytes=found.size)


def raise_unless_done(status: JobStatus | None) -> None:
    """Raise what `error_of` says for a job that ended without a result, but for the worker: it is this machine."""
    if status is not None and status.state not in {"done", "kept"}:
        failure = None if status.failure is None else replace(status.failure, worker=None)
        raise error_of(replace(status, failure=failure), str(saved_folder()))


def error_of(status: JobStatus, place: str = ON_WORKERS) -> MapReduceError:
    """The exception for a job that ended without a result; `place` says where its map results are kept."""
    if status.failure is not None:
        return JobFailed(status.job, failure_of(status, status.failure, place))
    return JobCancelled(f"{status.job} was cancelled")


def failure_of(status: JobStatus, failure: Failure, place: str = ON_WORKERS) -> Failure:
    """The failure of a job, with what is kept of its map results at `place`."""
    maps = status.steps[0].shape.maps if status.steps else 0
    return with_saved(failure, status.job, (status.saved_maps, status.saved_bytes), maps, place)


def killed(code: int) -> bool:
    """Whether a return code of subprocess says that a signal ended the process."""
    return code < 0


def how_it_ended(code: int) -> str:
    """A return code of subprocess in words."""
    if not killed(code):
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
