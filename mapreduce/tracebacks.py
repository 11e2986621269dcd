"""Tracebacks as a user wants them: their own frames with their source lines, the engine's folded into one line.

Owns the text that crosses process borders in place of exception objects.
"""

from __future__ import annotations

import importlib
import re
import traceback
import types

from mapreduce.config import FAILURE_TEXT_CHARS
from mapreduce.errors import MapReduceError
from mapreduce.project import is_engine_file, is_library_file

_FOLDED = "<frames of the engine>"
_FOLDED_LINE = re.compile(rf'^(.*)File "{_FOLDED}", line (\d+), in .*$', re.MULTILINE)
_IMPORT_MACHINERY = ("<frozen importlib", importlib.__file__)


def user_traceback(exc: BaseException) -> str:
    """Format `exc` and its causes with the engine's frames folded; at most FAILURE_TEXT_CHARS, cut in the middle.

    An error that the engine raised on purpose with no frame of the user's in it gives "", for its message says it all;
    any other without such a frame is a defect of ours, and comes whole.
    """
    whole = traceback.TracebackException.from_exception(exc)
    chain = _chain(whole)
    if not any(_is_users(frame) for link in chain for frame in link.stack) and not isinstance(exc, SyntaxError):
        return "" if isinstance(exc, MapReduceError) else _bounded("".join(whole.format()))
    for link in chain:
        link.stack = _fold(link.stack)
    text = "".join(whole.format())
    return _bounded(_FOLDED_LINE.sub(_folded_line, text))


def user_frame(exc: BaseException) -> traceback.FrameSummary | None:
    """The last frame of the user's own project, the line to show first; None where there is none."""
    frames = traceback.extract_tb(exc.__traceback__)
    return next((frame for frame in reversed(frames) if _is_users(frame)), None)


def without_engine(shown: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback without the frames of the engine; None if there are no others."""
    entries: list[types.TracebackType] = []
    while shown is not None:
        if not is_engine_file(shown.tb_frame.f_code.co_filename):
            entries.append(shown)
        shown = shown.tb_next
    rest: types.TracebackType | None = None
    for entry in reversed(entries):
        rest = types.TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def raised_by_user(exc: BaseException) -> bool:
    """Whether the innermost frame that is no library's is the user's."""
    frames = traceback.extract_tb(exc.__traceback__)
    owned = (frame.filename for frame in reversed(frames) if not is_library_file(frame.filename))
    innermost = next(owned, None)
    return innermost is not None and not is_engine_file(innermost)


def _chain(first: traceback.TracebackException) -> list[traceback.TracebackException]:
    """All exceptions that formatting shows: causes, contexts, members of groups."""
    found: list[traceback.TracebackException] = []
    waiting = [first]
    while waiting:
        link = waiting.pop()
        found.append(link)
        context = None if link.__suppress_context__ else link.__context__
        waiting += [other for other in (link.__cause__, context) if other is not None]
        waiting += link.exceptions or []
    return found


def _is_users(frame: traceback.FrameSummary) -> bool:
    return not is_engine_file(frame.filename) and not frame.filename.startswith(_IMPORT_MACHINERY)


def _fold(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Replace each row of the engine's frames by one, and leave out those before the first of the user's."""
    kept: list[traceback.FrameSummary] = []
    folded = 0
    for frame in stack:
        if not _is_users(frame):
            folded += 1
            continue
        if folded and kept:
            kept.append(traceback.FrameSummary(_FOLDED, folded, "", lookup_line=False, line=""))
        folded = 0
        kept.append(frame)
    if folded and kept:
        kept.append(traceback.FrameSummary(_FOLDED, folded, "", lookup_line=False, line=""))
    return traceback.StackSummary.from_list(kept)


def _folded_line(match: re.Match[str]) -> str:
    count = int(match[2])
    return f"{match[1]}... {count} frame{'s' if count > 1 else ''} of the engine"


def _bounded(text: str) -> str:
    if len(text) <= FAILURE_TEXT_CHARS:
        return text
    note = "\n  ... cut here: the text was {} characters long ...\n".format(len(text))  # noqa: UP032 - clearer than nesting
    keep = FAILURE_TEXT_CHARS - len(note)
    return text[: keep // 2] + note + text[len(text) - (keep - keep // 2) :]
