"""Where trials are run: here and in other processes, each in a folder of its own, all from one planned job."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mapreduce.check.budget import Budget
from mapreduce.check.other import OtherProcess
from mapreduce.check.sample import Sample, SampledInput, take_all, take_sample
from mapreduce.check.trial import Outcome, TrialPlan, Watched, run_trial
from mapreduce.dataflow.inputs.split_file import split_at
from mapreduce.dataflow.readers.reader import Reader
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.job import Job
from mapreduce.max_bad import MOST
from mapreduce.output_formats import RECORDS
from mapreduce.plan import AttemptId, MaxBad, Split, TaskId, TaskKind, TaskOptions
from mapreduce.planner import Planned, shapes_of
from mapreduce.travel.loader import LoadedJob
from mapreduce.travel.side_files import extract_files, travelled_files

REDUCERS = 3  # of each step of a trial, unless its partitioner makes another number: so that keys do get apart
READ_BYTES = 64 << 10  # of a file at a time: a sample has few records, and a megabyte would be read for each place


class Bench:
    """A planned job with what its trials need. `folder` is for it alone, and goes away with its owner.

    `budget` is the time that all of them may take; trials here note what they take of it.
    """

    def __init__(self, planned: Planned, folder: Path) -> None:
        """Unpack the files that travel with the job."""
        self.planned = planned
        self.budget = Budget()
        self._folder = folder
        self._files = folder / "files"
        self._made = 0
        if planned.spec.files:
            blob = folder / "blob"
            blob.write_bytes(planned.blobs[planned.spec.files])
            extract_files(blob, self._files)
            blob.unlink()
        files = travelled_files(self._files) if planned.spec.files else {}
        options = replace(
            planned.options,
            output_format=RECORDS,
            outputs=tuple((name, RECORDS) for name, _ in planned.options.outputs),
            overwrite=False,
            durable=False,
            part_size=None,
            origin={},
            identities=(),
            # A trial puts aside what it meets, and whether that is too much is judged by all of the input.
            max_bad=None if planned.options.max_bad is None else MaxBad(MOST),
            limits=replace(planned.options.limits, read=READ_BYTES),
        )
        self.loaded = LoadedJob(planned.job, planned.params, options, files)
        self.splits = _splits_of(planned)

    @property
    def job(self) -> Job:
        """The job."""
        return self.planned.job

    @property
    def options(self) -> TaskOptions:
        """The options of its trials, whose numbers of tasks are those of the whole run."""
        return self.loaded.options

    @property
    def mapped(self) -> list[tuple[Split, ...]]:
        """The splits of each input that map tasks read."""
        return self.splits[:-1] if self.job.resolved[0].broadcasts else self.splits

    @property
    def input_bytes(self) -> int:
        """The bytes of the inputs that map tasks read."""
        return sum(split.size for splits in self.mapped for split in splits)

    def sample(self, records: int) -> Sample:
        """Take a sample of about so many records. Raises as `take_sample`; none is put aside."""
        return take_sample(self._inputs(), records)

    def whole_sample(self) -> Sample:
        """All of the input, in the tasks of the run. Raises as `take_sample`."""
        return take_all(self._inputs())

    def _inputs(self) -> list[SampledInput]:
        setup = TaskSetup(self.loaded, AttemptId(TaskId(self.options.job, 0, TaskKind.MAP, 0), 1), self._folder)

        def reader(split: Split) -> Reader:
            return setup.reader(split, None if self.options.max_bad is None else _put_aside)

        plans = self.job.resolved[0].inputs
        return [
            SampledInput(number, splits, reader, frames=plans[number].frames)
            for number, splits in enumerate(self.mapped)
        ]

    def plan(self, sample: Sample, *, reducers: int = REDUCERS) -> TrialPlan:
        """The trial of a sample; `replace` makes others of it."""
        steps = shapes_of(self.job, len(sample.tasks), None, lambda _step: reducers)
        return self._plan(sample, replace(self.options, steps=steps, inputs=sample.counts(len(self.splits))))

    def plan_as_run(self, sample: Sample) -> TrialPlan:
        """The trial of a whole sample with the tasks of the run."""
        return self._plan(sample, self.options)

    def _plan(self, sample: Sample, options: TaskOptions) -> TrialPlan:
        broadcast = self.splits[-1][0] if self.job.resolved[0].broadcasts else None
        return TrialPlan(sample.tasks, options, broadcast)

    def here(self, plan: TrialPlan, *, loud: bool = False) -> tuple[Outcome, Watched]:
        """Run a trial in this process. What functions print goes to stderr; without `loud` it is dropped."""
        folder = self.new_folder()
        started_s = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr) if loud else _silence():
                return run_trial(self.loaded, plan, folder)
        finally:
            self.budget.spend(time.perf_counter() - started_s)
            shutil.rmtree(folder, ignore_errors=True)

    def elsewhere(self, plan: TrialPlan, seed: int) -> OtherProcess:
        """Start a trial in another process, with this hash seed."""
        spec = self.planned.spec
        blobs = self.planned.blobs[spec.code], self.planned.blobs[spec.setup]
        return OtherProcess(self.new_folder(make=False), blobs, self._files, plan, seed)

    def new_folder(self, *, make: bool = True) -> Path:
        """A new name of a folder, which is made unless said otherwise."""
        self._made += 1
        folder = self._folder / f"trial-{self._made}"
        if make:
            folder.mkdir()
        return folder


def _put_aside(_error: UnreadableRecord) -> None:
    """Leave a bad record to the trial, which puts it aside as the job does."""


def _splits_of(planned: Planned) -> list[tuple[Split, ...]]:
    """The splits of each input of the first step; a broadcast input has one."""
    blob = planned.blobs[planned.spec.plan]
    found: list[tuple[Split, ...]] = []
    at = 0
    for maps in planned.options.inputs:
        found.append(tuple(split_at(blob, at + i) for i in range(maps)))
        at += maps
    if planned.job.resolved[0].broadcasts:
        found[-1] = (split_at(blob, at),)
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
