"""Compressed inputs: gzip, bzip2, xz, zstd and lz4, told by the file's suffix, read to their last member or not at all.

Owns the loop over members, streams and frames. Refuses what other readers lose silently: a truncated file, garbage
behind the last member, a damaged checksum; each is an `InputError` naming the file and the byte.
"""

from __future__ import annotations

import bz2
import enum
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame
import zstandard

from mapreduce.errors import InputError
from mapreduce.urls import file_part

Read = Callable[[int], bytes]

READ_BYTES = 128 << 10  # of compressed input at a time: some hundred kilobytes of text
ZSTD_FEED_BYTES = 4 << 10  # zstd's output cannot be bounded by its caller: 4 bytes may become 128 KiB, so feed little
# What a file's header may have its decompressor hold of what it gave: zstd -22 needs as much, and xz -9 half of it. The
# format of xz allows 4 GB, which would kill a task process: it has some 600 MB for all that it does.
WINDOW_BYTES = 128 << 20
_XZ_OVERHEAD_BYTES = 1 << 20  # that xz holds beside its dictionary: some 100 KB


class Codec(enum.StrEnum):
    """How a file is compressed."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    LZ4 = "lz4"


_SUFFIXES = {
    ".gz": Codec.GZIP,
    ".bz2": Codec.BZIP2,
    ".xz": Codec.XZ,
    ".zst": Codec.ZSTD,
    ".zstd": Codec.ZSTD,
    ".lz4": Codec.LZ4,
}
_PADDED = frozenset({Codec.GZIP, Codec.XZ})  # whose formats (or tools) allow zero bytes behind a member


def codec_of(path: str) -> Codec:
    """Tell by the suffix (in any case) how a file is compressed."""
    lowered = file_part(path).lower()
    for suffix, codec in _SUFFIXES.items():
        if lowered.endswith(suffix):
            return codec
    return Codec.NONE


class _Decoder(Protocol):
    """One member: `feed` returns at most about `limit` bytes; `needs_input` says that b"" would bring nothing."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


class _Gzip:
    """zlib's object with the interface of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer, checked
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, limit: int, /) -> bytes:
        text = self._inner.decompress(self._inner.unconsumed_tail + data, limit)
        # A full buffer may leave output inside zlib even when all input was taken.
        self.needs_input = len(text) < limit and not self._inner.unconsumed_tail
        return text


class _Zstd:
    """One frame, fed in small pieces."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).decompressobj()
        self._rest = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._rest)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._rest[self._at :]

    def decompress(self, data: bytes, _limit: int, /) -> bytes:
        if data:
            self._rest, self._at = self._rest[self._at :] + data, 0
        piece = self._rest[self._at : self._at + ZSTD_FEED_BYTES]
        self._at += len(piece)
        return bytes(self._inner.decompress(piece)) if piece else b""


class _Lz4:
    """lz4's object with the interface of bz2's and lzma's: it says None for no unused bytes."""

    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, limit: int, /) -> bytes:
        return bytes(self._inner.decompress(data, limit))


def _decoder(codec: Codec) -> _Decoder:
    if codec is Codec.GZIP:
        return _Gzip()
    if codec is Codec.BZIP2:
        return bz2.BZ2Decompressor()
    if codec is Codec.XZ:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_BYTES + _XZ_OVERHEAD_BYTES)
    if codec is Codec.LZ4:
        return _Lz4()
    return _Zstd()


def has_magic(codec: Codec, data: bytes) -> bool:
    """Tell whether a member of this codec begins with these bytes (at least 6, or all there are)."""
    if codec is Codec.GZIP:
        return data.startswith(b"\x1f\x8b")
    if codec is Codec.BZIP2:
        return data.startswith(b"BZh")
    if codec is Codec.XZ:
        return data.startswith(b"\xfd7zXZ\x00")
    # zstd and lz4 share the frames that other programs put theirs in, to be skipped
    skippable = len(data) >= 4 and data[0] & 0xF0 == 0x50 and data[1:4] == b"\x2a\x4d\x18"
    return skippable or data.startswith(b"\x04\x22\x4d\x18" if codec is Codec.LZ4 else b"\x28\xb5\x2f\xfd")


class _Source:
    """The compressed bytes, with the position for error messages."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.position = 0

    def more(self) -> bytes:
        data = self._read(READ_BYTES)
        self.position += len(data)
        return data


_MAGIC_BYTES = 6  # the longest magic number above
_DAMAGED = (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError, RuntimeError)  # the last is lz4's
# How the libraries say that a window is beyond the bound, which is no damage: they have no exception for it.
_TOO_LARGE = ("Memory usage limit exceeded", "Frame requires too much memory for decoding")


def decompressed(read: Read, codec: Codec, path: str, block: int) -> Iterator[bytes]:
    """Yield the decompressed bytes of a whole file, in blocks of about `block` bytes, all members in order.

    `read(n)` returns at most n bytes of the compressed file, b"" at its end. Raises InputError for a file that is not
    of this codec, is damaged or truncated, goes on with something else after its last member, or was packed with a
    window of more than WINDOW_BYTES.
    """
    source = _Source(read)
    data = b""
    first = True
    while True:
        data = _next_member(source, data, codec, first=first)
        if not data and not first:
            return
        if not has_magic(codec, data):
            raise _refused(path, codec, source.position - len(data), first=first, empty=not data)
        decoder = _decoder(codec)
        yield from _member(decoder, source, data, codec, path=path, block=block)
        data = decoder.unused_data
        first = False


def _next_member(source: _Source, data: bytes, codec: Codec, *, first: bool) -> bytes:
    """Skip padding and read on until a magic number fits, or the file ends."""
    while True:
        if codec in _PADDED and not first:
            data = data.lstrip(b"\x00")
        if len(data) >= _MAGIC_BYTES:
            return data
        more = source.more()
        if not more:
            return data
        data += more


def _refused(path: str, codec: Codec, position: int, *, first: bool, empty: bool) -> InputError:
    if empty:
        return InputError(f"{path} is empty, and so no {codec} file: it was cut off. Write it again, or leave it out.")
    if first:
        return InputError(
            f"{path} is not a {codec} file, though its suffix says so (its first bytes are others): rename it."
        )
    return InputError(
        f"{path}: after its last {codec} member, at byte {position}, comes something that is no {codec} data. "
        "Write the file again, or cut it there."
    )


def _member(decoder: _Decoder, source: _Source, data: bytes, codec: Codec, *, path: str, block: int) -> Iterator[bytes]:
    pieces: list[bytes] = []
    held = 0
    while not decoder.eof:
        if not data and decoder.needs_input:
            data = source.more()
            if not data:
                raise InputError(
                    f"{path}: the {codec} data ends in the middle, at byte {source.position}: the file was cut off. "
                    "Write or copy it again."
                )
        try:
            piece = decoder.decompress(data, block)
        except _DAMAGED as error:
            if str(error).endswith(_TOO_LARGE):
                raise InputError(
                    f"{path}: its {codec} data was packed with a window (a dictionary) of more than "
                    f"{WINDOW_BYTES >> 20} MB, which would have to be held to unpack it. Unpack it, or pack it again "
                    "with a smaller one, as xz -9 and zstd -19 do."
                ) from None
            # Not from the error: an OSError of bz2 is damage to this file, and no trouble of the disk.
            raise InputError(
                f"{path}: the {codec} data is damaged before byte {source.position}: {error}. Write or copy it again."
            ) from None
        data = b""
        pieces.append(piece)
        held += len(piece)
        if held >= block:
            yield b"".join(pieces)
            pieces, held = [], 0
    if held:
        yield b"".join(pieces)


def unpacked(read: Read, path: str, block: int) -> Iterator[bytes]:
    """Yield the bytes of a whole file, decompressed as its suffix says, in blocks of about `block` bytes.

    `read` and what is raised are as in `decompressed`; a file that is not compressed comes as it is.
    """
    codec = codec_of(path)
    return iter(lambda: read(block), b"") if codec is Codec.NONE else decompressed(read, codec, path, block)
