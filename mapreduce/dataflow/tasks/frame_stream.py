"""A reducer of frames over the sorted rows of one input: the frames of `frame_task`, cut out of the rows as they come.

Where keys are columns as users see them and there is one input, nothing else is needed: no groups are laid out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mapreduce.dataflow.columns.batches import Batch, concat
from mapreduce.dataflow.columns.frames import frame_of
from mapreduce.dataflow.shuffle.sizes import ends_of, group_starts, row_sizes, slice_of
from mapreduce.dataflow.tasks.frame_task import FrameLoop

LOOK_ROWS = 1024  # looked through at a time for the end of a group: most are small


class FrameStream(FrameLoop):
    """Calls a reducer with frames of the rows that it is given, in the order of their keys.

    A frame ends with the group that fills it, which is what `FrameLoop` makes of the same rows.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._rows: list[Batch] = []
        self._last: pl.Series | None = None  # the key that fills the frame at hand, of which more rows may come

    def run_rows(self, batch: Batch) -> None:
        """Take some rows, and reduce what makes a whole frame."""
        self.records += batch.rows()
        ends = ends_of(row_sizes(batch))
        row, rows = 0, batch.rows()
        while row < rows:
            if self._last is None:
                filling = int(np.searchsorted(ends[1:], ends[row] + self._most - self._size, side="left"))
                if filling >= rows:
                    self._size += int(ends[-1] - ends[row])
                    self._rows.append(slice_of(batch, row, rows))
                    return
                self._last = batch.frame.get_column("key").slice(filling, 1)
            else:
                filling = row
            stop = self._end_of_group(batch.frame.get_column("key"), self._last, filling)
            self._rows.append(slice_of(batch, row, stop))
            if stop < rows:
                self._reduce_rows()
            row = stop

    def finish(self) -> None:
        """Reduce what is left."""
        if self._rows:
            self._reduce_rows()

    @staticmethod
    def _end_of_group(keys: pl.Series, key: pl.Series, row: int) -> int:
        """The first row from this one on that has another key."""
        rows = keys.len()
        while row < rows:
            starts = group_starts(pl.concat([key, keys.slice(row, LOOK_ROWS)]))
            if len(starts) > 1:
                return row + int(starts[1]) - 1
            row += LOOK_ROWS
        return rows

    def _reduce_rows(self) -> None:
        rows, self._rows, self._size, self._last = self._rows, [], 0, None
        frame = frame_of(concat(rows))
        rows.clear()
        for batch in self._called(frame.get_column("key"), [frame]):
            self._emit(batch)
