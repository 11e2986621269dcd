"""`mapreduce resume`: a failed job again, with what it has left."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mapreduce.cli.cluster import tell_left
from mapreduce.cli.options import example, job_options, refuse_empty
from mapreduce.cli.run import be_like_a_task_process, outputs_summary, run_request

if TYPE_CHECKING:
    from mapreduce.failed.resume import Resumption


@click.command(epilog=example("mapreduce resume last", "mapreduce resume word_count-2026 --max-bad 10"))
@click.argument("job", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False),
    callback=refuse_empty,
    help="Another folder for the results, or its URL.",
)
@click.option("-j", "--slots", type=click.IntRange(min=1), help="Tasks at a time, on this machine.")
@job_options
def resume(*, job: str, output: str | None, slots: int | None, options: dict[str, Any]) -> int:
    """Run a failed job again, using its map results.

    ID is a job's id, a unique beginning of one, or `last`. It runs as it did and where it did, with the same inputs and
    output; options that you give here take the place of those given then. The job's file is read again: map results
    are used where nothing that they depend on has changed, which is said at the end.

    Map results of a failed job are kept for 7 days, by the workers that made them; those of jobs on this machine lie
    among the temporary files.
    """
    from mapreduce.failed.history import find  # noqa: PLC0415 - imports what --help has no use for
    from mapreduce.failed.resume import resumption, where_it_was  # noqa: PLC0415 - as above

    found = resumption(find(job), {**options, "output": output, "slots": slots}, alone=True)
    if found.runner == "inline":
        be_like_a_task_process()
    click.echo(found.title, err=True)
    with where_it_was(found.cwd):
        if found.runner == "cluster":
            _on_cluster(found)
        else:
            run_request(found.request, found.runner)
    return 0


def _on_cluster(found: Resumption) -> None:
    from mapreduce.progress import display_for, summary  # noqa: PLC0415 - as above
    from mapreduce.runners.cluster import Submission  # noqa: PLC0415 - as above

    display = display_for(sys.stderr)
    submission: Submission | None = None
    try:
        submission = Submission(found.coordinator, found.request)
        submission.submit(display)
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
