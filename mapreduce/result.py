"""What a finished job gives back, and the handle on one that still runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from mapreduce.protocol.messages import JobStatus
    from mapreduce.runners.private import PrivateFolder

SHOWN = 3  # records in a Result's repr


class Result:
    """The records of a finished job: iterate over (key, value) pairs, or take `dict(result)`.

    Records come partition by partition, sorted by key in each. They are read from disk each time, so a result may be
    larger than memory.

    Attributes: `id` (the job's), `output` (its folder, None if the result is temporary), `counters`, `warnings`, and
    `status` (all that the coordinator knew of the job at its end).
    """

    def __init__(self, status: JobStatus, folder: Path, temporary: PrivateFolder | None = None) -> None:
        """Wrap the committed output in `folder`; `temporary` is what it goes away with."""
        self.status = status
        self.id = status.job
        self.output = None if temporary is not None else folder
        self.counters = dict(status.counters)
        self.warnings = list(status.warnings)
        self._folder = folder
        self._temporary = temporary  # held, so that the records live as long as this object

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        from mapreduce.dataflow.manifest import read_output  # noqa: PLC0415 - imports Polars for typed records

        # A generator of our own: it holds this object, and so the folder, until it is done.
        yield from read_output(self._folder)

    def __repr__(self) -> str:
        place = "temporary" if self.output is None else str(self.output)
        return f"<Result of {self.id}: {self.status.records_out:,} records, {place}>"

    def to_polars(self) -> pl.DataFrame:
        """All records as a Polars frame with the columns "key" and "value".

        A column whose values are all of one type that Polars has gets that type; any other column holds Python objects.
        """
        import polars as pl  # noqa: PLC0415 - heavy, and most callers have no use for it

        pairs = list(self)
        keys = _column("key", [key for key, _ in pairs])
        return pl.DataFrame([keys, _column("value", [value for _, value in pairs])])


_INT64 = range(-(1 << 63), 1 << 63)


def _column(name: str, items: list[Any]) -> pl.Series:
    """A column of exactly these values: Polars' own inference would mix types and round large ints."""
    import polars as pl  # noqa: PLC0415 - as above

    types: dict[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean, bytes: pl.Binary}
    kinds = set(map(type, items)) - {type(None)}
    if not kinds:
        return pl.Series(name, items, dtype=pl.Null)
    kind = kinds.pop()
    plain = not kinds and kind in types
    if plain and kind is int:
        plain = all(item is None or item in _INT64 for item in items)
    if plain and kind is str:
        plain = all(item is None or _is_utf8(item) for item in items)
    return pl.Series(name, items, dtype=types[kind] if plain else pl.Object)


def _is_utf8(text: str) -> bool:
    """Whether Polars can hold the text: it cannot hold lone surrogates."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


class JobHandle:
    """A job on a cluster, by its id: made by `mapreduce.submit`, or from an address and an id."""

    def __init__(self, id: str, coordinator: str) -> None:  # noqa: A002 - it is called so for users everywhere
        """Name a job at a coordinator. Nothing is asked yet."""
        self.id = id
        self.coordinator = coordinator

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r}, {self.coordinator!r})"

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
        return Result(status, Path(status.output))

    def cancel(self) -> JobStatus:
        """Stop it, remove what it has written, and give its last status; one that has ended stays as it is."""
        from mapreduce.runners import cluster  # noqa: PLC0415 - as above

        return cluster.cancel_job(self.coordinator, self.id)
