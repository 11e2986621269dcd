"""The job's commit in a store: the granted attempts' objects are checked where they lie, then manifests are written.

The job's own manifest comes last, in one write: a reader that follows it sees the old output or the new. Parts that
could not know the types of the others are written again first, under names of their own. It can die at any point and
be run again. One that was held up while another attempt, or a later job, was committed there replaces nothing of that:
it looks for the job's note before each write, and where the store knows conditions (S3 does) a write takes place only
if what it replaces is what was there at the commit's beginning.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from mapreduce.dataflow.bad.folder import GrantedBad, bad_names
from mapreduce.dataflow.disk import file_checksum
from mapreduce.dataflow.inputs.copies import copies_folder
from mapreduce.dataflow.manifest.attempts import COPY_BYTES, copy_to, downloaded, pieces_of
from mapreduce.dataflow.manifest.file import JOB_FILE, MANIFEST, PART
from mapreduce.dataflow.manifest.in_store import (
    check_reserved,
    drop_notes,
    json_bytes,
    manifest_at,
    manifest_in,
    others_at_work,
    remove_objects,
    replaced_by,
    temporary_place,
)
from mapreduce.dataflow.manifest.parts import Granted, Output, Part, manifest_bytes, outputs_of, warnings_of
from mapreduce.dataflow.manifest.reservation import REPLACED_FILE, Replaced
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.store import Store, at_once
from mapreduce.errors import InputLostError, OutputError
from mapreduce.file_names import bad_file_name
from mapreduce.max_bad import BAD_FOLDER
from mapreduce.plan import TaskOptions
from mapreduce.urls import join

COMMITS = 3  # times that it is begun: two attempts may meet, and the second finds what the first has written

HERE = Path()  # places are told relative to the output folder


def commit_in_store(
    folder: str,
    options: TaskOptions,
    granted: Sequence[Granted],
    job_facts: Mapping[str, Any],
    *,
    store: Store | None = None,
    bad: Sequence[GrantedBad] = (),
) -> tuple[str, ...]:
    """Make the granted attempts' objects the output of the job, and return warnings about it.

    May die at any point and be run again, with the same arguments. Raises InputLostError for an object that is missing
    or is not what its attempt wrote, OutputError if the folder holds another job's output, StoreError.
    """
    store = store or store_of(folder)
    named, own = outputs_of(HERE, options, sorted(granted, key=lambda one: one.attempt))
    for _ in range(COMMITS):
        try:
            _commit(store, folder, options, (named, own), job_facts, bad=bad)
        except FileExistsError as error:
            other = error
        else:
            break
    else:
        raise OutputError(f"the output folder {folder} is written by others at the same time: {other}") from other
    if options.overwrite:
        _remove_old_bad(store, folder, options.job, own, set(bad_names(bad, options).values()))
    _remove_old(store, folder, options, own, [one.name for one in named])
    return tuple(warning for one in (own, *named) for warning in warnings_of(one))


def _commit(
    store: Store,
    folder: str,
    options: TaskOptions,
    outputs: tuple[Sequence[Output], Output],
    job_facts: Mapping[str, Any],
    *,
    bad: Sequence[GrantedBad],
) -> None:
    """Write the manifests, unless it is done. Raises FileExistsError if what they replace is replaced meanwhile."""
    named, own = outputs
    manifest, job_file = join(folder, MANIFEST), join(folder, JOB_FILE)
    places = [(join(join(folder, one.name), MANIFEST), one) for one in named]
    seen = {url: store.look(url) for url in (manifest, job_file, *(url for url, _ in places))}
    found = manifest_in(folder, seen[manifest].data)
    if own.is_written(found):
        return
    if found is not None and not options.overwrite:
        raise OutputError(
            f"the output folder {folder} holds the output of another job (its {MANIFEST} is not that of these "
            f"{len(own.manifest.files)} files): run the job again with another folder"
        )
    check_reserved(store, folder, options.job)
    at_once(partial(_check, store, folder), [part for output in (*named, own) for part in output.parts])
    sums = _mend(store, folder, [*named, own])
    _move_bad(store, folder, options, bad)
    if options.overwrite:
        _note_replaced(store, folder, options.job, named)
    contents = [(url, manifest_bytes(one, sums)) for url, one in places]
    for url, data in [*contents, (job_file, json_bytes(job_facts)), (manifest, manifest_bytes(own, sums))]:
        check_reserved(store, folder, options.job)  # each time: this process may have been held up, for hours too
        store.replace(url, data, seen[url])


def _check(store: Store, folder: str, part: Part) -> None:
    """Look whether an object is what its attempt wrote: by the checksum noted with it, or by reading it."""
    url = join(folder, str(part.source))
    facts = store.facts(url)
    if facts is None:
        raise InputLostError(part.attempt, f"its output {url} is missing")
    if facts.size != part.file.size:
        raise InputLostError(
            part.attempt, f"its output {url} has {facts.size} bytes and not the {part.file.size} it wrote"
        )
    try:
        checksum = store.checksum(url) or _read_checksum(store, url, facts.size)
    except FileNotFoundError:
        raise InputLostError(part.attempt, f"its output {url} is missing") from None
    if checksum != part.file.checksum:
        raise InputLostError(
            part.attempt, f"its output {url} is not what it wrote (checksum {checksum}, not {part.file.checksum})"
        )


def _read_checksum(store: Store, url: str, size: int) -> str:
    total = xxhash.xxh3_64()
    for data in pieces_of(store, url, size):
        total.update(data)
    return total.hexdigest()


def _mend(store: Store, folder: str, outputs: Sequence[Output]) -> dict[Path, tuple[int, str]]:
    """Write parts again whose types are not those of the others. Gives the sizes and checksums, by their places."""
    sums: dict[Path, tuple[int, str]] = {}
    for output in outputs:
        for part in output.parts:
            if part.mended and output.rewrite is not None:
                sums[part.target] = _rewritten(store, folder, part, output.rewrite)
    return sums


def _rewritten(
    store: Store, folder: str, part: Part, rewrite: Callable[[Path, Path], tuple[int, str]]
) -> tuple[int, str]:
    source, target = join(folder, str(part.source)), join(folder, str(part.target))
    with tempfile.TemporaryDirectory(prefix="mapreduce-commit-", dir=copies_folder.get()) as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        try:
            checksum = copy_to(store, source, part.file.size, old)
        except FileNotFoundError:
            raise InputLostError(part.attempt, f"its output {source} is missing") from None
        if checksum != part.file.checksum:
            raise InputLostError(part.attempt, f"its output {source} is not what it wrote (checksum {checksum})")
        size, checksum = rewrite(old, new)
        if file_checksum(new) != checksum:
            raise OutputError(f"{new} is not what was written there: the disk for temporary files is broken")
        store.upload(new, target, checksum)
        return size, checksum


def _move_bad(store: Store, folder: str, options: TaskOptions, granted: Sequence[GrantedBad]) -> None:
    """Make the folder of bad records of what attempts of all steps have put aside: copies, for want of renames."""
    names = bad_names(granted, options)
    for one in granted:
        source = join(temporary_place(folder, options.job), bad_file_name(one.attempt))
        try:
            with downloaded(source) as path, path.open("rb") as file:
                lines = sum(data.count(b"\n") for data in iter(lambda: file.read(COPY_BYTES), b""))
                if lines != one.records:
                    raise InputLostError(one.attempt, f"{source} has {lines} of the {one.records} records put aside")
                store.upload(path, join(join(folder, BAD_FOLDER), names[one.attempt]), file_checksum(path))
        except FileNotFoundError:
            raise InputLostError(one.attempt, f"the file of its bad records, {source}, is missing") from None


def _remove_old_bad(store: Store, folder: str, job: str, own: Output, current: set[str]) -> None:
    place = join(folder, BAD_FOLDER)
    # In this order, as in `remove_objects`.
    names = [name for name in store.names(place) if PART.fullmatch(name) and name not in current]
    others = others_at_work(store, folder, job)
    if own.is_written(manifest_at(folder)):
        left = [name for name in names if not any(name.endswith(f"-{other}.jsonl") for other in others)]
        at_once(store.remove, [join(place, name) for name in left])


def _note_replaced(store: Store, folder: str, job: str, named: Sequence[Output]) -> None:
    """Note what is about to be replaced, unless a commit that died has done so: it may have replaced some."""
    if replaced_by(folder, job) is not None:
        return
    former = manifest_at(folder)
    texts = {one.name: store.read_small(join(join(folder, one.name), MANIFEST)) for one in named}
    manifests = {name: data.decode() for name, data in texts.items() if data is not None}
    job_file = store.read_small(join(folder, JOB_FILE))
    found = Replaced(sorted(former.outputs) if former else [], manifests, job_file.decode() if job_file else None)
    store.write(join(temporary_place(folder, job), REPLACED_FILE), json.dumps(asdict(found)).encode())


def _remove_old(store: Store, folder: str, options: TaskOptions, own: Output, named: Sequence[str]) -> None:
    """Remove the parts that no manifest names, and the named outputs that the job has not; let go of the folder."""
    jobs = [] if options.overwrite else [options.job]
    replaced = replaced_by(folder, options.job)
    gone = [name for name in (replaced.outputs if replaced else ()) if name not in named]
    for name in gone:
        url = join(join(folder, name), MANIFEST)
        seen = store.look(url)
        if own.is_written(manifest_at(folder)):  # else it is another job's meanwhile
            with suppress(FileExistsError):  # as above
                store.remove_seen(url, seen)
    remove_objects(store, folder, options.job, jobs, [*named, *gone])
    drop_notes(store, folder, options.job)
