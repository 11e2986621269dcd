"""The functions with which a Python program runs jobs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from mapreduce.config import DEFAULT_LISTEN
from mapreduce.errors import JobCancelled, JobFailed, UsageError
from mapreduce.format_text import read_formats
from mapreduce.former_results import Paths, lasting_paths, read_paths
from mapreduce.notebook_display import listening
from mapreduce.request import Request, Source
from mapreduce.result import JobHandle, Output, Result
from mapreduce.travel.side_files import Files, read_files
from mapreduce.urls import place, whole_place

if TYPE_CHECKING:
    from mapreduce.client import Listener
    from mapreduce.formats import Format
    from mapreduce.job import Job
    from mapreduce.protocol.messages import JobStatus

Inputs = Paths | Mapping[str, Paths]
InputFormat: TypeAlias = "Format | str | Mapping[str, Format | str] | None"
P = ParamSpec("P")
R = TypeVar("R")
RUNNERS = ("local", "inline", "cluster")


def to_the_point(function: Callable[P, R]) -> Callable[P, R]:
    """Let errors that are meant for its caller come without the engine's frames, which say nothing to them."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True  # pytest then shows the caller's line
        try:
            return function(*args, **kwargs)
        except (UsageError, JobFailed, JobCancelled) as error:
            raise error.with_traceback(None)  # noqa: B904 - it is the very error

    return called


@to_the_point
def run(
    job: Job | ModuleType | str,
    inputs: Inputs,
    output: str | os.PathLike[str] | None = None,
    *,
    slots: int | None = None,
    params: Mapping[str, Any] | None = None,
    reducers: int | None = None,
    split_size: int | str | None = None,
    input_format: InputFormat = None,
    overwrite: bool = False,
    runner: str = "local",
    coordinator: str | None = None,
    output_format: str | None = None,
    part_size: int | str | None = None,
    max_bad: int | str | None = None,
    encoding: str | None = None,
    encoding_errors: str | None = None,
    files: Files | None = None,
    progress: bool | None = None,
) -> Result:
    """Run a job and wait for its result.

    `job` is a Job, a module with a `mapper` or a `job`, or a target such as "jobs/word_count.py". `inputs` are files,
    folders and globs, or the Result of a former run; for a job with several inputs a dict of them by their names. With
    `output` the records are written there, as the job or `output_format` says (see Job; with `part_size` in files of
    about so many bytes), and `result.output` names it; without, they are kept with their exact types in a temporary
    folder that goes away with the Result. `slots` is how many tasks run at a time (default: the usable processors),
    `split_size` bytes or text such as "16MB". `input_format` is read in place of the job's own: a format such as Csv(),
    a text such as "csv" (as on the command line), or a dict of these by the inputs' names. `files` (a list of paths, or
    a dict from names to paths) travel with the job, whose functions find them in `ctx.files`. With `max_bad`, a number
    of records or a share of them such as "1%", bad records are put aside (`result.bad`) before the job fails.

    `runner` is "local" (an embedded cluster), "inline" (this process: for a debugger) or "cluster" (the one at
    `coordinator`, or MAPREDUCE_COORDINATOR; `output` is needed then). `progress` shows how it goes: a bar in
    notebooks, where it is on by default, and lines on stderr elsewhere.

    Raises JobFailed where the job fails, UsageError where it cannot be started. What tasks print goes to stderr.
    """
    if runner not in RUNNERS:
        raise UsageError(f"runner must be one of {', '.join(RUNNERS)}, not {runner!r}")
    if output is None:
        refuse_without_folder(output_format=output_format, part_size=part_size)
    request = request_of(
        job,
        read_paths(inputs),
        output,
        params=params,
        reducers=reducers,
        split_size=split_size,
        input_format=input_format,
        output_format=output_format,
        part_size=part_size,
        max_bad=max_bad,
        overwrite=overwrite,
        encoding=encoding,
        encoding_errors=encoding_errors,
        files=files,
        slots=slots,
    )
    with listening(progress) as listener:
        if runner == "cluster":
            if output is None:
                raise UsageError("a job on a cluster needs an output folder that all workers see: give output=")
            return _run_on_cluster(coordinator_address(coordinator), request, listener)
        if output is not None:
            return Result(execute(request, runner, listener), place(request.output))
        return result_in_memory(request, lambda wanted: execute(wanted, runner, listener))


@to_the_point
def submit(
    job: Job | ModuleType | str,
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    coordinator: str | None = None,
    params: Mapping[str, Any] | None = None,
    reducers: int | None = None,
    split_size: int | str | None = None,
    input_format: InputFormat = None,
    overwrite: bool = False,
    output_format: str | None = None,
    part_size: int | str | None = None,
    max_bad: int | str | None = None,
    encoding: str | None = None,
    encoding_errors: str | None = None,
    files: Files | None = None,
    priority: int = 0,
) -> JobHandle:
    """Hand a job to a cluster and return as soon as its coordinator has it.

    The arguments are those of `run`; paths must mean the same files for all workers. `coordinator` is an address such
    as "tcp://10.0.0.1:5555" (default: MAPREDUCE_COORDINATOR, else tcp://127.0.0.1:5555).
    Raises UsageError (CoordinatorUnreachable among them) where it cannot be handed over.
    """
    from mapreduce.client import SilentListener  # noqa: PLC0415 - imports the sockets
    from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - as above

    request = request_of(
        job,
        lasting_paths(inputs),
        output,
        params=params,
        reducers=reducers,
        split_size=split_size,
        input_format=input_format,
        output_format=output_format,
        part_size=part_size,
        max_bad=max_bad,
        overwrite=overwrite,
        encoding=encoding,
        encoding_errors=encoding_errors,
        files=files,
        priority=priority,
    )
    submission = Submission(coordinator_address(coordinator), request)
    submission.submit(SilentListener())
    return JobHandle(submission.job, submission.address)


def request_of(
    job: Job | ModuleType | str,
    inputs: Source | dict[str, Source],
    output: str | os.PathLike[str] | None,
    *,
    params: Mapping[str, Any] | None,
    input_format: InputFormat,
    files: Files | None,
    **options: Any,
) -> Request:
    """Put together what a program asked for, as it was given; `options` are fields of a Request. Raises UsageError."""
    return Request(
        job=job,
        inputs=inputs,
        output="" if output is None else whole_place(output),
        params=_read_params(params),
        input_format=read_formats(input_format),
        files=read_files(files),
        **options,
    )


def refuse_without_folder(**given: Any) -> None:
    """Refuse options that are about the files of an output: without a folder for them the records are kept as such."""
    for option, value in given.items():
        if value is not None:
            raise UsageError(f"{option}= is for output=: without a folder the records keep their exact types")


@to_the_point
def read(output: str | os.PathLike[str]) -> Output:
    """Give what a job has written to its output folder (or its URL), or to the folder of one of its named outputs.

    Iterate over its (key, value) pairs, or take `to_polars()`. Columns of one type come back as that type, as far as
    the format can say it; nothing is ever unpickled. Raises OutputError if there is no finished output, and while it is
    gone through for a part that is missing or not what the job wrote.
    """
    from mapreduce.dataflow.manifest.folder import read_manifest  # noqa: PLC0415 - keeps `import mapreduce` light

    folder = place(whole_place(output))
    read_manifest(folder)
    return Output(folder)


def _read_params(params: Mapping[str, Any] | None) -> dict[str, Any]:
    if params is not None and not isinstance(params, Mapping):
        raise UsageError(f'params= is a dict from names to values, {{"min_length": 5}}, not {params!r:.200}')
    return dict(params or {})


def coordinator_address(given: str | None) -> str:
    """The address that is meant: the one given, or the environment's, or the default."""
    return given or os.environ.get("MAPREDUCE_COORDINATOR") or DEFAULT_LISTEN


def execute(request: Request, runner: str, listener: Listener) -> JobStatus:
    """Run a job that has an output folder to its end on this machine; its status is "done". Raises as `run` does."""
    if runner == "inline":
        from mapreduce.runners.here import run_here  # noqa: PLC0415 - imports Polars and all of the data plane

        return run_here(request, listener)
    from mapreduce.runners.local import run_local  # noqa: PLC0415 - starts the agent before anything heavy loads

    return run_local(request, listener)


def _run_on_cluster(address: str, request: Request, listener: Listener) -> Result:
    from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - imports the sockets

    submission = Submission(address, request)
    submission.submit(listener)
    return Result(submission.wait(listener), place(request.output))


def result_in_memory(request: Request, run_it: Callable[[Request], JobStatus]) -> Result:
    """Run into a private folder, with the values' exact types, that goes away with the result."""
    from dataclasses import replace  # noqa: PLC0415 - keeps `import mapreduce` light

    from mapreduce.runners.private import PrivateFolder  # noqa: PLC0415 - as above

    private = PrivateFolder()
    try:
        folder = private.path / "out"
        status = run_it(replace(request, output=str(folder), output_format="records", durable=False))
    except BaseException:
        private.close()
        raise
    return Result(status, folder, private)
