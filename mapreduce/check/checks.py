"""The whole check of a job, from loading it to the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from mapreduce.check.bench import Bench
from mapreduce.check.estimate import estimates_of, skewed_keys
from mapreduce.check.forecast import Forecast, Point
from mapreduce.check.found import Found
from mapreduce.check.laws import has_laws, try_laws
from mapreduce.check.measuring import measure, tell_of_bad
from mapreduce.check.other import Died, TookTooLong
from mapreduce.check.report import CheckReport, Finding, Level, Sampled, Travelling
from mapreduce.check.sample import Sample
from mapreduce.check.sizing import LAST_S, Sized, size_up
from mapreduce.check.steady import Elsewhere, check_steadiness
from mapreduce.check.trial import OutputTrace
from mapreduce.check.variants import Baseline, check_variants
from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.columns.values import decode_value
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.errors import JobDefinitionError, MapReduceError, PackagingError
from mapreduce.failed.asked import run_command
from mapreduce.planner import Planned, load, plan
from mapreduce.progress import duration
from mapreduce.progress import records as so_many_records
from mapreduce.protocol.plain import unpack
from mapreduce.request import Request
from mapreduce.runners.local import usable_cpus
from mapreduce.runners.private import PrivateFolder
from mapreduce.targets import LoadedTarget, UnknownTarget
from mapreduce.travel.package import Package

WARNINGS = 3  # of the job's own that are shown beside the first
PROCESS_S = 120.0  # that trials elsewhere may take which tell why results differ, or which found no fault before


def _say_nothing(_text: str) -> None:
    """Take it that nobody waits."""


def check(request: Request, records: int, say: Callable[[str], None] = _say_nothing) -> CheckReport:
    """Check a job on a sample of so many records. Its `output` is written nowhere.

    `say` is called with what is being done, in a few words, and with "" where functions of the job may print.

    Raises UsageError for what is no question of the job: a target or an input that does not exist, a wrong parameter.
    """
    found = Found(say, "job", run_command(request), time.monotonic(), [], [])
    with PrivateFolder() as private:
        # With an output of its own: that of the run is not touched.
        planned = _planned(found, replace(request, output=str(private.path / "out"), overwrite=False, durable=False))
        if planned is not None:
            work = private.path / "work"
            work.mkdir()
            _check(found, Bench(planned, work), records, request.slots or usable_cpus())
    return found.report()


def _planned(found: Found, request: Request) -> Planned | None:
    """Load and plan the job; None where that is the problem."""
    try:
        loaded = load(request.job)
    except UnknownTarget:
        raise
    except JobDefinitionError as error:
        found.name = request.job if isinstance(request.job, str) else "job"
        found.problem("definition", "the job cannot be loaded", str(error))
        return None
    job = loaded.job if isinstance(loaded, LoadedTarget) else loaded
    found.name = job.name
    try:
        planned = plan(request, loaded)
    except PackagingError as error:
        found.problem("travel", "the job cannot travel to a worker", str(error))
        return None
    found.notes = planned.spec.notes
    steps = len(job.resolved)
    found.passed("definition", f"imported, and what its functions take is right ({steps} step{'s'[: steps > 1]})")
    found.travelling = _travelling(planned, tuple(request.files))
    return planned


def _travelling(planned: Planned, files: tuple[str, ...]) -> Travelling:
    spec = planned.spec
    package = unpack(Package, planned.blobs[spec.code])
    return Travelling(
        modules=tuple((module.name, module.path, len(module.source)) for module in package.modules),
        packages=package.requirements,
        size=sum(len(planned.blobs[name]) for name in {spec.code, spec.setup, spec.files} - {""}),
        files=files,
        by_value=package.target is None,
    )


# ------------------------------------------------------------------------------------------------------- the sample


def _check(found: Found, bench: Bench, records: int, slots: int) -> None:
    """Take the sample, run it in all ways, tell what the whole run will take; stop at what makes that senseless."""
    found.say("taking a sample of the input")
    sample = _sample(found, bench, records)
    if sample is None:
        return
    found.say("running the sample in other processes")
    sized = _sized(found, bench, sample)
    if sized is None:
        return
    found.say("")
    first = _first_trial(found, bench, sized)
    if first is None:
        return
    baseline = Baseline(bench, sized.sample, bench.plan(sized.sample), first.outcome)
    output = _output(found, bench, first.outcome.outputs)
    found.say("running it again")
    _steadiness(found, baseline, sized.elsewhere)
    found.say("trying laws")
    _laws(found, baseline)
    found.say("running it in other ways")
    found.findings += check_variants(baseline, {one.kind for one in found.findings if one.level is Level.PROBLEM})
    found.say("measuring")
    points = measure(found, bench, first)
    if bench.budget.left_out:
        title = f"a trial takes {duration(first.outcome.seconds)}, so these were left out: "
        found.findings.append(Finding("left-out", Level.NOTE, title + "; ".join(bench.budget.left_out)))
    if points is None:
        return
    forecast = Forecast(bench, *points, slots)
    tell_of_bad(found, bench, points[1], forecast.records)
    limits = bench.planned.options.limits
    found.findings += skewed_keys(bench, forecast.steps)
    found.estimates += estimates_of(forecast, output, sized.elsewhere.peak, (limits.sort_buffer, limits.merge))
    assert found.sampled is not None
    found.sampled = replace(found.sampled, all_records=round(forecast.records))


def _sample(found: Found, bench: Bench, records: int) -> Sample | None:
    """Take the sample; None, with a finding, where a record cannot be read or there is none."""
    try:
        sample = bench.sample(records)
    except MapReduceError as error:
        found.unreadable(error)
        return None
    if not sample.records:
        title = "the input holds no record, so nothing was run"
        found.findings.append(Finding("sample", Level.WARNING, title))
        return None
    files = {piece.path for splits in bench.mapped for split in splits for piece in split.pieces}
    size = sample.size if not sample.whole else bench.input_bytes
    about = round(sample.all_records)
    found.sampled = Sampled(sample.records, size, sample.files, about, bench.input_bytes, len(files), sample.whole)
    return sample


def _sized(found: Found, bench: Bench, sample: Sample) -> Sized | None:
    """Run the sample in other processes, before anything of it runs here: what kills a process kills none of ours.

    Of a sample that takes too long a part is run, which is the sample then. None, with a finding, where that fails.
    """
    try:
        sized = size_up(bench, sample, found.say)
    except TookTooLong as error:
        title = f"a record takes more than {duration(LAST_S)}: too slow to be checked"
        found.findings.append(Finding("slow", Level.WARNING, title, code=error.code))
        return None
    except Died as error:
        title = f"a process {error.how} while it ran the sample"
        found.problem("died", title, *((error.stderr,) if error.stderr else ()))
        return None
    found.note_sample(sized.sample, sized.why)
    return sized


def _first_trial(found: Found, bench: Bench, sized: Sized) -> Point | None:
    """Run the sample for the first time in this process, with what it prints; None, with a finding, where it fails."""
    elsewhere = sized.elsewhere
    if elsewhere.refused:
        found.problem("travel", "another process cannot load the code", elsewhere.refused)
    outcome, watched = bench.here(replace(bench.plan(sized.sample), measure=True), loud=True)
    if outcome.failure is not None:
        found.failed("the job fails on the sample", outcome.failure)
        return None
    made = so_many_records(outcome.outputs[""].records)
    found.passed("failure", f"the sample runs through the whole job, which gives {made}")
    if elsewhere.failure is not None:
        title = "the sample runs here, and fails in another process"
        found.problem("process", title, elsewhere.failure.describe())
    if outcome.warnings:
        first, *others = outcome.warnings
        more = f" (and {len(others)} more)" if others else ""
        found.findings.append(Finding("warning", Level.NOTE, f"the job warns: {first}{more}", tuple(others[:WARNINGS])))
    return Point(sized.sample, outcome, watched)


def _laws(found: Found, baseline: Baseline) -> None:
    """Try the laws of the user's combiners and aggregators, on what mappers emit when they run once more."""
    bench = baseline.bench
    collect_s = 2 * baseline.outcome.seconds  # a trial, in which mappers run twice
    if has_laws(bench.loaded) and bench.budget.affords(collect_s, "the laws of combiners and aggregators"):
        _, watched = bench.here(replace(baseline.plan, collect=True))
        found.findings += try_laws(bench.loaded, watched, bench.new_folder(), bench.budget)


def _steadiness(found: Found, baseline: Baseline, elsewhere: Elsewhere) -> None:
    """Tell whether results are the same every time, where that can be told."""
    if elsewhere.refused or elsewhere.failure is not None:
        return
    try:
        found.findings += check_steadiness(baseline.bench, baseline.plan, baseline.outcome, elsewhere, PROCESS_S)
    except (TookTooLong, Died) as error:
        found.problem("unsteady", f"the sample ran in other processes, and another time it did not: {error}")


def _output(found: Found, bench: Bench, outputs: dict[str, OutputTrace]) -> tuple[float, str]:
    """Write the records in the job's own formats; give the bytes of one of the results, and their format."""
    options = bench.planned.options
    formats = {"": options.output_format, **dict(options.outputs)}
    size = 0.0
    for name, trace in outputs.items():
        path = bench.new_folder() / "part"
        writer = PartWriter(path, formats[name], writing=Writing(durable=False), keys=name != "" or _has_keys(bench))
        try:
            pairs = [(decode_key(key), decode_value(value)) for key, value in trace.pairs]
            if pairs:
                writer.write_batch(make_batch([key for key, _ in pairs], [value for _, value in pairs]))
            info = writer.close()
        except MapReduceError as error:
            writer.abort()
            where = f"of the output {name}" if name else "of the job"
            found.problem("output", f"results {where} cannot be written as {formats[name]}", str(error))
            continue
        if not name:
            size = info.size / max(info.records, 1)
    return size, formats[""]


def _has_keys(bench: Bench) -> bool:
    """Whether results have keys: not those of a mapper that gives values alone."""
    last = bench.job.resolved[-1]
    return not last.map_only or last.mapper_kind != "records"
