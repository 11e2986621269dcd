"""Text encodings: which can be cut at bytes, how a newline looks in each, and what a file's first bytes say.

Refuses encodings whose newlines cannot be found in the bytes (utf-7, hz, unicode_escape...): `InputError`.
"""

from __future__ import annotations

import codecs
import functools
from contextlib import suppress
from dataclasses import replace

from mapreduce.errors import InputError
from mapreduce.quick_dataclass import dataclass

BAD_MARK = "\udcff"  # stands for bad bytes while records are being skipped: strict decoders never yield it
MARK_HANDLER = "mapreduce-mark-bad-bytes"
ERROR_MODES = ("strict", "replace", "skip")

# Multi-byte encodings in which byte 0x0A is always a newline, never the second byte of a character.
_MULTIBYTE = frozenset(
    {
        "big5",
        "big5hkscs",
        "cp932",
        "cp949",
        "cp950",
        "euc_jis_2004",
        "euc_jisx0213",
        "euc_jp",
        "euc_kr",
        "gb18030",
        "gb2312",
        "gbk",
        "iso2022_jp",
        "iso2022_jp_1",
        "iso2022_jp_2",
        "iso2022_jp_2004",
        "iso2022_jp_3",
        "iso2022_jp_ext",
        "iso2022_kr",
        "johab",
        "shift_jis",
        "shift_jis_2004",
        "shift_jisx0213",
    }
)
_NEVER = frozenset({"hz", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "utf_7"})  # newlines in disguise
_WIDE = {  # canonical name -> (codec without a byte-order mark, width in bytes)
    "utf-16": ("utf-16-le", 2),  # what Python reads on every machine in use, when no mark says otherwise
    "utf-16-le": ("utf-16-le", 2),
    "utf-16-be": ("utf-16-be", 2),
    "utf-32": ("utf-32-le", 4),
    "utf-32-le": ("utf-32-le", 4),
    "utf-32-be": ("utf-32-be", 4),
}
_MARKS = {  # of the encodings whose name leaves the byte order open
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
}
_PROBE = bytes(range(256)) + b"+AAo-~{xn--"  # every byte, and escapes of encodings with more meaning than a byte has


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text encoding. `newline` is its newline in bytes, at multiples of `width` bytes from the file's start.

    `cuttable`: a file may be cut at any newline, and before it at any byte. `stateful`: decoding needs what came
    before. `marked`: a byte-order mark at the start of a file is dropped.
    """

    name: str
    codec: str
    newline: bytes = b"\n"
    width: int = 1
    cuttable: bool = False
    stateful: bool = False
    marked: bool = False

    def of_file(self, head: bytes) -> Encoding:
        """Settle the byte order by a file's first bytes."""
        for mark, codec in _MARKS.get(self.name, ()):
            if head.startswith(mark):
                return replace(self, codec=codec, newline="\n".encode(codec))
        return self


@functools.cache
def find_encoding(name: str) -> Encoding:
    """Look an encoding up by any of Python's names for it.

    Raises InputError for a name that is unknown, no text encoding, or not readable line by line.
    """
    try:
        canonical = codecs.lookup(name).name
        with suppress(UnicodeError):
            b"a".decode(canonical)  # a codec that makes no text is a LookupError here
    except (LookupError, ValueError):
        raise InputError(f"--encoding {name}: no text encoding of this name is known (utf-8, latin-1...).") from None
    if canonical in {"utf-8", "utf-8-sig"}:
        return Encoding(canonical, "utf-8", cuttable=True, marked=True)
    if canonical in _WIDE:
        codec, width = _WIDE[canonical]
        return Encoding(canonical, codec, newline="\n".encode(codec), width=width, marked=True)
    plain = canonical.replace("-", "_")  # Python's versions differ in these
    if plain in _MULTIBYTE:
        return Encoding(canonical, canonical, stateful=True, marked=plain == "gb18030")
    newline = None if plain in _NEVER else _one_byte_newline(canonical)
    if newline is None:
        raise InputError(
            f"--encoding {name}: files in it cannot be read line by line. Convert them first: iconv -f {name} -t utf-8"
        )
    return Encoding(canonical, canonical, newline=newline, cuttable=True)


def _one_byte_newline(canonical: str) -> bytes | None:
    """Give the newline of an encoding of one byte a character; None for any other encoding."""
    try:
        together = _PROBE.decode(canonical, "replace")
        alone = [bytes([byte]).decode(canonical, "replace") for byte in _PROBE]
    except (UnicodeError, ValueError):
        return None
    if together != "".join(alone) or len(together) != len(_PROBE):
        return None
    newlines = [byte for byte in range(256) if alone[byte] == "\n"]
    return bytes(newlines) if len(newlines) == 1 else None


def check_error_mode(mode: str) -> str:
    """Return `mode` if it is one of strict, replace, skip. Raises InputError."""
    if mode not in ERROR_MODES:
        raise InputError(f"--encoding-errors {mode}: choose one of {', '.join(ERROR_MODES)}.")
    return mode


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD_MARK, error.end


codecs.register_error(MARK_HANDLER, _mark)
