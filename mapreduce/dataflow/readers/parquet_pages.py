"""The headers of the pages of a Parquet column, looked through before Polars reads them.

A damaged header may claim lists of billions of elements; Polars makes room for them and ends the process where there is
none. Here they are refused. Source: apache/parquet-format (`parquet.thrift`, README.md).
"""

from __future__ import annotations

from typing import Any

from mapreduce.dataflow.inputs.input_file import OpenFile
from mapreduce.dataflow.readers.parquet_footer import Chunk
from mapreduce.dataflow.readers.thrift_compact import As, Compact, ThriftError, Wanted

HEADER_BYTES = 512  # read at first: they are longer only where they hold long texts as least and largest values

# PageHeader: type, compressed_page_size, and of each type of page (data, index, dictionary, data of version 2) the
# field that tells of it, of which num_values is wanted.
_HEADER: Wanted = {1: As.NUMBER, 3: As.NUMBER, 5: {1: As.NUMBER}, 7: {}, 8: {1: As.NUMBER}}
_DATA = {0: 5, 3: 8}  # types of pages that have values of the column, and their fields


def damage_of_pages(file: OpenFile, chunk: Chunk) -> str | None:
    """Say what is wrong with a page header of a column in a row group; None for nothing."""
    at, seen = chunk.bytes.start, 0
    while seen < chunk.values and at < chunk.bytes.stop:
        try:
            header, size = _header(file, at, chunk.bytes.stop)
            values = header[_DATA[header[1]]][1] if header[1] in _DATA else 0
            length = header[3]
        except ThriftError as error:
            return f"the header of the page at byte {at} is damaged: {error}"
        except (IndexError, KeyError):
            return f"the header of the page at byte {at} is damaged: it ends too early, or lacks what every one has"
        stop = at + size + length
        if length < 0 or values < 0 or stop > chunk.bytes.stop:
            return f"the header of the page at byte {at} is damaged: it would have {length:,} bytes, {values:,} values"
        at, seen = stop, seen + values
    return None


def _header(file: OpenFile, at: int, stop: int) -> tuple[dict[int, Any], int]:
    """Read the header at a byte: its fields, and how long it is."""
    window = HEADER_BYTES
    while True:
        window = min(window, stop - at)
        reader = Compact(file.read_at(window, at))
        try:
            return reader.struct(_HEADER), reader.at
        except (IndexError, ThriftError):  # it may be longer; a list that goes on behind the window looks too long
            if at + window >= stop:
                raise
            window *= 4
