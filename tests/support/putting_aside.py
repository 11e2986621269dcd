"""Runs jobs that put bad records aside, in this process: with or without planning."""

from everywhere import bytes_of
from hypothesis import HealthCheck, settings

import mapreduce
from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.inputs.split_file import encode_splits
from mapreduce.dataflow.manifest.folder import prepare_output
from mapreduce.plan import JobSpec, Limits, MaxBad, StepShape, TaskOptions
from mapreduce.runners.inline import run_inline
from mapreduce.travel.loader import LoadedJob

SETTINGS = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def number(line):
    """What all functions here choke on: a line that is no number."""
    return int(line)


def written(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "in.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(job, path, output, **options):
    return mapreduce.run(job, path, output, runner="inline", **options)


def parts_of(output):
    return {name: data for name, data in bytes_of(output).items() if not name.startswith("_bad")}


def run_quickly(job, path, output, *, reducers=2, limits=None, max_bad=None):
    """Run a job without planning, and without waiting for the disk."""
    splits = plan_splits(find_inputs([str(path)]), 1 << 20, job.encoding)
    shapes = []
    for step in job.resolved:
        shapes.append(StepShape(shapes[-1].parts if shapes else len(splits), reducers if step.reducer else 0))
    options = TaskOptions(
        "job",
        str(output),
        steps=tuple(shapes),
        limits=limits or Limits(),
        outputs=tuple(job.outputs.items()),
        durable=False,
        max_bad=None if max_bad is None else MaxBad(max_bad),
    )
    prepare_output(output, "job", overwrite=False, outputs=list(job.outputs))
    spec = JobSpec("job", "job", tuple(shapes), "", "", "", "", str(output), 0, max_bad=options.max_bad)
    return run_inline(spec, LoadedJob(job, {}, options), encode_splits(splits))
