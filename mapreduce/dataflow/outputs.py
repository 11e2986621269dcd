"""Output parts: an attempt's private file, written, synced and summed, and read back.

Owns the formats: "tsv" and "jsonl" (text, see the modules of these names), "parquet" (see `outputs_parquet`) and
"records" (a block file, which keeps every type). A part is complete when `close` returned; until then `abort` removes
it. Refuses pickled values: a result must be readable without its job.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import polars as pl
import xxhash

from mapreduce.dataflow import jsonl, tsv
from mapreduce.dataflow.columns import Batch, Lane, make_batch, records_of, ungroup, values_list
from mapreduce.dataflow.disk import DISK_ERRORS, file_checksum, sync_file, sync_folder
from mapreduce.dataflow.json_text import BYTES, JSON, TUPLE, shown
from mapreduce.dataflow.outputs_parquet import ParquetSink, read_records
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter, open_slice, read_blocks
from mapreduce.dataflow.values import PICKLE_MARK
from mapreduce.errors import DiskFullError, MapReduceError, OutputError, ValueTypeError
from mapreduce.plan import PartInfo

TSV, JSONL, PARQUET, RECORDS = "tsv", "jsonl", "parquet", "records"
FORMATS = (TSV, JSONL, PARQUET, RECORDS)
ANY = "any"  # the type of a column of the records format that is in the encoded lane: whatever each record has

TEXT_ROWS = 65_536  # turned into text at a time: some megabytes
READ_CHARS = 1 << 18  # of a part at a time, made into objects


class _Sink(Protocol):
    """One format's way to write; a method may raise OSError."""

    def write(self, batch: Batch) -> None: ...
    def close(self) -> tuple[int, str]: ...
    def abort(self) -> None: ...


class PartWriter:
    """Writes one part to a private file. `keys=False` leaves the keys out (a job whose results are values alone).

    With `durable` it is on the disk for good when `close` returns. A full or broken disk raises DiskFullError, naming
    the folder, and leaves no file; a value that the format cannot say raises ValueTypeError, and the caller aborts.
    """

    def __init__(self, path: str | Path, output_format: str = TSV, *, keys: bool = True, durable: bool = True) -> None:
        if output_format not in FORMATS:
            raise OutputError(f"there is no output format {output_format!r}: choose one of {', '.join(FORMATS)}")
        self._path = Path(path)
        self._durable = durable
        self._records = 0
        self._types: tuple[set[str], set[str]] = (set(), set())
        self._sink: _Sink | None = None
        try:
            self._sink = _make_sink(output_format, self._path, self._types, keys=keys)
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

    def close(self) -> PartInfo:
        """Write out the file. Gives the part's facts."""
        sink = self._open_sink()
        try:
            size, checksum = sink.close()
            if self._durable:
                sync_file(self._path)
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


def _make_sink(output_format: str, path: Path, types: tuple[set[str], set[str]], *, keys: bool) -> _Sink:
    if output_format in _TEXTS:
        return _TextSink(path, _TEXTS[output_format], types, keys=keys)
    return (ParquetSink if output_format == PARQUET else _RecordsSink)(path, types, keys=keys)


_TEXTS: dict[str, ModuleType] = {TSV: tsv, JSONL: jsonl}  # each with column_text and lines, parser and read_columns


class _TextSink:
    """Lines of text; `text` is the module of the format."""

    def __init__(self, path: Path, text: ModuleType, types: tuple[set[str], set[str]], *, keys: bool) -> None:
        self._text: Any = text
        self._types = types
        self._keys = keys
        self._sum = xxhash.xxh3_64()
        self._size = 0
        self._file: io.BufferedWriter = path.open("wb")

    def write(self, batch: Batch) -> None:
        for frame in batch.frame.iter_slices(TEXT_ROWS):
            columns = _texts(self._text, replace(batch, frame=frame), keys=self._keys)
            for types, (_, names) in zip(self._types[-len(columns) :], columns, strict=True):
                types.update(names)
            self._put(self._text.lines([column for column, _ in columns]))

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._sum.update(data)
        self._size += len(data)

    def close(self) -> tuple[int, str]:
        self._file.close()
        return self._size, self._sum.hexdigest()

    def abort(self) -> None:
        with suppress(OSError):  # closing flushes, and the disk may still be full: the file goes anyway
            self._file.close()


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

    def close(self) -> tuple[int, str]:
        return self._writer.close().size, file_checksum(self._path)

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
    raise pickled_result(values_list(batch.frame["value"].filter(pickled).head(1), batch.value_lane)[0])


def pickled_result(value: Any) -> ValueTypeError:
    """The error for a result that can only be pickled."""
    kind = type(value)
    return ValueTypeError(
        f"a result of type {kind.__module__}.{kind.__qualname__} ({shown(value)}) can only be pickled, and results "
        "are never pickles: emit a tuple or dict of its parts, or a str, from the function that makes it "
        "(dataclasses.asdict and vars help)"
    )


def read_back(output_format: str, types: tuple[str, ...], *, key: bool) -> str:
    """What a column of these types loses when it is read back, as the end of a sentence; "" where nothing is lost."""
    some = f"are of several types ({', '.join(types)})"
    if output_format == PARQUET and len(types) > 1:
        return f"{some}: a program that reads all parts as one table refuses them; emit one type"
    if output_format == TSV and len(types) > 1:
        return f"{some}: in TSV they are read back as text; emit one type to keep it"
    if output_format not in _TEXTS:
        return ""
    if JSON in types:
        return (
            "hold bytes or tuples inside other containers: JSON has none, so they are read back as str (base64) and "
            "lists"
        )
    if len(types) > 1 and {BYTES, TUPLE} - ({TUPLE} if key else set()) & set(types):
        return f"{some}: JSON has no bytes and no tuples, so these are read back as str (base64) and lists"
    return ""


def read_part_records(
    path: str | Path, output_format: str, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of one part. `key_types` and `value_types` are the whole output's; no key types: keys are None.

    A column of one type comes back as that type; a mixed one of "tsv" as text, one of "jsonl" and "parquet" as these
    formats have it. Never unpickles. Raises OutputError for a part that is damaged, CorruptBlockError for one of the
    records format, OSError.
    """
    if output_format == RECORDS:
        for batch in read_blocks(open_slice(path, 0)):
            yield from records_of(batch, unpickle=False)
    elif output_format == PARQUET:
        try:
            yield from read_records(path, keys=bool(key_types))
        except pl.exceptions.PolarsError as error:
            raise OutputError(f"the part {path} cannot be read: {error}. Run the job again.") from error
    elif output_format in _TEXTS:
        yield from _read_text(path, _TEXTS[output_format], key_types, value_types)
    else:
        raise OutputError(f"the part {path} is of the format {output_format!r}, which this engine does not have")


def _read_text(
    path: str | Path, text: Any, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Iterator[tuple[Any, Any]]:
    parsers = [text.parser(value_types, key=False)]
    if key_types:
        parsers.insert(0, text.parser(key_types, key=True))
    number = 1
    with Path(path).open(encoding="utf-8", newline="\n") as file:
        while lines := file.read(READ_CHARS) + file.readline():
            try:
                columns = text.read_columns(lines, parsers)
            except ValueError as error:
                raise OutputError(f"{path}, {_bad_line(text, lines, parsers, number)}: {error}") from error
            yield from zip(columns[0] if key_types else itertools.repeat(None), columns[-1], strict=False)
            number += lines.count("\n")


def part_as_tsv(path: str | Path, output_format: str, *, keys: bool) -> Iterator[bytes]:
    """Yield a part of a format that is no text as lines of TSV. Raises as `read_part_records`, and ValueTypeError."""
    for batch in read_blocks(open_slice(path, 0)) if output_format == RECORDS else _batches(path, output_format, keys):
        yield tsv.lines([text for text, _ in _texts(tsv, batch, keys=keys)])


def _batches(path: str | Path, output_format: str, keys: bool) -> Iterator[Batch]:
    records = read_part_records(path, output_format, ("any",) if keys else (), ("any",))
    while chunk := list(itertools.islice(records, TEXT_ROWS)):
        yield make_batch([key for key, _ in chunk], [value for _, value in chunk])


def _texts(text: Any, batch: Batch, *, keys: bool) -> list[tuple[pl.Series, set[str]]]:
    """The columns as text, in the text format of this module, each with the names of its types."""
    value = text.column_text(batch.frame["value"], batch.value_lane, key=False)
    return [text.column_text(batch.frame["key"], batch.key_lane, key=True), value] if keys else [value]


def _bad_line(text: Any, lines: str, parsers: list[Any], first: int) -> str:
    """Name the line that cannot be read; `first` is the number of the first one."""
    for number, line in enumerate(lines.removesuffix("\n").split("\n"), first):
        try:
            text.read_columns(line + "\n", parsers)
        except ValueError:
            return f"line {number}"
    return f"lines from {first} on"
