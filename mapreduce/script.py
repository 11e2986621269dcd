"""A job module as a command of its own."""

from __future__ import annotations

import sys

from mapreduce.errors import UsageError


def main() -> None:
    """Run the calling module's job over the inputs on the command line, if the module is the program; then exit.

    At the end of a job module, it makes `python my_job.py INPUT...` work like `mapreduce run my_job.py INPUT...`. It
    does nothing when the module is imported.
    """
    caller = sys._getframe(1).f_globals  # noqa: SLF001 - whose `__name__` is the question; the job loads by its file
    if caller.get("__name__") != "__main__":
        return
    path = caller.get("__file__")
    if path is None:
        raise UsageError("mapreduce.main() is for a module in a file: here, call mapreduce.run(job, inputs)")
    from mapreduce.cli import script_main  # noqa: PLC0415 - imports the command line

    script_main(path)
