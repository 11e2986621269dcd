"""Every message between client, coordinator and agent: one frozen dataclass each, matched by type.

Owns the vocabulary; knows nothing of sockets or bytes (`wire` does). A session's messages are numbered in both
directions (`wire.Envelope.number`); whoever sees a gap ends the session, and the agent registers anew with all it
holds. So a lost message is never more than a new session.
"""

from __future__ import annotations

from mapreduce.plan import AttemptId, Done, Failure
from mapreduce.protocol.client_messages import (
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
    NeedBlobs,
    Rejected,
    StepStatus,
    Submit,
    Watch,
    Workers,
    WorkerStatus,
)
from mapreduce.quick_dataclass import dataclass

__all__ = [
    "Accepted",
    "AttemptDone",
    "AttemptFailed",
    "BlobData",
    "BlobStored",
    "Cancel",
    "CancelAttempt",
    "Dropped",
    "ForgetJob",
    "FromAgent",
    "FromClient",
    "GetBlob",
    "GetLogs",
    "GetStatus",
    "Granted",
    "Heartbeat",
    "Inventory",
    "JobStatus",
    "Jobs",
    "Leave",
    "ListJobs",
    "ListWorkers",
    "LogEntry",
    "LogLines",
    "Logs",
    "Message",
    "NeedBlobs",
    "NoBlob",
    "PrepareJob",
    "Prepared",
    "Progress",
    "Refused",
    "Register",
    "Rejected",
    "Results",
    "RunAttempt",
    "SessionEnded",
    "Source",
    "StepStatus",
    "Submit",
    "ToAgent",
    "ToClient",
    "Watch",
    "Welcome",
    "WorkerStatus",
    "Workers",
]

# ------------------------------------------------------------------------------------------- agent to coordinator


@dataclass(frozen=True, slots=True)
class Register:
    """An agent asks for a session. `worker` names this life of the agent and is never used again by another."""

    worker: str
    name: str
    slots: int
    versions: dict[str, str]
    shuffle_address: str
    shared_folder: str = ""  # where its runs lie: a worker on the same machine with this folder reads them itself


@dataclass(frozen=True, slots=True)
class Inventory:
    """After Welcome: what the agent still holds, in one or more messages; `last` ends them.

    `running` are attempts under way, `finished` attempts whose outcome has not been answered yet (the outcomes follow
    as AttemptDone), `kept` attempts whose runs or parts it keeps, `prepared` jobs it is ready for.
    """

    running: tuple[AttemptId, ...] = ()
    finished: tuple[AttemptId, ...] = ()
    kept: tuple[AttemptId, ...] = ()
    prepared: tuple[str, ...] = ()
    last: bool = True


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The sender lives. `sent` is the number of its last message in this session, `received` of the last it got.

    Sent by both sides; not numbered itself.
    """

    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The agent is ready for a job's tasks, or says why it never will be.

    `saved` says for which map tasks of the first step it has the results that the job resumes with: a bit each, from
    the lowest bit of the first byte on.
    """

    job: str
    problem: Failure | None = None
    saved: bytes = b""


@dataclass(frozen=True, slots=True)
class AttemptDone:
    """An attempt succeeded and asks to be the task's commit."""

    attempt: AttemptId
    done: Done


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt failed, or was cancelled at the coordinator's wish (then nobody cares)."""

    attempt: AttemptId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Progress:
    """How far running attempts are: (attempt, records read, bytes read)."""

    attempts: tuple[tuple[AttemptId, int, int], ...]


@dataclass(frozen=True, slots=True)
class LogLines:
    """What user code printed in an attempt."""

    attempt: AttemptId
    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The agent stops in good order; its runs go with it."""

    reason: str = ""


# ------------------------------------------------------------------------------------------- coordinator to agent


@dataclass(frozen=True, slots=True)
class Welcome:
    """The agent has a session (the envelope names it).

    `worker` is whose session it is: an agent started again under the same routing identity ignores its forerunner's.
    """

    epoch: int
    lease_s: float
    heartbeat_s: float
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent cannot join: versions differ, say. It stops with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session that the agent named is over; it registers anew, as the same worker."""

    reason: str


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """Fetch a JobSpec's blobs, load the code, look whether inputs and output folder are seen; answer Prepared."""

    job: str
    name: str
    code: str
    setup: str
    plan: str
    probe: str
    files: str = ""
    warm: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a committed result lies: the attempt that made it, on which worker, and how many run files."""

    attempt: AttemptId
    worker: str
    address: str
    folder: str
    done: Done


@dataclass(frozen=True, slots=True)
class Results:
    """Committed results of one step's maps, or of a step's parts, as far as the agent does not know them yet.

    A later Source for the same task index replaces the earlier. `Done.digests` are left out here. The parts of the kept
    jobs that the job reads are told as those of the steps -1, -2, ..., in the order of its spec.
    """

    job: str
    step: int
    of_maps: bool  # True: the runs of the step's map tasks; False: the step's parts
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """Run this attempt. What it reads was sent before, as Results: the sources at this point are pinned for it.

    `previous` holds the counters of each earlier step. `careful`: a process of the task has died, so the next is to
    note which record it is at work on. `puts_aside`: bad records are put aside in this job, those that kill among them.
    """

    attempt: AttemptId
    previous: tuple[dict[str, int], ...] = ()
    careful: bool = False
    puts_aside: bool = False


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """Stop the attempt, drop what it made."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Granted:
    """The attempt is the task's commit: keep what it made until told otherwise."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class Dropped:
    """The attempt is not, or no longer, the task's commit: delete what it made."""

    attempt: AttemptId


@dataclass(frozen=True, slots=True)
class ForgetJob:
    """The job is over: stop its attempts, delete its scratch and its code.

    `clean_output` is the job's output folder if the job did not succeed: once its attempts have stopped, the agent
    removes what they left there (`_tmp-JOB`; several workers may do so at once). Else it is "". With `save` the results
    of its first map tasks are saved, for a job that resumes it. What is saved of the jobs `drop` is not needed any
    more.
    """

    job: str
    clean_output: str = ""
    save: bool = False
    drop: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------- blobs, for all


@dataclass(frozen=True, slots=True)
class GetBlob:
    """Ask for a piece of a blob."""

    sha256: str
    offset: int


@dataclass(frozen=True, slots=True)
class BlobData:
    """A piece of a blob: the answer to GetBlob, and how a client stores one. `total` is the blob's size in bytes."""

    sha256: str
    offset: int
    total: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobStored:
    """The coordinator has the blob up to `stored` bytes."""

    sha256: str
    stored: int


@dataclass(frozen=True, slots=True)
class NoBlob:
    """The coordinator does not have that blob."""

    sha256: str


FromAgent = (
    Register | Inventory | Heartbeat | Prepared | AttemptDone | AttemptFailed | Progress | LogLines | Leave | GetBlob
)
ToAgent = (
    Welcome
    | Refused
    | SessionEnded
    | Heartbeat
    | PrepareJob
    | Results
    | RunAttempt
    | CancelAttempt
    | Granted
    | Dropped
    | ForgetJob
    | BlobData
    | NoBlob
)
FromClient = Submit | Watch | ListJobs | ListWorkers | GetStatus | GetLogs | Cancel | BlobData
ToClient = Accepted | NeedBlobs | Rejected | JobStatus | Jobs | Workers | Logs | BlobStored

Message = FromAgent | ToAgent | FromClient | ToClient
