"""Parquet files: their row groups, each read by the task in whose piece it begins.

Only the chunks of the columns that were named are read, of these row groups. Refuses files that are no Parquet, and
names columns that are missing or encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import polars as pl

from mapreduce.dataflow.inputs.input_file import LocalFile, OpenFile
from mapreduce.dataflow.readers.columnar import ColumnarReader, Group, Span, merged, spanning
from mapreduce.dataflow.readers.parquet_footer import Chunk, ParquetFooter, RowGroup, read_footer
from mapreduce.dataflow.readers.parquet_pages import damage_of_pages
from mapreduce.errors import InputError
from mapreduce.plan import Piece

KEPT_FOOTER_BYTES = 8 << 20  # of a footer that is remembered: a process often reads pieces of one file in turn

_last: dict[tuple[str, int, int], ParquetFooter] = {}  # at most one, by path, size and version


class ParquetReader(ColumnarReader):
    """The rows of the row groups that begin in a split's pieces."""

    FORMAT = "Parquet"

    def _spans(self, file: OpenFile, piece: Piece) -> Iterator[Span]:
        footer = _footer(file, piece)
        chosen = frozenset(self._chosen(piece.path, footer.columns))
        mine = [group for group in footer.groups if piece.start <= group.start < piece.start + piece.size]
        chunks = {group.first: [chunk for chunk in group.chunks if chunk.column in chosen] for group in mine}
        groups = [_group(piece.path, group, chunks[group.first]) for group in mine]
        if not groups:
            return
        place = file.local_path([footer.bytes])
        scan = self._selected(pl.scan_parquet(place, glob=False, hive_partitioning=False))
        for span in spanning(groups):
            file.local_path(merged(chain.from_iterable(group.ranges for group in span)))
            with open(place, "rb") as copy:  # noqa: PTH123 - a path of a file of the input, as text
                for group in span:
                    _check_pages(piece.path, group, LocalFile(place, copy.fileno()), chunks[group.first])
            yield Span(scan, span)


def _footer(file: OpenFile, piece: Piece) -> ParquetFooter:
    key = (piece.path, piece.file_size, piece.version)
    footer = _last.get(key)
    if footer is None:
        footer = read_footer(file, piece.path, piece.file_size)
        _last.clear()
        if len(footer.bytes) <= KEPT_FOOTER_BYTES:
            _last[key] = footer
    return footer


def _check_pages(path: str, group: Group, file: OpenFile, chunks: Sequence[Chunk]) -> None:
    """Raise InputError for a page header that is damaged, which Polars could end the process over."""
    for chunk in chunks:
        damage = damage_of_pages(file, chunk)
        if damage is not None:
            raise InputError(f"{path} cannot be read as Parquet: {group.name}, column {chunk.column!r}: {damage}")


def _group(path: str, group: RowGroup, chunks: Sequence[Chunk]) -> Group:
    for chunk in chunks:
        if chunk.is_encrypted:
            raise InputError(
                f"{path} cannot be read as Parquet: row group {group.number}, column {chunk.column!r}: it is "
                "encrypted: decrypt the file first, or leave the column out with columns="
            )
    unpacked = sum(chunk.unpacked for chunk in chunks)
    ranges = tuple(chunk.bytes for chunk in chunks)
    return Group(f"row group {group.number}", group.first, group.rows, ranges, unpacked)
