"""Looking at a job without running it, and the bundled demos."""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import click

from mapreduce.cli.options import example
from mapreduce.cli.streams import fitted
from mapreduce.errors import UsageError
from mapreduce.request import Request
from mapreduce.runners.private import PrivateFolder

DEMO_PACKAGE = "mapreduce.demos"
SHOWN = 10  # records that a demo shows
SHOWN_CHARS = 100  # of each


@click.command(epilog=example("mapreduce describe jobs/word_count.py"))
@click.argument("job")
def describe(*, job: str) -> None:
    """Say what JOB is, and what it takes.

    Its steps, parameters with types and defaults, formats, and the modules that will travel.
    """
    from mapreduce.describe import describe_job  # noqa: PLC0415 - --help has no use for it
    from mapreduce.targets import load_job  # noqa: PLC0415 - as above

    print(fitted(describe_job(load_job(job)).render().rstrip("\n")))


@click.command(epilog=example("mapreduce demo", "mapreduce demo inverted_index"))
@click.argument("name", default="word_count")
@click.option("-j", "--slots", type=click.IntRange(min=1), help="Tasks at a time (default: the usable processors).")
def demo(*, name: str, slots: int | None) -> None:
    """Run a bundled demo and show some of its results.

    The text that it reads is inside the package.
    """
    from mapreduce.api import execute  # noqa: PLC0415 - as above
    from mapreduce.dataflow.manifest.folder import read_output  # noqa: PLC0415 - as above
    from mapreduce.progress import display_for, summary  # noqa: PLC0415 - as above

    name = name.removeprefix("@")
    texts = resources.files(DEMO_PACKAGE) / "text"
    with resources.as_file(texts) as folder, PrivateFolder() as private:
        if not folder.is_dir():
            raise UsageError(f"the demos' text is not where it should be ({folder}): install the package again")
        request = Request(
            job=f"@{name}",
            inputs=(str(folder),),
            output=str(private.path / "out"),
            output_format="records",
            slots=slots,
        )
        started_s = time.monotonic()
        display = display_for(sys.stderr)
        try:
            status = execute(request, "local", display)
        finally:
            display.close()
        lines = summary(status, time.monotonic() - started_s, "")
        click.echo("\n".join(lines), err=True)
        _show(Path(request.output), read_output)
    click.echo(f"Now with text of your own:  mapreduce run @{name} FILE... -o DIR", err=True)


def _show(folder: Path, read_output: Callable[[Path], Iterator[tuple[Any, Any]]]) -> None:
    """Print the records with the largest values if these are numbers, else the first ones."""
    records = read_output(folder)
    first = list(itertools.islice(records, 1))
    if first and type(first[0][1]) in {int, float}:
        # Of equal values the first by key, so that the same text shows the same lines.
        shown = heapq.nsmallest(SHOWN, itertools.chain(first, records), key=lambda pair: (-pair[1], pair[0]))
    else:
        shown = first + list(itertools.islice(records, SHOWN - 1))
    for key, value in shown:
        line = f"{key}\t{value}"
        print(line if len(line) <= SHOWN_CHARS else f"{line[:SHOWN_CHARS]}…")
