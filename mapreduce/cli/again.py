"""What can be done about a job that failed: run one of its tasks again here, and look."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from typing import TYPE_CHECKING

import click

from mapreduce.cli import EXIT_JOB_FAILED
from mapreduce.cli.options import example
from mapreduce.cli.run import be_like_a_task_process
from mapreduce.errors import JobFailed, UsageError
from mapreduce.failed.saved_folder import saved_folder
from mapreduce.runners.private import PrivateFolder

if TYPE_CHECKING:
    from mapreduce.failed.history import Entry
    from mapreduce.failed.replay import Replay
    from mapreduce.plan import Done, TaskId


@click.command(
    epilog=example(
        "mapreduce replay last --pdb", "mapreduce replay word_count-2026 map 3", "mapreduce replay last reduce-0"
    )
)
@click.argument("job", metavar="ID")
@click.argument("task", nargs=-1)
@click.option("--pdb", is_flag=True, help="Open a debugger at your line if it raises.")
def replay(*, job: str, task: tuple[str, ...], pdb: bool) -> int:
    """Run one task of a failed job again, here.

    ID is a job's id, a unique beginning of one, or `last`. TASK is one as a failure names it, such as map 3, or
    reduce 2 of step 2; by default the one that failed. It runs in this process, with the code as it travelled and the
    same split or keys, parameters and files; what it writes goes nowhere near the job's output.

    What jobs of the last week need for this lies in ~/.local/state/mapreduce (or below XDG_STATE_HOME).
    """
    be_like_a_task_process()
    from mapreduce.failed.history import find  # noqa: PLC0415 - imports what --help has no use for
    from mapreduce.failed.replay import Replay, failed_task, task_named  # noqa: PLC0415 - as above

    entry = _with_failure(find(job))
    wanted = task_named(entry.spec, " ".join(task)) if task else failed_task(entry)
    faulthandler.enable()  # a crash in native code says where
    with PrivateFolder() as private:
        _tell(f"replaying {wanted} of {entry.named}, with the code as it travelled then")
        replaying = Replay(entry, private.path, saved_folder(), _tell)
        _tell_changes(replaying)
        _enter(entry.asked.cwd)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints must not be taken for results
                done = replaying.run(wanted)
        except JobFailed as error:
            _show_failure(error, entry, wanted, pdb=pdb)
            return EXIT_JOB_FAILED
        _show_success(replaying, entry, wanted, done)
    return 0


def _with_failure(entry: Entry) -> Entry:
    """The entry, with how a job on a cluster failed: its coordinator is asked where nobody here has heard it yet."""
    if entry.failure is not None or not entry.asked.coordinator:
        return entry
    from mapreduce.failed.history import find, has_entry  # noqa: PLC0415 - as above
    from mapreduce.runners.cluster import get_status  # noqa: PLC0415 - as above

    status = get_status(entry.asked.coordinator, entry.job)
    if not has_entry(entry.job):
        raise UsageError(f"{entry.job} is {status.state}: there is no failure to look into")
    return find(entry.job)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _tell_changes(replaying: Replay) -> None:
    from mapreduce.failed.replay import changed_files  # noqa: PLC0415 - as above

    changed = changed_files(replaying.package)
    if changed:
        _tell(f"changed since then, and not used here: {', '.join(changed)}")


def _enter(folder: str) -> None:
    """Go where the job was started, since its functions may open files by relative paths."""
    try:
        os.chdir(folder)
    except OSError as error:
        _tell(f"the folder where the job was started, {folder}, cannot be entered ({error.strerror}): going on here")


def _show_failure(error: JobFailed, entry: Entry, task: TaskId, *, pdb: bool) -> None:
    if pdb:
        from mapreduce.runners.here import open_debugger  # noqa: PLC0415 - as above

        open_debugger(error)
    _tell(f"{error}")
    from mapreduce.failed.advice import has_users_line  # noqa: PLC0415 - as above

    if not has_users_line(error.failure):
        return
    named = "" if entry.failure is not None and entry.failure.task == str(task) else f" {task}"
    _tell(f"  stop at that line, in the debugger:  mapreduce replay {entry.job}{named} --pdb")


def _show_success(replaying: Replay, entry: Entry, task: TaskId, done: Done) -> None:
    from mapreduce.progress import records  # noqa: PLC0415 - as above

    print(f"{task} succeeded here: {records(done.records_in)} in, {records(done.records_out)} out")
    for name, part in done.outputs.items():
        print(f"  output {name}: {records(part.records)}")
    for name, count in done.counters.items():
        print(f"  counter {name}: {count:,}")
    shown = replaying.first_records(task, done)
    if shown:
        order = ", sorted by key" if done.part is None else ""
        print("\n".join([f"first of what it emitted{order}:", *shown]))
    failure = entry.failure
    if failure is not None and failure.task == str(task):
        where = f" on the worker {failure.worker}" if failure.worker and entry.asked.runner == "cluster" else ""
        _tell(
            f"it failed{where} with: {failure.message}\nSo that depends on more than code, input and parameters: on "
            "the machine, the time, chance, memory, or what had run before in the same process."
        )
