"""Output parts: an attempt's private file, written, synced and summed, and read back.

Owns the formats: "tsv" (see `tsv`) and "records" (a block file, which keeps every type). A part is complete when
`close` returned; until then `abort` removes it. Refuses pickled values: a result must be readable without its job.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import xxhash

from mapreduce.dataflow import tsv
from mapreduce.dataflow.columns import (
    Batch,
    Lane,
    key_series,
    make_batch,
    records_of,
    ungroup,
    value_series,
    values_list,
)
from mapreduce.dataflow.disk import DISK_ERRORS, file_checksum, sync_folder
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, open_slice, read_blocks
from mapreduce.dataflow.values import PICKLE_MARK
from mapreduce.errors import DiskFullError, MapReduceError, OutputError, ValueTypeError
from mapreduce.plan import PartInfo

TSV, RECORDS = "tsv", "records"
FORMATS = (TSV, RECORDS)
ANY = "any"  # the type of a column of the records format that is in the encoded lane: whatever each record has

TEXT_ROWS = 65_536  # turned into text at a time: some megabytes
READ_CHARS = 1 << 18  # of a part at a time, made into objects


class _Sink(Protocol):
    """One format's way to write; a method may raise OSError."""

    def write(self, batch: Batch) -> None: ...
    def write_objects(self, keys: list[Any], values: list[Any]) -> None: ...
    def close(self) -> tuple[int, str]: ...
    def abort(self) -> None: ...


class PartWriter:
    """Writes one part to a private file. `keys=False` leaves the keys out (a job whose results are values alone).

    A full or broken disk raises DiskFullError, naming the folder, and leaves no file; a value that the format cannot
    say raises ValueTypeError, and the caller aborts.
    """

    def __init__(self, path: str | Path, output_format: str = TSV, *, keys: bool = True) -> None:
        if output_format not in FORMATS:
            raise OutputError(f"there is no output format {output_format!r}: choose one of {', '.join(FORMATS)}")
        self._path = Path(path)
        self._records = 0
        self._types: tuple[set[str], set[str]] = (set(), set())
        self._sink: _Sink | None = None
        try:
            self._sink = (
                _TsvSink(self._path, self._types, keys=keys)
                if output_format == TSV
                else _RecordsSink(self._path, self._types, keys=keys)
            )
        except OSError as error:
            raise self._failed(error) from error

    def write_batch(self, batch: Batch) -> None:
        """Append all records of a batch, in their order; grouped ones are ungrouped."""
        flat = ungroup(batch)
        if flat.rows() == 0:
            return
        _refuse_pickles(flat)
        try:
            self._open_sink().write(flat)
        except OSError as error:
            raise self._failed(error) from error
        self._records += flat.rows()

    def write_records(self, keys: list[Any], values: list[Any]) -> None:
        """Append records given as Python objects. Raises KeyTypeError for a key of a wrong type."""
        if not keys:
            return
        try:
            self._open_sink().write_objects(keys, values)
        except OSError as error:
            raise self._failed(error) from error
        self._records += len(keys)

    def close(self) -> PartInfo:
        """Write out and sync the file and its folder. Gives the part's facts."""
        sink = self._open_sink()
        try:
            size, checksum = sink.close()
            sync_folder(self._path.parent)
        except OSError as error:
            raise self._failed(error) from error
        self._sink = None
        keys, values = self._types
        return PartInfo(self._records, size, checksum, tuple(sorted(keys)), tuple(sorted(values)))

    def abort(self) -> None:
        """Remove the file. After `close`, or a second time, does nothing."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()
            self._path.unlink(missing_ok=True)

    def _open_sink(self) -> _Sink:
        if self._sink is None:
            msg = f"{self._path}: written to after its end"
            raise ValueError(msg)
        return self._sink

    def _failed(self, error: OSError) -> MapReduceError:
        self.abort()
        folder = self._path.parent
        if error.errno in DISK_ERRORS:
            return DiskFullError(f"cannot write to the output folder {folder}: {error.strerror}; free space there")
        return OutputError(f"cannot write to the output folder {folder}: {error.strerror}")


class _TsvSink:
    def __init__(self, path: Path, types: tuple[set[str], set[str]], *, keys: bool) -> None:
        self._types = types
        self._keys = keys
        self._sum = xxhash.xxh3_64()
        self._size = 0
        self._file: io.BufferedWriter = path.open("wb")

    def write(self, batch: Batch) -> None:
        for piece in batch.frame.iter_slices(TEXT_ROWS):
            columns = []
            if self._keys:
                columns.append(self._noted(0, tsv.column_text(piece["key"], batch.key_lane, key=True)))
            columns.append(self._noted(1, tsv.column_text(piece["value"], batch.value_lane, key=False)))
            self._put(tsv.lines(columns))

    def write_objects(self, keys: list[Any], values: list[Any]) -> None:
        columns = []
        if self._keys:
            series, lane = key_series(keys)
            columns.append(self._noted(0, tsv.column_text(series, lane, key=True)))
        kinds = set(map(type, values))
        if len(kinds) == 1 and kinds <= _NATIVE_TYPES:
            with tsv.long_ints():  # Polars shows an int that it cannot take
                series, lane = value_series(values)
            columns.append(self._noted(1, tsv.column_text(series, lane, key=False)))
        else:  # not through the encoded lane, which would encode and decode each value for nothing
            columns.append(self._noted(1, tsv.objects_text(values, key=False)))
        self._put(tsv.lines(columns))

    def _noted(self, column: int, text: tuple[Any, set[str]]) -> Any:
        self._types[column].update(text[1])
        return text[0]

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)
        self._size += len(data)

    def close(self) -> tuple[int, str]:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._size, self._sum.hexdigest()

    def abort(self) -> None:
        with suppress(OSError):  # closing flushes, and the disk may still be full: the file goes anyway
            self._file.close()


_NATIVE_TYPES = frozenset({str, bytes, int, float, bool})


class _RecordsSink:
    def __init__(self, path: Path, types: tuple[set[str], set[str]], *, keys: bool) -> None:
        self._path = path
        self._types = types
        self._keys = keys
        self._writer = BlockFileWriter(path, partitions=1)

    def write(self, batch: Batch) -> None:
        if self._keys:
            self._types[0].add(_type_name(batch.key_lane))
        self._types[1].add(_type_name(batch.value_lane))
        self._writer.write(0, batch)

    def write_objects(self, keys: list[Any], values: list[Any]) -> None:
        batch = make_batch(keys, values)
        _refuse_pickles(batch)
        self.write(batch)

    def close(self) -> tuple[int, str]:
        size = self._writer.close().size
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        return size, file_checksum(self._path)

    def abort(self) -> None:
        self._writer.abort()


def _type_name(lane: Lane) -> str:
    return ANY if lane is Lane.ENCODED else lane.value


def _refuse_pickles(batch: Batch) -> None:
    """Raise ValueTypeError if a value can only be pickled. `batch` is ungrouped."""
    if batch.value_lane is not Lane.ENCODED:
        return
    pickled = batch.frame["value"].bin.starts_with(PICKLE_MARK)
    if not pickled.any():
        return
    value = values_list(batch.frame["value"].filter(pickled).head(1), batch.value_lane)[0]
    kind = type(value)
    raise ValueTypeError(
        f"a result of type {kind.__module__}.{kind.__qualname__} ({tsv.shown(value)}) can only be pickled, and results "
        "are never pickles: emit a tuple or dict of its parts, or a str, from the function that makes it "
        "(dataclasses.asdict and vars help)"
    )


def read_part_records(
    path: str | Path, output_format: str, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of one part. `key_types` and `value_types` are the whole output's; no key types: keys are None.

    A column of one type comes back as that type; a mixed one of "tsv" as text. Never unpickles. Raises OutputError
    for a part that is damaged, CorruptBlockError for one of the records format, OSError.
    """
    if output_format == RECORDS:
        for batch in read_blocks(open_slice(path, 0)):
            yield from records_of(batch, unpickle=False)
        return
    parsers = [tsv.parser(value_types, key=False)]
    if key_types:
        parsers.insert(0, tsv.parser(key_types, key=True))
    number = 1
    with Path(path).open(encoding="utf-8", newline="\n") as file:
        while text := file.read(READ_CHARS) + file.readline():
            try:
                columns = tsv.read_columns(text, parsers)
            except ValueError as error:
                raise OutputError(f"{path}, {tsv.bad_line(text, parsers, number)}: {error}") from error
            yield from zip(columns[0] if key_types else itertools.repeat(None), columns[-1], strict=False)
            number += text.count("\n")
