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
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapreduce.config import WARNINGS
from mapreduce.dataflow.manifest import remove_attempts
from mapreduce.dataflow.shuffle.block_file import Slice, open_slice
from mapreduce.dataflow.shuffle.ranges import share_of
from mapreduce.dataflow.split_file import split_at
from mapreduce.dataflow.task import TaskSetup, failure_of, run_commit, run_map, run_reduce
from mapreduce.errors import JobFailed
from mapreduce.loader import LoadedJob
from mapreduce.plan import AttemptId, Done, JobSpec, TaskId, TaskKind, part_file_name, run_file_name

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
    current: TaskSetup | None = None

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
    on_progress: Callable[[InlineProgress], None] = _nobody,
) -> InlineOutcome:
    """Run a planned job to its commit, in this process.

    `loaded` is the job as it is here, so that breakpoints hold; `plan` is the spec's blob of splits. Runs lie in a
    folder made below `scratch` (default: the system's).

    Raises JobFailed, whose `__cause__` is the exception itself, with its traceback; what attempts left is removed.
    """
    started_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mapreduce-inline-", dir=scratch))
    try:
        state = _State(spec, loaded, plan, folder, on_progress, [[0, 0] for _ in spec.steps])
        try:
            records_out = _run_steps(state)
        except KeyboardInterrupt:
            remove_attempts(spec.output, spec.job)
            raise
        except BaseException as error:
            remove_attempts(spec.output, spec.job)
            if state.current is None:
                raise
            raise JobFailed(spec.job, failure_of(error, state.current)) from error
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
    )


def _run_steps(state: _State) -> int:
    parts: list[_Result] = []
    for step, shape in enumerate(state.spec.steps):
        state.counters.append({})
        maps = [_map(state, step, index, parts) for index in range(shape.maps)]
        for part in parts:
            _part_path(state, part).unlink(missing_ok=True)
        parts = maps
        if shape.reduces:
            parts = [_reduce(state, step, index, maps) for index in range(shape.reduces)]
            for result in maps:
                for spill in range(result.done.runs):
                    _run_path(state, result, spill).unlink(missing_ok=True)
    setup = _setup(state, TaskId(state.spec.job, len(state.spec.steps) - 1, TaskKind.COMMIT, 0))
    done = run_commit(setup, parts)
    _warn(state, done)
    return done.records_out


def _map(state: _State, step: int, index: int, parts: Sequence[_Result]) -> _Result:
    setup = _setup(state, TaskId(state.spec.job, step, TaskKind.MAP, index))
    if step == 0:
        setup.on_progress = state.report
        if setup.plan.broadcasts:
            setup.broadcast = split_at(state.plan, state.spec.steps[0].maps)
        done = run_map(setup, split_at(state.plan, index))
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
    state.report()
    return _Result(setup.attempt, done)


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
