"""What a finished job gives back, and the handle on one that still runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapreduce.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from mapreduce.protocol.messages import JobStatus
    from mapreduce.runners.private import PrivateFolder

SHOWN = 3  # records in a Result's repr


class Records:
    """Records of a finished job in a folder: iterate over (key, value) pairs, or take `dict(...)` of them.

    They are read from disk each time, part by part, so they may be more than memory holds. `output` is the folder, None
    if it is temporary.
    """

    def __init__(self, folder: Path, temporary: PrivateFolder | None = None) -> None:
        """Wrap the committed output in `folder`; `temporary` is what it goes away with."""
        self.output = None if temporary is not None else folder
        self._folder = folder
        self._temporary = temporary  # held, so that the records live as long as this object

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        from mapreduce.dataflow.manifest import read_output  # noqa: PLC0415 - imports Polars for typed records

        # A generator of our own: it holds this object, and so the folder, until it is done.
        yield from read_output(self._folder)

    def __fspath__(self) -> str:
        """The folder of the records, so that a result can be the input of the next run."""
        return str(self._folder)

    def to_polars(self) -> pl.DataFrame:
        """All records as a Polars frame with the columns "key" and "value".

        A column whose values are all of one type that Polars has gets that type; any other column holds Python objects.
        """
        import polars as pl  # noqa: PLC0415 - heavy, and most callers have no use for it

        from mapreduce.dataflow.frames import exact_column  # noqa: PLC0415 - as above

        pairs = list(self)
        keys = exact_column("key", [key for key, _ in pairs])
        return pl.DataFrame([keys, exact_column("value", [value for _, value in pairs])])

    def _place(self) -> str:
        return "temporary" if self.output is None else str(self.output)


class NamedOutput(Records):
    """The records of one named output of a job, in the order of its tasks. `name` is its name, `records` their number.

    Iterate, take `to_polars()`, or give it as input to another job, as with a Result.
    """

    def __init__(self, name: str, records: int, folder: Path, temporary: PrivateFolder | None = None) -> None:
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


class Result(Records):
    """The records of a finished job: iterate over (key, value) pairs, or take `dict(result)`.

    Records come partition by partition, sorted by key in each. They are read from disk each time, so a result may be
    larger than memory.

    Attributes: `id` (the job's), `output` (its folder, None if the result is temporary), `outputs` (its named outputs),
    `counters`, `warnings`, and `status` (all that the coordinator knew of the job at its end).
    """

    def __init__(self, status: JobStatus, folder: Path, temporary: PrivateFolder | None = None) -> None:
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

    @property
    def outputs(self) -> dict[str, NamedOutput]:
        """The job's named outputs by their names. Raises OutputError if the output is gone."""
        from mapreduce.dataflow.manifest import read_manifest  # noqa: PLC0415 - as above

        return {
            name: NamedOutput(name, records, self._folder / name, self._temporary)
            for name, records in read_manifest(self._folder).outputs.items()
        }


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
        return Result(status, Path(status.output))

    def cancel(self) -> JobStatus:
        """Stop it, remove what it has written, and give its last status; one that has ended stays as it is."""
        from mapreduce.runners import cluster  # noqa: PLC0415 - as above

        return cluster.cancel_job(self.coordinator, self.id)
