"""The command line as a program of its own."""

import subprocess
import sys


def run_text(*arguments, cwd=None, env, stdin="", timeout):
    """Run `mapreduce ARGUMENTS` with exactly this environment; gives the ended process, with its streams as text."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "mapreduce", *map(str, arguments)],
        cwd=cwd,
        env=env,
        input=stdin or "",
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
