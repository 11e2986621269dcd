"""`Kept`: a job's results that stay on the disks of a Cluster's workers, for other jobs of that Cluster to read."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, NoReturn

from mapreduce.errors import UsageError
from mapreduce.request import KeptInput

if TYPE_CHECKING:
    from mapreduce.protocol.messages import JobStatus
    from mapreduce.runners.warm import WarmRunner


class Kept:
    """The results of a job that was run with `keep=True`: the input of other jobs of the same Cluster.

    They are read where they lie, with their values' exact types. What is lost with a worker is made again. They go when
    the Cluster is closed, with `drop()`, when this object is collected, or when no job has read them for an hour.

    Attributes: `id` (the job's), `records`, `bytes` (on disk, in all), `parts` (a map task of a job that reads them
    reads one each), `counters`, `warnings`, and `status` (all that the coordinator knew of the job when it was done).
    """

    def __init__(self, status: JobStatus, runner: WarmRunner) -> None:
        """Wrap the results of a job whose status is "kept", which `runner` holds."""
        self.status = status
        self.id = status.job
        self.records = status.records_out
        self.bytes = status.kept_bytes
        self.parts = status.steps[-1].shape.parts
        self.counters = dict(status.counters)
        self.warnings = list(status.warnings)
        self._runner = runner
        self._finalizer = weakref.finalize(self, runner.let_go, status.job)
        self._finalizer.atexit = False  # at the end of the program its Cluster is closed, and drops them all

    def __repr__(self) -> str:
        gone = "" if self._runner.holds(self.id) else ", dropped"
        size = f"{self.records:,} records, {self.bytes:,} bytes in {self.parts} part{'s' if self.parts != 1 else ''}"
        return f"<Kept results of {self.id}: {size}{gone}>"

    def __iter__(self) -> NoReturn:
        """Say how to get at the records: they lie with the workers."""
        raise UsageError(
            f"the records of {self.id} stay with the workers: run a job over them, cluster.run(job, kept), or leave "
            "out keep=True to get a Result"
        )

    def drop(self) -> None:
        """Free what they take on the workers' disks; may be called twice. Other jobs cannot read them any more.

        Kept results that were made from them may need them still, to be made again: then they go with those.
        """
        if self._finalizer.detach() is not None:
            self._runner.drop(self.id)

    def read_by(self, runner: WarmRunner | None) -> KeptInput:
        """What a job on this runner is to read. Raises UsageError unless the results are there."""
        if runner is not self._runner:
            raise UsageError(
                f"the kept results of {self.id} lie with the workers of the Cluster that made them: give them to a job "
                "that runs there, with the method run of that Cluster"
            )
        if not runner.holds(self.id):
            raise UsageError(f"the kept results of {self.id} were dropped, or went with their workers: make them again")
        return KeptInput(self.id, self.parts, self.bytes)
