"""How the records of a shuffle spread over keys: read from the runs, before they are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from mapreduce.dataflow.columns.batches import encode_keys
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.context import shorten
from mapreduce.dataflow.shuffle.block_file import Slice, read_blocks, read_index
from mapreduce.dataflow.shuffle.composite import key_elements, key_encodings
from mapreduce.dataflow.shuffle.sizes import row_sizes, value_counts

SHOWN_CHARS = 60  # of the largest key


@dataclass(frozen=True, slots=True)
class Spread:
    """`values` records of `keys` different keys take `size` bytes in memory.

    The key with the largest share of these bytes is `largest` (its repr), with so many values and bytes.
    """

    values: int = 0
    keys: int = 0
    size: int = 0
    largest: str = ""
    largest_values: int = 0
    largest_size: int = 0

    @property
    def share(self) -> float:
        """The largest key's share of all bytes."""
        return self.largest_size / self.size if self.size else 0.0


def spread_of(runs: Iterable[str], *, composite: bool) -> Spread:
    """How the records of these runs spread over keys; `composite` says that values are sorted with the keys."""
    found: list[pl.DataFrame] = []
    for path in runs:
        index = read_index(path)
        for refs in index.partitions:
            for batch in read_blocks(Slice(path, refs, index.key_lane, index.value_lane, index.grouped)):
                keys = encode_keys(batch.frame["key"], batch.key_lane)
                facts: dict[str, Any] = {
                    "key": key_elements(keys) if composite else keys,
                    "size": row_sizes(batch),
                    "values": value_counts(batch),
                }
                found.append(_added(pl.DataFrame(facts)))
    if not found:
        return Spread()
    by_key = _added(pl.concat(found))
    if not by_key.height:
        return Spread()
    # By the key too: of equally large ones always the same.
    top = by_key.sort(["size", "key"], descending=[True, False]).row(0, named=True)
    encoding = key_encodings(pl.Series("key", [top["key"]], dtype=pl.Binary))[0] if composite else top["key"]
    total = by_key.select(pl.col("size").sum(), pl.col("values").sum()).row(0)
    return Spread(
        total[1], by_key.height, total[0], f"{shorten(decode_key(encoding)):.{SHOWN_CHARS}}", top["values"], top["size"]
    )


def _added(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("key").agg(pl.col("size").sum(), pl.col("values").sum())
