"""Files that are no text, told by their first and last bytes, so that an error can name them."""

from __future__ import annotations

HEAD_BYTES = 4096  # of a file are looked at: a disk's smallest read
TAIL_BYTES = 4
NUL_SHARE = 10  # text holds no NUL bytes but by accident; one in ten is UTF-16 or a binary format
NULS_AT_LEAST = 4  # fewer, in a tiny file, prove nothing

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"ARROW1\x00", "an Arrow file (say --input-format arrow)"),
    (b"\xff\xff\xff\xff\x10\x00\x00\x00", "an Arrow stream (say --input-format arrow)"),
    (b"Obj\x01", "an Avro file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x1f\x8b", "a gzip file without its suffix .gz"),
    (b"\xfd7zXZ\x00", "an xz file without its suffix .xz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file without its suffix .zst"),
    (b"\x04\x22\x4d\x18", "an lz4 file"),
    (b"\xff\x06\x00\x00sNaPpY", "a snappy file"),
    (b"PK\x03\x04", "a zip file (or a document in one, such as xlsx or docx)"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"\x7fELF", "an ELF program or library"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"OggS\x00", "an Ogg recording"),
)
_BOTH_ENDS = (
    (b"PAR1", "a Parquet file (say --input-format parquet)"),
    (b"PARE", "an encrypted Parquet file"),
    (b"FEA1", "a Feather file"),
)


def binary_kind(head: bytes, tail: bytes | None) -> str | None:
    """Name what a file is if it is no text, such as "a Parquet file"; None if it may be text.

    `head` holds the file's first bytes (HEAD_BYTES of them, if there are), `tail` its last TAIL_BYTES, or None where
    the end is not known.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # These begin with letters, as a text may: their other end, or a NUL byte, must agree.
    for magic, kind in _BOTH_ENDS:
        if head.startswith(magic) and (tail == magic if tail is not None else b"\x00" in head):
            return kind
    return _scattered(head, tail) or wide_text(head)


def _scattered(head: bytes, tail: bytes | None) -> str | None:
    """Kinds whose marks lie in several places."""
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "a bzip2 file without its suffix .bz2"
    if head.startswith(b"ORC") and tail is not None and tail[:3] == b"ORC":
        return "an ORC file"
    if head.startswith(b"MZ") and b"\x00" in head:
        return "a Windows program"
    if head.startswith(b"RIFF") and head[8:12] in {b"WAVE", b"AVI ", b"WEBP"}:
        return "a RIFF recording or image"
    if head[257:262] == b"ustar" and b"\x00" in head[:257]:
        return "a tar archive"
    if head[4:8] == b"ftyp" and b"\x00" in head[:4]:
        return "an MP4 recording"
    return None


def wide_text(head: bytes) -> str | None:
    """Name text of two or four bytes a character, or unknown bytes full of NULs; None if there are few NULs."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "text in UTF-32 (say --encoding utf-32)"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text in UTF-16 (say --encoding utf-16)"
    nuls = head.count(0)
    if nuls < NULS_AT_LEAST or nuls * NUL_SHARE < len(head):
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 9 * even and odd * 3 > len(head):
        return "text in UTF-16 without a byte-order mark, it seems (say --encoding utf-16-le)"
    if even > 9 * odd and even * 3 > len(head):
        return "text in UTF-16 without a byte-order mark, it seems (say --encoding utf-16-be)"
    return "a binary file of an unknown kind: a tenth of its beginning is NUL bytes (tr -d '\\000' removes them)"
