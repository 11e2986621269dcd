"""Bytes of one text file to text, block by block, with bad bytes refused, replaced or marked."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from mapreduce.dataflow.inputs.encoding import MARK_HANDLER, Encoding
from mapreduce.dataflow.readers.unreadable import UnreadableRecord

_MARK = "\ufeff"  # a decoded byte-order mark
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")  # of a stateful encoding: their newline is this byte


class BadBytes(UnreadableRecord):
    """Bytes that are no text in the encoding. `path` and `offset` (of the bad byte, decompressed) say where."""

    def __init__(self, path: str, offset: int, why: str, encoding: str) -> None:
        super().__init__(
            path,
            offset,
            f"{path}, byte {offset}: not valid {encoding}: {why}. If the file is in another encoding, say "
            "--encoding NAME; to read on, --encoding-errors replace (puts U+FFFD for bad bytes) or skip (leaves such "
            "lines out)",
        )
        self.why = why


class Decoder:
    """Decodes the blocks of one file; each ends behind a newline, or with the file.

    Raises BadBytes in strict mode. Else it says whether some bytes were bad.
    """

    def __init__(self, path: str, encoding: Encoding, errors: str) -> None:
        self.encoding = encoding
        self._path = path
        self._errors = errors
        self._lenient = {"replace": "replace", "skip": MARK_HANDLER}.get(errors)
        make: Callable[[str], codecs.IncrementalDecoder] = codecs.getincrementaldecoder(encoding.codec)
        self._strict_state = make("strict") if encoding.stateful else None
        self._lenient_state = make(self._lenient) if encoding.stateful and self._lenient else None

    def __call__(self, raw: bytes, offset: int) -> tuple[str, bool]:
        """Return the text of the bytes at `offset` in the file, and whether some were bad."""
        if self._strict_state is None:
            text, damaged = self._whole(raw, offset)
        else:
            text, damaged = self._go_on(self._strict_state, raw, offset)
        if offset == 0 and self.encoding.marked:
            text = text.removeprefix(_MARK)
        return text, damaged

    def _whole(self, raw: bytes, offset: int) -> tuple[str, bool]:
        try:
            return raw.decode(self.encoding.codec), False
        except UnicodeDecodeError as error:
            if self._lenient is None:
                raise BadBytes(self._path, offset + error.start, why_bad(error), self.encoding.name) from None
            return raw.decode(self.encoding.codec, self._lenient), True

    def _go_on(self, strict: codecs.IncrementalDecoder, raw: bytes, offset: int) -> tuple[str, bool]:
        state = strict.getstate()
        try:
            return strict.decode(raw, True), False  # True: no character goes on behind a newline
        except UnicodeDecodeError as error:
            if self._lenient_state is None:
                raise BadBytes(self._path, offset + error.start, why_bad(error), self.encoding.name) from None
        self._lenient_state.setstate(state)
        text = "".join([self._line(self._lenient_state, line) for line in _LINE.findall(raw)])
        strict.setstate(self._lenient_state.getstate())
        return text, True

    @staticmethod
    def _line(lenient: codecs.IncrementalDecoder, line: bytes) -> str:
        """The text of one line, even if it ends in a damaged character, which would take the newline along."""
        state = lenient.getstate()
        text = lenient.decode(line, True)
        if text.endswith("\n") or not line.endswith(b"\n"):
            return text
        lenient.setstate(state)
        return lenient.decode(line[:-1], True) + lenient.decode(b"\n", True)


def why_bad(error: UnicodeDecodeError) -> str:
    """Say what is wrong with bytes, and which they are."""
    bad = error.object[error.start : error.end][:4]
    return f"{error.reason} ({' '.join(f'0x{byte:02x}' for byte in bad)})"
