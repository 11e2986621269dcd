"""What is said last of a failed job: the command that helps with such a failure."""

from __future__ import annotations

import re

from mapreduce.failed.history import Entry, HistoryError, find, has_entry, is_replayable
from mapreduce.plan import UNKNOWN, Failure, FailureKind
from mapreduce.project import is_engine_file

_FILE = re.compile(r'^\s*(?:\|\s*)*File "([^"\n]+)", line ', re.MULTILINE)  # of a traceback, or a group's


def advice(job: str) -> str:
    """What to do about a failed job, as the last lines of what is said of it; "" where nothing of it is kept."""
    if not has_entry(job):
        return ""
    try:
        entry = find(job)
        if entry.failure is None or not is_replayable(entry.failure.task):
            return ""
        return "\n".join(filter(None, [_why_none_is_kept(entry), _advice(entry, entry.failure)]))
    except HistoryError as error:
        return str(error)


def _why_none_is_kept(entry: Entry) -> str:
    """What it is in the job that makes its map results be of no use to another, "" if they are kept."""
    if entry.spec.saves or entry.asked.gone:
        return ""
    from mapreduce.failed.resume import identities_then  # noqa: PLC0415 - for such jobs alone

    facts = identities_then(entry)[0].maps.items()
    name, why = next((name, digest.removeprefix(UNKNOWN)) for name, digest in facts if digest.startswith(UNKNOWN))
    return f"  no map results are kept, since nobody can tell what they depend on: {name}:{why}"


def _advice(entry: Entry, failure: Failure) -> str:
    debugged = has_users_line(failure)
    if debugged or failure.kind is FailureKind.DIED:
        if entry.asked.gone:
            gone = entry.asked.gone
            return f"  it cannot be replayed, since {gone} went with the run: a file in its place would stay"
        return f"  run that task again, here:  mapreduce replay {entry.job}{' --pdb' if debugged else ''}"
    if entry.asked.gone:
        return ""
    is_of_record = failure.record is not None or failure.offset is not None
    if failure.kind is FailureKind.USER and is_of_record and entry.spec.max_bad is None:
        return f"  put such records aside, up to so many:  mapreduce resume {entry.job} --max-bad N"
    if failure.saved_maps:
        return ""  # the command has been named with what is kept
    return f"  once that is mended:  mapreduce resume {entry.job}"


def has_users_line(failure: Failure) -> bool:
    """Whether a failure happened at a line of the user's, at which a debugger can stop."""
    files = _FILE.findall(failure.traceback)
    return failure.kind is FailureKind.USER and not all(map(is_engine_file, files))
