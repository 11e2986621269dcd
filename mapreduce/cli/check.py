"""`mapreduce check`: what is wrong with a job, and what it will take, before the long run."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from mapreduce.cli import EXIT_JOB_FAILED
from mapreduce.cli.options import example, job_options, json_option
from mapreduce.cli.streams import fitted, writing_stdout
from mapreduce.errors import UsageError
from mapreduce.input_arguments import is_stdin


@click.command(
    epilog=example(
        "mapreduce check jobs/word_count.py texts/",
        "mapreduce check my_job.py 'logs/*.gz' -p min_length=5 --records 10000",
    )
)
@click.argument("job")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False), help="The folder of the run to come: nothing is written."
)
@click.option("-j", "--slots", type=click.IntRange(min=1), help="Tasks at a time in the run to come (as for `run`).")
@click.option("--records", type=click.IntRange(min=1), help="Records of the sample.  [default: 1000]")
@job_options
@json_option
def check(
    *,
    job: str,
    inputs: tuple[str, ...],
    output: str | None,
    slots: int | None,
    records: int | None,
    as_json: bool,
    options: dict[str, Any],
) -> int:
    """Check JOB on a sample of the inputs, before the long run.

    Runs some records through the whole job, again and again: in this process and in others, with the input cut
    elsewhere, with the combiner and without it. Says what fails, what results depend on that they must not, and about
    how long the run will take. Arguments and options are those of `run`. The exit code is 1 if there is a problem.
    """
    from mapreduce.check.api import RECORDS, checked_records, folder_note  # noqa: PLC0415 - --help has no use for it
    from mapreduce.check.checks import check as check_request  # noqa: PLC0415 - as above
    from mapreduce.request import Request  # noqa: PLC0415 - as above

    if any(map(is_stdin, inputs)):
        raise UsageError("a check reads its input several times, which standard input cannot be: write it to a file")
    request = Request(job=job, inputs=inputs, slots=slots, **options)
    size = checked_records(RECORDS if records is None else records)
    with _saying() as say:
        report = check_request(request, size, say)
    note = folder_note(output, overwrite=request.overwrite) if output else ""
    with writing_stdout():
        if as_json:
            print(json.dumps(report.to_plain() | {"output": note}, indent=2))
        else:
            print(fitted(report.render() + (f"note: {note}\n" if note else "")), end="")
    return 0 if report.is_good else EXIT_JOB_FAILED


@contextlib.contextmanager
def _saying() -> Iterator[Callable[[str], None]]:
    """Give what says on a terminal what is being done: a line that the next one wipes, as "" does, and the end."""
    live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"  # which cannot wipe a line

    def say(text: str) -> None:
        if live:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        yield say
    finally:
        say("")
