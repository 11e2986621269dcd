"""Benches of `mapreduce check` for tests: a job written to a file, over a file of lines, planned as for a check."""

import contextlib
import textwrap

from mapreduce.check.bench import Bench
from mapreduce.check.variants import Baseline
from mapreduce.planner import plan
from mapreduce.request import Request

LINES = [f"{word} {number % 7} {word * (number % 3)}" for number, word in enumerate(["to", "be", "or", "not"] * 60)]


def write_job(folder, source, name="job_checked"):
    """Write a job's source into a file of its own; give its path."""
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return str(path)


def write_lines(folder, lines=None, files=3):
    """Write lines into some files, the first ones into the first; give the folder of them."""
    lines = LINES if lines is None else lines
    where = folder / "input"
    where.mkdir()
    share = -(-len(lines) // files)
    for number in range(files):
        part = lines[share * number : share * (number + 1)]
        (where / f"{number}.txt").write_text("".join(f"{line}\n" for line in part), encoding="utf-8")
    return str(where)


@contextlib.contextmanager
def bench_of(folder, job, inputs, **options):
    """A bench of a job, a target or a Job."""
    inputs = {name: (path,) for name, path in inputs.items()} if isinstance(inputs, dict) else (inputs,)
    planned = plan(Request(job=job, inputs=inputs, output=str(folder / "out"), durable=False, **options))
    work = folder / "work"
    work.mkdir()
    try:
        yield Bench(planned, work)
    finally:
        planned.discard()


def baseline_of(bench, records=240):
    """The sample of a bench and its first trial, which must not fail."""
    sample = bench.sample(records)
    trial = bench.plan(sample)
    outcome, _ = bench.here(trial)
    assert outcome.failure is None, outcome.failure
    return Baseline(bench, sample, trial, outcome)
