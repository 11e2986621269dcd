"""Names of the files and folders of attempts, made from integers and checked names only."""

from __future__ import annotations

from mapreduce.plan import AttemptId


def run_file_name(attempt: AttemptId, spill: int) -> str:
    """The name of one run of a map attempt, inside its job's scratch folder; made from integers only."""
    return f"run-{attempt.task.step}-{attempt.task.index}-{attempt.number}-{spill}"


def part_file_name(attempt: AttemptId) -> str:
    """The name of an intermediate part (what a step hands to the next), inside its job's scratch folder."""
    kind = attempt.task.kind.value
    return f"part-{attempt.task.step}-{kind}-{attempt.task.index}-{attempt.number}"


def done_file_name(attempt: AttemptId) -> str:
    """The name of the file that says what a map attempt made, inside its job's scratch folder."""
    return f"done-{attempt.task.step}-{attempt.task.index}-{attempt.number}"


def merge_folder_name(attempt: AttemptId) -> str:
    """The name of the folder for what a reduce attempt's merge writes, inside its job's scratch folder."""
    return f"merge-{attempt.task.step}-{attempt.task.index}-{attempt.number}"


def bad_file_name(attempt: AttemptId) -> str:
    """The name of the file of an attempt's bad records below `DIR/_tmp-JOB/`: of any step, unlike its output."""
    kind = attempt.task.kind.value
    return f"bad-{attempt.task.step}-{kind}-{attempt.task.index}-{attempt.number}"


def attempt_output_name(attempt: AttemptId, output: str = "", number: int | None = None) -> str:
    """The name of an attempt's private file below `DIR/_tmp-JOB/`, of the named `output` if there is a name.

    `number` is that of the file, from 0 on, where a part is several files (see PartInfo).
    """
    name = f"{attempt.task.kind.value}-{attempt.task.index:05d}-{attempt.number}"
    name = f"{name}.{output}" if output else name
    return name if number is None else numbered(name, number)


def numbered(name: str, file: int) -> str:
    """The name of one of several files of what has this name; so for private files and for parts."""
    return f"{name}-{file:05d}"
