"""Compressed outputs: gzip, bzip2, xz, zstd and lz4, one member a file, the same bytes for the same content.

Nothing that varies is written: no time, no name, no system. What is fed decides the bytes, and so may how it is cut:
whoever feeds cuts at the same places always. Reading is `codecs`.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Protocol

import lz4.frame
import zstandard

from mapreduce.dataflow.inputs.codecs import Codec
from mapreduce.errors import OutputError

GZIP_LEVEL = 6  # what gzip itself takes: higher ones cost twice the time for one percent
BZIP2_LEVEL = 9  # what bzip2 itself takes: blocks of 900 kB
XZ_PRESET = 3  # 32 MB a file that is written; the tool's own 6 takes 94, and a task may write many files
ZSTD_LEVEL = 3  # what zstd itself takes
LZ4_LEVEL = 0  # what lz4 itself takes: quick is what people choose it for

CODECS = {"gz": Codec.GZIP, "bz2": Codec.BZIP2, "xz": Codec.XZ, "zst": Codec.ZSTD, "lz4": Codec.LZ4}

# A header without time, name and flags, whose system is "unknown": zlib's own would name the one it runs on.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Compressor(Protocol):
    """One member: what it gives goes to the file, in order."""

    def compress(self, data: bytes, /) -> bytes:
        """Take some content; what can be written by now."""

    def flush(self) -> bytes:
        """End the member; what is left to write."""


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._begin = _GZIP_HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        begin, self._begin = self._begin, b""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        return begin + self._inner.compress(data)

    def flush(self) -> bytes:
        return self._begin + self._inner.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


class _Lz4:
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor(compression_level=LZ4_LEVEL, content_checksum=True)
        self._begin = bytes(self._inner.begin())

    def compress(self, data: bytes, /) -> bytes:
        begin, self._begin = self._begin, b""
        return begin + bytes(self._inner.compress(data))

    def flush(self) -> bytes:
        return self._begin + bytes(self._inner.flush())


def _zstd() -> Compressor:
    made: Compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    return made


_MAKERS: dict[Codec, Callable[[], Compressor]] = {
    Codec.GZIP: _Gzip,
    Codec.BZIP2: lambda: bz2.BZ2Compressor(BZIP2_LEVEL),
    Codec.XZ: lambda: lzma.LZMACompressor(lzma.FORMAT_XZ, preset=XZ_PRESET),
    Codec.ZSTD: _zstd,
    Codec.LZ4: _Lz4,
}


def compressor(codec: Codec) -> Compressor:
    """Begin a member."""
    return _MAKERS[codec]()


def codec_named(compression: str) -> Codec:
    """The codec of a format's suffix, such as "gz"; Codec.NONE for "". Raises OutputError for one there is not."""
    if not compression:
        return Codec.NONE
    if compression not in CODECS:
        raise OutputError(f"there is no compression {compression!r}: choose one of {', '.join(CODECS)}")
    return CODECS[compression]
