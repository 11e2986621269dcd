"""The three standard streams of a command: closed ones, and what is said when one of them fails."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator

from mapreduce.errors import MapReduceError

# What stands before the text of a line, beside which its continuation begins: spaces, and a word or two in a column.
_LABEL = re.compile(r" {0,2}\S{1,20}(?: \S{1,20}){0,3} {2,}| *")
LEAST_WIDTH = 40  # columns: in fewer a terminal may wrap as it likes


def fill_closed_streams() -> None:
    """Put a file that refuses use in place of each closed standard stream, as after `>&-`.

    Else the next file or socket that is opened would get its number, and be written to by whoever means the stream.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest free number: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - by number, for as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as above
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as above


@contextlib.contextmanager
def writing_stdout() -> Iterator[None]:
    """Write to stdout, and flush it. Raises MapReduceError if that fails, BrokenPipeError where nobody reads."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        msg = f"standard output cannot be written: {error.strerror}"
        raise MapReduceError(msg) from error


def fitted(text: str) -> str:
    """A report as it is to be printed: in lines that fit, where stdout is a terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    return text if width < LEAST_WIDTH else "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    """A line as some lines of a width at most, the further ones indented to where its text begins.

    A command stays as it is, for it is to be copied.
    """
    if line.lstrip().startswith("mapreduce "):
        return line
    label = _LABEL.match(line)
    indent = " " * min(len(label[0]) if label else 0, width // 2)
    lines = textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(lines)


def drop_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):  # no stdout, or one that is no file
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
