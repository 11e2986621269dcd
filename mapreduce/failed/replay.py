"""One task of a job that was kept (see `history`), run again in this process, with the code as it travelled.

Owns the way from an entry to a task's inputs: splits are in the plan; what other tasks made is made again first, as far
as the task needs it. Calls what task processes call. Writes below a folder of its own only, never to the job's output.
For a process that has loaded no code of users yet, and that hashes as task processes do.
"""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from mapreduce.aggregators import Aggregator
from mapreduce.dataflow.columns.batches import Batch, keys_list, values_list
from mapreduce.dataflow.columns.keys import encode_key
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.inputs.split_file import split_at
from mapreduce.dataflow.manifest.folder import temporary_folder
from mapreduce.dataflow.outputs.read import read_part_records
from mapreduce.dataflow.saved_use import take_saved
from mapreduce.dataflow.shuffle.block_file import Slice, open_slice, read_index
from mapreduce.dataflow.shuffle.merge import OneGroup, WholeGroups, merged_batches, merged_chunks, read_part
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.dataflow.tasks.ordering import ordered_chunks
from mapreduce.dataflow.tasks.reduce_task import FoldLoop
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.dataflow.tasks.task import failure_of, run_map, run_reduce
from mapreduce.errors import InputChangedError, JobFailed, RecordError, UsageError
from mapreduce.failed.history import Entry, HistoryError, is_replayable
from mapreduce.file_names import attempt_output_name, part_file_name, run_file_name
from mapreduce.plan import AttemptId, Done, JobSpec, TaskId, TaskKind
from mapreduce.protocol.plain import unpack
from mapreduce.travel.loader import LoadedJob, load
from mapreduce.travel.package import Package
from mapreduce.travel.side_files import extract_files, travelled_files

TELL_EVERY_S = 5.0  # how far the making of inputs is: as often as a run without a terminal says it
SHOWN_RECORDS = 10  # of what a task emitted: enough to recognise it
_TASK = re.compile(r"(map|reduce)[ -](\d+)(?:[ -]of[ -]step[ -](\d+))?")
# What of a reduce task is read for one key alone lies in files of its own, beside those of the whole partition.
_FIRST_ATTEMPT, _KEY_ATTEMPT = 1, 2


def task_named(spec: JobSpec, text: str) -> TaskId:
    """Give the task that a text names, as failures do: "map 3", "reduce-2", "reduce 2 of step 2".

    Raises UsageError for any other text, and for a task that the job does not have.
    """
    found = _TASK.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{text!r} names no task that runs functions: write it as the failure does, such as map 3 or reduce 2 of "
            "step 2"
        )
    kind, index, step = TaskKind(found[1]), int(found[2]), int(found[3] or 1) - 1
    counts = [(shape.maps, shape.reduces) for shape in spec.steps]
    tasks = counts[step][kind is TaskKind.REDUCE] if 0 <= step < len(counts) else 0
    if index >= tasks:
        has = ", ".join(_tasks_of(number, maps, reduces) for number, (maps, reduces) in enumerate(counts, 1))
        raise UsageError(f"{spec.job} has no {text}; it has, numbered from 0, {has}")
    return TaskId(spec.job, step, kind, index)


def _tasks_of(step: int, maps: int, reduces: int) -> str:
    return f"{_counted({'map': maps, 'reduce': reduces})} in step {step}"


def failed_task(entry: Entry) -> TaskId:
    """Give the task whose failure was the job's. Raises UsageError where there is none."""
    if entry.failure is None:
        raise HistoryError(f"how {entry.job} ended is not known here: name a task, such as map 0")
    if not is_replayable(entry.failure.task):
        raise HistoryError(
            f"{entry.job} failed outside of its tasks ({entry.failure.message}): name one, such as map 0"
        )
    assert entry.failure.task is not None, "a failure that can be replayed names its task"
    return task_named(entry.spec, entry.failure.task)


def changed_files(package: Package) -> list[str]:
    """The files of a job's modules that are not any more as they travelled, or are gone."""
    changed = []
    for module in package.modules:
        try:
            same = Path(module.path).read_bytes() == module.source
        except OSError:
            same = False
        if not same:
            changed.append(module.path)
    return changed


class Replay:
    """One entry's job, loaded in this process. `tell` gets words for people, a line at a time."""

    def __init__(self, entry: Entry, folder: Path, saved: Path, tell: Callable[[str], None]) -> None:
        """Load the code. What the tasks write goes below `folder`; `saved` is where failed jobs' map results lie.

        Raises HistoryError for an entry whose inputs went with the program that ran it or that is damaged, and
        PackagingError where the code cannot be loaded here.
        """
        if entry.asked.gone:
            raise HistoryError(f"{entry.job} cannot be replayed: {entry.asked.gone} went with the program that ran it")
        self._entry, self._spec, self._saved, self._tell = entry, entry.spec, saved, tell
        self._scratch = folder / "scratch"
        self._scratch.mkdir()
        self.package = unpack(Package, entry.blob(self._spec.code))
        self._plan = entry.blob(self._spec.plan)
        loaded = load(entry.blob(self._spec.code), entry.blob(self._spec.setup), self._files(folder))
        options = replace(loaded.options, output=str(folder / "out"), durable=False, resumes=entry.chain)
        temporary_folder(options.output, options.job).mkdir(parents=True)
        self._job = replace(loaded, options=options)
        # The task in question stops at its first bad record; the others put theirs aside, as they did.
        self._strict = replace(loaded, options=replace(options, max_bad=None))
        self._done: dict[TaskId, Done] = {}

    def _files(self, folder: Path) -> dict[str, Path]:
        """Unpack the files that travelled with the job."""
        if not self._spec.files:
            return {}
        blob = folder / "files.blob"
        blob.write_bytes(self._entry.blob(self._spec.files))
        extract_files(blob, folder / "files")
        return travelled_files(folder / "files")

    def run(self, task: TaskId) -> Done:
        """Make what the task reads, then run it; of a reduce task that failed at a key, that key comes first.

        Raises JobFailed, with the exception itself as its cause, as soon as anything fails.
        """
        self._make([one for one in self._needed(task) if one not in self._done])
        key = self._failing_key(task)
        if key is not None:
            assert self._entry.failure is not None, "its key is known"
            self._tell(f"the key {self._entry.failure.key} comes first")
            self._attempt(task, self._strict, key=key)
            self._tell("that key alone succeeds here; now the whole task")
        return self._attempt(task, self._strict)

    def first_records(self, task: TaskId, done: Done) -> list[str]:
        """The first pairs that the task emitted, a line each, as they lie in what it made."""
        return [f"{shorten(key)}\t{shorten(value)}" for key, value in islice(self._records(task, done), SHOWN_RECORDS)]

    # ---- what a task reads

    def _inputs_of(self, task: TaskId) -> list[TaskId]:
        """The tasks whose results a task reads, and those whose counters its functions may look at."""
        step, steps = task.step, self._spec.steps
        found = [self._task(earlier, kind, index) for earlier, kind, index in self._counted(task)]
        if task.kind is TaskKind.REDUCE:
            return found + [self._task(step, TaskKind.MAP, index) for index in range(steps[step].maps)]
        return found if step == 0 else [*found, self._maker(step - 1, task.index)]

    def _counted(self, task: TaskId) -> Iterator[tuple[int, TaskKind, int]]:
        calls = self._job.job.resolved[task.step].calls
        if not any(call.wants_context for call in calls):
            return
        for step in range(task.step):
            shape = self._spec.steps[step]
            yield from ((step, TaskKind.MAP, index) for index in range(shape.maps))
            yield from ((step, TaskKind.REDUCE, index) for index in range(shape.reduces))

    def _task(self, step: int, kind: TaskKind, index: int) -> TaskId:
        return TaskId(self._spec.job, step, kind, index)

    def _maker(self, step: int, index: int) -> TaskId:
        """The task that makes a part of a step."""
        return self._task(step, TaskKind.REDUCE if self._spec.steps[step].reduces else TaskKind.MAP, index)

    def _needed(self, task: TaskId) -> list[TaskId]:
        """All tasks that must have run before this one, in the order in which they can."""
        found: set[TaskId] = set()
        waiting = self._inputs_of(task)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self._inputs_of(one)
        return sorted(found, key=lambda one: (one.step, one.kind is TaskKind.REDUCE, one.index))

    def _make(self, tasks: Sequence[TaskId]) -> None:
        left = [task for task in tasks if not self._take(task)]
        if len(left) < len(tasks):
            taken = len(tasks) - len(left)
            results = "map result is one" if taken == 1 else "map results are those"
            self._tell(f"{taken} {results} that the failed run has left here")
        if left:
            self._tell(f"what it reads is made first: {_counted_tasks(left)}")
        told_s = time.monotonic()
        for number, task in enumerate(left):
            if time.monotonic() - told_s >= TELL_EVERY_S:
                told_s = time.monotonic()
                self._tell(f"{number} of {len(left)} tasks are done")
            try:
                self._done[task] = self._attempt(task, self._job)
            except JobFailed:
                self._tell(f"{task}, which has to run first, fails here:")
                raise

    def _take(self, task: TaskId) -> bool:
        """Take what the failed run has left of a map task of the first step, if it has."""
        if task.kind is not TaskKind.MAP or task.step:
            return False
        setup = self._setup(task, self._job)
        done = take_saved(setup, split_at(self._plan, task.index), self._saved)
        if done is not None:
            self._done[task] = done
        return done is not None

    def _failing_key(self, task: TaskId) -> Any:
        """The encoding of the key at which a reduce task failed, where that can be told from how it was shown."""
        failure = self._entry.failure
        sorts = self._job.job.resolved[task.step].sort_values  # then the shuffle's keys hold more than the key
        if failure is None or failure.key is None or failure.task != str(task) or sorts:
            return None
        if task.kind is not TaskKind.REDUCE:
            return None
        try:
            return encode_key(ast.literal_eval(failure.key))
        except (ValueError, SyntaxError, TypeError, RecursionError, RecordError):
            return None  # it was shortened, or is of a type without a literal: the whole task finds it

    # ---- running

    def _attempt(self, task: TaskId, job: LoadedJob, key: bytes | None = None) -> Done:
        """Run a task whose inputs are there; with `key`, of a reduce task the group of this key alone."""
        setup = self._setup(task, job, _FIRST_ATTEMPT if key is None else _KEY_ATTEMPT)
        try:
            if task.kind is TaskKind.REDUCE:
                return run_reduce(setup, self._run_slices(task, key))
            if task.step:
                part = part_file_name(AttemptId(self._maker(task.step - 1, task.index), _FIRST_ATTEMPT))
                return run_map(setup, None, [open_slice(self._scratch / part, 0)])
            return run_map(setup, split_at(self._plan, task.index))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            failure = failure_of(error, setup)
            if isinstance(error, InputChangedError) and error.advice:
                now = f"  run the job on the files as they are now:  mapreduce resume {self._spec.job}"
                failure = replace(failure, message=error.change, notes=(*failure.notes, now))
            raise JobFailed(self._spec.job, failure) from error

    def _setup(self, task: TaskId, job: LoadedJob, number: int = _FIRST_ATTEMPT) -> TaskSetup:
        setup = TaskSetup(job, AttemptId(task, number), self._scratch, self._previous(task))
        if task.kind is TaskKind.MAP and task.step == 0 and setup.plan.broadcasts:
            setup.broadcast = split_at(self._plan, self._spec.steps[0].maps)
        return setup

    def _previous(self, task: TaskId) -> tuple[dict[str, int], ...]:
        totals: tuple[dict[str, int], ...] = tuple({} for _ in range(task.step))
        for done_task, done in self._done.items():
            if done_task.step < task.step:
                total = totals[done_task.step]
                for name, count in done.counters.items():
                    total[name] = total.get(name, 0) + count
        return tuple(dict(sorted(total.items())) for total in totals)

    def _run_slices(self, task: TaskId, key: bytes | None) -> list[Slice]:
        """What a reduce task reads of each run of its step."""
        shape = self._spec.steps[task.step]
        maps = [self._task(task.step, TaskKind.MAP, index) for index in range(shape.maps)]
        share = share_of(task.index, shape.reduces, [self._done[one].bounds for one in maps])
        slices = [
            replace(open_slice(path, share.partition, low=share.low, high=share.high), map_index=one.index)
            for one in maps
            for path in self._runs(one, self._done[one])
        ]
        # No encoding of a key lies between another and that with a zero byte at its end.
        return slices if key is None else [replace(part, low=key, high=key + b"\0") for part in slices]

    def _runs(self, task: TaskId, done: Done) -> list[Path]:
        attempt = AttemptId(task, _FIRST_ATTEMPT)
        return [self._scratch / run_file_name(attempt, spill) for spill in range(done.runs)]

    # ---- what a task made

    def _records(self, task: TaskId, done: Done) -> Iterator[tuple[Any, Any]]:
        attempt = AttemptId(task, _FIRST_ATTEMPT)
        part = self._scratch / part_file_name(attempt)
        if done.part is None:
            return self._shuffled(task, self._runs(task, done))
        if part.exists():
            return (pair for batch in read_part([open_slice(part, 0)]) for pair in _pairs(batch))
        options, types = self._strict.options, (done.part.key_types, done.part.value_types)
        folder = temporary_folder(options.output, options.job)
        paths = [folder / attempt_output_name(attempt, "", number) for number, _ in done.part.each()]
        return (pair for path in paths for pair in read_part_records(path, options.output_format, *types))

    def _shuffled(self, task: TaskId, runs: Sequence[Path]) -> Iterator[tuple[Any, Any]]:
        """What a map task handed to the shuffle, by partition and key: combined or aggregated, where the step does."""
        plan, limits = self._job.job.resolved[task.step], self._job.options.limits
        for partition in range(len(read_index(runs[0]).partitions) if runs else 0):
            slices = [open_slice(path, partition) for path in runs]
            if isinstance(plan.reducer, Aggregator):
                batches: list[Batch] = []
                loop = FoldLoop(Fold(plan.reducer, Site()), batches.append)
                with closing(merged_batches(slices, limits, self._scratch)) as merged:
                    for batch in merged:
                        loop.run(batch)
                loop.finish()
                yield from (pair for batch in batches for pair in _pairs(batch))
                continue
            chunks_of = ordered_chunks if plan.sort_values else merged_chunks
            with closing(chunks_of(slices, limits, self._scratch)) as chunks:
                for chunk in chunks:
                    yield from _chunk_pairs(chunk)


def _chunk_pairs(chunk: WholeGroups | OneGroup) -> Iterator[tuple[Any, Any]]:
    if not isinstance(chunk, OneGroup):
        yield from _pairs(chunk.batch())
        return
    for column in chunk.values:
        yield from ((chunk.key, value) for value in values_list(column, chunk.value_lane))


def _pairs(batch: Batch) -> Iterator[tuple[Any, Any]]:
    keys = keys_list(batch.frame["key"], batch.key_lane)
    return zip(keys, values_list(batch.frame["value"], batch.value_lane), strict=True)


def _counted_tasks(tasks: Sequence[TaskId]) -> str:
    """How many tasks of each kind, for people."""
    return _counted({kind: sum(task.kind is kind for task in tasks) for kind in (TaskKind.MAP, TaskKind.REDUCE)})


def _counted(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {kind} task{'' if count == 1 else 's'}" for kind, count in counts.items() if count)
