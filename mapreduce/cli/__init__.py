"""The command line. `main` is the `mapreduce` command; everything that takes time to import is behind it."""

from __future__ import annotations

import sys

EXIT_JOB_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the `mapreduce` command and exit with its code."""
    try:
        from mapreduce.cli.app import run_cli  # noqa: PLC0415 - so that Ctrl-C is quiet from the first moment on

        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def script_main(path: str) -> None:
    """Run the job module at `path` with this process's arguments, and exit (see `mapreduce.main`)."""
    try:
        from mapreduce.cli.app import run_script  # noqa: PLC0415 - as above

        code = run_script(path, sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)
