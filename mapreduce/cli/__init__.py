"""The command line. `main` is the `mapreduce` command; everything that takes time to import is behind it."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from mapreduce.runners.agent_process import end_unused, start_ahead

EXIT_JOB_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
GC_THRESHOLDS = (50_000, 20, 100)  # what a command imports stays: to go over it again and again is idle work


def main() -> None:
    """Run the `mapreduce` command and exit with its code."""
    exits = _QuickExit()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        start_ahead(sys.argv[1:])
        from mapreduce.cli.app import run_cli  # noqa: PLC0415 - so that Ctrl-C is quiet from the first moment on

        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    finally:
        end_unused()
    exits.code = code
    sys.exit(code)


class _QuickExit:
    """Leaves once all has been done that is done at exit: taking the interpreter apart would only keep people waiting.

    Made first, so that its turn is last. Without a `code`, as after an error of ours, the interpreter does the rest.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        if not atexit._ncallbacks():  # noqa: SLF001 - who came before us has its turn after us: then none is skipped
            atexit.register(self._leave)

    def _leave(self) -> None:
        if self.code is None or sys.stdout is None or sys.stderr is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # the interpreter tries again, and says so
            return
        os._exit(self.code)


def script_main(path: str) -> None:
    """Run the job module at `path` with this process's arguments, and exit (see `mapreduce.main`)."""
    try:
        start_ahead(["run", path, *sys.argv[1:]])
        from mapreduce.cli.app import run_script  # noqa: PLC0415 - as above

        code = run_script(path, sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    finally:
        end_unused()
    sys.exit(code)
