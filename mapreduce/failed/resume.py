"""Running a failed job again with what it has left: its request is read from the history, with other options if wished.

Owns `mapreduce.resume` and what the command of that name needs. What map results are used again is decided where they
lie, by their keys; here is only said what was asked for, and what came of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mapreduce.errors import CoordinatorUnreachable, UsageError
from mapreduce.failed.history import LAST, Entry, find
from mapreduce.notebook_display import listening
from mapreduce.plan import StepIdentity
from mapreduce.quick_dataclass import dataclass
from mapreduce.request import Request
from mapreduce.urls import place, whole_place

if TYPE_CHECKING:
    from mapreduce.job import Job
    from mapreduce.result import Result

# What may be given anew: the options of `run` that say how a job is run, as fields of a Request.
OPTIONS = frozenset(
    {"output", "params", "reducers", "split_size", "output_format", "input_format", "columns", "overwrite", "encoding"}
    | {"encoding_errors", "files", "slots", "part_size", "max_bad"}
)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A failed job as it is to be run again: by `runner`, on the cluster at `coordinator` if that is "cluster".

    `title` says to people which job it is.
    """

    title: str
    request: Request
    runner: str
    coordinator: str
    cwd: str


def resumption(
    entry: Entry, options: Mapping[str, Any], *, job: Job | ModuleType | str | None = None, alone: bool = False
) -> Resumption:
    """What to run in place of a failed job: as it was asked for, but with these options (fields of a Request).

    `job` takes the place of the job that was run. `alone` says that this process may load a job's travelled code.
    Raises UsageError where the job cannot be run again.
    """
    entry = _ended(entry)
    asked = entry.asked
    if asked.gone:
        raise UsageError(f"{entry.job} cannot be resumed: {asked.gone} went with the program that ran it")
    merged: dict[str, Any] = {name: _as_given(value) for name, value in asked.options.items()} | {
        "output": asked.output
    }
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(f"resume() takes no {name}=; it takes {', '.join(sorted(OPTIONS))}")
        if value is None or value is False or value in ({}, (), []):
            continue
        merged[name] = {**merged.get(name, {}), **value} if name in {"params", "files"} else value
    if options.get("output"):
        merged["output"] = whole_place(options["output"])  # relative to where it is said
    strange = [name for name in asked.unsaid if name not in merged and name != "params"]
    if strange:
        raise UsageError(
            f"{entry.job} was run with {strange[0]}=, of which only a program knows the value: give it again"
        )
    if "params" in asked.unsaid:
        merged["params"] = {**_travelled_params(entry, alone=alone), **(options.get("params") or {})}
    request = Request(
        job=_job(entry, alone=alone) if job is None else job,
        inputs=dict(asked.inputs) if isinstance(asked.inputs, dict) else asked.inputs,
        resumes=entry.chain,
        former=identities_then(entry),
        former_maps=_left(entry),
        **merged,
    )
    return Resumption(f"resuming {entry.named}", request, asked.runner, asked.coordinator, asked.cwd)


def _left(entry: Entry) -> int | None:
    """How many map results a job has left, with those that it would have used again; None where nobody knows."""
    return None if entry.failure is None else max(entry.failure.saved_maps, entry.spec.former_maps or 0)


def _ended(entry: Entry) -> Entry:
    """The entry, with how its job has failed where a coordinator knows. Raises UsageError for one that has not."""
    if entry.failure is not None or not entry.asked.coordinator:
        return entry
    from mapreduce.client_state import ENDED_STATES  # noqa: PLC0415 - imports the messages
    from mapreduce.runners.cluster import get_status  # noqa: PLC0415 - imports the sockets

    try:
        state = get_status(entry.asked.coordinator, entry.job).state
    except CoordinatorUnreachable:
        raise
    except UsageError:
        return entry  # it has forgotten the job
    if state in ENDED_STATES - {"failed"}:
        raise UsageError(f"{entry.job} is {state}: there is nothing to resume")
    if state != "failed":
        raise UsageError(
            f"{entry.job} is {state}: only a job that has failed is resumed; to stop it:  mapreduce cancel {entry.job}"
        )
    return find(entry.job)


def _as_given(value: Any) -> Any:
    """A value as a Request has it: JSON knows lists alone."""
    return tuple(value) if type(value) is list else value


def identities_then(entry: Entry) -> tuple[StepIdentity, ...]:
    """The identities of a failed job's steps, () of one that could leave no map results."""
    from mapreduce.protocol.plain import unpack  # noqa: PLC0415 - as above
    from mapreduce.travel.package import Setup  # noqa: PLC0415 - imports what a start has no use for

    return unpack(Setup, entry.blob(entry.spec.setup)).options.identities


def _job(entry: Entry, *, alone: bool) -> Job | str:
    """The job as it is now, where a file has it; else as it travelled."""
    from mapreduce.protocol.plain import unpack  # noqa: PLC0415 - as above
    from mapreduce.travel.package import Package  # noqa: PLC0415 - as above

    if entry.asked.target:
        return entry.asked.target
    package = unpack(Package, entry.blob(entry.spec.code))
    if package.target is not None:
        module, attribute = package.target
        path = next((source.path for source in package.modules if source.name == module), module)
        return f"{path}:{attribute}" if attribute else path
    if not alone:
        raise UsageError(f"{entry.job} was made in a program: say what is to be run in its place, job=")
    return _loaded(entry)[0]


def _loaded(entry: Entry) -> tuple[Job, dict[str, Any]]:
    """The job and its parameters as they travelled; this process serves that code from now on."""
    from mapreduce.travel.loader import load  # noqa: PLC0415 - as above

    loaded = load(entry.blob(entry.spec.code), entry.blob(entry.spec.setup))
    return loaded.job, loaded.params


def _travelled_params(entry: Entry, *, alone: bool) -> dict[str, Any]:
    if not alone:
        raise UsageError(f"{entry.job} was run with parameters of which only a program knows the values: give params=")
    return _loaded(entry)[1]


@contextlib.contextmanager
def where_it_was(folder: str) -> Iterator[None]:
    """Be in the folder where the job was started, since its paths may be relative."""
    if not Path(folder).is_dir():
        raise UsageError(f"the folder where the job was started, {folder}, is gone: its paths were relative to it")
    with contextlib.chdir(folder):
        yield


def resume(
    job_id: str = LAST,
    *,
    job: Job | ModuleType | str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Result:
    """Run a failed job again, and wait for its result; its map results are used where nothing of theirs has changed.

    `job_id` is the id of a job that was run by this user on this machine, a unique beginning of it, or "last". It reads
    what it read then, writes to the same folder unless `output` names another, and runs where it ran. `job` is what to
    run in its place, mended; without it the file that it came from is read again. The options are those of `run`, in
    place of what was given then.

    Raises as `run` does, and UsageError for a job that is not known or cannot be run again.
    """
    from mapreduce.api import execute, result_in_memory  # noqa: PLC0415 - imports this module's neighbours
    from mapreduce.result import Result  # noqa: PLC0415 - as above

    found = resumption(find(job_id), options, job=job)
    with listening(progress) as listener, where_it_was(found.cwd):
        listener.notice(found.title)
        if found.runner == "cluster":
            from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - imports the sockets

            submission = Submission(found.coordinator, found.request)
            submission.submit(listener)
            return Result(submission.wait(listener), place(found.request.output))
        if found.request.output:
            return Result(execute(found.request, found.runner, listener), place(found.request.output))
        return result_in_memory(found.request, lambda wanted: execute(wanted, found.runner, listener))
