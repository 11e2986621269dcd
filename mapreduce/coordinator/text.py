"""Texts cut to a number of bytes, so that the messages that hold them fit their frames."""

from __future__ import annotations

from dataclasses import replace

from mapreduce.config import FAILURE_TEXT_CHARS
from mapreduce.plan import Failure

ELLIPSIS = " [...]"
NOTES = 30  # lines that end a failure: bad records by kind, and what to do
SHORT_TEXT_BYTES = 2_000  # a path, key or record in a failure: as long as a person wants to read


def clip(text: str, size: int) -> str:
    """Give `text`, or its beginning and a mark, in at most `size` bytes of UTF-8."""
    if len(text) * 4 <= size:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    return data[: max(0, size - len(ELLIPSIS))].decode("utf-8", "ignore") + ELLIPSIS


def clip_end(text: str, size: int) -> str:
    """Give `text`, or a mark and its end, in at most `size` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    return ELLIPSIS + data[len(data) - max(0, size - len(ELLIPSIS)) :].decode("utf-8", "ignore")


def _short(text: str | None) -> str | None:
    return None if text is None else clip(text, SHORT_TEXT_BYTES)


def fitting(failure: Failure) -> Failure:
    """Give the failure with each text cut to what a status message has room for."""
    return replace(
        failure,
        message=clip(failure.message, FAILURE_TEXT_CHARS),
        traceback=clip_end(failure.traceback, FAILURE_TEXT_CHARS),
        stderr=clip_end(failure.stderr, FAILURE_TEXT_CHARS),
        function=_short(failure.function),
        path=_short(failure.path),
        key=_short(failure.key),
        record=_short(failure.record),
        task=_short(failure.task),
        worker=_short(failure.worker),
        notes=tuple(clip(note, SHORT_TEXT_BYTES) for note in failure.notes[:NOTES]),
    )
