"""`mapreduce cat`: what a job wrote, as text."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import click

from mapreduce.cli.options import example, refuse_empty
from mapreduce.cli.streams import writing_stdout
from mapreduce.errors import OutputError
from mapreduce.max_bad import BAD_FOLDER


@click.command(
    epilog=example(
        "mapreduce cat counts/",
        "mapreduce cat -n 10 s3://bucket/counts",
        "mapreduce cat out/errors",
        "mapreduce cat out/_bad",
    )
)
@click.argument("output", callback=refuse_empty)
@click.option("-n", "limit", type=click.IntRange(min=0), metavar="N", help="The first N records only.")
def cat(*, output: str, limit: int | None) -> None:
    """Print what a job wrote to its output folder.

    OUTPUT is the folder or its URL, or that of a named output in it. Formats of lines are printed as they lie there,
    unpacked, any other as TSV. A part that is not what the job wrote is an error. Of OUTPUT/_bad, the bad records that
    were put aside, a line of JSON is printed for each.
    """
    from mapreduce.dataflow.manifest.folder import write_text_to  # noqa: PLC0415 - --help has no use for it
    from mapreduce.urls import place, whole_place  # noqa: PLC0415 - as above

    parent, _, name = whole_place(output).rpartition("/")
    with writing_stdout():
        if name == BAD_FOLDER:
            _write_bad(place(parent), limit)
        else:
            write_text_to(sys.stdout.buffer, place(whole_place(output)), limit)


def _write_bad(folder: Path | str, limit: int | None) -> None:
    """Print what is told of the bad records of an output. Raises OutputError where it has none."""
    from mapreduce.dataflow.bad.folder import bad_lines, bad_told  # noqa: PLC0415 - as above
    from mapreduce.dataflow.manifest.folder import read_manifest  # noqa: PLC0415 - as above

    read_manifest(folder)
    if not bad_told(folder)[0]:
        raise OutputError(f"the output {folder} has no bad records: none was put aside")
    sys.stdout.buffer.writelines(islice(bad_lines(folder), limit))
