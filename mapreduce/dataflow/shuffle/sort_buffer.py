"""The map side of the shuffle: collects a task's records, and spills them as runs sorted by (partition, key).

Where it spills, how it lays rows out and what it writes are functions of the records, the limits and the job alone.
Keys are grouped first where they repeat: sorting, hashing and writing then touch distinct keys only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from mapreduce.dataflow.columns.batches import Batch, concat, regroup, sort_by_key, ungroup
from mapreduce.dataflow.shuffle.block_file import DIGEST_BYTES, BlockFileWriter
from mapreduce.dataflow.shuffle.partition import Listed, Partitioner, Ranges, distinct_keys, partitions_of
from mapreduce.dataflow.shuffle.ranges import Measure, block_of, measure, pack_measures
from mapreduce.dataflow.shuffle.sizes import about_distinct, value_counts, with_frame
from mapreduce.plan import Limits
from mapreduce.quick_dataclass import dataclass

ROWS_PER_KEY = 2.0  # grouping pays where a key comes at least so often: below, lists cost more than they save
WORTH_COMBINING = 1.1  # rows a key: with fewer, what comes in has been combined before
KEPT_SHARE = 0.5  # a combined buffer that has shrunk to this share of its limit stays in memory instead of spilling


RADIX_PARTITIONS = 1 << 16  # up to so many, NumPy's stable sort is a radix sort: 4 ns a row instead of 60


@dataclass(frozen=True, slots=True)
class Runs:
    """What a task has spilled: `count` runs, of `shuffle_bytes` on disk, with `records` pairs.

    `digests` has 8 bytes a partition, over that partition's blocks in all runs; of runs that are read by ranges, over
    all blocks. `bounds` is the packed measure of such runs (see `ranges`).
    """

    count: int
    digests: bytes
    shuffle_bytes: int
    records: int
    bounds: bytes = b""


class SortBuffer:
    """Collects records in emission order and writes them as sorted runs `folder / name(0)`, `folder / name(1)`...

    `combine` gets all buffered rows, ungrouped and in emission order, where keys repeat in them; it returns a batch
    that takes their place, in any order of keys. It must stand being called any number of times on what it returned.
    With `composite` the keys are composites (`shuffle.composite`). With `points` runs are not cut by partition: readers
    cut them by ranges of keys, for which each is measured at so many points.

    Spills when `limits.sort_buffer` raw bytes have come in. Raises DiskFullError, and RecordError for a partitioner
    that answers nonsense. Not to be used after an error, but for `abort`.
    """

    def __init__(
        self,
        folder: str | Path,
        name: Callable[[int], str],
        *,
        partitions: int,
        partitioner: Partitioner | Listed | Ranges | None = None,
        limits: Limits | None = None,
        combine: Callable[[Batch], Batch] | None = None,
        composite: bool = False,
        points: int = 0,
    ) -> None:
        self._folder = folder if isinstance(folder, Path) else Path(folder)
        self._name = name
        self._partitions = partitions
        self._partitioner = partitioner
        self._limits = limits or Limits()
        self._combine = combine
        self._composite = composite
        self._points = points
        self._measures: list[Measure] = []
        self._block = block_of(self._limits, partitions) if points else self._limits.block
        self._batches: list[Batch] = []
        self._buffered = 0
        self._combined = False  # whether the buffer is one batch that has been combined already
        self._paths: list[Path] = []
        self._digests = [xxhash.xxh3_64() for _ in range(1 if points else partitions)]
        self._shuffle_bytes = 0
        self._records = 0

    def add(self, batch: Batch) -> None:
        """Take ungrouped rows, in emission order; may spill."""
        if batch.rows() == 0:
            return
        self._batches.append(batch)
        self._buffered += batch.nbytes()
        self._combined = False
        if self._buffered < self._limits.sort_buffer:
            return
        if self._combine is not None:
            self._combine_buffer(self._combine)
            if self._buffered <= self._limits.sort_buffer * KEPT_SHARE:
                return
        self._spill()

    def finish(self) -> Runs:
        """Write what is left. A task without records has no run."""
        if self._batches and self._combine is not None and not self._combined:
            self._combine_buffer(self._combine)
        self._spill()
        digests = b"".join(hasher.intdigest().to_bytes(DIGEST_BYTES, "little") for hasher in self._digests)
        return Runs(
            count=len(self._paths),
            digests=digests * self._partitions if self._points else digests,
            shuffle_bytes=self._shuffle_bytes,
            records=self._records,
            bounds=pack_measures(self._measures, self._points) if self._points else b"",
        )

    def abort(self) -> None:
        """Remove the runs that were written: the attempt has failed."""
        self._batches = []
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths = []

    def _combine_buffer(self, combine: Callable[[Batch], Batch]) -> None:
        """Replace the buffered rows by what `combine` makes of their groups."""
        batch = concat(self._batches)
        if batch.rows() >= WORTH_COMBINING * about_distinct(batch.frame["key"]):
            batch = ungroup(combine(batch))
        self._batches = [batch]
        self._buffered = batch.nbytes()
        self._combined = True

    def _spill(self) -> None:
        """Write the buffered rows as one run."""
        batches, self._batches, self._buffered = self._batches, [], 0
        if not any(batch.rows() for batch in batches):
            return
        batch = concat(batches)
        del batches  # the columns are copied: the originals may go before sorting takes as much again
        if not batch.repeated and batch.rows() >= ROWS_PER_KEY * about_distinct(batch.frame["key"]):
            batch = regroup(batch)
        batch, ends = self._laid_out(sort_by_key(batch))
        path = self._folder / self._name(len(self._paths))
        writer = BlockFileWriter(
            path,
            partitions=len(ends),
            key_lane=batch.key_lane,
            value_lane=batch.value_lane,
            layout=batch.layout,
            block=self._block,
            firsts=self._points > 0,
        )
        try:
            writer.write_partitions(batch, ends)
            info = writer.close()
        finally:
            writer.abort()  # does nothing after a close
        self._paths.append(path)
        self._shuffle_bytes += info.size
        self._records += info.records
        for partition, hasher in enumerate(self._digests):
            hasher.update(info.digests[partition * DIGEST_BYTES : (partition + 1) * DIGEST_BYTES])

    def _laid_out(self, batch: Batch) -> tuple[Batch, list[int]]:
        """Bring sorted rows into the order of a run. Gives also the row after the last one of each partition."""
        if self._points:
            keys, starts, lane = distinct_keys(batch, composite=self._composite)
            records = np.add.reduceat(value_counts(batch), starts)
            self._measures.append(measure(keys, lane, records, self._points))
            return batch, [batch.rows()]
        if self._partitions == 1 and self._partitioner is None:
            return batch, [batch.rows()]
        owner = partitions_of(batch, self._partitions, self._partitioner, composite=self._composite)
        order = np.argsort(owner.astype(np.uint16) if self._partitions <= RADIX_PARTITIONS else owner, kind="stable")
        ends = np.cumsum(np.bincount(owner, minlength=self._partitions))
        return with_frame(batch, batch.frame[order]), ends.tolist()
