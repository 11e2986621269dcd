"""How errors look in a notebook: from an exception to what a cell shows of it."""

from __future__ import annotations

import linecache
import os
import re
import traceback

from mapreduce.errors import JobFailed, MapReduceError
from mapreduce.notebook import shell
from mapreduce.project import is_engine_file, is_library_file
from mapreduce.tracebacks import user_traceback

# A kernel gives each cell's code the name of a file that is not there, below a folder of its own.
_FILE_LINE = re.compile(r'File "([^"\n]+)", line (\d+)')
_SHORT_PLACE = re.compile(r"\((\w+\.py):(\d+)\)")  # as titles of functions have it: (FILE:LINE)


def show_errors() -> None:
    """Make IPython show errors of ours as `cell_traceback` says; `import mapreduce` does it where IPython is loaded."""
    MapReduceError._render_traceback_ = cell_traceback


def cell_traceback(error: MapReduceError) -> list[str]:
    """What IPython shows of an error: lines of the user's own code and the message, none of the engine's.

    Of a failed job the story comes first (its own traceback, from the task), then the line that ran the job.
    """
    calls = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not is_engine_file(frame.filename) and not is_library_file(frame.filename)
    ]
    called = "".join(traceback.format_list(calls)).rstrip("\n")
    if isinstance(error, JobFailed):
        from mapreduce.failed.advice import advice  # noqa: PLC0415 - only failed jobs need it

        story = "\n".join(filter(None, [str(error), advice(error.job)]))
        text = f"{story}\n\nThe job was run here:\n{called}" if called else story
    else:
        cause = "" if error.__cause__ is None else user_traceback(error.__cause__).rstrip("\n")
        kind = f"{type(error).__name__}: {error}"
        text = "\n\n".join(part for part in (cause, "\n".join(part for part in (called, kind) if part)) if part)
    return name_cells(text).split("\n")


def name_cells(text: str) -> str:
    """Text with the names that a notebook's cells have in place of those of files: "Cell In[3], line 2"."""
    kernel = shell()
    if kernel is None or not hasattr(kernel.compile, "format_code_name"):  # an IPython older than 8 has it not
        return text
    cells: dict[str, str] = {}
    for file in tuple(linecache.cache):
        found = kernel.compile.format_code_name(file)
        if found is not None:
            cells[file] = " ".join(found)
            cells[os.path.basename(file)] = cells[file]  # noqa: PTH119 - it is no path

    def long(match: re.Match[str]) -> str:
        return f"{cells[match[1]]}, line {match[2]}" if match[1] in cells else match[0]

    def short(match: re.Match[str]) -> str:
        return f"({cells[match[1]]}, line {match[2]})" if match[1] in cells else match[0]

    return _SHORT_PLACE.sub(short, _FILE_LINE.sub(long, text))
