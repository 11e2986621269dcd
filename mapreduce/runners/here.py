"""`-r inline` and `--pdb`: plans a job and runs it in this process, telling a listener how it goes."""

from __future__ import annotations

import contextlib
import pdb  # noqa: T100 - it is what --pdb asks for
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mapreduce.client import Listener
from mapreduce.errors import JobFailed
from mapreduce.failed.history import forget_resumed, save_failed
from mapreduce.failed.saved_folder import forget_saved, saved_folder
from mapreduce.max_bad import shown_kinds
from mapreduce.plan import JobSpec
from mapreduce.planner import Planned, plan
from mapreduce.project import is_engine_file, is_library_file
from mapreduce.protocol.messages import JobStatus, StepStatus
from mapreduce.request import Request
from mapreduce.runners.inline import InlineProgress, hashing_is_fixed, run_inline
from mapreduce.runners.private import PrivateFolder
from mapreduce.travel.loader import LoadedJob
from mapreduce.travel.side_files import extract_files, travelled_files

SEED_WARNING = (
    "this process hashes strings at random (PYTHONHASHSEED is not 0): a job that iterates over sets of strings may "
    "give other results than on another runner"
)


def run_here(request: Request, listener: Listener, *, debug: bool = False) -> JobStatus:
    """Run a job in this process and give its last status, which is "done"; what user code prints goes to stderr.

    With `debug`, an exception of user code opens a debugger at the user's line. Raises JobFailed and UsageError.
    """
    listener.tick()  # the job's module may take long to import
    planned = plan(request)
    spec = planned.spec

    def on_progress(progress: InlineProgress) -> None:
        listener.status(_status(spec, progress))

    try:
        with contextlib.redirect_stdout(sys.stderr), _unpacked(planned) as files:
            loaded = LoadedJob(planned.job, planned.params, planned.options, files)
            outcome = run_inline(spec, loaded, planned.blobs[spec.plan], saved=saved_folder(), on_progress=on_progress)
    except JobFailed as error:
        planned.discard()
        save_failed(planned, request, error, "inline")
        if debug:
            open_debugger(error)
        raise
    except BaseException:
        planned.discard()
        raise
    forget_saved(spec.resumes)
    forget_resumed(spec.resumes, spec.job)
    warnings = outcome.warnings + spec.notes
    if not hashing_is_fixed():
        warnings = (*warnings, SEED_WARNING)
    status = JobStatus(
        spec.job,
        spec.name,
        "done",
        steps=tuple(StepStatus(shape, shape.maps, 0, shape.reduces, 0) for shape in spec.steps),
        output=spec.output,
        records_in=outcome.records_in,
        records_out=outcome.records_out,
        bytes_in=outcome.bytes_in,
        input_bytes=spec.input_bytes,
        shuffle_bytes=outcome.shuffle_bytes,
        counters=outcome.counters,
        warnings=warnings,
        elapsed_s=outcome.elapsed_s,
        bad=shown_kinds(outcome.bad),
        submitted_ms=spec.submitted_ms,
        submitter=spec.submitter,
        resumes=spec.resumes[0] if spec.resumes else "",
        former_maps=spec.former_maps,
        reused_maps=outcome.reused_maps,
        changed=spec.changed,
    )
    listener.status(status)
    return status


@contextlib.contextmanager
def _unpacked(planned: Planned) -> Iterator[dict[str, Path]]:
    """Unpack the files that travel with the job, as a worker does, and remove them afterwards."""
    if not planned.spec.files:
        yield {}
        return
    with PrivateFolder() as folder:
        blob = folder.path / "blob"
        blob.write_bytes(planned.blobs[planned.spec.files])
        extract_files(blob, folder.path / "files")
        blob.unlink()
        yield travelled_files(folder.path / "files")


def _status(spec: JobSpec, progress: InlineProgress) -> JobStatus:
    steps = tuple(
        StepStatus(shape, maps_done=maps, reduces_done=reduces)
        for shape, (maps, reduces) in zip(spec.steps, progress.tasks, strict=True)
    )
    return JobStatus(
        spec.job,
        spec.name,
        "running",
        steps=steps,
        output=spec.output,
        records_in=progress.records_in,
        bytes_in=progress.bytes_in,
        input_bytes=spec.input_bytes,
        shuffle_bytes=progress.shuffle_bytes,
    )


def open_debugger(error: JobFailed) -> NoReturn:
    """Show the failure, then a debugger at the user's line; then the program ends as with any failed job."""
    sys.stderr.write(f"{error}\n")
    cause = error.__cause__ or error
    assert cause.__traceback__ is not None
    pdb.post_mortem(up_to_user(cause.__traceback__))
    sys.exit(1)  # as for any failed job; its story has been told


def up_to_user(traceback: types.TracebackType) -> types.TracebackType:
    """The traceback without what is below the user's last line in it (all of it if none is the user's)."""
    entries: list[types.TracebackType] = []
    last = 0
    entry: types.TracebackType | None = traceback
    while entry is not None:
        entries.append(entry)
        file = entry.tb_frame.f_code.co_filename
        if not is_engine_file(file) and not is_library_file(file):
            last = len(entries)
        entry = entry.tb_next
    shown: types.TracebackType | None = None
    for entry in reversed(entries[: last or len(entries)]):
        shown = types.TracebackType(shown, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    assert shown is not None
    return shown
