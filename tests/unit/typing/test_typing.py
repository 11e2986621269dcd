"""The public names are typed so that mypy tells a job that fits from one that does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


GOOD, BAD = "good_jobs.py", "bad_jobs.py"


def lines_refused(cache: Path) -> dict[str, set[int]]:
    """Run mypy --strict on the files beside this one; give the numbers of the lines that have an error."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache)),
            *("--follow-imports", "silent", "--disable-error-code", "unused-ignore", str(HERE / GOOD), str(HERE / BAD)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"(\w+\.py):(\d+): error", done.stdout)
    assert {name for name, _ in found} <= {GOOD, BAD}, done.stdout
    return {file: {int(number) for name, number in found if name == file} for file in (GOOD, BAD)}


def test_mypy_accepts_jobs_that_fit_and_refuses_those_that_do_not(tmp_path: Path) -> None:
    """Every line marked as refused has an error, and no other: a reducer's types must be the mapper's."""
    text = (HERE / BAD).read_text()
    marked = {number for number, line in enumerate(text.split("\n"), 1) if line.endswith("# refused")}
    assert marked
    assert lines_refused(tmp_path) == {GOOD: set(), BAD: marked}
