"""Compressed buffers of Arrow IPC, looked at before Polars unpacks them.

A buffer begins with the number of bytes that it unpacks to. Where that is damaged, Polars makes room for it and ends
the process where there is none; here it is refused. Source: apache/arrow (docs "Arrow Columnar Format", compression).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import zstandard

LENGTH_BYTES = 8  # before the compressed bytes: how many they unpack to, or -1 where they are not compressed
ZSTD_HEADER_BYTES = 18  # at most
LZ4, ZSTD = 0, 1  # codecs
MOST = {LZ4: 255, ZSTD: 1 << 16}  # bytes that one compressed byte can become


def damage_of_buffers(read: Callable[[int, int], bytes], buffers: Iterable[range], codec: int) -> str | None:
    """Say what is wrong with a compressed buffer, of which `read(size, offset)` gives the bytes; None for nothing."""
    for buffer in filter(len, buffers):
        head = read(min(LENGTH_BYTES + ZSTD_HEADER_BYTES, len(buffer)), buffer.start)
        size = int.from_bytes(head[:LENGTH_BYTES], "little", signed=True)
        packed = len(buffer) - LENGTH_BYTES
        if size == -1 and packed >= 0:
            continue
        if packed < 0 or not 0 <= size <= packed * MOST.get(codec, 0) or not _fits(codec, head[LENGTH_BYTES:], size):
            return (
                f"the compressed buffer at byte {buffer.start} is damaged: its {len(buffer):,} bytes do not unpack to "
                f"{size:,}, as it says"
            )
    return None


def _fits(codec: int, head: bytes, size: int) -> bool:
    """Whether what zstd itself says of the size, if it does, is the same."""
    if codec != ZSTD or not size:
        return True
    try:
        return int(zstandard.frame_content_size(head)) in (-1, size)
    except zstandard.ZstdError:
        return False
