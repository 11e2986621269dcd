"""`mapreduce new`: a job to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mapreduce.cli.options import example


@click.command(epilog=example("mapreduce new my_job", "mapreduce new my_index --from inverted_index"))
@click.argument("name")
@click.option("--from", "demo", metavar="DEMO", help="Copy a bundled demo, such as inverted_index.")
def new(*, name: str, demo: str | None) -> None:
    """Write a job to start from, with its test.

    The files NAME.py and test_NAME.py are made in the current folder.
    """
    from mapreduce.new_job import write_new_job  # noqa: PLC0415 - --help has no use for it

    module, test = write_new_job(Path.cwd(), name, demo and demo.removeprefix("@"))
    click.echo(
        f"wrote {module.name} and {test.name}\n"
        f"  test it:      python -m pytest {shlex.quote(test.name)}\n"
        f"  check it:     mapreduce check {shlex.quote(module.name)} INPUT...\n"
        f"  run it:       mapreduce run {shlex.quote(module.name)} INPUT... -o DIR"
    )
