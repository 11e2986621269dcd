"""Where a task's records go: into the shuffle, folded or combined on the way, or into a part.

A sink takes batches in emission order and ends with the fields of `plan.Done` that it knows. After an error it is
aborted, which removes what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl
import xxhash

from mapreduce.dataflow.columns.batches import Batch, Lane, holds_pickles, key_series, keys_list, ungroup, value_series
from mapreduce.dataflow.columns.said import said_value
from mapreduce.dataflow.columns.tally import PLAIN_VALUES, Tallied
from mapreduce.dataflow.columns.values import encode_value
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.manifest.attempts import deliver, forget, private_folder
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.shuffle.block_file import DIGEST_BYTES, BlockFileWriter
from mapreduce.dataflow.shuffle.sort_buffer import SortBuffer
from mapreduce.dataflow.tasks.combine import Combiner
from mapreduce.dataflow.tasks.fold import Fold, Partials
from mapreduce.dataflow.tasks.named_outputs import NamedOutputs
from mapreduce.errors import UnwritableResult, ValueTypeError
from mapreduce.file_names import attempt_output_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, PartInfo, TaskOptions
from mapreduce.quick_dataclass import dataclass

if TYPE_CHECKING:
    from mapreduce.dataflow.tasks.placement import Placement

NOTHING = encode_value(None)  # the value of keys that come alone


@dataclass(slots=True)
class Written:
    """What a sink wrote: the fields of `plan.Done` of the same names.

    `records_out` is None where what was emitted is what was written; `records_in` and `bytes_in` are what the sink
    itself has read.
    """

    shuffle_bytes: int = 0
    runs: int = 0
    digests: bytes = b""
    pickled: bool = False
    part: PartInfo | None = None
    outputs: dict[str, PartInfo] = field(default_factory=dict)
    records_in: int = 0
    bytes_in: int = 0
    records_out: int | None = None
    bounds: bytes = b""


class Sink(Protocol):
    """Takes a task's records."""

    def add(self, batch: Batch) -> None:
        """Take rows, in emission order."""

    def add_keys(self, keys: list[Any]) -> None:
        """Take keys that have no values of their own. Raises KeyTypeError."""

    def finish(self) -> Written:
        """Write all that is left."""

    def abort(self) -> None:
        """Remove what was written; does nothing after `finish`."""


class ShuffleSink:
    """Into sorted runs. A fold or a combiner collapses rows before anything is sorted, and again in the sort buffer.

    An `order` gives rows the keys by which values are sorted; with it there is neither fold nor combiner.
    """

    def __init__(
        self,
        attempt: AttemptId,
        scratch: Path,
        options: TaskOptions,
        *,
        placement: Placement,
        order: Callable[[Batch], Batch] | None = None,
        fold: Fold | None = None,
        combiner: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self._collapse = fold.merge if fold else combiner
        self._make_buffer = partial(
            SortBuffer,
            scratch,
            partial(run_file_name, attempt),
            partitions=options.steps[attempt.task.step].reduces,
            partitioner=placement.partitioner,
            points=placement.points,
            composite=order is not None,
            limits=options.limits,
        )
        self._buffer: SortBuffer | None = None
        self._order = order
        self._fold = fold
        self._pickled = False
        self._partials: Partials | None = None
        if self._collapse is not None:
            first = fold.create if fold else self._collapse
            self._partials = Partials(first, self._collapse, self._into_buffer, options.limits)
        self._take: Callable[[Batch], None] = self._partials.add if self._partials else self._into_buffer
        self._collapse_tallied: Callable[[Tallied], Batch] | None = None
        self.tallied_kinds: frozenset[type] = frozenset()  # types of values of which pairs may come tallied
        if fold is not None:
            self._collapse_tallied, self.tallied_kinds = fold.create_tallied, fold.tallied_kinds
        elif isinstance(combiner, Combiner):
            self._collapse_tallied, self.tallied_kinds = combiner.combine_tallied, PLAIN_VALUES
        elif combiner is None and order is None:
            self.tallied_kinds = PLAIN_VALUES
        # Whether nobody is to look at keys alone: they are counted, and no function or list of the user's places them.
        self.counts_keys = fold is not None and fold.counts_only and placement.partitioner is None
        self._last = False  # whether all that is still to come is one batch
        self._finished = False

    def add(self, batch: Batch) -> None:
        """Take rows, in emission order."""
        self._take(batch)

    def add_keys(self, keys: list[Any]) -> None:
        """Take keys alone: counted at once where the reducer is Count, else with the value None."""
        self.add_key_column(*key_series(keys))

    def add_key_column(self, column: pl.Series, lane: Lane) -> None:
        """Take a column of keys alone, as `add_keys` does."""
        if self._partials is not None and self._fold is not None and self._fold.counts_only:
            self._partials.add_collapsed(self._fold.count_keys(column, lane))
        else:
            self._take(keys_alone(column, lane))

    def add_tallied(self, pairs: Tallied) -> None:
        """Take tallied pairs, whose value is of one of the `tallied_kinds`, in place of the pairs themselves."""
        if self._partials is not None and self._collapse_tallied is not None:
            self._partials.add_collapsed(self._collapse_tallied(pairs))
        else:
            self._into_buffer(_repeated(pairs))

    def finish(self) -> Written:
        """Write the last run."""
        if self._partials is not None:
            self._last = True
            self._partials.finish()
        buffer = self._buffer or self._make_buffer()
        runs = buffer.finish()
        self._finished = True
        written = Written(runs.shuffle_bytes, runs.count, runs.digests, self._pickled, bounds=runs.bounds)
        if self._pickled and runs.bounds:
            # Pickles of equal values may differ, and with their sizes where runs end: not so the bounds, or readers
            # of the earlier ones and of these would leave keys out, or have them twice.
            written.digests = xxhash.xxh3_64_digest(runs.bounds) * (len(runs.digests) // DIGEST_BYTES)
            written.pickled = False
        return written

    def abort(self) -> None:
        """Remove the runs."""
        if not self._finished and self._buffer is not None:
            self._buffer.abort()

    def _into_buffer(self, batch: Batch) -> None:
        self._pickled = self._pickled or holds_pickles(batch.frame["value"], batch.value_lane)
        if self._buffer is None:
            # The first batch, if it is the last one too, has been collapsed already: once more would change nothing.
            self._buffer = self._make_buffer(combine=None if self._last else self._collapse)
        self._buffer.add(batch if self._order is None else self._order(batch))


class PartSink:
    """Into a part: of the output for the job's last step, else a block file in scratch, for the next step or job.

    `keys=False` leaves the keys out of an output part: the results are values alone. `outputs` are the job's named
    outputs, where the part is of the output, else None; their failures are noted in `site`. `keep` makes the bytes as
    which values may lie in columns of the lane ENCODED.
    """

    def __init__(
        self, attempt: AttemptId, scratch: Path, options: TaskOptions, *, keys: bool = True, site: Site | None = None
    ) -> None:
        self._pickled = False
        self._keys = keys
        self._output: PartWriter | None = None
        self._blocks: BlockFileWriter | None = None
        self.outputs: NamedOutputs | None = None
        self.keep: Callable[[Any], bytes] = encode_value
        if attempt.task.step == len(options.steps) - 1 and not options.keep:
            path = private_folder(options, scratch) / attempt_output_name(attempt)
            writing = Writing.of(options)
            self._deliver = partial(deliver, options, scratch, attempt)
            self._forget = partial(forget, options, scratch, attempt)
            self._output = PartWriter(path, options.output_format, keys=keys, writing=writing)
            if self._output.takes_said:
                self.keep = said_value
            try:
                self.outputs = NamedOutputs(attempt, options, site or Site(), scratch, writing)
            except BaseException:
                self._output.abort()
                raise
        else:
            self._blocks = BlockFileWriter(scratch / part_file_name(attempt), block=options.limits.block)

    def add(self, batch: Batch) -> None:
        """Take rows, in the order in which they shall lie in the part."""
        self._pickled = self._pickled or holds_pickles(batch.frame["value"], batch.value_lane)
        if self._output is not None:
            try:
                self._output.write_batch(batch)
            except ValueTypeError as error:
                raise UnwritableResult(str(error), self._culprit(ungroup(batch))) from error
        elif self._blocks is not None:
            self._blocks.write(0, batch)

    def add_keys(self, keys: list[Any]) -> None:
        """Take keys alone, with the value None."""
        self.add(keys_alone(*key_series(keys)))

    def check(self, batch: Batch) -> None:
        """Raise ValueTypeError for records that cannot be written to an output part, and write nothing."""
        if self._output is not None:
            self._output.check(batch)

    def _culprit(self, batch: Batch) -> str | None:
        """The key of the first record that cannot be written, None where there are none, or where no record is one."""
        start, stop = 0, batch.rows()
        while self._keys and start < stop:
            middle = start + max((stop - start) // 2, 1)
            part = replace(batch, frame=batch.frame.slice(start, middle - start))
            try:
                self.check(part)
            except ValueTypeError:
                if part.rows() == 1:
                    return shorten(keys_list(part.frame["key"], part.key_lane)[0])
                stop = middle
            else:
                start = middle
        return None

    def finish(self) -> Written:
        """Close the part; an output part is on the disk then, or in the store."""
        if self._output is not None:
            assert self.outputs is not None, "both are opened together"
            named = self.outputs.close()
            part = self._output.close()
            self._deliver(part, named)
            return Written(part=part, pickled=self._pickled, outputs=named)
        assert self._blocks is not None
        info = self._blocks.close()
        # The digest of its one partition stands for the file's bytes: the blocks' checksums cover them.
        part = PartInfo(info.records, info.size, info.digests.hex())
        return Written(part=part, digests=info.digests, pickled=self._pickled)

    def abort(self) -> None:
        """Remove the part."""
        if self._output is not None:
            self._output.abort()
        if self.outputs is not None:
            self.outputs.abort()
            self._forget()
        if self._blocks is not None:
            self._blocks.abort()


def keeping(sink: Sink) -> Callable[[Any], bytes]:
    """What makes the bytes as which this sink takes values."""
    return sink.keep if isinstance(sink, PartSink) else encode_value


def keys_alone(keys: pl.Series, lane: Lane) -> Batch:
    """Keys with the value None each."""
    nothing = pl.Series("value", [NOTHING], dtype=pl.Binary).new_from_index(0, keys.len())
    return Batch(pl.DataFrame([keys.alias("key"), nothing]), lane, Lane.ENCODED)


def _repeated(pairs: Tallied) -> Batch:
    """Tallied pairs as a batch, a row for each key."""
    keys, key_lane = key_series(pairs.keys)
    values, value_lane = value_series([pairs.value])
    times = pl.Series("times", pairs.times, dtype=pl.Int64)
    return Batch(pl.DataFrame([keys, values.new_from_index(0, keys.len()), times]), key_lane, value_lane)
