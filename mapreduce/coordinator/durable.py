"""The coordinator's durable state: what the journal's entries add up to.

`apply` is the only thing that changes it, live and in recovery alike, so that the journal replayed gives the same
state. An entry that does not fit is an IllegalTransition: a defect, or a damaged journal.
"""

from __future__ import annotations

import posixpath
from dataclasses import field, replace
from typing import Any, assert_never

from mapreduce.coordinator import entries as e
from mapreduce.coordinator.records import Commit, JobRecord, Stage, fingerprint, new_record
from mapreduce.coordinator.saved import left_by
from mapreduce.coordinator.states import ENDED, JobState, check_transition
from mapreduce.errors import IllegalTransition
from mapreduce.plan import AttemptId, TaskId
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """Where a worker's results are to be had."""

    name: str
    address: str
    folder: str


@dataclass(slots=True)
class _Snapshot:
    """The plain form: what cannot be told from the rest is left out."""

    sequence: int
    workers: dict[str, WorkerFacts]
    jobs: tuple[JobRecord, ...]
    ended: tuple[str, ...]


@dataclass(slots=True)
class Durable:
    """All jobs in the order of submission, and the workers that may hold results.

    `ended` lists ended jobs in the order of their ends. Derived: `held` (by worker, its intermediate commits as job,
    stage, index), `outputs` (which live job an output folder is reserved for) and `commits` (how many there are).
    """

    sequence: int = 0
    workers: dict[str, WorkerFacts] = field(default_factory=dict)
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)
    held: dict[str, set[tuple[str, int, int]]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    commits: int = 0

    def apply(self, entry: e.Entry) -> None:  # noqa: C901, PLR0912 - one case for each type of entry
        """Take one entry. Raises IllegalTransition if it cannot follow what came before."""
        match entry:
            case e.Committed(attempt, worker, done):
                self._commit(attempt, Commit(attempt.number, worker, done))
            case e.Revoked(attempt):
                self._revoke(attempt)
            case e.AttemptEnded():
                self._fail(entry)
            case e.Restarted():
                self._restart(entry)
            case e.Fenced(tasks, fence):
                self._fence_tasks(tasks, fence)
            case e.Warned(job, text):
                self._live(job).warn(text)
            case e.WorkerKnown(worker, name, address, folder):
                self.workers[worker] = WorkerFacts(name, address, folder)
            case e.WorkerGone(worker):
                self.workers.pop(worker, None)
            case e.JobSubmitted(spec):
                self._submit(spec)
            case e.JobMoved():
                self._move(entry)
            case e.JobEnded():
                self._end(entry)
            case e.JobForgotten(job):
                del self.ended[job], self.jobs[job]
            case _:
                assert_never(entry)

    # ---- jobs

    def _live(self, job: str) -> JobRecord:
        record = self.jobs.get(job)
        if record is None or not record.is_live:
            msg = f"job {job} is {'unknown' if record is None else record.state}: nothing more can happen to it"
            raise IllegalTransition(msg)
        return record

    def _submit(self, spec: Any) -> None:
        if spec.job in self.jobs:
            msg = f"job {spec.job} is submitted a second time"
            raise IllegalTransition(msg)
        self.sequence += 1
        self.jobs[spec.job] = new_record(spec, self.sequence)
        if spec.output:
            self.outputs[output_key(spec.output)] = spec.job

    def _move(self, entry: e.JobMoved) -> None:
        record = self._live(entry.job)
        check_transition(entry.job, record.state, entry.state)
        record.state = entry.state

    def _end(self, entry: e.JobEnded) -> None:
        record = self._live(entry.job)
        check_transition(entry.job, record.state, entry.state)
        record.state, record.failure = entry.state, entry.failure
        if entry.state is JobState.FAILED:
            record.saved_maps, record.saved_bytes = left_by(record, self.workers)
        for number, stage in enumerate(record.stages):
            for index, commit in stage.commits.items():
                self._unhold(commit.worker, (entry.job, number, index))
            self.commits -= len(stage.commits)
            for table in (stage.commits, stage.revoked, stage.failures, stage.fences):
                table.clear()
        self.ended[entry.job] = None
        key = output_key(record.spec.output)
        if self.outputs.get(key) == entry.job:
            del self.outputs[key]

    # ---- attempts

    def _find(self, attempt: AttemptId) -> tuple[JobRecord, int, Stage]:
        record = self._live(attempt.task.job)
        number = record.place(attempt.task)
        if number is None:
            msg = f"job {record.id} has no task {attempt.task}"
            raise IllegalTransition(msg)
        return record, number, record.stages[number]

    def _commit(self, attempt: AttemptId, commit: Commit) -> None:
        record, number, stage = self._find(attempt)
        index = attempt.task.index
        if index in stage.commits:
            msg = f"job {record.id}: {attempt} is to be committed, but attempt {stage.commits[index].number} already is"
            raise IllegalTransition(msg)
        if commit.number <= stage.fences.get(index, 0):
            msg = f"job {record.id}: {attempt} is to be committed, but was fenced off"
            raise IllegalTransition(msg)
        # The story of its bad records is the job's from here on: that of each task would fill the memory.
        has_story = commit.done.bad_places or commit.done.bad_last is not None
        kept = replace(commit, done=replace(commit.done, bad_places={}, bad_last=None)) if has_story else commit
        stage.commits[index] = kept
        stage.finished += 1
        self.commits += 1
        record.count(number, commit.done, 1)
        for text in commit.done.warnings:
            record.warn(text)
        if record.is_held(number):
            self.held.setdefault(commit.worker, set()).add((record.id, number, index))

    def _revoke(self, attempt: AttemptId) -> None:
        record, number, stage = self._find(attempt)
        index = attempt.task.index
        commit = stage.commits.get(index)
        if commit is None or commit.number != attempt.number:
            msg = f"job {record.id}: {attempt} is to be revoked, but is not its task's commit"
            raise IllegalTransition(msg)
        del stage.commits[index]
        stage.finished -= 1
        self.commits -= 1
        record.count(number, commit.done, -1)
        stage.revoked[index] = fingerprint(commit.done)
        _fence(stage, index, commit.number)
        self._unhold(commit.worker, (record.id, number, index))

    def _fail(self, entry: e.AttemptEnded) -> None:
        record, _, stage = self._find(entry.attempt)
        index = entry.attempt.task.index
        counts = stage.failures.setdefault(index, {})
        counts[entry.kind.value] = counts.get(entry.kind.value, 0) + 1
        record.attempts_failed += 1
        _fence(stage, index, entry.attempt.number)

    def _unhold(self, worker: str, key: tuple[str, int, int]) -> None:
        keys = self.held.get(worker)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self.held[worker]

    def _restart(self, entry: e.Restarted) -> None:
        record = self._live(entry.producer.job)
        number = record.place(entry.producer)
        assert number is not None
        record.stages[number].mismatches += 1
        self._fence_tasks(entry.tasks, entry.fence)

    def _fence_tasks(self, tasks: tuple[TaskId, ...], fence: int) -> None:
        for task in tasks:
            record = self._live(task.job)
            number = record.place(task)
            assert number is not None
            _fence(record.stages[number], task.index, fence)

    # ---- snapshots

    def to_plain(self) -> Any:
        """Give everything as plain data: the snapshot. Equal states give equal data."""
        jobs = tuple(self.jobs.values())
        return plain.to_plain(_Snapshot(self.sequence, self.workers, jobs, tuple(self.ended)))

    @classmethod
    def from_plain(cls, data: Any) -> Durable:
        """Build the state from a snapshot. Raises WireError if it is not one."""
        snapshot = plain.from_plain(_Snapshot, data)
        durable = cls(snapshot.sequence, snapshot.workers)
        durable.ended = dict.fromkeys(snapshot.ended)
        for record in snapshot.jobs:
            durable.jobs[record.id] = record
            if record.state not in ENDED and record.spec.output:
                durable.outputs[output_key(record.spec.output)] = record.id
            for number, stage in enumerate(record.stages):
                durable.commits += len(stage.commits)
                if record.is_held(number):
                    for index, commit in stage.commits.items():
                        durable.held.setdefault(commit.worker, set()).add((record.id, number, index))
        return durable


def _fence(stage: Stage, index: int, number: int) -> None:
    stage.fences[index] = max(number, stage.fences.get(index, 0))


def output_key(path: str) -> str:
    """Give the form in which two paths of one output folder are equal."""
    return posixpath.normpath(path) if path else ""
