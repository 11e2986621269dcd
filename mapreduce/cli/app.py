"""The command group, and what every command shares: exit codes, signals, closed pipes, errors without tracebacks."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from mapreduce.cli import EXIT_INTERRUPTED, EXIT_JOB_FAILED, EXIT_USAGE
from mapreduce.cli.again import replay
from mapreduce.cli.cat import cat
from mapreduce.cli.check import check
from mapreduce.cli.cluster import coordinator, submit, worker
from mapreduce.cli.jobs import cancel, jobs, logs, status, workers
from mapreduce.cli.new import new
from mapreduce.cli.options import example
from mapreduce.cli.resume import resume
from mapreduce.cli.run import run
from mapreduce.cli.show import demo, describe
from mapreduce.cli.streams import drop_stdout, fill_closed_streams, writing_stdout
from mapreduce.errors import JobFailed, MapReduceError, UsageError


class _InOrder(click.Group):
    """Lists its commands in the order in which they are needed, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(
    cls=_InOrder,
    epilog=example("mapreduce demo", "mapreduce run jobs/word_count.py texts/ -o counts/"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mapreduce-engine", prog_name="mapreduce")
def cli() -> None:
    """Run plain Python map and reduce functions over more data than fits in memory.

    On this machine there is nothing to set up: see `mapreduce demo` and `mapreduce run --help`. On a cluster: run
    `mapreduce coordinator` once, `mapreduce worker` on every machine, then `mapreduce submit`.
    """


for _command in (
    run,
    demo,
    new,
    describe,
    check,
    cat,
    replay,
    resume,
    submit,
    jobs,
    status,
    logs,
    cancel,
    workers,
    coordinator,
    worker,
):
    cli.add_command(_command)


def run_cli(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; give its exit code."""
    return _guarded(cli, arguments, "mapreduce")


def run_script(path: str, arguments: Sequence[str]) -> int:
    """Run the job at `path`: the `run` command whose JOB is given."""
    assert run.callback is not None
    name = Path(path).name
    command = click.Command(
        name,
        params=[parameter for parameter in run.params if parameter.name != "job"],
        callback=functools.partial(run.callback, job=path),
        help=f"Run the job in {name} over the inputs, on this machine.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    return _guarded(command, arguments, f"python {name}")


def _guarded(command: click.Command, arguments: Sequence[str], name: str) -> int:
    fill_closed_streams()
    with _stopping_signals():
        try:
            # Not command.main(): that has exit codes of its own for closed pipes and interrupts.
            with command.make_context(name, list(arguments)) as context:
                code = command.invoke(context)
            with writing_stdout():
                pass  # what is still buffered
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            return EXIT_INTERRUPTED
        except MapReduceError as error:
            click.echo(f"{error}", err=True)
            _advise(error)
            return EXIT_USAGE if isinstance(error, UsageError) else EXIT_JOB_FAILED
        except BrokenPipeError:
            drop_stdout()
            return 0  # whoever read has had enough, as with `| head`
    return code if isinstance(code, int) else 0


def _advise(error: MapReduceError) -> None:
    """End what is said of a failed job with the command that looks into it."""
    if isinstance(error, JobFailed):
        from mapreduce.failed.advice import advice  # noqa: PLC0415 - only failed jobs need it

        told = advice(error.job)
        if told:
            click.echo(told, err=True)


@contextlib.contextmanager
def _stopping_signals() -> Iterator[None]:
    """Make the first of Ctrl-C, SIGTERM and SIGHUP an exception that cleans up; a second must not stop the cleaning."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _frame: FrameType | None) -> None:
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    # What is ignored on purpose, as under nohup, stays ignored.
    before = {name: signal.getsignal(name) for name in names}
    for name in names:
        if before[name] is not signal.SIG_IGN:
            signal.signal(name, stop)
    try:
        yield
    finally:
        for name, handler in before.items():
            if handler is not None:
                signal.signal(name, handler)
