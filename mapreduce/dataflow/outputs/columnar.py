"""Parts of output as Parquet or Arrow: columns "key" and "value" (or "value" alone), each of one type.

A column's type is found out from all its objects, as `frames` does; tuples are lists here, and NumPy arrays lists of
numbers. Records wait in a temporary file of Arrow frames until all types are known: memory holds one frame and one row
group. Types that clash are a `ValueTypeError` that shows two records. The bytes are a function of the records in their
order and of Polars' version, never of threads. With a part size a file is full once its frames, each written by itself,
would take so much. Refuses Python objects.
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

from mapreduce.dataflow.columns.batches import Batch, Lane, concat, keys_list, values_list
from mapreduce.dataflow.columns.json_text import tuples
from mapreduce.dataflow.outputs.column_types import NAME_CHARS, differ, exact_series, refusal, type_name, unify
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.shuffle.sizes import cut
from mapreduce.errors import ValueTypeError
from mapreduce.output_formats import PARQUET
from mapreduce.plan import PartFile

FRAME_BYTES = 8 << 20  # raw, of a frame in the temporary file: Polars' calls cost nothing then, and objects fit
GROUP_ROWS = 1 << 17  # of a row group or record batch: what readers like to have at once, if rows are small
GROUP_BYTES = 32 << 20  # raw, of the largest row group: a task's memory holds some copies of it
GROUPS = 10_000  # of a part: more of them, and its footer is larger than what it leads to
READ_ROWS = 65_536  # made into objects at a time
READ_BYTES = 4 << 20  # of the file at a time: several times that when it is unpacked
ARROW_LEVEL = pl.CompatLevel.oldest()  # columns that every reader of Arrow knows, and not the newer views


# ------------------------------------------------------------------------------------------------------- writing


class ColumnSink:
    """Writes one part; its methods may raise OSError. `types` are filled when it is closed. `base` is the format."""

    def __init__(
        self, path: Path, base: str, types: tuple[set[str], set[str]], *, keys: bool, writing: Writing
    ) -> None:
        self._path = path
        self._base = base
        self._types = types
        self._writing = writing
        self._frame_bytes = min(FRAME_BYTES, writing.part_size or FRAME_BYTES)
        self._marks: set[str] = set()  # of the values, see `exact_series`
        self._columns: dict[str, pl.DataType] = {name: pl.Null() for name in (["key"] if keys else []) + ["value"]}
        self._earlier: dict[str, Any] = {}  # an object of each column, to be shown beside one of another type
        self._pending: list[Batch] = []
        self._pending_bytes = 0
        self._measured = 0  # of the spool's frames, each as a file by itself
        self._written: list[tuple[PartFile, pl.Schema]] = []
        self._spool = _Spool(path.parent)
        self._file: _SummedFile | None = None
        self.paths: list[Path] = []
        self._open()

    def write(self, batch: Batch) -> None:
        """Take records, ungrouped."""
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes()
        if self._pending_bytes >= self._frame_bytes:
            self._flush()

    def close(self) -> list[PartFile]:
        """Write the last file. Gives the facts of all, whose columns are of the same types."""
        self._flush(last=True)
        schema = pl.Schema(self._columns)
        if self._written or self._spool.sizes:
            if "key" in schema:
                self._types[0].add(type_name(schema["key"]))
            self._types[1].add(type_name(schema["value"], self._marks, self._writing.types_chars - NAME_CHARS))
        if self._spool.sizes or not self._written:
            self._write_out()
        self._spool.close()
        files: list[PartFile] = []
        for path, (file, known) in zip(self.paths, self._written, strict=True):
            size, checksum = (file.size, file.checksum) if known == schema else self._again(path, schema)
            files.append(PartFile(file.records, size, checksum))
        return files

    def abort(self) -> None:
        """Close the files."""
        self._spool.close()
        if self._file is not None:
            self._file.give_up()

    def _open(self) -> _SummedFile:
        self.paths.append(self._writing.next_file(self._path, len(self._written)))
        self._file = _SummedFile(self.paths[-1])
        return self._file

    def _flush(self, *, last: bool = False) -> None:
        """Make frames of what is pending, but for the last one, which may become larger: cut by the records alone."""
        if not self._pending:
            return
        pieces = list(cut(concat(self._pending), self._frame_bytes))
        self._pending, self._pending_bytes = [], 0
        if not last:
            piece, self._pending_bytes = pieces.pop()
            self._pending = [piece]
        for piece, size in pieces:
            # in one piece, so that how records came has no say in how they are packed
            frame = pl.DataFrame([self._column(name, piece) for name in self._columns]).rechunk()
            self._spool.add(frame, size)
            if self._writing.part_size is not None:
                self._measured += _measure(frame, self._base)
                if self._measured >= self._writing.part_size:
                    self._write_out()

    def _write_out(self) -> None:
        """Write the frames that wait into a file, and begin with none."""
        file = self._file or self._open()
        schema = pl.Schema(self._columns)
        _sink(file, self._base, self._spool.frames, schema, group_rows(self._spool.sizes))
        size, checksum = file.finish()
        records = sum(rows for rows, _ in self._spool.sizes)
        self._written.append((PartFile(records, size, checksum), schema))
        self._spool.close()
        self._spool, self._file, self._measured = _Spool(self._path.parent), None, 0

    def _again(self, path: Path, schema: pl.Schema) -> tuple[int, str]:
        """Write a file again whose columns could not know the types of later ones."""
        new = path.with_name(f"{path.name}.new")
        try:
            found = rewrite(path, new, schema, self._base)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        return found

    def _column(self, name: str, piece: Batch) -> pl.Series:
        column, lane = piece.frame[name], piece.key_lane if name == "key" else piece.value_lane
        if lane is Lane.ENCODED:
            key = name == "key"
            objects = keys_list(column, lane) if key else values_list(column, lane, unpickle=False)
            column = exact_series(name, objects, self._base, set() if key else self._marks)  # keys are tuples anyway
        known = unify(self._columns[name], column.dtype)
        example = column.drop_nulls().head(1).to_list()
        if known is None:
            raise ValueTypeError(refusal(name, differ(example[0], self._earlier[name]), self._base))
        self._columns[name] = known
        if example:
            self._earlier.setdefault(name, example[0])
        return column


def _measure(frame: pl.DataFrame, base: str) -> int:
    """How many bytes a frame takes as a file by itself."""
    stream = io.BytesIO()
    if base == PARQUET:
        frame.write_parquet(stream, compression="zstd")
    else:
        frame.write_ipc(stream, compression="lz4", compat_level=ARROW_LEVEL)
    return stream.tell()


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


def _sink(
    file: _SummedFile, base: str, frames: Callable[[], Iterator[pl.DataFrame]], schema: pl.Schema, rows: int
) -> None:
    """Write frames, whose columns are or become those of the schema, with so many rows in a row group."""

    def source(*_hints: Any) -> Iterator[pl.DataFrame]:
        for frame in frames():
            yield frame.cast(schema)  # what was null throughout, or in another order, in one frame

    lazy = register_io_source(source, schema=schema)
    target = cast("IO[bytes]", file)
    try:
        if base == PARQUET:
            lazy.sink_parquet(target, compression="zstd", row_group_size=rows, maintain_order=True)
        else:
            # lz4 is what Feather files have: quick to read, and known to every reader
            lazy.sink_ipc(
                target, compression="lz4", compat_level=ARROW_LEVEL, record_batch_size=rows, maintain_order=True
            )
    except (pl.exceptions.ComputeError, OSError):
        if file.error is not None:
            raise file.error from None  # Polars says the same without its number
        raise


def group_rows(sizes: list[tuple[int, int]]) -> int:
    """Rows of a row group, from the (rows, raw bytes) of all frames: as many as keep the largest rows in bounds."""
    most = max((size / rows for rows, size in sizes), default=1.0)
    total = sum(rows for rows, _ in sizes)
    return max(1, min(GROUP_ROWS, int(GROUP_BYTES / most)), -(-total // GROUPS))


# ------------------------------------------------------------------------------------------------------- reading


def read_records(path: str | Path, base: str, *, keys: bool, tupled: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of one part; keys are None where there are none. Raises OSError, or what Polars raises.

    `tupled` says that values are tuples where they are lists in the file.
    """
    lazy, total, rows = _scan(path, base)
    for frame in _slices(lazy, total, rows):
        values = frame["value"].to_list()
        if tupled:
            values = [None if value is None else tuple(value) for value in values]
        if not keys:
            yield from ((None, value) for value in values)
        elif isinstance(frame.schema["key"], pl.List):
            yield from zip(map(tuples, frame["key"].to_list()), values, strict=True)  # a list is no key
        else:
            yield from zip(frame["key"].to_list(), values, strict=True)


def read_part_frame(path: Path, base: str) -> pl.DataFrame:
    """Give one part whole, with its columns. Raises as `read_records`."""
    lazy, _, _ = _scan(path, base)
    return lazy.collect(engine="in-memory")


def rewrite(source: Path, target: Path, schema: pl.Schema, base: str) -> tuple[int, str]:
    """Write a part again with columns of these types, which its own become. Gives the new file's size and checksum."""
    lazy, total, rows = _scan(source, base)
    file = _SummedFile(target)
    try:
        _sink(file, base, lambda: (frame.select(schema.names()) for frame in _slices(lazy, total, rows)), schema, rows)
        return file.finish()
    finally:
        file.give_up()


def _scan(path: str | Path, base: str) -> tuple[pl.LazyFrame, int, int]:
    """A part, its rows, and how many of them to take at a time."""
    if base == PARQUET:
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    else:
        lazy = pl.scan_ipc(path, glob=False, hive_partitioning=False)
    total: int = lazy.select(pl.len()).collect(engine="in-memory").item()
    return lazy, total, max(1, min(READ_ROWS, total * READ_BYTES // max(Path(path).stat().st_size, 1)))


def _slices(lazy: pl.LazyFrame, total: int, rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, total, rows):
        yield lazy.slice(start, rows).collect(engine="in-memory")
