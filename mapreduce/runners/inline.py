"""The inline runner: a whole job in the calling process, one task after another, for a debugger.

Owns nothing of its own but the order: it calls the same functions on the same splits, steps, runs and commit as task
processes do, so the output's bytes are the same. What the user's code raises is the cause of the JobFailed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from pathlib import Path

from mapreduce.config import WARNINGS
from mapreduce.dataflow.bad.file import cause_of
from mapreduce.dataflow.inputs.split_file import split_at
from mapreduce.dataflow.saved import save_results
from mapreduce.dataflow.saved_use import take_saved
from mapreduce.dataflow.shuffle.block_file import Slice, open_slice
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.tasks.task import TaskSetup, failure_of, run_commit, run_map, run_reduce
from mapreduce.errors import JobFailed
from mapreduce.failed.saved_folder import with_saved
from mapreduce.file_names import part_file_name, run_file_name
from mapreduce.max_bad import BadTotals, TooManyBad
from mapreduce.plan import AttemptId, Done, Failure, JobSpec, TaskId, TaskKind
from mapreduce.quick_dataclass import dataclass
from mapreduce.travel.loader import LoadedJob

HASH_SEED = "PYTHONHASHSEED"


@dataclass(frozen=True, slots=True)
class InlineProgress:
    """How far the job is: tasks done of each step as (maps, reduces); records and bytes of input read."""

    tasks: tuple[tuple[int, int], ...]
    records_in: int
    bytes_in: int
    shuffle_bytes: int


@dataclass(frozen=True, slots=True)
class InlineOutcome:
    """A finished job. `counters` are the sums over all steps; `records_in` and `bytes_in` those of the first step."""

    records_in: int
    records_out: int
    bytes_in: int
    shuffle_bytes: int
    counters: dict[str, int]
    warnings: tuple[str, ...]
    elapsed_s: float
    bad: dict[str, int] = field(default_factory=dict)
    reused_maps: int = 0


@dataclass(slots=True)
class _Result:
    """What one task left: the fields of a `protocol.messages.Source` that matter on one machine."""

    attempt: AttemptId
    done: Done


@dataclass(slots=True)
class _State:
    """A job on its way."""

    spec: JobSpec
    loaded: LoadedJob
    plan: bytes
    scratch: Path
    on_progress: Callable[[InlineProgress], None]
    tasks: list[list[int]] = field(default_factory=list)
    counters: list[dict[str, int]] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    records_in: int = 0
    bytes_in: int = 0
    shuffle_bytes: int = 0
    bad: BadTotals = field(default_factory=BadTotals)
    aside: list[_Result] = field(default_factory=list)
    current: TaskSetup | None = None
    saved: Path | None = None
    reused: int = 0

    def report(self, records: int = 0, nbytes: int = 0) -> None:
        """Tell how far it is; the arguments are those of the map task of the first step under way."""
        tasks = tuple((maps, reduces) for maps, reduces in self.tasks)
        self.on_progress(InlineProgress(tasks, self.records_in + records, self.bytes_in + nbytes, self.shuffle_bytes))


def _nobody(_progress: InlineProgress) -> None:
    """Report to nobody."""


def hashing_is_fixed() -> bool:
    """Whether sets of str iterate in the same order at every run, as in task processes."""
    return os.environ.get(HASH_SEED) == "0"


def run_inline(
    spec: JobSpec,
    loaded: LoadedJob,
    plan: bytes,
    *,
    scratch: Path | None = None,
    saved: Path | None = None,
    on_progress: Callable[[InlineProgress], None] = _nobody,
) -> InlineOutcome:
    """Run a planned job to its commit, in this process.

    `loaded` is the job as it is here, so that breakpoints hold; `plan` is the spec's blob of splits. Runs lie in a
    folder made below `scratch` (default: the system's). In `saved` are the map results that failed jobs have left,
    where a job that resumes one finds them; those of this job too if it fails.

    Raises JobFailed, whose `__cause__` is the exception itself, with its traceback. What attempts have left in the
    output folder then is removed by whoever had it reserved (`Planned.discard`).
    """
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mapreduce-inline-", dir=scratch))
    try:
        state = _State(spec, loaded, plan, folder, on_progress, [[0, 0] for _ in spec.steps], saved=saved)
        try:
            records_out = _run_steps(state)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if state.current is None:
                raise
            failure = _saving(state, failure_of(error, state.current))
            raise JobFailed(spec.job, failure) from cause_of(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return InlineOutcome(
        records_in=state.records_in,
        records_out=records_out,
        bytes_in=state.bytes_in,
        shuffle_bytes=state.shuffle_bytes,
        counters=_sum(state.counters),
        warnings=tuple(state.warnings)[:WARNINGS],
        elapsed_s=time.monotonic() - started_s,
        bad=state.bad.kinds,
        reused_maps=state.reused,
    )


def _saving(state: _State, failure: Failure) -> Failure:
    """Save the map results of the job that has failed so; its failure, ending with what is kept of them."""
    if state.saved is None or not hashing_is_fixed():
        return failure
    job = state.spec.job
    try:
        kept = save_results(state.scratch, state.saved, job)
    except OSError as error:
        return replace(failure, notes=(*failure.notes, f"  its map results could not be kept: {error}"))
    return with_saved(failure, job, (kept.maps, kept.size), state.spec.steps[0].maps, str(state.saved))


def _run_steps(state: _State) -> int:
    parts: list[_Result] = []
    for step, shape in enumerate(state.spec.steps):
        state.counters.append({})
        maps = [_map(state, step, index, parts) for index in range(shape.maps)]
        _judge_bad(state)
        if step != 1:  # what the first step's maps have made may be saved yet
            for part in parts:
                _part_path(state, part).unlink(missing_ok=True)
        parts = maps
        if shape.reduces:
            parts = [_reduce(state, step, index, maps) for index in range(shape.reduces)]
            for result in maps if step else ():
                for spill in range(result.done.runs):
                    _run_path(state, result, spill).unlink(missing_ok=True)
    setup = _setup(state, TaskId(state.spec.job, len(state.spec.steps) - 1, TaskKind.COMMIT, 0))
    done = run_commit(setup, parts, state.aside)
    _warn(state, done)
    return done.records_out


def _map(state: _State, step: int, index: int, parts: Sequence[_Result]) -> _Result:
    setup = _setup(state, TaskId(state.spec.job, step, TaskKind.MAP, index))
    if step == 0:
        setup.on_progress = state.report
        if setup.plan.broadcasts:
            setup.broadcast = split_at(state.plan, state.spec.steps[0].maps)
        split = split_at(state.plan, index)
        reused = None if state.saved is None else take_saved(setup, split, state.saved)
        done = run_map(setup, split) if reused is None else reused
        state.reused += done.reused
        state.records_in += done.records_in
        state.bytes_in += done.bytes_in
    else:
        part = parts[index]
        done = run_map(setup, None, [open_slice(_part_path(state, part), 0)])
    return _finished(state, setup, done)


def _reduce(state: _State, step: int, index: int, maps: Sequence[_Result]) -> _Result:
    setup = _setup(state, TaskId(state.spec.job, step, TaskKind.REDUCE, index))
    share = share_of(index, state.spec.steps[step].reduces, [result.done.bounds for result in maps])
    slices: list[Slice] = [
        replace(
            open_slice(_run_path(state, result, spill), share.partition, low=share.low, high=share.high),
            map_index=result.attempt.task.index,
        )
        for result in maps
        for spill in range(result.done.runs)
    ]
    return _finished(state, setup, run_reduce(setup, slices))


def _setup(state: _State, task: TaskId) -> TaskSetup:
    earlier = state.counters[: task.step]
    state.current = TaskSetup(state.loaded, AttemptId(task, 1), state.scratch, tuple(earlier))
    return state.current


def _finished(state: _State, setup: TaskSetup, done: Done) -> _Result:
    task = setup.attempt.task
    state.tasks[task.step][task.kind is TaskKind.REDUCE] += 1
    state.shuffle_bytes += done.shuffle_bytes
    state.counters[task.step] = _sum([state.counters[task.step], done.counters])
    _warn(state, done)
    result = _Result(setup.attempt, done)
    if done.bad:
        state.bad.add(done)
        state.aside.append(result)
        _judge_bad(state, maps_done=task.step > 0 or task.kind is TaskKind.REDUCE)
    state.report()
    return result


def _judge_bad(state: _State, *, maps_done: bool = True) -> None:
    """Raise TooManyBad where the job has put more records aside than it may."""
    limit = state.spec.max_bad
    failure = None if limit is None else state.bad.problem(limit, state.records_in, maps_done=maps_done)
    if failure is not None:
        raise TooManyBad(failure)


def _warn(state: _State, done: Done) -> None:
    state.warnings.update(dict.fromkeys(done.warnings))


def _sum(counters: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counted in counters:
        for name, count in counted.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))


def _run_path(state: _State, result: _Result, spill: int) -> Path:
    return state.scratch / run_file_name(result.attempt, spill)


def _part_path(state: _State, part: _Result) -> Path:
    return state.scratch / part_file_name(part.attempt)
