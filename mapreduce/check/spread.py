"""How the records of a shuffle spread over keys: read from the runs, before they are merged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import encode_keys
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.context import shorten
from mapreduce.dataflow.shuffle.block_file import Slice, read_blocks, read_index
from mapreduce.dataflow.shuffle.composite import key_elements, key_encodings
from mapreduce.dataflow.shuffle.sizes import row_sizes, value_counts
from mapreduce.quick_dataclass import dataclass

SHOWN_CHARS = 60  # of the largest key
PLACES = 3  # of the input at least, before it is said that there are no other keys: two may have the same by chance
_NO_KEYS = pl.DataFrame(schema={"key": pl.Binary, "size": pl.Int64, "values": pl.Int64})


@dataclass(frozen=True, slots=True)
class Spread:
    """`values` records of `keys` different keys take `size` bytes in memory.

    The key with the largest share of these bytes is `largest` (its repr), with so many values and bytes. Of each of the
    map tasks, of which so many had a record, `task_keys` adds up the keys; `lone_keys` are in one task alone.
    """

    values: int = 0
    keys: int = 0
    size: int = 0
    largest: str = ""
    largest_values: int = 0
    largest_size: int = 0
    tasks: int = 0
    task_keys: int = 0
    lone_keys: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether there seem to be no other keys: no place of the input, of several, has one of its own."""
        return self.tasks >= PLACES and not self.lone_keys

    @property
    def share(self) -> float:
        """The largest key's share of all bytes."""
        return self.largest_size / self.size if self.size else 0.0


def spread_of(tasks: Iterable[Iterable[str]], *, composite: bool) -> Spread:
    """How the records of runs, those of each map task, spread over keys; `composite`: values are sorted with them."""
    found = [frame for frame in (_of_task(runs, composite=composite) for runs in tasks) if frame.height]
    if not found:
        return Spread()
    by_key = _added(pl.concat(found))
    values, size, task_keys = by_key.select("values", "size", "tasks").sum().row(0)
    # By the key too: of equally large ones always the same.
    top = by_key.sort(["size", "key"], descending=[True, False]).row(0, named=True)
    encoding = key_encodings(pl.Series("key", [top["key"]], dtype=pl.Binary))[0] if composite else top["key"]
    return Spread(
        values=values,
        keys=by_key.height,
        size=size,
        largest=f"{shorten(decode_key(encoding)):.{SHOWN_CHARS}}",
        largest_values=top["values"],
        largest_size=top["size"],
        tasks=len(found),
        task_keys=task_keys,
        lone_keys=by_key.filter(pl.col("tasks") == 1).height,
    )


def _of_task(runs: Iterable[str], *, composite: bool) -> pl.DataFrame:
    """The keys of a task's runs, each once, with the bytes and number of its values."""
    found = [_NO_KEYS]
    for path in runs:
        index = read_index(path)
        for refs in index.partitions:
            for batch in read_blocks(Slice(path, refs, index.key_lane, index.value_lane, index.layout)):
                keys = encode_keys(batch.frame["key"], batch.key_lane)
                times = value_counts(batch)
                facts: dict[str, Any] = {
                    "key": key_elements(keys) if composite else keys,
                    "size": row_sizes(batch) * (times if batch.repeated else 1),  # what a reducer goes through
                    "values": times,
                }
                found.append(pl.DataFrame(facts, schema=_NO_KEYS.schema))
    return _added(pl.concat(found)).with_columns(tasks=pl.lit(1, pl.Int64))


def _added(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("key").agg(pl.exclude("key").sum())
