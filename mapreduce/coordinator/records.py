"""What the coordinator remembers of a job: its stages, their commits, counters and totals.

A job's tasks lie in stages that run one after the other: the maps of a step, its reduces (if it has any), the maps of
the next step, ..., and the one task of the job commit, unless the job keeps its results. A stage's results are what the
next stage reads. All of this is durable: it changes only by entries (`durable`), and is the snapshot.
"""

from __future__ import annotations

from dataclasses import field

from mapreduce.config import WARNING_CHARS, WARNINGS
from mapreduce.coordinator.states import ENDED, JobState
from mapreduce.coordinator.text import clip
from mapreduce.max_bad import BadTotals
from mapreduce.plan import EVERY_PART, AttemptId, Done, Failure, JobSpec, TaskId, TaskKind
from mapreduce.quick_dataclass import dataclass

DIGEST_BYTES = 8  # of each partition in Done.digests


@dataclass(frozen=True, slots=True)
class Commit:
    """A task's current result: attempt number and worker."""

    number: int
    worker: str
    done: Done


@dataclass(slots=True)
class Stage:
    """The tasks of one kind in one step.

    `finished` counts the commits, and stays when the job's end drops them. `revoked` keeps the fingerprints of commits
    that were taken back, by index; `failures` counts failed attempts by index and kind. Attempts with numbers up to
    `fences[index]` are over (failed, revoked, or of inputs that have changed) and can never be committed.
    `mismatches` counts how often this stage's readers were restarted because one of its tasks made other bytes when it
    ran again.
    """

    step: int
    kind: TaskKind
    size: int
    finished: int = 0
    commits: dict[int, Commit] = field(default_factory=dict)
    revoked: dict[int, bytes] = field(default_factory=dict)
    failures: dict[int, dict[str, int]] = field(default_factory=dict)
    fences: dict[int, int] = field(default_factory=dict)
    mismatches: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether every task has a commit."""
        return self.finished == self.size


@dataclass(slots=True)
class Counted:
    """One step's user counters, and how many commits use each name (a name vanishes with its last).

    `sizes` are the sums of absolute values: while they fit 64 bits, so does each sum of any of the commits.
    """

    values: dict[str, int] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, counters: dict[str, int]) -> None:
        """Count a commit's counters."""
        for name, value in counters.items():
            self.values[name] = self.values.get(name, 0) + value
            self.uses[name] = self.uses.get(name, 0) + 1
            self.sizes[name] = self.sizes.get(name, 0) + abs(value)

    def subtract(self, counters: dict[str, int]) -> None:
        """Take a revoked commit's counters back."""
        for name, value in counters.items():
            self.values[name] -= value
            self.uses[name] -= 1
            self.sizes[name] -= abs(value)
            if not self.uses[name]:
                del self.values[name], self.uses[name], self.sizes[name]


@dataclass(slots=True)
class JobRecord:
    """A job, as it lies in the snapshot. `sequence` orders jobs by submission.

    `saved_maps` and `saved_bytes` are what it has left when it failed, `reused_maps` counts what it has used of another
    that failed.
    """

    spec: JobSpec
    sequence: int
    stages: tuple[Stage, ...]
    counted: tuple[Counted, ...]
    state: JobState = JobState.PREPARING
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()
    attempts_failed: int = 0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    shuffle_bytes: int = 0
    bad: BadTotals = field(default_factory=BadTotals)
    saved_maps: int = 0
    saved_bytes: int = 0
    reused_maps: int = 0

    @property
    def id(self) -> str:
        """The job's id."""
        return self.spec.job

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED

    @property
    def is_settled(self) -> bool:
        """Whether its results are there, or will never be: what a client waits for."""
        return self.state is JobState.KEPT or not self.is_live

    @property
    def final(self) -> int:
        """The number of the stage whose results are the job's."""
        return len(self.stages) - (1 if self.spec.keep else 2)

    def is_held(self, stage: int) -> bool:
        """Whether a stage's results lie with the workers that made them, and not in the shared output folder."""
        return stage < self.final or self.spec.keep

    def readers(self, number: int, part: int) -> range:
        """The map tasks of the first step that read a part of the kept job with this number in `reads`."""
        start = self.spec.reads_at[number]
        return range(self.stages[0].size) if start == EVERY_PART else range(start + part, start + part + 1)

    def task(self, stage: int, index: int) -> TaskId:
        """Name a task."""
        found = self.stages[stage]
        return TaskId(self.spec.job, found.step, found.kind, index)

    def attempt(self, stage: int, index: int, number: int) -> AttemptId:
        """Name an attempt."""
        return AttemptId(self.task(stage, index), number)

    def place(self, task: TaskId) -> int | None:
        """Give the number of a task's stage, or None if the job has no such task."""
        for number, stage in enumerate(self.stages):
            if stage.step == task.step and stage.kind is task.kind:
                return number if 0 <= task.index < stage.size else None
        return None

    def reads_all(self, stage: int) -> bool:
        """Whether each task of this stage reads all results of the one before; else it reads the one of its index."""
        return self.stages[stage].kind is not TaskKind.MAP

    def warn(self, text: str) -> None:
        """Keep a warning once, and not more of them than fit a status."""
        text = clip(text, WARNING_CHARS)
        if text in self.warnings or len(self.warnings) > WARNINGS:
            return
        self.warnings += (text,) if len(self.warnings) < WARNINGS else ("further warnings are not shown",)

    def count(self, stage: int, done: Done, sign: int) -> None:
        """Add (`sign` 1) or take back (-1) what a commit adds to the job's totals."""
        if stage == 0:
            self.records_in += sign * done.records_in
            self.bytes_in += sign * done.bytes_in
        if stage == self.final:
            self.records_out += sign * done.records_out
        self.shuffle_bytes += sign * done.shuffle_bytes
        self.reused_maps += sign * done.reused
        counted = self.counted[self.stages[stage].step]
        if sign > 0:
            counted.add(done.counters)
            self.bad.add(done)
        else:
            counted.subtract(done.counters)
            self.bad.subtract(done)


def new_record(spec: JobSpec, sequence: int) -> JobRecord:
    """Lay out a job's stages."""
    stages: list[Stage] = []
    for step, shape in enumerate(spec.steps):
        stages.append(Stage(step, TaskKind.MAP, shape.maps))
        if shape.reduces:
            stages.append(Stage(step, TaskKind.REDUCE, shape.reduces))
    if not spec.keep:
        stages.append(Stage(len(spec.steps) - 1, TaskKind.COMMIT, 1))
    record = JobRecord(spec, sequence, tuple(stages), tuple(Counted() for _ in spec.steps))
    for note in spec.notes:
        record.warn(note)
    return record


def fingerprint(done: Done) -> bytes:
    """What two results of a task must share to be the same for whoever reads them."""
    if done.digests:
        return done.digests
    return done.part.checksum.encode() if done.part else b""


def changed_partitions(old: bytes, new: bytes) -> list[int] | None:
    """Give the partitions whose digests differ, or None where the fingerprints are not comparable digests."""
    if len(old) != len(new) or len(old) % DIGEST_BYTES:
        return None
    cuts = range(0, len(old), DIGEST_BYTES)
    return [cut // DIGEST_BYTES for cut in cuts if old[cut : cut + DIGEST_BYTES] != new[cut : cut + DIGEST_BYTES]]
