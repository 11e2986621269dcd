"""One trial: the whole job on a sample, in this process, task after task, and all that is to be known afterwards.

A trial calls the functions that task processes and the inline runner call, on runs and parts in a folder of its own,
and keeps the results as the canonical bytes of keys and values, so that those of two trials, of two processes even, can
be held against each other. It commits nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path

from mapreduce.check.portions import PortionsReader
from mapreduce.check.sample import SampleTask
from mapreduce.check.spread import Spread, spread_of
from mapreduce.dataflow.columns.batches import Batch, encode_keys, encode_values, ungroup
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.manifest.file import temporary_folder
from mapreduce.dataflow.readers.reader import Reader
from mapreduce.dataflow.readers.unreadable import PutAside
from mapreduce.dataflow.shuffle.block_file import Slice, open_slice, read_blocks
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.tasks.broadcast import Collected
from mapreduce.dataflow.tasks.failures import failure_of
from mapreduce.dataflow.tasks.map_phase import input_of, make_source, map_records
from mapreduce.dataflow.tasks.task import TaskSetup, run_map, run_reduce
from mapreduce.file_names import attempt_output_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, Done, Failure, Piece, Split, TaskId, TaskKind, TaskOptions
from mapreduce.quick_dataclass import dataclass
from mapreduce.step import StepPlan
from mapreduce.travel.loader import LoadedJob

KEPT_RECORDS = 100_000  # of each output, to show in what two trials differ; whether they do, a checksum says

Pair = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What to try: the tasks of the first step, and the options of the trial.

    `broadcast` is the split that a broadcast join loads. With `backwards` the tasks of a phase are run in the other
    order, without `combine` no combiner is called, with `collect` the pairs are kept that mappers emit, with `measure`
    it is told how the shuffle's records spread over keys.
    """

    tasks: tuple[SampleTask, ...]
    options: TaskOptions
    broadcast: Split | None = None
    backwards: bool = False
    combine: bool = True
    collect: bool = False
    measure: bool = False


@dataclass(frozen=True, slots=True)
class TaskTrace:
    """What one task did: `sum` is that of what it made, "" where equal results may differ in their bytes (pickles).

    `seconds` is its time on the clock.
    """

    task: TaskId
    sum: str
    seconds: float
    records_in: int
    records_out: int
    shuffle_bytes: int
    input: int = 0


@dataclass(frozen=True, slots=True)
class OutputTrace:
    """The records of one output: the first KEPT_RECORDS of them, their number, and a checksum of all."""

    pairs: tuple[Pair, ...]
    records: int
    sum: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial gave: its outputs by name (the results are ""), its tasks in order, or the failure that ended it.

    `has_drawn` says that a function used `ctx.random`; `bad` counts the records that were put aside, by kind.
    """

    outputs: dict[str, OutputTrace] = field(default_factory=dict)
    traces: tuple[TaskTrace, ...] = ()
    has_drawn: bool = False
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    bad: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """What all of its tasks took."""
        return sum(trace.seconds for trace in self.traces)


@dataclass(slots=True)
class Watched:
    """What a trial shows besides to the process that it ran in: by step, what mappers emitted, and how keys spread.

    `counters` are those of each step, `error` is the exception that ended it.
    """

    counters: list[dict[str, int]] = field(default_factory=list)
    emitted: dict[int, list[Batch]] = field(default_factory=dict)
    spreads: dict[int, Spread] = field(default_factory=dict)
    error: BaseException | None = None


@dataclass(slots=True)
class TrialSetup(TaskSetup):
    """An attempt of a trial: it reads the portions of its task, and remembers the contexts that it makes."""

    portions: SampleTask | None = None
    combine: bool = True
    contexts: list[Context] = field(default_factory=list)

    @property
    def plan(self) -> StepPlan:
        """The attempt's step, as it was checked."""
        plan = self.job.job.resolved[self.attempt.task.step]
        return plan if self.combine else replace(plan, combiner=None)

    def context(self) -> Context:
        """Make the context that the user's functions get."""
        context = TaskSetup.context(self)
        self.contexts.append(context)
        return context

    def reader(self, split: Split, aside: PutAside | None = None) -> Reader:
        """The reader of the task's portions."""
        assert self.portions is not None, "the first step's tasks have portions"
        if self.portions.entire:
            return TaskSetup.reader(self, split, aside)

        def read_piece(piece: Piece) -> Reader:
            return TaskSetup.reader(self, Split((piece,), split.input, split.typed), aside)

        return PortionsReader(self.portions.portions, read_piece)


def run_trial(loaded: LoadedJob, plan: TrialPlan, scratch: Path) -> tuple[Outcome, Watched]:
    """Run the job on the sample, below the empty folder `scratch`. What user code raises is the outcome's `failure`."""
    trial = _Trial(replace(loaded, options=_in_folder(plan.options, scratch)), plan, scratch)
    watched = trial.watched
    try:
        outputs = trial.run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if trial.current is None:
            raise
        watched.error = error
        failure = failure_of(error, trial.current)
        return Outcome(traces=tuple(trial.traces), has_drawn=trial.has_drawn, failure=failure), watched
    return Outcome(outputs, tuple(trial.traces), trial.has_drawn, tuple(trial.warnings), bad=trial.bad), watched


def _in_folder(options: TaskOptions, scratch: Path) -> TaskOptions:
    """The options with results in typed records below `scratch`."""
    return replace(options, output=str(scratch / "out"))


class _Trial:
    """A job on its way through a trial."""

    def __init__(self, loaded: LoadedJob, plan: TrialPlan, scratch: Path) -> None:
        self._loaded = loaded
        self._plan = plan
        self._scratch = scratch
        self._last: dict[TaskId, Done] = {}
        self.current: TrialSetup | None = None
        self.traces: list[TaskTrace] = []
        self.warnings: dict[str, None] = {}
        self.has_drawn = False
        self.bad: dict[str, int] = {}
        self.watched = Watched()

    def run(self) -> dict[str, OutputTrace]:
        """Run all steps; give what the last one made."""
        options = self._loaded.options
        temporary_folder(options.output, options.job).mkdir(parents=True)
        parts: list[TaskId] = []
        for step, shape in enumerate(options.steps):
            self.watched.counters.append({})
            maps = self._phase(step, TaskKind.MAP, shape.maps, parts)
            for task in parts:
                self._part(task).unlink(missing_ok=True)
            parts = maps
            if shape.reduces:
                if self._plan.measure:
                    composite = bool(self._loaded.job.resolved[step].sort_values)
                    self.watched.spreads[step] = spread_of(
                        (map(str, self._runs([task])) for task in maps), composite=composite
                    )
                parts = self._phase(step, TaskKind.REDUCE, shape.reduces, maps)
                for path in self._runs(maps):
                    path.unlink()
        names = ["", *(name for name, _ in options.outputs)]
        return {name: _trace_of(self._records(parts, name)) for name in names}

    def _phase(self, step: int, kind: TaskKind, number: int, before: Sequence[TaskId]) -> list[TaskId]:
        """Run the tasks of a phase; `before` are those of the phase before. Gives them in their order."""
        tasks = [TaskId(self._loaded.options.job, step, kind, index) for index in range(number)]
        traces: dict[TaskId, TaskTrace] = {}
        for task in reversed(tasks) if self._plan.backwards else tasks:
            traces[task] = self._run_task(task, before)
        self.traces += [traces[task] for task in tasks]
        return tasks

    def _run_task(self, task: TaskId, before: Sequence[TaskId]) -> TaskTrace:
        setup = self._setup(task)
        started_s = time.perf_counter()
        if task.kind is TaskKind.REDUCE:
            done = run_reduce(setup, self._slices(task, before))
        elif task.step:
            done = run_map(setup, None, self._part_of(before[task.index]))
        else:
            done = run_map(setup, self._split(task))
        seconds = time.perf_counter() - started_s
        self._last[task] = done
        self._note(setup, done)
        if self._plan.collect and task.kind is TaskKind.MAP:
            self._collect(task, before)
        made = "" if done.pickled else (done.part.checksum if done.part is not None else done.digests.hex())
        read = 0 if setup.portions is None else setup.portions.input
        return TaskTrace(task, made, seconds, done.records_in, done.records_out, done.shuffle_bytes, read)

    def _setup(self, task: TaskId) -> TrialSetup:
        first = task.step == 0 and task.kind is TaskKind.MAP
        self.current = TrialSetup(
            self._loaded,
            AttemptId(task, 1),
            self._scratch,
            tuple(self.watched.counters[: task.step]),
            broadcast=self._plan.broadcast,
            portions=self._plan.tasks[task.index] if first else None,
            combine=self._plan.combine,
        )
        return self.current

    def _note(self, setup: TrialSetup, done: Done) -> None:
        counters = self.watched.counters[setup.attempt.task.step]
        for name, count in done.counters.items():
            counters[name] = counters.get(name, 0) + count
        for kind, number in done.bad.items():
            self.bad[kind] = self.bad.get(kind, 0) + number
        self.warnings |= dict.fromkeys(done.warnings)
        self.has_drawn = self.has_drawn or any(context.has_drawn for context in setup.contexts)

    def _collect(self, task: TaskId, before: Sequence[TaskId]) -> None:
        """Run the mapper of a task once more, and keep what it emits."""
        setup = self._setup(task)
        split = None if task.step else self._split(task)
        collected = Collected()
        parts = () if split is not None else self._part_of(before[task.index])
        map_records(setup, setup.context(), input_of(setup, split), make_source(setup, split, parts), collected)
        self.watched.emitted.setdefault(task.step, []).extend(map(ungroup, collected.batches))

    def _split(self, task: TaskId) -> Split:
        return self._plan.tasks[task.index].split

    def _part(self, task: TaskId) -> Path:
        return self._scratch / part_file_name(AttemptId(task, 1))

    def _part_of(self, task: TaskId) -> list[Slice]:
        return [open_slice(self._part(task), 0)]

    def _runs(self, maps: Sequence[TaskId]) -> list[Path]:
        return [
            self._scratch / run_file_name(AttemptId(task, 1), spill)
            for task in maps
            for spill in range(self._last[task].runs)
        ]

    def _slices(self, task: TaskId, maps: Sequence[TaskId]) -> list[Slice]:
        reduces = self._loaded.options.steps[task.step].reduces
        share = share_of(task.index, reduces, [self._last[one].bounds for one in maps])
        return [
            replace(
                open_slice(
                    self._scratch / run_file_name(AttemptId(one, 1), spill),
                    share.partition,
                    low=share.low,
                    high=share.high,
                ),
                map_index=one.index,
            )
            for one in maps
            for spill in range(self._last[one].runs)
        ]

    def _records(self, parts: Sequence[TaskId], name: str) -> Iterator[Batch]:
        folder = Path(temporary_folder(self._loaded.options.output, self._loaded.options.job))
        for task in parts:
            path = folder / attempt_output_name(AttemptId(task, 1), name)
            yield from map(ungroup, read_blocks(open_slice(path, 0)))


def _trace_of(batches: Iterable[Batch]) -> OutputTrace:
    total = hashlib.sha256()
    pairs: list[Pair] = []
    records = 0
    for batch in batches:
        for key, value in encoded_pairs(batch):
            total.update(b"%d %d " % (len(key), len(value)) + key + value)
            records += 1
            if len(pairs) < KEPT_RECORDS:
                pairs.append((key, value))
    return OutputTrace(tuple(pairs), records, total.hexdigest())


def encoded_pairs(batch: Batch) -> Iterator[Pair]:
    """The records of a flat batch as the canonical bytes of key and value."""
    keys = encode_keys(batch.frame["key"], batch.key_lane).to_list()
    return zip(keys, encode_values(batch.frame["value"], batch.value_lane).to_list(), strict=True)
