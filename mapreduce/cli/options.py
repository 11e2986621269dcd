"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mapreduce.config import DEFAULT_LISTEN
from mapreduce.errors import UsageError
from mapreduce.max_bad import read_max_bad
from mapreduce.output_formats import OUTPUT_FORMATS, check_output_format
from mapreduce.travel.side_files import read_arguments

F = TypeVar("F", bound=Callable[..., Any])


def example(*lines: str) -> str:
    """The end of a command's help: example lines that click must not wrap (its sign for that is a backspace)."""
    return "\b\n" + "\n".join(["Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def read_params(texts: tuple[str, ...]) -> dict[str, Any]:
    """Read the texts of `-p NAME=VALUE`. Raises UsageError for one without a name or given twice."""
    params: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"-p {text}: write it as -p NAME=VALUE")
        if name in params:
            raise UsageError(f"-p {name} is given twice")
        params[name] = value
    return params


def refuse_empty(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse an output folder without a name, as from a shell variable that is not set."""
    if value == "":
        raise click.BadParameter("it is empty: name a folder")
    return value


def _check(options: dict[str, Any]) -> None:
    """Refuse what options cannot be by the names that they have here, and not by those of Python's arguments."""
    from mapreduce.job import check_reducers, parse_size  # noqa: PLC0415 - --help has no use for it

    checks: dict[str, Callable[[Any, str], object]] = {
        "reducers": check_reducers,
        "output_format": lambda given, option: check_output_format(option, given),
        "part_size": parse_size,
        "split_size": parse_size,
        "max_bad": read_max_bad,
    }
    for name, check in checks.items():
        if options[name] is not None:
            check(options[name], f"--{name.replace('_', '-')}")


def job_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say how a job is run, wherever it is run; the command gets them as `options` of a Request."""

    @functools.wraps(command)
    def with_options(**given: Any) -> int:
        options = {name: given.pop(name) for name in _JOB_OPTIONS}
        _check(options)
        options["params"] = read_params(options["params"])
        options["files"] = read_arguments(options["files"])
        return command(**given, options=options)

    decorated: Callable[..., int] = with_options
    for option in reversed(
        [
            click.option("--reducers", type=click.IntRange(min=1), help="Reduce tasks of a step (and output parts)."),
            click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Set a job's parameter."),
            click.option(
                "--file",
                "files",
                multiple=True,
                metavar="[NAME=]PATH",
                help="Send a file along: the functions find it in ctx.files.",
            ),
            click.option(
                "--input-format",
                multiple=True,
                metavar="[NAME=]FORMAT",
                help="What the inputs are: text, files, csv, jsonl, parquet, arrow, msgpack, fixed:100.",
            ),
            click.option(
                "--columns",
                multiple=True,
                metavar="[NAME=]A,B",
                help="Read these columns alone, of csv, parquet and arrow.",
            ),
            click.option(
                "--output-format",
                metavar="FORMAT",
                help=f"Of the results: {', '.join(OUTPUT_FORMATS)}; or compressed, such as jsonl.gz or csv.zst "
                "(default: what the job says, or tsv).",
            ),
            click.option("--part-size", metavar="SIZE", help="Write each output part as files of about 64MB, say."),
            click.option("--overwrite", is_flag=True, help="Replace a former output, once the job is done."),
            click.option("--split-size", metavar="SIZE", help="Input of one map task, such as 16MB."),
            click.option("--encoding", help="Of the input text (default: what the job says, or utf-8)."),
            click.option(
                "--encoding-errors",
                type=click.Choice(["strict", "replace", "skip"]),
                help="What a line with a bad byte does: fail the job, be mended, or be left out.",
            ),
            click.option(
                "--max-bad",
                metavar="N|P%",
                help="Put up to so many bad records aside, in _bad/ of the output, before the job fails.",
            ),
        ]
    ):
        decorated = option(decorated)
    return decorated


# What the options are called in a Request.
_JOB_OPTIONS = (
    "reducers",
    "params",
    "files",
    "input_format",
    "columns",
    "output_format",
    "part_size",
    "overwrite",
    "split_size",
    "encoding",
    "encoding_errors",
    "max_bad",
)


def address_option(command: F) -> F:
    """Where the coordinator is."""
    return click.option(
        "--coordinator",
        "address",
        envvar="MAPREDUCE_COORDINATOR",
        show_envvar=True,
        default=DEFAULT_LISTEN,
        show_default=True,
        metavar="ADDRESS",
        help="Where the coordinator listens.",
    )(command)


def json_option(command: F) -> F:
    """For other programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")(command)
