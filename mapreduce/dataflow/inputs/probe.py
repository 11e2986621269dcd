"""The probe: does a worker see the same files as the client? Looked at before a job starts, so that it fails early."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from mapreduce.dataflow.inputs.find import InputFile
from mapreduce.dataflow.manifest.file import TEMPORARY, temporary_folder
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.errors import InputError, OutputError
from mapreduce.plan import Probe, ProbeFile
from mapreduce.urls import MEMORY, is_url, join, scheme_of

PROBE_FILES = 64  # looked at by each worker: more would make every start slow, and a wrong mount shows in the first
TOKEN_FILE = "_probe"  # noqa: S105 - a file's name, no secret
TOKEN_BYTES = 16  # so that no other folder of the same name holds the same token by chance


def sample(files: Sequence[InputFile], most: int = PROBE_FILES) -> list[InputFile]:
    """Choose at most `most` (2 or more) of the files: the first, the last, and others evenly between."""
    if len(files) <= most:
        return list(files)
    return [files[i * (len(files) - 1) // (most - 1)] for i in range(most)]


def make_probe(files: Sequence[InputFile], output: str | Path, job: str) -> Probe:
    """Write a token below the output folder (after `prepare_output`), and say what workers should see.

    Without an output ("") the inputs are all there is to be seen. Raises OutputError if the token cannot be written.
    """
    chosen = tuple(ProbeFile(file.path, file.size, file.version) for file in sample(files))
    if not output:
        return Probe(chosen)
    token = secrets.token_hex(TOKEN_BYTES)
    if is_url(str(output)):
        url = join(join(str(output), f"{TEMPORARY}{job}"), TOKEN_FILE)
        store_of(url).write(url, token.encode())
        return Probe(chosen, url, token)
    path = temporary_folder(output, job) / TOKEN_FILE
    try:
        path.write_text(token, encoding="utf-8")  # for as long as the job starts: it need not outlast a power cut
    except OSError as error:
        raise OutputError(f"the output folder {output} cannot be written: {error.strerror}") from error
    return Probe(chosen, str(path), token)


def check_probe(probe: Probe) -> None:
    """Look whether this machine sees the probe's files as the client saw them, and can write to the output folder.

    Raises InputError or OutputError naming the path.
    """
    for file in probe.files:
        _check_file(file)
    if is_url(probe.token_path):
        _check_store(probe.token_path, probe.token)
    elif probe.token_path:
        _check_output(Path(probe.token_path), probe.token)


def _check_file(file: ProbeFile) -> None:
    if is_url(file.path):
        _check_object(file)
        return
    advice = "Inputs must lie at the same path on every worker (a shared file system, say)."
    try:
        facts = Path(file.path).stat()
        readable = os.access(file.path, os.R_OK)
    except OSError as error:
        raise InputError(f"the input {file.path} is not seen here: {error.strerror}. {advice}") from error
    if not readable:
        raise InputError(f"the input {file.path} cannot be read here: permission denied. {advice}")
    if facts.st_size != file.size:
        raise InputError(
            f"the input {file.path} has {facts.st_size} bytes here, {file.size} where the job was submitted. {advice}"
        )
    if facts.st_mtime_ns != file.version:
        raise InputError(
            f"the input {file.path} has another modification time here than where the job was submitted: it is a "
            f"copy, or was written to. {advice}"
        )


def _check_object(file: ProbeFile) -> None:
    """Look at an object with this machine's own credentials."""
    if scheme_of(file.path) == MEMORY:
        raise InputError(_in_memory(f"the input {file.path}"))
    facts = store_of(file.path).facts(file.path)
    if facts is None:
        raise InputError(f"the input {file.path} is not seen here: the same endpoint must be set on every worker")
    if (facts.size, facts.version) != (file.size, file.version):
        raise InputError(
            f"the input {file.path} is another object here than where the job was submitted, or was written again "
            f"meanwhile ({facts.size} bytes here, {file.size} there)"
        )


def _check_store(url: str, token: str) -> None:
    """Look whether this machine finds the token in the store, and may write and remove there."""
    output = url.rpartition("/")[0].rpartition("/")[0]
    if scheme_of(url) == MEMORY:
        raise OutputError(_in_memory(f"the output folder {output}"))
    store = store_of(url)
    if store.read_small(url) != token.encode():
        raise OutputError(
            f"the output folder {output} is not seen here: the same endpoint must be set on every worker ({url})"
        )
    trial = f"{url}-{secrets.token_hex(TOKEN_BYTES)}"
    store.write(trial, b"")
    store.remove(trial)


def _in_memory(what: str) -> str:
    return (
        f"{what} lies in the memory of the process that made it: the runner inline can use it, tasks in processes of "
        "their own cannot"
    )


def _check_output(path: Path, token: str) -> None:
    output = path.parent.parent
    advice = "The output folder must be the same folder, and writable, on every worker."
    try:
        seen = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its probe file is damaged"
        raise OutputError(f"the output folder {output} is not seen here: {reason} ({path}). {advice}") from error
    if seen != token:
        raise OutputError(
            f"the output folder {output} is here not the folder that the job was submitted with. {advice}"
        )
    trial = path.with_name(f"{TOKEN_FILE}-{secrets.token_hex(TOKEN_BYTES)}")
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OutputError(f"the output folder {output} cannot be written here: {error.strerror}. {advice}") from error
