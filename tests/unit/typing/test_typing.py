"""The public names are typed so that mypy tells a job that fits from one that does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def lines_refused(name: str, cache: Path) -> set[int]:
    """Run mypy --strict on a file beside this one; give the numbers of the lines that have an error."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache)),
            *("--follow-imports", "silent", "--disable-error-code", "unused-ignore", str(HERE / name)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(rf"{re.escape(name)}:(\d+): error", done.stdout)
    assert found or done.returncode == 0, done.stdout
    return {int(number) for number in found}


def test_mypy_accepts_jobs_that_fit_and_refuses_those_that_do_not(tmp_path: Path) -> None:
    """Every line marked as refused has an error, and no other: a reducer's types must be the mapper's."""
    assert lines_refused("good_jobs.py", tmp_path) == set()
    text = (HERE / "bad_jobs.py").read_text()
    marked = {number for number, line in enumerate(text.split("\n"), 1) if line.endswith("# refused")}
    assert lines_refused("bad_jobs.py", tmp_path) == marked
