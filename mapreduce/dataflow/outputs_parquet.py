"""Parts of output as Parquet: columns "key" and "value" (or "value" alone), each of one type.

A column's type is found out from all its objects, as `frames` does; tuples are lists here, and NumPy arrays lists of
numbers. Records wait in a temporary file of Arrow frames until all types are known: memory holds one frame and one row
group. Types that clash are a `ValueTypeError` that shows two records. The bytes are a function of the records in their
order and of Polars' version, never of threads. Refuses Python objects.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import polars as pl
import xxhash
from polars.io.plugins import register_io_source

from mapreduce.dataflow.columns import Batch, Lane, concat, keys_list, values_list
from mapreduce.dataflow.json_text import tuples
from mapreduce.dataflow.parquet_types import differ, exact_series, refusal, type_name, unify
from mapreduce.dataflow.shuffle.sizes import cut
from mapreduce.errors import ValueTypeError

FRAME_BYTES = 8 << 20  # raw, of a frame in the temporary file: Polars' calls cost nothing then, and objects fit
GROUP_ROWS = 1 << 17  # of a row group: what readers of Parquet like to have at once, if rows are small
GROUP_BYTES = 32 << 20  # raw, of the largest row group: a task's memory holds some copies of it
GROUPS = 10_000  # of a part: more of them, and its footer is larger than what it leads to
READ_ROWS = 65_536  # made into objects at a time
READ_BYTES = 4 << 20  # of the file at a time: several times that when it is unpacked


# ------------------------------------------------------------------------------------------------------- writing


class ParquetSink:
    """Writes one part; its methods may raise OSError. `types` are filled when it is closed."""

    def __init__(self, path: Path, types: tuple[set[str], set[str]], *, keys: bool) -> None:
        self._types = types
        self._keys = keys
        self._columns: dict[str, pl.DataType] = {name: pl.Null() for name in (["key"] if keys else []) + ["value"]}
        self._earlier: dict[str, Any] = {}  # an object of each column, to be shown beside one of another type
        self._pending: list[Batch] = []
        self._pending_bytes = 0
        self._spool = _Spool(path.parent)
        self._file = _SummedFile(path)

    def write(self, batch: Batch) -> None:
        """Take records, ungrouped."""
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes()
        if self._pending_bytes >= FRAME_BYTES:
            self._flush()

    def close(self) -> tuple[int, str]:
        """Write the file. Gives its size and checksum."""
        self._flush()
        schema = pl.Schema(self._columns)
        for types, name in zip(self._types, ("key", "value"), strict=True):
            types.update([type_name(schema[name])] if name in schema and self._spool.sizes else [])
        _sink(self._file, self._spool.frames, schema, group_rows(self._spool.sizes))
        self._spool.close()
        return self._file.finish()

    def abort(self) -> None:
        """Close the files."""
        self._spool.close()
        self._file.give_up()

    def _flush(self) -> None:
        if not self._pending:
            return
        pending, self._pending, self._pending_bytes = concat(self._pending), [], 0
        for piece, size in cut(pending, FRAME_BYTES):
            series = [self._column(name, piece) for name in self._columns]
            self._spool.add(pl.DataFrame(series), size)

    def _column(self, name: str, piece: Batch) -> pl.Series:
        column, lane = piece.frame[name], piece.key_lane if name == "key" else piece.value_lane
        if lane is Lane.ENCODED:
            objects = keys_list(column, lane) if name == "key" else values_list(column, lane, unpickle=False)
            column = exact_series(name, objects)
        known = unify(self._columns[name], column.dtype)
        example = column.drop_nulls().head(1).to_list()
        if known is None:
            raise ValueTypeError(refusal(name, differ(example[0], self._earlier[name])))
        self._columns[name] = known
        if example:
            self._earlier.setdefault(name, example[0])
        return column


class _Spool:
    """Frames that wait in a file without a name, which goes however the process ends; the last one in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []
        self._last: pl.DataFrame | None = None
        self.sizes: list[tuple[int, int]] = []  # rows and raw bytes of each frame

    def add(self, frame: pl.DataFrame, size: int) -> None:
        if self._last is not None:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - `close` closes it
            data = self._last.write_ipc(None, compression="lz4").getbuffer()
            self._places.append((self._file.tell(), len(data)))
            self._file.write(data)
        self._last = frame
        self.sizes.append((frame.height, size))

    def frames(self) -> Iterator[pl.DataFrame]:
        for start, length in self._places:
            assert self._file is not None
            self._file.seek(start)
            yield pl.read_ipc(io.BytesIO(self._file.read(length)))
        if self._last is not None:
            yield self._last

    def close(self) -> None:
        self._last = None
        if self._file is not None:
            with suppress(OSError):  # closing flushes, and the disk may be full: nobody reads it any more
                self._file.close()


class _SummedFile(io.RawIOBase):
    """A file that is written from its beginning to its end, and its checksum. Keeps the error that a write met."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._sum = xxhash.xxh3_64()
        self._size = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        assert written is not None, "the file blocks"
        self._sum.update(memoryview(data)[:written])
        self._size += written
        return written

    def finish(self) -> tuple[int, str]:
        """Close the file. Gives its size and checksum."""
        self._file.close()
        return self._size, self._sum.hexdigest()

    def give_up(self) -> None:
        self._file.close()


def _sink(file: _SummedFile, frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema, rows: int) -> None:
    """Write frames, whose columns are or become those of the schema, with so many rows in a row group."""

    def source(*_hints: Any) -> Iterator[pl.DataFrame]:
        for frame in frames():
            yield frame.cast(schema)  # what was null throughout, or in another order, in one frame

    lazy = register_io_source(source, schema=schema)
    try:
        lazy.sink_parquet(cast("IO[bytes]", file), compression="zstd", row_group_size=rows, maintain_order=True)
    except pl.exceptions.ComputeError:
        if file.error is not None:
            raise file.error from None  # Polars says the same without its number
        raise


def group_rows(sizes: list[tuple[int, int]]) -> int:
    """Rows of a row group, from the (rows, raw bytes) of all frames: as many as keep the largest rows in bounds."""
    most = max((size / rows for rows, size in sizes), default=1.0)
    total = sum(rows for rows, _ in sizes)
    return max(1, min(GROUP_ROWS, int(GROUP_BYTES / most)), -(-total // GROUPS))


# ------------------------------------------------------------------------------------------------------- reading


def read_records(path: str | Path, *, keys: bool) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of one part; keys are None where there are none. Raises OSError, or what Polars raises."""
    lazy, total, rows = _scan(path)
    for frame in _slices(lazy, total, rows):
        values = frame["value"].to_list()
        if not keys:
            yield from ((None, value) for value in values)
        elif isinstance(frame.schema["key"], pl.List):
            yield from zip(map(tuples, frame["key"].to_list()), values, strict=True)  # a list is no key
        else:
            yield from zip(frame["key"].to_list(), values, strict=True)


def rewrite(source: Path, target: Path, schema: pl.Schema) -> tuple[int, str]:
    """Write a part again with columns of these types, which its own become. Gives the new file's size and checksum."""
    lazy, total, rows = _scan(source)
    file = _SummedFile(target)
    try:
        _sink(file, lambda: (frame.select(schema.names()) for frame in _slices(lazy, total, rows)), schema, rows)
        return file.finish()
    finally:
        file.give_up()


def _scan(path: str | Path) -> tuple[pl.LazyFrame, int, int]:
    """A part, its rows, and how many of them to take at a time."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    total: int = lazy.select(pl.len()).collect(engine="in-memory").item()
    return lazy, total, max(1, min(READ_ROWS, total * READ_BYTES // max(Path(path).stat().st_size, 1)))


def _slices(lazy: pl.LazyFrame, total: int, rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, total, rows):
        yield lazy.slice(start, rows).collect(engine="in-memory")
