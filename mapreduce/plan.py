"""The nouns that every part of the engine shares: splits, tasks, attempts, outcomes.

Plain frozen dataclasses of plain fields, so that each can cross a wire or lie in the journal (`protocol.plain`).
This module does no I/O and imports nothing of ours but the errors.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from dataclasses import field

from mapreduce.quick_dataclass import dataclass
from mapreduce.secret_urls import without_secrets

# A job's id names folders and is in every message: short, and nothing in it may mean another place.
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
EVERY_PART = -1  # of a kept result: what every task reads of it, in a split and in JobSpec.reads_at
OUTPUT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")  # a folder's, which no part and no file of ours can have


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of bytes of one file: records whose first byte is in [start, start + size) belong to it.

    `file_size` and `version` are those of the file when it was planned; a file that differs later is an error. The
    version is the modification time in ns; of an object in a store, a number made of what the store tells it by.
    `whole` says that the file cannot be cut at bytes (compressed, or of a stateful encoding): start is 0. `touched` is
    when the file's inode changed last, in ns, as the planner saw it (0 for an object): by it a result is saved, but no
    file refused, since copies on other machines have their own.
    """

    path: str
    start: int
    size: int
    file_size: int
    version: int
    whole: bool = False
    touched: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """The input of one map task of the first step: pieces of the files of one of its inputs (its number is `input`).

    With `typed` the files hold typed records, a former result's, whatever the input's format. `kept` says that there
    are no pieces, and what is read in their place: (number in JobSpec.reads, part), or EVERY_PART as the part.
    """

    pieces: tuple[Piece, ...]
    input: int = 0
    typed: bool = False
    kept: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Bytes of input, as they lie on disk."""
        return sum(piece.size for piece in self.pieces)


class TaskKind(enum.StrEnum):
    """What a task does."""

    MAP = "map"
    REDUCE = "reduce"
    COMMIT = "commit"  # the job-commit task: moves the granted parts into place


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class TaskId:
    """One task of one job. `index` is the split's (or the previous step's part's), the partition's, or 0."""

    job: str
    step: int
    kind: TaskKind
    index: int

    def __str__(self) -> str:
        if self.kind is TaskKind.COMMIT:
            return "the job commit"
        return f"{self.kind} {self.index}" if self.step == 0 else f"{self.kind} {self.index} of step {self.step + 1}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class AttemptId:
    """One try at a task. `number` is never used twice in a job, not even over restarts of the coordinator."""

    task: TaskId
    number: int

    def __str__(self) -> str:
        return f"{self.task} (attempt {self.number})"


@dataclass(frozen=True, slots=True)
class StepShape:
    """How many tasks a step has. `reduces` is 0 for a map-only step. `title` is for people ("tokens -> count")."""

    maps: int
    reduces: int
    title: str = ""

    @property
    def parts(self) -> int:
        """How many parts the step yields: one a reduce task, or one a map task if it is map-only."""
        return self.reduces or self.maps


@dataclass(frozen=True, slots=True)
class PartFile:
    """One file of a part: its records, its size in bytes, and the xxh3-64 of its bytes, in hex."""

    records: int
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class PartInfo:
    """A finished part: what the manifest, or the next step, needs to know of it.

    `checksum` is the xxh3-64 of the file's bytes, in hex. The types are names of column types (see
    `dataflow.outputs`), sorted. A part of a job with a `part_size` is one file or more, in `files`, in their order:
    `records` and `size` are their sums then, and `checksum` is that of their checksums, one after the other.
    """

    records: int
    size: int
    checksum: str
    key_types: tuple[str, ...] = ()
    value_types: tuple[str, ...] = ()
    files: tuple[PartFile, ...] = ()

    def each(self) -> tuple[tuple[int | None, PartFile], ...]:
        """All files of the part with their numbers in names (see `attempt_output_name`); None for one without."""
        if self.files:
            return tuple(enumerate(self.files))
        return ((None, PartFile(self.records, self.size, self.checksum)),)


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt succeeded, and this is what it made.

    `runs` is the number of run files of a map task with a shuffle; `digests` holds 8 bytes a partition, over the bytes
    of that partition's blocks; `bounds` measures the keys of runs that are read by ranges (see
    `dataflow.shuffle.ranges`), else it is empty; `pickled` says that the digests cover pickles, whose bytes may differ
    for equal values (of measured runs with pickles they cover the bounds alone). `part` is set where the attempt made
    an output part or an intermediate part, and `outputs` has that of each named output then. `bad` counts the records
    (or keys) that were put aside, by kind; `bad_places` says where one of each kind is, and `bad_last` is the story of
    the last. `reused` says that a failed job had made it. Sizes are in bytes.
    """

    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    shuffle_bytes: int = 0
    runs: int = 0
    digests: bytes = b""
    pickled: bool = False
    part: PartInfo | None = None
    counters: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    outputs: dict[str, PartInfo] = field(default_factory=dict)
    bounds: bytes = b""
    bad: dict[str, int] = field(default_factory=dict)
    bad_places: dict[str, str] = field(default_factory=dict)
    bad_last: Failure | None = None
    reused: bool = False


class FailureKind(enum.StrEnum):
    """Why an attempt failed, decided where the error happens."""

    USER = "user"  # the user's code, or a record that it or the format cannot take
    DIED = "died"  # the task process died: a signal, os._exit, out of memory
    LOST = "lost"  # its agent went silent or left
    INPUT_LOST = "input-lost"  # a run or part could not be had: its producer runs again
    DISK = "disk"  # scratch or output is full or broken on that worker
    FATAL = "fatal"  # no other attempt can do better: changed input, missing package, a defect of the engine


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt (or job), as text that can cross any border.

    `message` is one line. `traceback` is the user's own frames with their source lines, the engine's folded, or "".
    `function` names the user's function; `path` and `offset` say where in the input; `key` and `record` are reprs,
    shortened. `stderr` holds the last lines that the task process wrote. `producer` is set for INPUT_LOST.
    `task` is the text of the task's id. `notes` are lines that end the story. `tries` counts the attempts at the task
    that failed so, this one with them, where it was not the first: else it is 0.
    `saved_maps` is how many map results a job that failed so has left.
    """

    kind: FailureKind
    message: str
    traceback: str = ""
    function: str | None = None
    path: str | None = None
    offset: int | None = None
    key: str | None = None
    record: str | None = None
    stderr: str = ""
    task: str | None = None
    producer: AttemptId | None = None
    worker: str | None = None
    notes: tuple[str, ...] = ()
    tries: int = 0
    saved_maps: int = 0

    def __post_init__(self) -> None:
        """Leave out the secrets of URLs, since failures are shown, logged and kept: a key may be the path of a file."""
        for name in ("message", "traceback", "function", "path", "key", "record", "stderr"):
            text = getattr(self, name)
            if text is not None and "://" in text:
                object.__setattr__(self, name, without_secrets(text))
        if any("://" in note for note in self.notes):
            object.__setattr__(self, "notes", tuple(map(without_secrets, self.notes)))

    def describe(self) -> str:
        """The whole story for a terminal: the user's traceback first, then function, place, key, record, and so on."""
        shown = self.traceback.rstrip("\n")
        lines = [shown] if shown else []
        # Most tracebacks have it: as their last line, or before the other lines of the exception's text.
        if not any(line.endswith(self.message) and not line.startswith(" ") for line in shown.split("\n")):
            lines += ["", self.message] if shown else [self.message]
        place = self.path if self.offset is None else f"{self.path}, byte {self.offset}"
        tried = f" (attempt {self.tries} of {self.tries} that failed so)" if self.tries else ""
        facts = [
            ("function", self.function),
            ("input", place if self.path else None),
            ("key", self.key),
            ("record", self.record),
            ("task", f"{self.task}{tried}" if self.task else None),
            ("worker", self.worker),
        ]
        lines += [f"  {name}: {value}" for name, value in facts if value]
        if self.stderr:
            lines += ["  its last lines of output:"] + [f"    {line}" for line in self.stderr.rstrip("\n").split("\n")]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes that decide where buffers are cut. Part of the job's plan, so that every runner cuts at the same place.

    All in bytes but `flush_records`: how many pairs the mapper loop collects before they become columns.
    """

    flush_records: int = 524_288  # English has some 30,000 distinct words in so many: few rows are left of them
    sort_buffer: int = 64 << 20  # with its sorted copy and Polars' own memory stays far below 600 MB a task process
    block: int = 1 << 20  # raw size of a block: the unit of reading and fetching
    merge: int = 128 << 20  # what the merge may hold: its fan-in is this over twice the largest raw block
    read: int = 1 << 20  # how much of an input file is read and decoded at a time


@dataclass(frozen=True, slots=True)
class MaxBad:
    """How many bad records a job puts aside before it fails: so many, or so many percent of those it has read."""

    records: int = 0
    percent: float | None = None


RESUMED_JOBS = 16  # that one job goes on with, the failed one first: what older ones have left goes with their week
UNKNOWN = "?"  # how a digest begins that equals none
UNJUDGED = " (cannot be judged)"  # of the name of what may have changed


@dataclass(frozen=True, slots=True)
class StepIdentity:
    """What the results of a step's tasks depend on beside their input, as digests by name (see `identity`).

    `maps` is for its map tasks, `reduces` what its reduce tasks depend on beside that. A digest that begins with
    UNKNOWN is of what nobody can tell: it equals none, not even itself.
    """

    maps: dict[str, str]
    reduces: dict[str, str]

    @property
    def is_known(self) -> bool:
        """Whether results of its map tasks can be told to be those of another job's."""
        return not any(digest.startswith(UNKNOWN) for digest in self.maps.values())


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What every task of a job needs to know beside the code; opaque to the coordinator.

    `output` is the output folder (absolute); `output_format` is "tsv", "jsonl", "parquet" or "records" (typed, for
    results without an output folder); `outputs` are the names and formats of the job's named outputs. With `overwrite`
    part names carry the job's id. `limits` cut buffers alike in every runner. `inputs` says how many map tasks each
    input of the first step has; those of one input come after those of the one before. `origin` is for `_job.json`: who
    asked for the job, if that was a person at a prompt or in a notebook. Without `durable` nothing of the output is
    synced: it goes away with the program that asked for it, or is in a store. A task's part becomes several files of
    about `part_size` bytes each, where that is set. With `max_bad` bad records are put aside, without it the first
    fails the job.
    Map results are saved under the `identities` of their steps (none without any); with `resumes`, the ids of a failed
    job and of those that it had resumed, they are those that these have left, where the identities are the same.
    `formats` are texts of the formats that the inputs of the first step are read in (see `format_text`), "" where the
    job's own is meant; () for all of them.
    """

    job: str
    output: str
    output_format: str = "tsv"
    overwrite: bool = False
    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    seed: int = 0
    steps: tuple[StepShape, ...] = ()
    limits: Limits = field(default_factory=Limits)
    outputs: tuple[tuple[str, str], ...] = ()
    inputs: tuple[int, ...] = ()
    origin: dict[str, str] = field(default_factory=dict)
    durable: bool = True
    keep: bool = False
    part_size: int | None = None
    max_bad: MaxBad | None = None
    identities: tuple[StepIdentity, ...] = ()
    resumes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeFile:
    """A file that a worker must see as the client sees it."""

    path: str
    size: int
    version: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What a worker checks before a job starts: some of the inputs, and a token file in the output folder."""

    files: tuple[ProbeFile, ...] = ()
    token_path: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a client submits.

    Its blobs are content-addressed (SHA-256, hex) and opaque to the coordinator: `code` (a `package.Package`, the same
    for every run of the same job), `setup` (a `package.Setup`: this run's parameters and TaskOptions), `plan` (the
    splits, see `dataflow.inputs.split_file`), `probe` (a Probe), and `files` (see `side_files`; "" if none travel).

    Jobs with the same `warm` (a token of their client's; "" for none) and the same code may share task processes, one
    after the other.

    A job with `keep` has no output: its last step's parts stay on the workers, and other jobs may read them. `reads`
    are the ids of the kept jobs that this one reads, and `reads_at` says by which of its first step's map tasks: the
    first of as many as there are parts, or EVERY_PART where each map task reads all parts.

    With `resumes` it uses again what the map tasks of that failed job, and of those that it had resumed, have left on
    the workers: `former_maps` results, as far as that is known. `changed` names what of code and options is not as it
    was then. Without `saves` its own map results are of no use to another job.
    """

    job: str
    name: str
    steps: tuple[StepShape, ...]
    code: str
    setup: str
    plan: str
    probe: str
    output: str
    input_bytes: int
    priority: int = 0
    user_attempts: int = 2
    submitted_ms: int = 0  # wall clock of the client, for people only
    submitter: str = ""
    notes: tuple[str, ...] = ()  # warnings of the planner: shown with the job's own
    files: str = ""
    warm: str = ""
    keep: bool = False
    reads: tuple[str, ...] = ()
    reads_at: tuple[int, ...] = ()
    max_bad: MaxBad | None = None
    resumes: tuple[str, ...] = ()
    former_maps: int | None = None
    changed: tuple[str, ...] = ()
    saves: bool = True

    @property
    def blobs(self) -> tuple[str, ...]:
        """The sums of all blobs that the job needs."""
        needed = (self.code, self.setup, self.plan, self.probe)
        return (*needed, self.files) if self.files else needed
