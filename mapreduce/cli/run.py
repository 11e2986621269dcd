"""`mapreduce run`: a job on this machine, its results into a folder or to stdout."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mapreduce.cli.options import example, job_options, refuse_empty
from mapreduce.cli.streams import writing_stdout
from mapreduce.errors import UsageError
from mapreduce.input_arguments import STDIN, is_stdin
from mapreduce.output_formats import LINES, OUTPUT_FORMATS, split_format
from mapreduce.request import Request
from mapreduce.runners.private import PrivateFolder
from mapreduce.urls import join

if TYPE_CHECKING:
    from mapreduce.client import Listener
    from mapreduce.protocol.messages import JobStatus

INLINE_ENVIRONMENT = {"PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"}  # as task processes have them

SHOWN_ON_TERMINAL = 50  # records: about a screen


@click.command(
    epilog=example(
        "mapreduce run jobs/word_count.py texts/ -o counts/",
        "mapreduce run @word_count book.txt | sort -t$'\\t' -k2nr | head",
        "mapreduce run my_job.py 'logs/*.gz' -o out/ -p min_length=5 --reducers 4",
        "mapreduce run my_join.py clicks='logs/*.gz' users=u.csv -o out/",
    )
)
@click.argument("job")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    callback=refuse_empty,
    help="The folder for the results, or its URL (default: stdout).",
)
@click.option("-j", "--slots", type=click.IntRange(min=1), help="Tasks at a time (default: the usable processors).")
@job_options
@click.option(
    "-r",
    "--runner",
    type=click.Choice(["local", "inline"]),
    default="local",
    show_default=True,
    help="Processes of their own, or all in this one: for a debugger.",
)
@click.option("--pdb", is_flag=True, help="Run inline, and open a debugger at your line if it raises.")
def run(
    *,
    job: str,
    inputs: tuple[str, ...],
    output: str | None,
    slots: int | None,
    runner: str,
    pdb: bool,
    options: dict[str, Any],
) -> int:
    """Run JOB over the inputs, on this machine.

    JOB is a .py file, a dotted module name, either with :NAME, or @NAME for a bundled demo. An INPUT is a file, a
    folder (with all below it), a glob, a URL of these (s3://bucket/logs), or - for standard input; .gz, .bz2, .xz, .zst
    and .lz4 are unpacked. For a job with several inputs write the name of one before each: clicks=logs/*.gz
    users=u.csv.
    """
    if not output:
        _refuse_for_stdout(options)
    request = Request(job=job, inputs=inputs, output=output or "", slots=slots, **options)
    run_request(request, "inline" if pdb else runner, pdb=pdb)
    return 0


def _refuse_for_stdout(options: dict[str, Any]) -> None:
    given = options["output_format"]
    if given in OUTPUT_FORMATS and given not in LINES:
        raise UsageError(f"{given} is for files, and not for stdout: name a folder, -o DIR")
    if given is not None and split_format(given)[1]:
        raise UsageError(f"{given} is for files, and not for stdout: name a folder, -o DIR, or pipe the lines on")
    if options["part_size"] is not None:
        raise UsageError("--part-size is for files, and not for stdout: name a folder, -o DIR")


def run_request(request: Request, runner: str, *, pdb: bool = False) -> None:
    """Run what was asked for, showing progress; print the records where no output folder was given, then a summary."""
    from mapreduce.progress import display_for, summary  # noqa: PLC0415 - --help has no use for it

    if runner == "inline":
        be_like_a_task_process()
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        if isinstance(request.inputs, tuple) and any(map(is_stdin, request.inputs)):
            request = _spooled(request, stack.enter_context(PrivateFolder()).path)
        to_stdout = not request.output
        if to_stdout:
            request = replace(request, output=str(stack.enter_context(PrivateFolder()).path / "out"), durable=False)
        display = display_for(sys.stderr)
        try:
            status = _execute(request, runner, display, pdb=pdb)
        except KeyboardInterrupt:
            display.close()
            _tell_stopped(request, display.job, to_stdout=to_stdout)
            raise
        finally:
            display.close()
        elapsed_s = time.monotonic() - started_s
        if to_stdout:
            print_records(Path(request.output))
        lines = summary(status, elapsed_s, "" if to_stdout else request.output)
        lines += ["  bad records are not kept: name a folder, -o DIR"] if to_stdout and status.bad else []
        lines += outputs_summary(request.output, shown=not to_stdout)
        click.echo("\n".join(lines), err=True)


def _tell_stopped(request: Request, job: str, *, to_stdout: bool) -> None:
    """Say what is left of a run that was interrupted, and has cleaned up; `job` is its id, "" before it had one."""
    from mapreduce.dataflow.manifest.file import committed_job  # noqa: PLC0415 - as above

    if not to_stdout and job and committed_job(request.output) == job:
        told = f"stopped when all was done: the output is in {request.output}"
    else:
        kept = f"what {request.resumes[0]} has left is still kept" if request.resumes else "nothing is kept to resume"
        told = f"stopped: nothing was written{'' if to_stdout else f' to {request.output}'}, and {kept}"
    click.echo(told, err=True)


def _execute(request: Request, runner: str, display: Listener, *, pdb: bool) -> JobStatus:
    from mapreduce.api import execute  # noqa: PLC0415 - as above

    if pdb:
        from mapreduce.runners.here import run_here  # noqa: PLC0415 - as above

        return run_here(request, display, debug=True)
    return execute(request, runner, display)


def be_like_a_task_process() -> None:
    """Start this command again with the environment of task processes, unless it has it: results then are the same.

    The iteration order of sets of strings depends on the hash seed, which only a new process can change.
    """
    if all(os.environ.get(name) == value for name, value in INLINE_ENVIRONMENT.items()):
        return
    if not sys.executable:
        raise UsageError("this embedded Python cannot start itself again: set PYTHONHASHSEED=0, POLARS_MAX_THREADS=1")
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **INLINE_ENVIRONMENT})  # noqa: S606 - this very command


def _texts(request: Request) -> tuple[str, ...]:
    """The inputs as they stand on the command line."""
    assert isinstance(request.inputs, tuple), "a command line has no other inputs than texts"
    return request.inputs


def _spooled(request: Request, folder: Path) -> Request:
    """Copy standard input into a file, so that it can be cut, and read again after a failure."""
    texts = _texts(request)
    if sum(map(is_stdin, texts)) > 1:
        raise UsageError("standard input (-) can be read once only")
    path = folder / "stdin"
    with path.open("wb") as file:
        try:
            shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise UsageError(f"standard input cannot be copied to {folder}: {error.strerror}") from error
    return replace(
        request,
        inputs=tuple(f"{given.removesuffix(STDIN)}{path}" if is_stdin(given) else given for given in texts),
        passing="standard input",
    )


def outputs_summary(folder: str | Path, *, shown: bool = True) -> list[str]:
    """Lines about the named outputs of a finished job; without `shown` they are about to go with the folder."""
    from mapreduce.dataflow.manifest.folder import read_manifest  # noqa: PLC0415 - as above
    from mapreduce.progress import records  # noqa: PLC0415 - as above

    found = read_manifest(folder).outputs.items()
    if shown:
        return [f"  output {name}: {join(str(folder), name)} ({records(count)})" for name, count in found]
    return [f"  output {name}: {records(count)}, not kept: name a folder, -o DIR" for name, count in found]


def print_records(folder: Path) -> None:
    """Print a finished output as text: all of it into a pipe or file, the beginning on a terminal."""
    from mapreduce.dataflow.manifest.folder import write_text_to  # noqa: PLC0415 - as above

    limit = SHOWN_ON_TERMINAL if sys.stdout.isatty() else None
    with writing_stdout():
        left_out = write_text_to(sys.stdout.buffer, folder, limit)
        if left_out:
            print(f"… {left_out:,} more: give -o DIR to keep them, or pipe them on")
