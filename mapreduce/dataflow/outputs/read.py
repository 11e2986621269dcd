"""Output parts read back as records, of every format, and what is lost on the way; and as lines for people.

Reads local files: a part that lies elsewhere is fetched by who calls. Never unpickles.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl

from mapreduce.dataflow.columns.batches import records_of
from mapreduce.dataflow.columns.json_text import BYTES, JSON, NONE, STR, TUPLE
from mapreduce.dataflow.inputs.codecs import Codec, decompressed
from mapreduce.dataflow.outputs import csv_text, jsonl, msgpack_records, plain_text, tsv
from mapreduce.dataflow.outputs.column_types import is_changed, is_tuples
from mapreduce.dataflow.outputs.columnar import read_part_frame, read_records
from mapreduce.dataflow.outputs.compress import codec_named
from mapreduce.dataflow.outputs.csv_text import TABLE_LOST, CsvReader, header_end, named_table, record_ends
from mapreduce.dataflow.outputs.files import Ends, line_ends
from mapreduce.dataflow.outputs.parts import TEXT_ROWS
from mapreduce.dataflow.shuffle.block_file import open_slice, read_blocks
from mapreduce.errors import InputError, OutputError, ValueTypeError
from mapreduce.output_formats import COLUMNAR, CSV, JSONL, LINES, MSGPACK, RECORDS, TEXT, TSV, split_format

READ_BYTES = 1 << 18  # of a part at a time, made into objects

Pairs = Iterator[tuple[Any, Any]]
_TEXTS: dict[str, Any] = {TSV: tsv, JSONL: jsonl}  # each with parser and read_columns
_TIMES = frozenset({dt.date, dt.datetime, dt.time, dt.timedelta})


# --------------------------------------------------------------------------------------------------- what is lost


def read_back(output_format: str, types: tuple[str, ...], *, key: bool, alone: bool = False) -> str:
    """What a column of these types loses when it is read back, as the end of a sentence; "" where nothing is lost.

    `alone` says that there are no keys beside the values.
    """
    base = split_format(output_format)[0]
    some = f"are of several types ({', '.join(types)})"
    if base in COLUMNAR and len(types) > 1:
        return f"{some}: a program that reads all parts as one table refuses them; emit one type"
    if base in COLUMNAR and any(map(is_changed, types)):
        return (
            "hold tuples beside lists or inside other containers, NumPy's arrays or numbers, or times in "
            "datetime.timezone.utc: in the files these are lists, plain numbers and times in ZoneInfo('UTC'), and so "
            "they are read back"
        )
    if base == TSV and len(types) > 1:
        return f"{some}: in TSV they are read back as text; emit one type to keep it"
    if base == CSV:
        return _csv_back(types, alone=alone)
    if base == MSGPACK:
        return _msgpack_back(types, key=key)
    if base not in _TEXTS:
        return ""
    if JSON in types:
        return (
            "hold bytes or tuples inside other containers: JSON has none, so they are read back as str (base64) and "
            "lists"
        )
    if len(types) > 1 and {BYTES, TUPLE} - ({TUPLE} if key else set()) & set(types):
        return f"{some}: JSON has no bytes and no tuples, so these are read back as str (base64) and lists"
    return ""


def _csv_back(types: tuple[str, ...], *, alone: bool) -> str:
    tables = [name for name in types if name.startswith(("{", TABLE_LOST))]
    if tables and len(types) > 1:
        return "are rows of other columns, or none, in some parts: a program that reads all parts as one table minds"
    if tables:
        columns = named_table(tables[0])
        if columns is None:
            return "have more columns than the manifest names types of: they are read back as text"
        one = alone and len(columns) == 1
        told = [(name, _csv_column(tuple(sorted(kinds)), one=one)) for name, kinds in columns.items()]
        return "; ".join(f"have a column {name!r} whose fields {what}" for name, what in told if what)
    return _csv_column(types, one=alone)


def _csv_column(types: tuple[str, ...], *, one: bool) -> str:
    """As `read_back`, for one column; `one` says that its file has no other."""
    kinds = set(types) - {NONE}
    if len(kinds) > 1:
        return f"are of several types ({', '.join(types)}): in CSV they are read back as text; emit one type to keep it"
    if JSON in kinds:
        return (
            "hold bytes or tuples inside other containers: JSON has none, so they are read back as str (base64) and "
            "lists"
        )
    if one and NONE in types and kinds & {STR, BYTES}:
        return f"are None and {kinds.pop()}: in a file of one column None and the empty one are the same, and empty"
    return ""


def _msgpack_back(types: tuple[str, ...], *, key: bool) -> str:
    if JSON in types:
        return "hold tuples inside other containers: msgpack has none, so they are read back as lists"
    if len(types) > 1 and TUPLE in types and not key:
        return f"are of several types ({', '.join(types)}): msgpack has no tuples, so these are read back as lists"
    return ""


# ----------------------------------------------------------------------------------------------------- as records


def check_types(output_format: str, types: tuple[str, ...], *, key: bool) -> None:
    """Raise ValueError where columns of this format, of keys or of values, cannot be of these types."""
    base = split_format(output_format)[0]
    if base == CSV:
        csv_text.check_types(types, key=key)
    elif base in _TEXTS:
        _TEXTS[base].parser(types, key=key)


def read_part_records(
    path: str | Path, output_format: str, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Pairs:
    """Yield the pairs of one part's file. The types are the whole output's; no key types: keys are None.

    A column of one type comes back as that type; a mixed one of TSV and CSV as text, of the other formats as these have
    it. Never unpickles. Raises OutputError for a file that is damaged, CorruptBlockError for one of the records format,
    OSError.
    """
    base, compression = split_format(output_format)
    if base == RECORDS:
        for batch in read_blocks(open_slice(path, 0)):
            yield from records_of(batch, unpickle=False)
    elif base in COLUMNAR:
        tupled = len(value_types) == 1 and is_tuples(value_types[0])
        with _columnar(path):
            yield from read_records(path, base, keys=bool(key_types), tupled=tupled)
    elif base in _READERS:
        with Path(path).open("rb") as file:
            blocks = _content(file, path, codec_named(compression))
            yield from _READERS[base](blocks, path, key_types, value_types)
    else:
        raise OutputError(f"the part {path} is of the format {output_format!r}, which this engine does not have")


def read_frame_of(path: Path, output_format: str) -> pl.DataFrame:
    """Give one part of a columnar format whole, with its columns. Raises as `read_part_records`."""
    with _columnar(path):
        return read_part_frame(path, output_format)


@contextmanager
def _columnar(path: str | Path) -> Iterator[None]:
    """Have what a reader of Parquet and Arrow raises told as damage. Raises OutputError, FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (
        pl.exceptions.PolarsError,
        TypeError,
        OSError,
    ) as error:  # TypeError: values that should be tuples, and are not
        raise _damaged(path, str(error)) from error


def _damaged(path: str | Path, why: str) -> OutputError:
    return OutputError(f"the part {path} cannot be read: {why}. Run the job again.")


def _content(file: IO[bytes], path: str | Path, codec: Codec) -> Iterator[bytes]:
    """A file's content in blocks, decompressed."""
    if codec is Codec.NONE:
        yield from iter(lambda: file.read(READ_BYTES), b"")
        return
    try:
        yield from decompressed(file.read, codec, str(path), READ_BYTES)
    except InputError as error:
        raise OutputError(f"the part {error} It is a result: run the job again.") from error


def _whole(blocks: Iterable[bytes], base: str = TSV) -> Iterator[tuple[bytes, int]]:
    """The same bytes in blocks of whole records, with their number; what is behind the last end comes last.

    Each byte is looked at once, however long a record is.
    """
    held: list[bytes] = []
    inside = False  # of quotes, in CSV
    for block in blocks:
        stops = record_ends(block, inside=inside) if base == CSV else line_ends(block)
        inside = base == CSV and (block.count(b'"') + inside) % 2 == 1
        stop = int(stops[-1]) if len(stops) else 0
        if stop:
            yield b"".join((*held, block[:stop])), len(stops)
            held.clear()
        held.append(block[stop:])
    if rest := b"".join(held):
        yield rest, 1


def _read_text(
    blocks: Iterable[bytes], path: str | Path, base: str, types: tuple[tuple[str, ...], tuple[str, ...]]
) -> Pairs:
    text = _TEXTS[base]
    key_types, value_types = types
    parsers = [text.parser(value_types, key=False)]
    if key_types:
        parsers.insert(0, text.parser(key_types, key=True))
    number = 1
    for data, count in _whole(blocks):
        try:
            columns = text.read_columns(data.decode(), parsers)
        except (ValueError, TypeError) as error:  # TypeError: a field of one type in a column of another
            raise OutputError(f"{path}, {_bad_line(text, data, parsers, number)}: {error}") from error
        yield from zip(columns[0] if key_types else itertools.repeat(None), columns[-1], strict=False)
        number += count


def _bad_line(text: Any, data: bytes, parsers: list[Any], first: int) -> str:
    """Name the line that cannot be read; `first` is the number of the first one."""
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), first):
        try:
            text.read_columns(line.decode() + "\n", parsers)
        except (ValueError, TypeError):
            return f"line {number}"
    return f"lines from {first} on"


def _read_csv(
    blocks: Iterable[bytes], path: str | Path, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Pairs:
    reader = CsvReader(key_types, value_types)
    number = 1
    for data, count in _whole(blocks, CSV):
        try:
            yield from reader.read(data)
        except (ValueError, TypeError, pl.exceptions.PolarsError) as error:  # TypeError: as above
            raise OutputError(f"{path}, records from {number} on (the header is the first): {error}") from error
        number += count


def _read_values(blocks: Iterable[bytes], path: str | Path, _keys: tuple[str, ...], _values: tuple[str, ...]) -> Pairs:
    for data, _ in _whole(blocks):
        try:
            values = plain_text.read(data.decode())
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        yield from ((None, value) for value in values)


def _read_msgpack(
    blocks: Iterable[bytes], path: str | Path, key_types: tuple[str, ...], value_types: tuple[str, ...]
) -> Pairs:
    try:
        yield from msgpack_records.read(blocks, key_types, value_types)
    except (ValueError, TypeError) as error:  # TypeError is what an array as a map's key gives
        raise _damaged(path, str(error) or "it is no msgpack") from error


_READERS: dict[str, Callable[[Iterable[bytes], str | Path, tuple[str, ...], tuple[str, ...]], Pairs]] = {
    TSV: lambda blocks, path, keys, values: _read_text(blocks, path, TSV, (keys, values)),
    JSONL: lambda blocks, path, keys, values: _read_text(blocks, path, JSONL, (keys, values)),
    CSV: _read_csv,
    TEXT: _read_values,
    MSGPACK: _read_msgpack,
}


# ------------------------------------------------------------------------------------------------------- as lines


def part_lines(
    path: str | Path, output_format: str, *, keys: bool, header: bytes = b""
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the records of one part's file as text: blocks of whole lines, how many records, and how many other lines.

    A format of lines as it is, but for compression; any other as TSV, with dates and times as `str` gives them. Of CSV
    the header comes first, as a line that is no record, unless it is the one that is given: that of the file before.
    Raises as `read_part_records`, and ValueTypeError for what TSV cannot say.
    """
    base, compression = split_format(output_format)
    if base not in LINES:
        records = read_part_records(path, output_format, ("any",) if keys else (), ("any",))
        while chunk := list(itertools.islice(records, TEXT_ROWS)):
            columns = [_shown_text([value for _, value in chunk], key=False)]
            if keys:
                columns.insert(0, _shown_text([key for key, _ in chunk], key=True))
            yield tsv.lines(columns), len(chunk), 0
        return
    others = int(base == CSV)
    with Path(path).open("rb") as file:
        for data, count in _whole(_content(file, path, codec_named(compression)), base):
            if others and not len(record_ends(data)):
                raise _damaged(path, "it has no whole line with the names of its columns")
            if others and header and data.startswith(header):
                yield data[len(header) :], count - others, 0
            else:
                yield data, count - others, others
            others = 0


def header_of(output_format: str, data: bytes) -> bytes:
    """The header with which a file's first block of `part_lines` begins; b"" in a format that has none."""
    return data[: header_end(data)] if split_format(output_format)[0] == CSV else b""


def record_ends_of(output_format: str, data: bytes) -> Ends:
    """Where the lines of `part_lines` end, those with line breaks between quotes being one."""
    return record_ends(data) if split_format(output_format)[0] == CSV else line_ends(data)


def _shown_text(objects: list[Any], *, key: bool) -> pl.Series:
    """A column in TSV for people, who need not have it back."""
    try:
        return tsv.objects_text(objects, key=key)[0]
    except ValueTypeError:
        return tsv.objects_text(list(map(_shown_object, objects)), key=key)[0]


def _shown_object(value: Any) -> Any:
    """The same, with text for dates, times and the keys of dicts, for which JSON has no form."""
    kind = type(value)
    if kind in _TIMES:
        return str(value)
    if kind is dict:
        parts = {_name_of(name): _shown_object(part) for name, part in value.items()}
        return parts if len(parts) == len(value) else repr(value)
    return kind(map(_shown_object, value)) if kind in {list, tuple} else value


def _name_of(name: Any) -> str:
    return name if type(name) is str else repr(name)
