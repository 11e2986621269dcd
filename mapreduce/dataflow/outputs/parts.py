"""Output parts: an attempt's private file or files, written, synced and summed.

Owns the choice of what writes a format: lines of text and msgpack become `ByteFiles`, columns `ColumnSink`, and
"records" (which keep every type) a block file. A part is complete when `close` returned; until then `abort` removes it.
Refuses pickled values: a result must be readable without its job. Reading back is `outputs.read`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from mapreduce.dataflow.columns.batches import Batch, Lane, ungroup, values_list
from mapreduce.dataflow.columns.json_text import shown
from mapreduce.dataflow.columns.values import PICKLE_MARK, VALUE_DEPTH
from mapreduce.dataflow.disk import DISK_ERRORS, file_checksum, sync_file, sync_folder
from mapreduce.dataflow.outputs import jsonl, plain_text, tsv
from mapreduce.dataflow.outputs.columnar import ColumnSink
from mapreduce.dataflow.outputs.compress import codec_named
from mapreduce.dataflow.outputs.csv_text import CsvLines, record_ends
from mapreduce.dataflow.outputs.files import ByteFiles, Ends, Writing, checksum_of, line_ends
from mapreduce.dataflow.outputs.msgpack_records import MsgpackRecords
from mapreduce.dataflow.shuffle.block_file import BlockFileWriter
from mapreduce.errors import DiskFullError, MapReduceError, OutputError, ValueTypeError
from mapreduce.output_formats import (
    COLUMNAR,
    CSV,
    JSONL,
    MSGPACK,
    OUTPUT_FORMATS,
    RECORDS,
    TEXT,
    TSV,
    split_format,
)
from mapreduce.plan import PartFile, PartInfo

ANY = "any"  # the type of a column of the records format that is in the encoded lane: whatever each record has

TEXT_ROWS = 65_536  # turned into text at a time: some megabytes

Types = tuple[set[str], set[str]]  # names of the types of keys and of values


class _Sink(Protocol):
    """One format's way to write; a method may raise OSError. `paths` are those of all files so far."""

    @property
    def paths(self) -> list[Path]: ...
    def write(self, batch: Batch) -> None: ...
    def close(self) -> list[PartFile]: ...
    def abort(self) -> None: ...


class PartWriter:
    """Writes one part to a private file. `keys=False` leaves the keys out (a job whose results are values alone).

    With the part size of `writing` the part is several files, whose numbers follow the path (`plan.numbered`). Where
    writing is durable they are on the disk for good when `close` returns. A full or broken disk raises DiskFullError,
    naming the folder, and leaves no file; a value that the format cannot say raises ValueTypeError, too many files
    OutputError, and the caller aborts.
    """

    def __init__(
        self, path: str | Path, output_format: str = TSV, *, keys: bool = True, writing: Writing | None = None
    ) -> None:
        self._path = Path(path)
        self._writing = writing or Writing()
        self._records = 0
        self._types: Types = (set(), set())
        self._sink: _Sink | None = None
        make = _maker(output_format)
        self._format = split_format(output_format)[0], keys
        try:
            self._sink = make(self._path, self._types, keys, self._writing)
        except OSError as error:
            raise self._failed(error) from error

    @property
    def takes_said(self) -> bool:
        """Whether columns of values may hold what `said_value` makes."""
        return self._format[0] in {TSV, JSONL}

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

    def check(self, batch: Batch) -> None:
        """Raise what `write_batch` would for records that the format cannot say one by one; nothing is written."""
        flat = ungroup(batch)
        _refuse_pickles(flat)
        base, keys = self._format
        if base in _ENCODERS:
            _ENCODERS[base]((set(), set()), keys, Writing()).encode(flat)

    def close(self) -> PartInfo:
        """Write out the part. Gives its facts."""
        sink = self._open_sink()
        try:
            files = sink.close()
            if self._writing.durable:
                for path in sink.paths:
                    sync_file(path)
                sync_folder(self._path.parent)
        except OSError as error:
            raise self._failed(error) from error
        self._sink = None
        types = tuple(sorted(self._types[0])), tuple(sorted(self._types[1]))
        if self._writing.part_size is None:
            (file,) = files
            return PartInfo(self._records, file.size, file.checksum, *types)
        size = sum(file.size for file in files)
        return PartInfo(self._records, size, checksum_of(files), *types, files=tuple(files))

    def abort(self) -> None:
        """Remove the files. After `close`, or a second time, does nothing."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()
            for path in sink.paths:
                path.unlink(missing_ok=True)

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


_Maker = Callable[[Path, Types, bool, Writing], _Sink]


def _maker(output_format: str) -> _Maker:
    """What makes the sink of a format. Raises OutputError for one there is not."""
    base, compression = split_format(output_format)
    if base == RECORDS:
        return _RecordsSink
    if base in COLUMNAR:
        return lambda path, types, keys, writing: ColumnSink(path, base, types, keys=keys, writing=writing)
    if base not in _ENCODERS:
        raise OutputError(
            f"there is no output format {output_format!r}: choose one of {', '.join((*OUTPUT_FORMATS, RECORDS))}"
        )
    codec = codec_named(compression)
    return lambda path, types, keys, writing: _ByteSink(
        ByteFiles(path, codec, writing), _ENCODERS[base](types, keys, writing)
    )


# ------------------------------------------------------------------------------------------------------ as bytes


class _Encoder(Protocol):
    """Makes bytes of records: whole ones, and where they end. `begin` is what each file begins with."""

    def encode(self, batch: Batch) -> tuple[bytes, Callable[[], Ends]]: ...
    def begin(self) -> bytes: ...
    def finish(self) -> None: ...


class _ByteSink:
    def __init__(self, files: ByteFiles, encoder: _Encoder) -> None:
        self._files = files
        self._encoder = encoder

    @property
    def paths(self) -> list[Path]:
        return self._files.paths

    def write(self, batch: Batch) -> None:
        for frame in batch.frame.iter_slices(TEXT_ROWS):
            data, ends = self._encoder.encode(replace(batch, frame=frame))
            self._files.put(data, frame.height, ends, self._encoder.begin())

    def close(self) -> list[PartFile]:
        self._encoder.finish()
        return self._files.close(self._encoder.begin())

    def abort(self) -> None:
        self._files.abort()


class _Plain:
    """An encoder whose files begin with records, and which knows all types as it goes."""

    def begin(self) -> bytes:
        return b""

    def finish(self) -> None:
        pass


class _Lines(_Plain):
    """Lines of TSV or of JSON; `text` is the module of the format."""

    def __init__(self, text: Any, types: Types, *, keys: bool) -> None:
        self._text = text
        self._types = types
        self._keys = keys

    def encode(self, batch: Batch) -> tuple[bytes, Callable[[], Ends]]:
        columns = [self._text.column_text(batch.frame["value"], batch.value_lane, key=False)]
        if self._keys:
            columns.insert(0, self._text.column_text(batch.frame["key"], batch.key_lane, key=True))
        for types, (_, names) in zip(self._types[-len(columns) :], columns, strict=True):
            types.update(names)
        data = self._text.lines([column for column, _ in columns])
        return data, lambda: line_ends(data)


class _Values(_Plain):
    """Lines of text alone."""

    def __init__(self, types: Types) -> None:
        self._types = types

    def encode(self, batch: Batch) -> tuple[bytes, Callable[[], Ends]]:
        data = plain_text.encode(batch, self._types[1])
        return data, lambda: line_ends(data)


class _Csv:
    def __init__(self, types: Types, writing: Writing, *, keys: bool) -> None:
        self._lines = CsvLines(types, keys=keys, types_chars=writing.types_chars)

    def encode(self, batch: Batch) -> tuple[bytes, Callable[[], Ends]]:
        data = self._lines.encode(batch)
        return data, lambda: record_ends(data)

    def begin(self) -> bytes:
        return self._lines.begin()

    def finish(self) -> None:
        self._lines.finish()


class _Msgpack(_Plain):
    def __init__(self, types: Types, *, keys: bool) -> None:
        self._records = MsgpackRecords(types, keys=keys)

    def encode(self, batch: Batch) -> tuple[bytes, Callable[[], Ends]]:
        data, ends = self._records.encode(batch)
        return data, lambda: ends


_ENCODERS: dict[str, Callable[[Types, bool, Writing], _Encoder]] = {
    TSV: lambda types, keys, _: _Lines(tsv, types, keys=keys),
    JSONL: lambda types, keys, _: _Lines(jsonl, types, keys=keys),
    CSV: lambda types, keys, writing: _Csv(types, writing, keys=keys),
    TEXT: lambda types, _keys, _writing: _Values(types),
    MSGPACK: lambda types, keys, _: _Msgpack(types, keys=keys),
}


# ---------------------------------------------------------------------------------------------------- as records


class _RecordsSink:
    def __init__(self, path: Path, types: Types, keys: bool, _writing: Writing) -> None:
        self.paths = [path]
        self._types = types
        self._keys = keys
        self._records = 0
        self._writer = BlockFileWriter(path, partitions=1)

    def write(self, batch: Batch) -> None:
        if self._keys:
            self._types[0].add(_type_name(batch.key_lane))
        self._types[1].add(_type_name(batch.value_lane))
        self._writer.write(0, batch)
        self._records += batch.rows()

    def close(self) -> list[PartFile]:
        size = self._writer.close().size
        return [PartFile(self._records, size, file_checksum(self.paths[0]))]

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
    inside = ""
    if kind in {list, tuple, dict, set, frozenset}:
        inside = f" (something in it is of no plain type, or lies more than {VALUE_DEPTH} levels deep)"
    return ValueTypeError(
        f"a result of type {kind.__module__}.{kind.__qualname__} ({shown(value)}) can only be pickled{inside}, and "
        "results are never pickles: emit a tuple or dict of its parts, or a str, from the function that makes it "
        "(dataclasses.asdict and vars help)"
    )
