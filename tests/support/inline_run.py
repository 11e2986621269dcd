"""Jobs that run in this process, over texts whose words are known."""

from __future__ import annotations

from pathlib import Path

from mapreduce.dataflow.inputs.find import find_inputs, plan_splits
from mapreduce.dataflow.inputs.split_file import encode_splits
from mapreduce.dataflow.manifest.folder import prepare_output, read_output, remove_after_failure
from mapreduce.plan import JobSpec, Limits, StepShape, TaskOptions
from mapreduce.runners.inline import run_inline
from mapreduce.travel.loader import LoadedJob

TEXT = "".join(f"the {n % 7} cat {'sat ' * (n % 5)}on mat{n % 11}\n" for n in range(250))


class Run:
    """A job that has run: its outcome, its folder and its records."""

    def __init__(self, job, inputs, output: Path, *, params=None, reducers=3, split=2000, limits=None, **options):
        splits = plan_splits(find_inputs([str(inputs)]), split, job.encoding)
        shapes, maps = [], len(splits)
        for plan in job.resolved:
            shapes.append(StepShape(maps, reducers if plan.reducer is not None else 0))
            maps = shapes[-1].parts
        self.options = TaskOptions(
            "job", str(output), seed=job.seed, steps=tuple(shapes), limits=limits or Limits(), **options
        )
        prepare_output(output, "job", overwrite=False)
        spec = JobSpec("job", "job", tuple(shapes), "", "", "", "", str(output), 0)
        scratch = output.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        self.progress = []
        try:
            loaded = LoadedJob(job, params or {}, self.options)
            self.outcome = run_inline(
                spec, loaded, encode_splits(splits), scratch=scratch, on_progress=self.progress.append
            )
        except BaseException:
            remove_after_failure(output, "job")  # as `Planned.discard` does, which a job without a plan has not
            raise
        finally:
            assert list(scratch.iterdir()) == []
        self.output = output

    @property
    def records(self):
        return list(read_output(self.output))

    @property
    def files(self):
        return {path.name: path.read_bytes() for path in self.output.iterdir() if path.name != "_job.json"}


def words(line):
    for word in line.split():
        yield word, 1


def total(word, counts):
    yield word, sum(counts)
