"""A cluster's processes, and handing jobs to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mapreduce.cli.options import address_option, example, job_options, refuse_empty
from mapreduce.config import DEFAULT_LISTEN
from mapreduce.errors import UsageError
from mapreduce.input_arguments import is_stdin

if TYPE_CHECKING:
    from mapreduce.runners.cluster import Submission


def _replace_process(module: str, arguments: list[str]) -> None:
    """Become another Python process of ours: signals then reach it and nothing of the command line stays around."""
    from mapreduce.runners.agent_process import clean_environment, python_command  # noqa: PLC0415 - --help has no use for it

    command = [*python_command(module), *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, clean_environment())  # noqa: S606 - our own interpreter and module


@click.command(epilog=example("mapreduce coordinator --listen tcp://10.0.0.1:5555 --state /var/lib/mapreduce"))
@click.option(
    "--listen",
    envvar="MAPREDUCE_LISTEN",
    show_envvar=True,
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="ADDRESS",
    help="Where clients and workers reach it: tcp://HOST:PORT or ipc://PATH.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("mapreduce-state"),
    show_default=True,
    help="The folder of its journal: a coordinator started again on it goes on where the last one stopped.",
)
def coordinator(*, listen: str, state: Path) -> None:
    """Run a coordinator, which gives out tasks.

    It takes jobs from clients and gives their tasks to workers.

    It listens on loopback unless told otherwise; whoever reaches its address can run code on the workers.
    """
    _replace_process("mapreduce.coordinator", ["--listen", listen, "--state", str(state)])


@click.command(epilog=example("mapreduce worker --coordinator tcp://10.0.0.1:5555 --slots 8 --scratch /data/scratch"))
@address_option
@click.option(
    "--listen",
    envvar="MAPREDUCE_WORKER_LISTEN",
    metavar="ADDRESS",
    help="Where other workers fetch its results (default: the local address of its route to the coordinator).",
)
@click.option("-j", "--slots", type=click.IntRange(min=1), help="Tasks at a time (default: the usable processors).")
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for intermediate results (default: one among the temporary files).",
)
@click.option("--name", help="Its name in `mapreduce workers` (default: the host's).")
def worker(*, address: str, listen: str | None, slots: int | None, scratch: Path | None, name: str | None) -> None:
    """Run a worker, which takes tasks."""
    from mapreduce.runners.local import usable_cpus  # noqa: PLC0415 - --help has no use for it
    from mapreduce.runners.private import scratch_folder  # noqa: PLC0415 - as above

    arguments = ["--coordinator", address, "--slots", str(slots or usable_cpus())]
    arguments += ["--scratch", str(scratch or scratch_folder())]
    if listen:
        arguments += ["--listen", listen]
    if name:
        arguments += ["--name", name]
    _replace_process("workers.agent", arguments)


@click.command(
    epilog=example(
        "mapreduce submit jobs/word_count.py /data/books -o /data/counts",
        "mapreduce submit @word_count /data/books -o /data/counts --coordinator tcp://10.0.0.1:5555 --detach",
    )
)
@click.argument("job")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False),
    callback=refuse_empty,
    help="The folder for the results.",
)
@address_option
@job_options
@click.option("--priority", type=int, default=0, show_default=True, help="Jobs of a higher priority go first.")
@click.option("--detach", is_flag=True, help="Print the job's id and return as soon as the coordinator has it.")
def submit(
    *,
    job: str,
    inputs: tuple[str, ...],
    output: str,
    address: str,
    priority: int,
    detach: bool,
    options: dict[str, Any],
) -> int:
    """Run JOB over the inputs on a cluster, and wait for it.

    Inputs and output are paths that every worker sees as this machine does; a job with several inputs takes the name
    of one before each, NAME=PATH. Ctrl-C leaves the job running.
    """
    from mapreduce.cli.run import outputs_summary  # noqa: PLC0415 - as above
    from mapreduce.progress import display_for, summary  # noqa: PLC0415 - as above
    from mapreduce.request import Request  # noqa: PLC0415 - --help has no use for it
    from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - as above

    if any(map(is_stdin, inputs)):
        raise UsageError("a cluster cannot read this machine's standard input: write it to a file that all workers see")
    request = Request(job=job, inputs=inputs, output=output, priority=priority, **options)
    display = display_for(sys.stderr)
    submission: Submission | None = None
    try:
        display.tick()  # the job's module may take long to import
        submission = Submission(address, request)
        submission.submit(display)
        if detach:
            print(submission.job)
            return 0
        display.notice(f"submitted {submission.job}")
        status = submission.wait(display)
    except KeyboardInterrupt:
        display.close()
        tell_left(submission)
        raise
    finally:
        display.close()
    lines = summary(status, status.elapsed_s, status.output) + outputs_summary(status.output)
    click.echo("\n".join(lines), err=True)
    return 0


def tell_left(submission: Submission | None) -> None:
    """Say what becomes of a job whose client leaves it: whether it runs on, and how to come back."""
    if submission is not None and submission.submitted:
        tell_detached(submission.job, submission.address)
    else:
        click.echo("stopped: the job was not handed over", err=True)


def tell_detached(job: str, address: str) -> None:
    """Say that a job runs on, and how to come back to it or stop it."""
    known = address == os.environ.get("MAPREDUCE_COORDINATOR", DEFAULT_LISTEN)
    where = "" if known else f" --coordinator {address}"
    click.echo(
        f"detached: {job} runs on.\n"
        f"  come back:  mapreduce status {job} --wait{where}\n"
        f"  stop it:    mapreduce cancel {job}{where}",
        err=True,
    )
