"""The footer of a Parquet file: which row groups it has, where they begin, and where each column of them lies.

This reads what planning needs of it and passes over the rest. Source: apache/parquet-format (`parquet.thrift`,
README.md, Encryption.md). A row group begins where the first of its columns does, as in Hadoop's
readers: its own field for that is not filled by all writers. Refuses encrypted footers, and footers that are damaged,
whose sums are wrong or that point behind the file's end.
"""

from __future__ import annotations

from typing import Any

from mapreduce.dataflow.inputs.input_file import OpenFile
from mapreduce.dataflow.readers.thrift_compact import As, Compact, ThriftError, Wanted
from mapreduce.errors import InputError
from mapreduce.quick_dataclass import dataclass

MAGIC = b"PAR1"
ENCRYPTED_MAGIC = b"PARE"
TAIL_BYTES = 8  # of a file: the footer's length, 4 bytes, and the magic
FOOTER_BYTES = 256 << 20  # of a footer: hundreds of thousands of columns in row groups; each task reads it
SLACK_BYTES = 100  # behind a column: writers of old forgot the header of its dictionary in its size (PARQUET-816)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes of one leaf column in a row group, how many they are when they are unpacked, and of how many values."""

    column: str  # of the top level: a leaf of a nested column has its name
    bytes: range
    unpacked: int
    values: int
    is_encrypted: bool = False


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that lie together: its number in the file, that of its first row, how many, and where its bytes begin."""

    number: int
    first: int
    rows: int
    start: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """What a file's footer says: its top-level columns, its row groups that have rows, and where the footer lies."""

    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    bytes: range


class _DamagedError(Exception):
    """What is wrong with a footer."""


def read_footer(file: OpenFile, path: str, size: int) -> ParquetFooter:
    """Read the footer of a file of `size` bytes. Raises InputError naming the path."""
    try:
        return _read(file, size)
    except _DamagedError as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from None


def _read(file: OpenFile, size: int) -> ParquetFooter:
    if size < len(MAGIC) + TAIL_BYTES:
        raise _DamagedError(f"it has {size} bytes, too few for any")
    tail = file.read_at(TAIL_BYTES, size - TAIL_BYTES)
    if tail[4:] == ENCRYPTED_MAGIC:
        raise _DamagedError("its footer is encrypted: decrypt the file first")
    if tail[4:] != MAGIC:
        raise _DamagedError(f"it does not end in {MAGIC.decode()}: it is none, or was cut short")
    length = int.from_bytes(tail[:4], "little")
    start = size - TAIL_BYTES - length
    if start < len(MAGIC):
        raise _DamagedError(f"its footer would have {length:,} bytes, more than the file: it is damaged")
    if length > FOOTER_BYTES:
        raise _DamagedError(f"its footer has {length:,} bytes, of {FOOTER_BYTES:,} at most: make larger row groups")
    data = file.read_at(length, start)
    try:
        return _footer(Compact(data).struct(_FILE), range(start, size))
    except ThriftError as error:
        raise _DamagedError(f"its footer is damaged: {error}") from None
    except (IndexError, KeyError, UnicodeDecodeError):
        raise _DamagedError("its footer is damaged: it ends too early, or lacks what every footer has") from None


# ColumnMetaData: path_in_schema, num_values, total_uncompressed_size, total_compressed_size, where data and dictionary
# begin.
_COLUMN: Wanted = {3: As.TEXTS, 5: As.NUMBER, 6: As.NUMBER, 7: As.NUMBER, 9: As.NUMBER, 11: As.NUMBER}
_CHUNK: Wanted = {1: As.TEXT, 3: _COLUMN, 8: {}}  # ColumnChunk: file_path, meta_data, crypto_metadata
_GROUP: Wanted = {1: (_CHUNK,), 3: As.NUMBER}  # RowGroup: columns, num_rows
_ELEMENT: Wanted = {4: As.TEXT, 5: As.NUMBER}  # SchemaElement: name, num_children
_FILE: Wanted = {2: (_ELEMENT,), 3: As.NUMBER, 4: (_GROUP,)}  # FileMetaData: schema, num_rows, row_groups


# ------------------------------------------------------------------------------------------------ what the fields say


def _footer(metadata: dict[int, Any], place: range) -> ParquetFooter:
    groups: list[RowGroup] = []
    first = 0
    for number, group in enumerate(metadata[4]):
        rows = _size(group[3], f"the rows of row group {number}")
        if rows:
            chunks = tuple(_chunk(chunk, number, place.start) for chunk in group[1])
            start = min((chunk.bytes.start for chunk in chunks), default=0)
            groups.append(RowGroup(number, first, rows, start, chunks))
        first += rows
    if first != metadata[3]:
        raise _DamagedError(f"its footer is damaged: its row groups have {first:,} rows, it says {metadata[3]:,}")
    return ParquetFooter(_top_level(metadata[2]), tuple(groups), place)


def _chunk(chunk: dict[int, Any], number: int, end: int) -> Chunk:
    """A column of a row group; all columns lie before `end`, where the footer begins."""
    about = chunk.get(3)
    if about is None:  # as encryption with a key for each column leaves it, and nothing else
        raise _DamagedError(f"row group {number} has a column that is encrypted whole: decrypt the file first")
    column = about[3][0].decode()
    where = f"the column {column!r} in row group {number}"
    start = _size(about[9], where)
    dictionary = about.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    stop = start + _size(about[7], where)
    if chunk.get(1):
        raise _DamagedError(f"{where} lies in another file, {chunk[1].decode(errors='replace')}: read that one")
    if stop > end:
        raise _DamagedError(f"its footer is damaged: {where} would lie behind the end of the file")
    place = range(start, min(stop + SLACK_BYTES, end))
    return Chunk(column, place, _size(about[6], where), _size(about[5], where), is_encrypted=8 in chunk)


def _size(number: int, what: str) -> int:
    if number < 0:
        raise _DamagedError(f"its footer is damaged: a number of {what} is negative")
    return number


def _top_level(elements: list[dict[int, Any]]) -> tuple[str, ...]:
    """The names of the root's children: a schema is a tree, flattened depth first."""
    names: list[str] = []
    at = 1
    for _ in range(elements[0].get(5, 0)):
        names.append(elements[at][4].decode())
        open_children = 1
        while open_children:
            open_children += elements[at].get(5, 0) - 1
            at += 1
    return tuple(names)
