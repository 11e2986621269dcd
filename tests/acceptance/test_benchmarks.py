"""The benchmarks as one runs them: a row from its input to the report."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
BY_HAND, ENGINE = "by hand, multiprocessing", "engine, keys and Count()"


def test_a_row_is_run_and_reported(tmp_path):
    """The engine beside the program by hand, over one's own text: equal results, a table and a chart."""
    (tmp_path / "own.txt").write_text('to be, or "not"\tto be\nthat is\n\nthe question\n', encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--row", "small", "--work", tmp_path / "work"]
    command += ["--texts", tmp_path / "own.txt", "--report", tmp_path / "report.md"]
    command += ["--contestant", BY_HAND, "--contestant", ENGINE]
    done = subprocess.run([*map(str, command)], cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"| {BY_HAND} | " in text
    assert f"| {ENGINE} | " in text
    assert "Faults" not in text
    assert "| mrjob inline | not run: not asked for |" in text
    assert (tmp_path / "report.svg").read_text(encoding="utf-8").startswith("<svg")
    made = (tmp_path / "work" / "inputs" / "small-quick-own" / "000.txt").read_text(encoding="utf-8")
    assert made.startswith("to be, or not to be\nthat is\nthe question\nto be, or")
    assert 990_000 < len(made) <= 1_000_000


def test_curves_are_run_and_reported(tmp_path):
    """Jobs of the embedded cluster and of one with its journal on the disk: right results, tables and charts."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--growth", "reducers", "tasks"]
    command += ["--work", tmp_path / "work", "--report", tmp_path / "report.md"]
    done = subprocess.run([*map(str, command)], cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\| 20 \| \d+\.\d\d \| \d+\.\d\d \|  \| 1 \| 0\.1 \| \d+\.\d\d \|", text)
    assert re.search(r"\| 200 \| \d+\.\d\d \| \d+\.\d\d \| \d+ \|", text)
    assert "Faults" not in text
    assert "## Rows" not in text
    assert "![The curves](report.growth.svg)" in text
    assert (tmp_path / "report.growth.svg").read_text(encoding="utf-8").startswith("<svg")
    stored = [*command, "--stored"]
    again = subprocess.run([*map(str, stored)], cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == text
