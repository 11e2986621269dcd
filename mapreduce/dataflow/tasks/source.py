"""What a map task reads: a split, in the format of its input, or parts of the step before. Counts as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mapreduce.dataflow.columns.batches import Batch, ungroup
from mapreduce.dataflow.columns.frames import FRAME_BYTES, frame_of
from mapreduce.dataflow.readers.lines import LinesReader
from mapreduce.dataflow.readers.reader import Reader, gathered
from mapreduce.dataflow.readers.records import Frame, Records, of_pairs
from mapreduce.dataflow.readers.text import LineBlock
from mapreduce.dataflow.readers.word_columns import Words
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.merge import read_part


class Source:
    """The records of a split (`reader`), or those of `parts`. Can be gone through once, in one of its ways."""

    def __init__(self, reader: Reader | None, parts: Sequence[Slice]) -> None:
        self._reader = reader
        self._parts = parts
        self._part_bytes = 0
        self.records = 0

    @property
    def bytes(self) -> int:
        """How much has been read, as it lies on disk."""
        return self._part_bytes if self._reader is None else self._reader.bytes_read

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader has to say."""
        return () if self._reader is None else tuple(self._reader.warnings)

    def read(self) -> Iterator[Records]:
        """Yield the records as Python objects, a block at a time."""
        if self._reader is None:
            yield from map(of_pairs, self._batches())
            return
        for records in self._reader:
            self.records += len(records.values)
            yield records

    @property
    def has_lines(self) -> bool:
        """Whether the records are lines of text as they are, which `blocks` gives."""
        return type(self._reader) is LinesReader

    def blocks(self) -> Iterator[LineBlock]:
        """Yield what `read` yields, in the same blocks, before lines are cut. Where the source `has_lines`."""
        assert isinstance(self._reader, LinesReader)
        for block in self._reader.blocks():
            self.records += block.number
            yield block

    def words(self) -> Iterator[Words | LineBlock]:
        """Yield the words of the lines as columns, or blocks as `blocks` does where bytes are not what they should be.

        Where the source `has_lines`.
        """
        assert isinstance(self._reader, LinesReader)
        for found in self._reader.words():
            self.records += found.lines if isinstance(found, Words) else found.number
            yield found

    def columns(self) -> Iterator[Batch]:
        """Yield the records as columns; the previous step's never become objects."""
        if self._reader is None:
            yield from map(ungroup, self._batches())
            return
        for batch in self._reader.columns():
            self.records += batch.rows()
            yield batch

    def frames(self) -> Iterator[Frame]:
        """Yield the records as frames of about FRAME_BYTES."""
        if self._reader is None:
            for batch in gathered(map(ungroup, self._batches()), FRAME_BYTES):
                yield Frame(frame_of(batch))
            return
        for frame in self._reader.frames():
            self.records += frame.frame.height
            yield frame

    def _batches(self) -> Iterator[Batch]:
        for part in self._parts:
            share = part.byte_range[1] / max(part.records, 1)
            before = self._part_bytes
            seen = 0
            for batch in read_part([part]):
                seen += batch.records()
                self.records += batch.records()
                self._part_bytes = before + round(share * seen)
                yield batch
