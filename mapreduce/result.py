"""What a finished job gives back, and the handle on one that still runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.errors import OutputError, UsageError
from mapreduce.max_bad import BAD_FOLDER
from mapreduce.urls import below, place

if TYPE_CHECKING:
    import polars as pl

    from mapreduce.protocol.messages import JobStatus
    from mapreduce.runners.private import PrivateFolder

SHOWN = 3  # records in a Result's repr


class Records:
    """Records of a finished job in a folder: iterate over (key, value) pairs, or take `dict(...)` of them.

    They are read from disk each time, part by part, so they may be more than memory holds. `output` is the folder (its
    URL if it is in a store), None if it is temporary.
    """

    def __init__(self, folder: Path | str, temporary: PrivateFolder | None = None) -> None:
        """Wrap the committed output in `folder`; `temporary` is what it goes away with."""
        self.output = None if temporary is not None else folder
        self._folder = folder
        self._temporary = temporary  # held, so that the records live as long as this object

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        from mapreduce.dataflow.manifest.folder import read_output  # noqa: PLC0415 - imports Polars for typed records

        # A generator of our own: it holds this object, and so the folder, until it is done.
        yield from read_output(self._folder)

    def __fspath__(self) -> str:
        """The folder of the records, so that a result can be the input of the next run."""
        return str(self._folder)

    def __len__(self) -> int:
        """How many records there are, as the output's manifest says. Raises OutputError if the output is gone."""
        from mapreduce.dataflow.manifest.folder import read_manifest  # noqa: PLC0415 - as above

        return read_manifest(self._folder).records

    def to_polars(self) -> pl.DataFrame:
        """All records as a Polars frame with the columns "key" and "value".

        A column whose values are all of one type that Polars has gets that type; any other column holds Python objects.
        """
        from mapreduce.dataflow.manifest.folder import read_frame  # noqa: PLC0415 - imports Polars

        return read_frame(self._folder)

    def _place(self) -> str:
        return "temporary" if self.output is None else str(self.output)


class NamedOutput(Records):
    """The records of one named output of a job, in the order of its tasks. `name` is its name, `records` their number.

    Iterate, take `to_polars()`, or give it as input to another job, as with a Result.
    """

    def __init__(self, name: str, records: int, folder: Path | str, temporary: PrivateFolder | None = None) -> None:
        """Wrap the folder of the output; `temporary` is what it goes away with."""
        super().__init__(folder, temporary)
        self.name = name
        self.records = records

    def __repr__(self) -> str:
        return f"<output {self.name!r}: {self.records:,} records, {self._place()}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        from mapreduce.notebook_display import named_output_html  # noqa: PLC0415 - only notebooks show it

        return named_output_html(self)


class Output(Records):
    """A finished output in its folder: what a job wrote, whenever that was. Made by `mapreduce.read`.

    Iterate over (key, value) pairs; keys are None where the job's results are values alone; `len` is their number. Each
    part's checksum is compared before its records are given. Attributes: `output` (its folder), `outputs` (its named
    outputs), `bad` (the records that the job had put aside).
    """

    def __repr__(self) -> str:
        try:
            return f"<Output: {len(self):,} records, {self._place()}>"
        except OutputError as error:  # it was removed, say
            return f"<Output: {error}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        from mapreduce.notebook_display import output_html  # noqa: PLC0415 - only notebooks show it

        return output_html(self)

    @property
    def bad(self) -> BadRecords:
        """The records that were put aside, a dict each: path, offset or key, kind, message, traceback, content, ..."""
        return BadRecords(self._folder, self._temporary)

    @property
    def outputs(self) -> dict[str, NamedOutput]:
        """The job's named outputs by their names. Raises OutputError if the output is gone."""
        from mapreduce.dataflow.manifest.folder import read_manifest  # noqa: PLC0415 - as above

        return {
            name: NamedOutput(name, records, below(self._folder, name), self._temporary)
            for name, records in read_manifest(self._folder).outputs.items()
        }


class BadRecords:
    """The records that a job has put aside: iterate over dicts, one for each; `len` is their number.

    They are read from disk each time; the order is that of steps, tasks and records. Both raise OutputError if they are
    gone.
    """

    def __init__(self, folder: Path | str, temporary: PrivateFolder | None = None) -> None:
        """Wrap those of the output in `folder`; `temporary` is what it goes away with."""
        self._folder = folder
        self._temporary = temporary  # as in Records

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from mapreduce.dataflow.bad.folder import read_bad  # noqa: PLC0415 - as in Records

        yield from read_bad(self._folder)

    def __len__(self) -> int:
        """How many there are."""
        from mapreduce.dataflow.bad.folder import bad_told  # noqa: PLC0415 - as in Records

        return bad_told(self._folder)[0]

    def __repr__(self) -> str:
        place = "temporary" if self._temporary is not None else str(below(self._folder, BAD_FOLDER))
        try:
            return f"<bad records: {len(self):,}, {place}>"
        except OutputError as error:  # as above
            return f"<bad records: {error}>"


class Result(Output):
    """The records of a finished job: iterate over (key, value) pairs, or take `dict(result)`.

    Records come partition by partition, sorted by key in each. They are read from disk each time, so a result may be
    larger than memory.

    Attributes: `id` (the job's), `output` (its folder, None if the result is temporary), `outputs` (its named outputs),
    `counters`, `warnings`, and `status` (all that the coordinator knew of the job at its end).
    """

    def __init__(self, status: JobStatus, folder: Path | str, temporary: PrivateFolder | None = None) -> None:
        """Wrap the committed output in `folder`; `temporary` is what it goes away with."""
        super().__init__(folder, temporary)
        self.status = status
        self.id = status.job
        self.counters = dict(status.counters)
        self.warnings = list(status.warnings)

    def __repr__(self) -> str:
        return f"<Result of {self.id}: {self.status.records_out:,} records, {self._place()}>"

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        from mapreduce.notebook_display import result_html  # noqa: PLC0415 - only notebooks show it

        return result_html(self)


class JobHandle:
    """A job on a cluster, by its id: made by `mapreduce.submit`, or from an address and an id."""

    def __init__(self, id: str, coordinator: str) -> None:  # noqa: A002 - it is called so for users everywhere
        """Name a job at a coordinator. Nothing is asked yet."""
        self.id = id
        self.coordinator = coordinator

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r}, {self.coordinator!r})"

    def _repr_html_(self) -> str:
        """A table, for notebooks; nothing is asked for it."""
        from mapreduce.notebook_display import handle_html  # noqa: PLC0415 - only notebooks show it

        return handle_html(self)

    def status(self) -> JobStatus:
        """How far it is. Raises UsageError for a job that the coordinator does not know."""
        from mapreduce.runners import cluster  # noqa: PLC0415 - imports the sockets

        return cluster.get_status(self.coordinator, self.id)

    def wait(self, timeout_s: float | None = None) -> Result:
        """Wait for its end and give its result.

        Raises JobFailed and JobCancelled; TimeoutError after `timeout_s` seconds, and then it runs on.
        """
        from mapreduce.runners import cluster  # noqa: PLC0415 - as above

        until_s = cluster.deadline(timeout_s)
        status = cluster.ended_well(cluster.follow(self.coordinator, self.id, until_s=until_s))
        if status.state == "kept":
            raise UsageError(
                f"{self.id} keeps its results with the workers, for the Cluster that ran it: not in a folder"
            )
        return Result(status, place(status.output))

    def cancel(self) -> JobStatus:
        """Stop it, remove what it has written, and give its last status; one that has ended stays as it is."""
        from mapreduce.runners import cluster  # noqa: PLC0415 - as above

        return cluster.cancel_job(self.coordinator, self.id)
