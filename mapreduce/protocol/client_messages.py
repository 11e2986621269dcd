"""The messages between client and coordinator: one frozen dataclass each, matched by type. See `messages`."""

from __future__ import annotations

from dataclasses import field

from mapreduce.plan import AttemptId, Failure, JobSpec, StepShape, TaskId
from mapreduce.quick_dataclass import dataclass

# ------------------------------------------------------------------------------------------- client to coordinator


@dataclass(frozen=True, slots=True)
class Submit:
    """Run this job. Submitting the same job id again changes nothing and is answered alike."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Watch:
    """Send me the job's status now and whenever it changes; repeated to stay interested (`config.WATCH_LEASE_S`).

    `log_from` is how many log entries the client has already.
    """

    job: str
    log_from: int = 0


@dataclass(frozen=True, slots=True)
class ListJobs:
    """All jobs that the coordinator remembers, newest last, from the `start`-th on."""

    start: int = 0


@dataclass(frozen=True, slots=True)
class ListWorkers:
    """All workers with a session, from the `start`-th on."""

    start: int = 0


@dataclass(frozen=True, slots=True)
class GetStatus:
    """One job; `job` is an id, a unique beginning of one, or `last`."""

    job: str


@dataclass(frozen=True, slots=True)
class GetLogs:
    """What a job's tasks printed, from the `start`-th entry on."""

    job: str
    start: int = 0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a job."""

    job: str


# ------------------------------------------------------------------------------------------- coordinator to client


@dataclass(frozen=True, slots=True)
class Accepted:
    """The job is journalled and will be run, or already was."""

    job: str


@dataclass(frozen=True, slots=True)
class NeedBlobs:
    """These blobs are missing: send them (BlobData), then submit again."""

    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """The request cannot be done; `reason` says why and what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepStatus:
    """Tasks done and running, of the totals in the shape."""

    shape: StepShape
    maps_done: int = 0
    maps_running: int = 0
    reduces_done: int = 0
    reduces_running: int = 0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """All that a person may want to know of a job.

    `state` is a `coordinator.states.JobState` value: preparing, running, committing, kept, done, failed, cancelled.
    `waiting_for` is text, or "" while it moves. Times are seconds that the job has been running in this epoch.
    `kept_bytes` is the size of the results that it keeps on the workers, while they are whole. `bad` counts the
    records that it has put aside, by kind. Of a job that has failed
    `saved_maps` results of its first map tasks are saved, of `saved_bytes`, for a job that resumes it; of one that
    `resumes` such a job (its id) `reused_maps` of the `former_maps` that were left (None where nobody knows) have been
    used again, and `changed` names what is not as it was.
    """

    job: str
    name: str
    state: str
    steps: tuple[StepStatus, ...] = ()
    output: str = ""
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    input_bytes: int = 0
    shuffle_bytes: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    waiting_for: str = ""
    elapsed_s: float = 0.0
    attempts_failed: int = 0
    submitted_ms: int = 0
    submitter: str = ""
    priority: int = 0
    log_entries: int = 0
    kept_bytes: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    saved_maps: int = 0
    saved_bytes: int = 0
    resumes: str = ""
    former_maps: int | None = None
    reused_maps: int = 0
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Jobs:
    """A page of jobs, without counters, warnings and logs; `more` says that another page follows."""

    jobs: tuple[JobStatus, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker. `silent_s` is the time since its last message."""

    worker: str
    name: str
    slots: int
    running: tuple[TaskId, ...]
    silent_s: float
    shuffle_address: str
    versions: dict[str, str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Workers:
    """A page of workers."""

    workers: tuple[WorkerStatus, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Some text that an attempt printed."""

    attempt: AttemptId
    text: str


@dataclass(frozen=True, slots=True)
class Logs:
    """A page of a job's logs; `start` is the number of its first entry, `total` how many there are."""

    job: str
    start: int
    total: int
    entries: tuple[LogEntry, ...]
