"""The whole check of a job, from loading it to the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mapreduce.check.bench import Bench
from mapreduce.check.estimate import estimates_of, skewed_keys
from mapreduce.check.forecast import Forecast, Point
from mapreduce.check.laws import try_laws
from mapreduce.check.other import Died, TookTooLong
from mapreduce.check.report import CheckReport, Estimate, Finding, Level, Sampled, Travelling
from mapreduce.check.sample import Sample
from mapreduce.check.steady import Elsewhere, check_steadiness, run_elsewhere
from mapreduce.check.trial import Outcome, OutputTrace
from mapreduce.check.variants import Baseline, check_variants
from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.columns.keys import decode_key
from mapreduce.dataflow.columns.values import decode_value
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter
from mapreduce.dataflow.readers.unreadable import UnreadableRecord
from mapreduce.errors import JobDefinitionError, MapReduceError, PackagingError
from mapreduce.planner import Planned, load, plan
from mapreduce.progress import duration
from mapreduce.progress import records as so_many_records
from mapreduce.protocol.plain import unpack
from mapreduce.request import Request
from mapreduce.runners.local import usable_cpus
from mapreduce.runners.private import PrivateFolder
from mapreduce.targets import LoadedTarget
from mapreduce.travel.package import Package

TRIALS_S = 20.0  # that all repeated trials of a sample may take: people wait for a check
REPEATED = 12  # trials of a sample, at most
TIMING_S = 2.0  # that the larger trial may take, from which times are told: long enough beside what every task costs
TIMES_LARGER = 40  # that this one is at most: 40,000 records, and each place of the input is read on for megabytes
SMALLER = 0.1  # of a sample that takes too long in another process
LEAST_SHARE = 0.02  # of a sample that is tried repeatedly, however slow: fewer records show nothing
WARNINGS = 3  # of the job's own that are shown beside the first
FIRST_S = 20.0  # that the whole sample may take in another process; it imports the user's modules again
SECOND_S = 60.0  # that the smaller sample may take then: people will not wait for more
PROCESS_S = 120.0  # that anything else may take there: a model is loaded once more, on a busy machine


@dataclass(slots=True)
class _Found:
    """What is known so far; `say` tells a waiting person what is being done, "" that nothing is."""

    say: Callable[[str], None]
    name: str
    started_s: float
    findings: list[Finding]
    estimates: list[Estimate]
    travelling: Travelling | None = None
    sampled: Sampled | None = None
    notes: tuple[str, ...] = ()

    def report(self) -> CheckReport:
        return CheckReport(
            self.name,
            tuple(self.findings),
            tuple(self.estimates),
            self.travelling,
            self.sampled,
            time.monotonic() - self.started_s,
            self.notes,
        )

    def problem(self, kind: str, title: str, *details: str) -> None:
        self.findings.append(Finding(kind, Level.PROBLEM, title, details))

    def passed(self, kind: str, title: str) -> None:
        self.findings.append(Finding(kind, Level.PASSED, title))


def _say_nothing(_text: str) -> None:
    """Take it that nobody waits."""


def check(request: Request, records: int, say: Callable[[str], None] = _say_nothing) -> CheckReport:
    """Check a job on a sample of so many records. Its `output` is written nowhere.

    `say` is called with what is being done, in a few words, and with "" where functions of the job may print.

    Raises UsageError for what is no question of the job: a target or an input that does not exist, a wrong parameter.
    """
    found = _Found(say, "job", time.monotonic(), [], [])
    with PrivateFolder() as private:
        # With an output of its own: that of the run is not touched.
        planned = _planned(found, replace(request, output=str(private.path / "out"), overwrite=False, durable=False))
        if planned is not None:
            work = private.path / "work"
            work.mkdir()
            _check(found, Bench(planned, work), records, request.slots or usable_cpus())
    return found.report()


def _planned(found: _Found, request: Request) -> Planned | None:
    """Load and plan the job; None where that is the problem."""
    try:
        loaded = load(request.job)
    except JobDefinitionError as error:
        if not _is_there(request, error):
            raise
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


def _is_there(request: Request, error: JobDefinitionError) -> bool:
    """Whether there is a module, so that what is wrong is what it says: else the command is wrong."""
    if not isinstance(request.job, str):
        return True
    place = request.job.rpartition(":")[0] if ":" in request.job else request.job
    missing = getattr(error.__cause__, "name", None) if isinstance(error.__cause__, ModuleNotFoundError) else None
    if missing is not None and f"{place}.".startswith(f"{missing}."):
        return False
    return error.__cause__ is not None or Path(place).is_file()


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


def _check(found: _Found, bench: Bench, records: int, slots: int) -> None:
    """Take the sample, run it in all ways, tell what the whole run will take; stop at what makes that senseless."""
    found.say("taking a sample of the input")
    sample = _sample(found, bench, records)
    if sample is None:
        return
    found.say("running the sample in other processes")
    running = _elsewhere(found, bench, sample)
    if running is None:
        return
    found.say("")
    baseline = _first_trial(found, bench, *running)
    if baseline is None:
        return
    size, output_format = _output(found, bench, baseline.outcome.outputs)
    found.say("running it again")
    _steadiness(found, baseline, running[1])
    baseline = _repeatable(found, baseline)
    _, watched = bench.here(replace(baseline.plan, collect=True))
    found.say("trying laws")
    found.findings += try_laws(bench.loaded, watched, bench.new_folder())
    del watched  # all that mappers have emitted
    found.say("running it in other ways")
    found.findings += check_variants(baseline, {one.kind for one in found.findings if one.level is Level.PROBLEM})
    found.say("measuring")
    points = _points(found, baseline)
    if points is None:
        return
    forecast = Forecast(bench, *points, slots)
    limits = bench.planned.options.limits
    found.findings += skewed_keys(bench, forecast.steps)
    found.estimates += estimates_of(
        forecast, (size, output_format), running[1].peak, (limits.sort_buffer, limits.merge)
    )
    assert found.sampled is not None
    found.sampled = replace(found.sampled, all_records=round(forecast.records))


def _sample(found: _Found, bench: Bench, records: int) -> Sample | None:
    """Take the sample; None, with a finding, where a record cannot be read or there is none."""
    try:
        sample = bench.sample(records)
    except MapReduceError as error:
        found.findings.append(_unreadable(error))
        return None
    if not sample.records:
        title = "the input holds no record, so nothing was run"
        found.findings.append(Finding("sample", Level.WARNING, title))
        return None
    files = {piece.path for splits in bench.mapped for split in splits for piece in split.pieces}
    size = bench.planned.spec.input_bytes
    about = sample.records if sample.whole else sample.records * size // max(sample.size, 1)
    found.sampled = Sampled(sample.records, sample.size, sample.files, about, size, len(files), sample.whole)
    return sample


def _note_size(found: _Found, sample: Sample) -> None:
    """Tell of the sample that was taken in the end."""
    assert found.sampled is not None
    facts = {"records": sample.records, "size": sample.size, "files": sample.files, "whole": sample.whole}
    found.sampled = replace(found.sampled, **facts)  # type: ignore[arg-type]


def _unreadable(error: MapReduceError) -> Finding:
    title = "a record cannot be read" if isinstance(error, UnreadableRecord) else "the input cannot be read"
    return Finding("record", Level.PROBLEM, title, (str(error),))


def _elsewhere(found: _Found, bench: Bench, sample: Sample) -> tuple[Sample, Elsewhere] | None:
    """Run the sample in other processes, before anything of it runs here: what kills a process kills none of ours.

    Of a sample that takes too long a part is run, which is the sample then. None, with a finding, where that fails.
    """
    try:
        try:
            return sample, run_elsewhere(bench, bench.plan(sample), FIRST_S)
        except TookTooLong as error:
            where = f", at {error.code[0]}" if error.code else ""
            found.notes = (*found.notes, f"{error}{where}: a smaller one is tried")
            found.say("the sample takes too long: running a smaller one")
        sample = sample.smaller(SMALLER)
        _note_size(found, sample)
        return sample, run_elsewhere(bench, bench.plan(sample), SECOND_S)
    except TookTooLong as error:
        title = f"{sample.records:,} records take more than {duration(SECOND_S)}: too slow to be checked"
        found.findings.append(Finding("slow", Level.WARNING, title, code=error.code))
    except Died as error:
        title = f"a process {error.how} while it ran the sample"
        details = (error.stderr,) if error.stderr else ()
        found.findings.append(Finding("died", Level.PROBLEM, title, details))
    return None


def _first_trial(found: _Found, bench: Bench, sample: Sample, elsewhere: Elsewhere) -> Baseline | None:
    """Run the sample for the first time in this process, with what it prints; None, with a finding, where it fails."""
    if elsewhere.refused:
        found.problem("travel", "another process cannot load the code", elsewhere.refused)
    plan_of = bench.plan(sample)
    outcome, _ = bench.here(plan_of, loud=True)
    if outcome.failure is not None:
        advice = "the same with a debugger at this line: mapreduce run JOB INPUT... --pdb"
        found.problem("failure", "the job fails on the sample", outcome.failure.describe(), advice)
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
    _bad(found, bench, sample, outcome)
    return Baseline(bench, sample, plan_of, outcome)


def _bad(found: _Found, bench: Bench, sample: Sample, outcome: Outcome) -> None:
    """Tell what was put aside, and whether there may be more of it than is allowed."""
    number, allowed = sum(outcome.bad.values()), bench.options.max_bad
    if not number or allowed is None:
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.bad.items()))
    share = number / (sample.records + number)
    assert found.sampled is not None
    expected = share * found.sampled.all_records
    too_many = 100 * share > allowed.percent if allowed.percent is not None else expected > allowed.records
    title = f"{share:.1%} of the sample's records are bad, and put aside: {kinds}"
    details = (
        ("in all of the input there will be more than --max-bad allows, and the job will fail",) if too_many else ()
    )
    found.findings.append(Finding("bad", Level.WARNING if too_many else Level.NOTE, title, details))


def _steadiness(found: _Found, baseline: Baseline, elsewhere: Elsewhere) -> None:
    """Tell whether results are the same every time, where that can be told."""
    if elsewhere.refused or elsewhere.failure is not None:
        return
    try:
        found.findings += check_steadiness(baseline.bench, baseline.plan, baseline.outcome, elsewhere, PROCESS_S)
    except (TookTooLong, Died) as error:
        found.problem("unsteady", f"the sample ran in other processes, and another time it did not: {error}")


def _output(found: _Found, bench: Bench, outputs: dict[str, OutputTrace]) -> tuple[float, str]:
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


def _repeatable(found: _Found, baseline: Baseline) -> Baseline:
    """The sample and its trial; of a slow one a smaller one, so that all further trials end in time."""
    share = TRIALS_S / (REPEATED * max(baseline.outcome.seconds, 1e-9))
    if share >= 1:
        return baseline
    sample = baseline.sample.smaller(max(share, LEAST_SHARE))
    plan_of = baseline.bench.plan(sample)
    outcome, _ = baseline.bench.here(plan_of)
    if outcome.failure is not None:
        found.problem("failure", "the job fails on a part of the sample that it ran on", outcome.failure.describe())
        return baseline
    found.notes = (*found.notes, f"the sample takes long: further trials are of {sample.records:,} records")
    return Baseline(baseline.bench, sample, plan_of, outcome)


def _points(found: _Found, baseline: Baseline) -> tuple[Point, Point] | None:
    """Measure the sample, and a larger one if that is quick enough; None, with a finding, where that fails."""
    bench = baseline.bench
    small = _measured(found, bench, baseline.sample)
    if small is None:
        return None
    times = math.floor(min(TIMES_LARGER, TIMING_S / max(small.outcome.seconds, 1e-9)))
    if times < 2 or baseline.sample.whole:
        return small, small
    try:
        sample = bench.sample(times * baseline.sample.records)
    except MapReduceError as error:
        found.findings.append(_unreadable(error))
        return None
    large = _measured(found, bench, sample)
    return None if large is None else (small, large)


def _measured(found: _Found, bench: Bench, sample: Sample) -> Point | None:
    outcome, watched = bench.here(replace(bench.plan(sample), measure=True))
    if outcome.failure is not None:
        title = f"the job fails on a larger sample, of {sample.records:,} records"
        found.problem("failure", title, outcome.failure.describe())
        return None
    return Point(sample, outcome, watched)
