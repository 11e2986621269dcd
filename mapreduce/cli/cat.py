"""`mapreduce cat`: what a job wrote, as text."""

from __future__ import annotations

import sys

import click

from mapreduce.cli.options import example, refuse_empty
from mapreduce.cli.streams import writing_stdout


@click.command(
    epilog=example("mapreduce cat counts/", "mapreduce cat -n 10 s3://bucket/counts", "mapreduce cat out/errors")
)
@click.argument("output", callback=refuse_empty)
@click.option("-n", "limit", type=click.IntRange(min=0), metavar="N", help="The first N records only.")
def cat(*, output: str, limit: int | None) -> None:
    """Print what a job wrote to its output folder.

    OUTPUT is the folder or its URL, or that of a named output in it. Formats of lines are printed as they lie there,
    unpacked, any other as TSV. A part that is not what the job wrote is an error.
    """
    from mapreduce.dataflow.manifest.folder import write_text_to  # noqa: PLC0415 - --help has no use for it
    from mapreduce.urls import place, whole_place  # noqa: PLC0415 - as above

    folder = place(whole_place(output))
    with writing_stdout():
        write_text_to(sys.stdout.buffer, folder, limit)
