"""One attempt, from its inputs to its outcome: what a task process, or the inline runner, calls.

Owns the putting together of source, loop and sink for each kind of task, and the judgement of failures. Pure but for
the files named in its arguments: no sockets, no coordinator.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call
from mapreduce.config import FAILURE_TEXT_CHARS
from mapreduce.dataflow.combine import Combiner
from mapreduce.dataflow.context import Context, Place, Site, shorten
from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.fold import Fold
from mapreduce.dataflow.manifest import commit_job
from mapreduce.dataflow.map_task import MapLoop, Source
from mapreduce.dataflow.reduce_task import FoldLoop, ReduceLoop
from mapreduce.dataflow.shuffle.block_file import Slice
from mapreduce.dataflow.shuffle.merge import merged_batches, merged_chunks
from mapreduce.dataflow.sinks import PartSink, ShuffleSink, Sink, Written
from mapreduce.dataflow.text import BadRecord, TextReader
from mapreduce.errors import DiskFullError, InputLostError, MapReduceError, RecordError
from mapreduce.plan import AttemptId, Done, Failure, FailureKind, PartInfo, Split, TaskOptions, merge_folder_name
from mapreduce.project import is_engine_file, is_library_file
from mapreduce.tracebacks import user_traceback

if TYPE_CHECKING:
    from mapreduce.dataflow.shuffle.partition import Partitioner
    from mapreduce.job import StepPlan
    from mapreduce.loader import LoadedJob

GC_THRESHOLDS = (
    200_000,
    50,
    100,
)  # fresh tuples by the million: collecting every 700, as Python does, doubles the time
MESSAGE_CHARS = 1000  # of the one line that says what happened


def _nothing(_records: int, _bytes: int) -> None:
    """Report to nobody."""


@dataclass(slots=True)
class TaskSetup:
    """What an attempt needs beside its inputs.

    `scratch` is the job's scratch folder on this machine, `previous` the counters of each earlier step. `on_progress`
    is called now and then with the records and bytes read so far. `site` is where the attempt is in the user's code.
    """

    job: LoadedJob
    attempt: AttemptId
    scratch: Path
    previous: tuple[dict[str, int], ...] = ()
    on_progress: Callable[[int, int], None] = _nothing
    site: Site = field(default_factory=Site)

    @property
    def options(self) -> TaskOptions:
        """The job's options."""
        return self.job.options

    @property
    def plan(self) -> StepPlan:
        """The attempt's step, as it was checked."""
        return self.job.job.resolved[self.attempt.task.step]

    def place(self) -> Place | None:
        """The input path and offset that a mapper is at, if it is; may be asked from `on_progress`."""
        return self.site.place() if self.site.place is not None else None


class CommitSource(Protocol):
    """A granted result, as the commit needs it (`protocol.messages.Source` is one)."""

    @property
    def attempt(self) -> AttemptId:
        """Who made it."""

    @property
    def done(self) -> Done:
        """What it made."""


def run_map(setup: TaskSetup, split: Split | None, parts: Sequence[Slice] = ()) -> Done:
    """Run a map attempt: of the first step on `split`, of a later step on `parts` of the step before."""
    context = _context(setup)
    reader = None
    if split is not None:
        options = setup.options
        reader = TextReader(split, options.encoding, options.encoding_errors, options.limits)
    source = Source(reader, parts)
    sink = _map_sink(setup, context)
    try:
        with _calm_gc():
            emitted = _map(setup, context, source, sink)
            written = sink.finish()
    except BaseException:
        sink.abort()
        raise
    setup.on_progress(source.records, source.bytes)
    for warning in source.warnings:
        context.warn(warning)
    return _done(written, context, (source.records, emitted, source.bytes))


def run_reduce(setup: TaskSetup, slices: Sequence[Slice]) -> Done:
    """Run a reduce attempt on its partition of all runs: `slices` in the order of (map task, spill)."""
    context = _context(setup)
    sink = PartSink(setup.attempt, setup.scratch, setup.options)
    reducer = setup.plan.reducer
    total = sum(part.byte_range[1] for part in slices)
    try:
        with _calm_gc():
            if isinstance(reducer, Call):
                loop: ReduceLoop | FoldLoop = _reduce(setup, context, reducer, slices, sink)
            else:
                assert reducer is not None, "a map-only step has no reduce tasks"
                loop = _fold(setup, reducer, slices, sink)
            written = sink.finish()
    except BaseException:
        sink.abort()
        raise
    records = sum(part.records for part in slices)  # the loop has not seen the values that a reducer left alone
    setup.on_progress(records, total)
    return _done(written, context, (records, loop.emitted, total))


def run_commit(setup: TaskSetup, sources: Sequence[CommitSource]) -> Done:
    """Run the job's commit: move the granted parts of the last step into place; may die and be run again."""
    options = setup.options
    parts: list[tuple[Any, AttemptId, PartInfo]] = []
    for source in sources:
        if source.done.part is None:
            msg = f"{source.attempt} was granted without a part"
            raise MapReduceError(msg)
        parts.append((source.attempt.task, source.attempt, source.done.part))
    facts = {
        "job": options.job,
        "committed": datetime.now(UTC).isoformat(timespec="seconds"),
        "attempts": {str(attempt.task): attempt.number for _, attempt, _ in parts},
    }
    warnings = commit_job(options.output, options, parts, facts)
    return Done(records_out=sum(info.records for _, _, info in parts), warnings=tuple(warnings))


# ------------------------------------------------------------------------------------------------ putting together


def _context(setup: TaskSetup) -> Context:
    return Context(
        setup.attempt,
        seed=setup.options.seed,
        params=setup.job.params,
        previous=setup.previous,
        site=setup.site,
    )


def _bound(setup: TaskSetup, call: Call, context: Context) -> tuple[Callable[..., Any], Callable[[], Any] | None]:
    """Bind a user's function for this attempt; a mapper class's __init__ runs here."""
    try:
        return call.start(setup.job.params, context)
    except Exception:
        setup.site.blame(call.title)
        raise


def _map_sink(setup: TaskSetup, context: Context) -> Sink:
    plan, options = setup.plan, setup.options
    if plan.reducer is None:
        return PartSink(setup.attempt, setup.scratch, options, keys=plan.mapper_kind != "records")
    partitioner: Partitioner | None = None
    if plan.partitioner is not None:
        partitioner = _partitioner(setup, plan.partitioner, context)
    fold = combiner = None
    if isinstance(plan.reducer, Aggregator):
        fold = Fold(plan.reducer, setup.site)
    elif plan.combiner is not None:
        combiner = Combiner(plan.combiner, _bound(setup, plan.combiner, context)[0], setup.site, options.limits)
    return ShuffleSink(setup.attempt, setup.scratch, options, partitioner=partitioner, fold=fold, combiner=combiner)


def _partitioner(setup: TaskSetup, call: Call, context: Context) -> Partitioner:
    function = _bound(setup, call, context)[0]

    def partition(key: Any, partitions: int) -> int:
        try:
            number: int = function(key, partitions)
        except Exception:
            setup.site.blame(call.title, shorten(key))
            raise
        return number

    return partition


def _map(setup: TaskSetup, context: Context, source: Source, sink: Sink) -> int:
    """Run the mapper over the source. Gives how many pairs it emitted."""
    call = setup.plan.mapper
    if call is None:
        for batch in source.columns():
            sink.add(batch)
            setup.on_progress(source.records, source.bytes)
        return source.records
    function, finish = _bound(setup, call, context)
    loop = MapLoop(call, function, sink, setup.site, setup.options.limits)
    for records in source.read():
        loop.run(records)
        setup.on_progress(source.records, source.bytes)
    loop.finish(finish)
    return loop.emitted


def _reduce(setup: TaskSetup, context: Context, call: Call, slices: Sequence[Slice], sink: PartSink) -> ReduceLoop:
    loop = ReduceLoop(call, _bound(setup, call, context)[0], sink.add, setup.site, setup.options.limits)
    with _merge_folder(setup) as folder, closing(merged_chunks(slices, setup.options.limits, folder)) as chunks:
        for chunk in chunks:
            loop.run(chunk)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop


def _fold(setup: TaskSetup, aggregator: Aggregator[Any, Any, Any], slices: Sequence[Slice], sink: PartSink) -> FoldLoop:
    loop = FoldLoop(Fold(aggregator, setup.site), sink.add)
    with _merge_folder(setup) as folder, closing(merged_batches(slices, setup.options.limits, folder)) as batches:
        for batch in batches:
            loop.run(batch)
            setup.on_progress(loop.records, 0)
    loop.finish()
    return loop


@contextmanager
def _merge_folder(setup: TaskSetup) -> Iterator[Path]:
    """Give a folder for the merge's files; named by the attempt, so that those of one that was killed can be found."""
    folder = setup.scratch / merge_folder_name(setup.attempt)
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


def _done(written: Written, context: Context, counts: tuple[int, int, int]) -> Done:
    """Put together what was made; `counts` are records in and out, and bytes in."""
    records_in, records_out, nbytes = counts
    return Done(
        records_in=records_in,
        records_out=records_out,
        bytes_in=nbytes,
        shuffle_bytes=written.shuffle_bytes,
        runs=written.runs,
        digests=written.digests,
        pickled=written.pickled,
        part=written.part,
        counters=context.counters.checked(),
        warnings=context.warnings,
    )


@contextmanager
def _calm_gc() -> Iterator[None]:
    """Let the collector look at what the loop makes only, and seldom; afterwards all is as before."""
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.freeze()
    if thresholds[0]:  # a user who has switched it off wants it off
        gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()


# ------------------------------------------------------------------------------------------------------- failures


def failure_of(exc: BaseException, setup: TaskSetup) -> Failure:
    """Judge and describe what an attempt raised, as text: the user's traceback, function, place, key and record."""
    kind = _kind_of(exc, setup.site)
    users = kind is FailureKind.USER
    site = setup.site if users else Site(path=setup.site.path)
    path, offset = (exc.path, exc.offset) if isinstance(exc, BadRecord) else (site.path, site.offset)
    return Failure(
        kind=kind,
        message=_message(exc, kind),
        traceback=_traceback(exc, kind),
        function=site.function,
        path=path,
        offset=offset,
        key=site.key,
        record=site.record,
        task=str(setup.attempt.task),
        producer=exc.producer if isinstance(exc, InputLostError) else None,
    )


def _kind_of(exc: BaseException, site: Site) -> FailureKind:
    if isinstance(exc, InputLostError):
        return FailureKind.INPUT_LOST
    if isinstance(exc, DiskFullError):
        return FailureKind.DISK
    if isinstance(exc, RecordError):
        return FailureKind.USER
    # What a user's function raises is the user's, an engine's error among them (a job that runs a job, say).
    if site.users or (site.users is None and _raised_by_user(exc)) or isinstance(exc, SystemExit):
        return FailureKind.USER
    if isinstance(exc, MemoryError):
        return FailureKind.DIED  # as if the system had killed the process: there may be more memory at another time
    if isinstance(exc, OSError) and exc.errno in DISK_ERRORS:
        return FailureKind.DISK
    return FailureKind.FATAL


def _raised_by_user(exc: BaseException) -> bool:
    """Whether the innermost frame that is no library's is the user's."""
    frames = traceback.extract_tb(exc.__traceback__)
    owned = (frame.filename for frame in reversed(frames) if not is_library_file(frame.filename))
    innermost = next(owned, None)
    return innermost is not None and not is_engine_file(innermost)


def _message(exc: BaseException, kind: FailureKind) -> str:
    lines = str(exc).strip().splitlines()
    first = lines[0] if lines else ""
    if isinstance(exc, MapReduceError):
        text = first
    elif isinstance(exc, SystemExit):
        text = f"SystemExit: a function of the job called sys.exit({exc.code!r:.100}); raise an exception instead"
    else:
        text = f"{type(exc).__name__}: {first}" if first else type(exc).__name__
        if kind is FailureKind.FATAL:
            text = f"a defect of the engine: {text}"
        elif kind is FailureKind.DIED:
            text = f"out of memory in the engine: {text}"
    return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _traceback(exc: BaseException, kind: FailureKind) -> str:
    if kind is FailureKind.USER:
        return user_traceback(exc)
    if isinstance(exc, MapReduceError):
        return ""
    return "".join(traceback.format_exception(exc))[-FAILURE_TEXT_CHARS:]
