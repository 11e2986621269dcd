"""Runs one job inline, locally, over tcp and under kills, and holds the outputs against each other byte by byte."""

import hashlib
import os
import signal
from pathlib import Path

import mapreduce


def die_once(grave, name):
    """Kill this process, once for each name and grave (a folder); nothing without a grave. For jobs of tests."""
    if not grave:
        return
    try:
        os.close(os.open(Path(grave) / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def bytes_of(output):
    """The files of an output by their names below it, as digests; without `_job.json`, which has ids and times."""
    folder = Path(output)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "_job.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _of_job(warnings):
    """Warnings without the one that only the inline runner gives."""
    return [warning for warning in warnings if "PYTHONHASHSEED" not in warning]


def run_everywhere(job, inputs, folder, coordinator, *, kills=(), **options):
    """Run a job with every runner and once under kills; give the Result of the first run, after comparing all bytes.

    `job` is a target or a Job. `kills` are names that the job's functions pass to `die_once(grave, name)`, `grave`
    being a parameter of theirs (`*, grave: str = ""`); that run asserts that each of them happened.
    """
    folder.mkdir(exist_ok=True)
    results = {}
    for runner in ("inline", "local", "cluster"):
        where = {"coordinator": coordinator} if runner == "cluster" else {}
        results[runner] = mapreduce.run(job, inputs, folder / runner, runner=runner, **where, **options)
    if kills:
        grave = folder / "grave"
        grave.mkdir()
        params = {**options.pop("params", {}), "grave": str(grave)}
        results["kills"] = mapreduce.run(job, inputs, folder / "kills", params=params, **options)
        assert {path.name for path in grave.iterdir()} == set(kills)
    first = results["inline"]
    wanted = bytes_of(first.output)
    assert len(wanted) >= 2, wanted
    for runner, result in results.items():
        assert bytes_of(result.output) == wanted, runner
        assert result.counters == first.counters, runner
        assert _of_job(result.warnings) == _of_job(first.warnings), runner
    return first
