"""An output folder in a store: reserved before a job, committed by its last task, cleaned up after a failure.

There are no folders and no renames there. What is written is whole or not there at all, under names that no other job
and no other attempt uses; one write, of the manifest, makes a job's parts its output. Reserving is a note below
`_tmp-JOB`, which is written before anything else of the job and goes last. Everything may die at any point and be run
again; whoever was held up, and goes on when its job is over, finds no note and changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from mapreduce.dataflow.manifest.file import (
    JOB_FILE,
    MANIFEST,
    PART,
    TEMPORARY,
    Manifest,
    is_object_of,
    parse_manifest,
)
from mapreduce.dataflow.manifest.reservation import REPLACED_FILE, RESERVED_FILE, Replaced, Reserved, occupied
from mapreduce.dataflow.stores.drivers import store_of
from mapreduce.dataflow.stores.store import Store, at_once
from mapreduce.errors import OutputError
from mapreduce.max_bad import BAD_FOLDER
from mapreduce.urls import join

ENDED_FILE = "_ended"  # beside the note, from the moment on when a job that has failed is cleaned up


def manifest_at(folder: str) -> Manifest | None:
    """The manifest of a folder, if it has one that can be read. Raises StoreError."""
    return manifest_in(folder, store_of(folder).read_small(join(folder, MANIFEST)))


def manifest_in(folder: str, data: bytes | None) -> Manifest | None:
    """The manifest that these bytes of a folder are, if they can be read."""
    if data is None:
        return None
    try:
        return parse_manifest(folder, data)
    except OutputError:
        return None  # whoever reads the output is told; what replaces it need not mind


def temporary_place(folder: str, job: str) -> str:
    """Where a job keeps its notes."""
    return join(folder, f"{TEMPORARY}{job}")


def is_reserved(store: Store, folder: str, job: str) -> bool:
    """Whether a job has its output folder still: it has not ended, and nobody cleans up after it."""
    temporary = temporary_place(folder, job)
    reserved = store.facts(join(temporary, RESERVED_FILE)) is not None
    return reserved and store.facts(join(temporary, ENDED_FILE)) is None


def check_reserved(store: Store, folder: str, job: str) -> None:
    """Raise OutputError if a job has no right to its output folder any more."""
    if not is_reserved(store, folder, job):
        raise OutputError(f"the job {job} has ended: {folder} is not its output folder any more")


# ----------------------------------------------------------------------------------------------------- reserving


def prepare_in_store(
    folder: str, job: str, *, overwrite: bool, outputs: Sequence[str] = (), store: Store | None = None
) -> None:
    """Reserve an output folder for a job. May be repeated for the same job.

    Raises OutputError if something is there already (with `overwrite`: something that is no job's output), StoreError.
    """
    store = store or store_of(folder)
    note = join(temporary_place(folder, job), RESERVED_FILE)
    if store.facts(note) is not None:
        return
    if store.facts(folder) is not None:
        raise OutputError(f"the output {folder} is an object: name another folder")
    _refuse_occupied(store, folder, overwrite=overwrite, outputs=outputs)
    store.write(note, json.dumps(asdict(Reserved([], overwrite, list(outputs)))).encode())
    others = [name for name in store.names(folder) if name.startswith(TEMPORARY) and name != f"{TEMPORARY}{job}/"]
    if others and not overwrite:  # two jobs at the same moment: there is no lock, so neither may think that it won
        store.remove(note)
        raise OutputError(occupied(folder, others, []))


def _refuse_occupied(store: Store, folder: str, *, overwrite: bool, outputs: Sequence[str]) -> None:
    names = store.names(folder)
    if not names:
        return
    former = manifest_at(folder)
    known = {MANIFEST, JOB_FILE, *(f"{name}/" for name in (*(former.outputs if former else ()), BAD_FOLDER))}
    ours = [name for name in names if name in known or PART.fullmatch(name) or name.startswith(TEMPORARY)]
    strange = sorted(set(names) - set(ours))
    if not overwrite:
        raise OutputError(occupied(folder, ours, strange))
    if strange and MANIFEST not in names:
        raise OutputError(
            f"the output folder {folder} holds {strange[0]}, which no job wrote: --overwrite replaces a job's output "
            "only. Name another folder."
        )
    for name in sorted({f"{one}/" for one in outputs} & set(strange)):
        found = [other for other in store.names(join(folder, name)) if other != MANIFEST and not PART.fullmatch(other)]
        if found:
            raise OutputError(
                f"the folder {join(folder, name)}, where the job's output {name[:-1]!r} goes, holds {found[0]}, which "
                "no job wrote: name another output folder"
            )


# --------------------------------------------------------------------------------------------------- cleaning up


def remove_from_store(folder: str, job: str, store: Store | None = None) -> None:
    """Clean up after a job that failed or was cancelled. A finished commit, or another job's output, stays.

    Removes the objects of its attempts, brings back the manifests that a half commit had replaced, and lets go of the
    folder last. Raises StoreError.
    """
    store = store or store_of(folder)
    temporary = temporary_place(folder, job)
    note = join(temporary, RESERVED_FILE)
    data = store.read_small(note)
    if data is None:
        return  # cleaned up, or committed
    store.write(join(temporary, ENDED_FILE), b"")  # before a look at the manifest: no commit begins to write it now
    reserved = Reserved(**json.loads(data))
    manifest = manifest_at(folder)
    finished = manifest is not None and any(is_object_of(job, file.name) for file in manifest.files)
    if not finished:
        replaced = replaced_by(folder, job)
        for name in reserved.outputs:
            # With overwrite, what is there before anything was replaced is of the former job.
            if replaced is not None or not reserved.overwrite:
                _undo(store, join(folder, name), MANIFEST, replaced.manifests.get(name) if replaced else None, note)
        if replaced is not None or manifest is None:
            _undo(store, folder, JOB_FILE, replaced.job_file if replaced else None, note)
        for name in store.names(join(folder, BAD_FOLDER)):
            if re.fullmatch(rf"part-\d{{5,}}-{re.escape(job)}\.jsonl", name):
                store.remove(join(join(folder, BAD_FOLDER), name))
    remove_objects(store, folder, job, [job], reserved.outputs)
    drop_notes(store, folder, job)


def _undo(store: Store, folder: str, name: str, old: str | None, note: str) -> None:
    """Leave a small object as it was before the commit, which is at an end only when `note` is gone."""
    url = join(folder, name)
    seen = store.look(url)
    if store.facts(note) is None:
        return  # another cleaner is through: what lies there may be of a job that came since
    with suppress(FileExistsError):  # so it is of such a job
        if old is not None:
            store.replace(url, old.encode(), seen)
        else:
            store.remove_seen(url, seen)


def replaced_by(folder: str, job: str) -> Replaced | None:
    """What the commit of a job replaces; None before it has replaced anything."""
    data = store_of(folder).read_small(join(temporary_place(folder, job), REPLACED_FILE))
    return None if data is None else Replaced(**json.loads(data))


def remove_objects(store: Store, folder: str, job: str, jobs: Sequence[str], outputs: Iterable[str]) -> None:
    """Remove the parts of these jobs that no manifest names, also those that were uploaded only in part.

    Without `jobs` the parts of all jobs but those that are at work there beside this `job`.
    """
    for place in (folder, *(join(folder, name) for name in outputs)):
        # In this order: whoever uploaded what is listed is at work when the second question is asked, or has ended
        # before the third, and then the manifest names what counts.
        parts = [name for name in store.names(place) if PART.fullmatch(name)]
        others = [] if jobs else others_at_work(store, folder, job)
        manifest = manifest_at(place)
        named = {file.name for file in manifest.files} if manifest else set()

        whose = [(name, any(is_object_of(one, name) for one in jobs or others)) for name in parts if name not in named]
        at_once(store.remove, [join(place, name) for name, known in whose if known == bool(jobs)])
    store.forget_uploads(folder, f"-{job}-")


def others_at_work(store: Store, folder: str, job: str) -> list[str]:
    """The jobs beside this one that have reserved the folder."""
    names = [name for name in store.names(folder) if name.startswith(TEMPORARY) and name != f"{TEMPORARY}{job}/"]
    # What is left there of a job without a note came late, when it was over.
    working = [name for name in names if store.facts(join(folder, f"{name}{RESERVED_FILE}")) is not None]
    return [name[len(TEMPORARY) : -1] for name in working]


def drop_notes(store: Store, folder: str, job: str) -> None:
    """Let go of a folder: the note that reserves it goes last, so that a cleaner that was stopped is followed."""
    temporary = temporary_place(folder, job)
    notes = [url for url, _ in store.below(temporary)]
    for url in sorted(notes, key=lambda one: one.endswith(f"/{RESERVED_FILE}")):
        store.remove(url)


def json_bytes(facts: Mapping[str, Any]) -> bytes:
    """A small object for people and programs."""
    return (json.dumps(dict(facts), indent=1, sort_keys=True) + "\n").encode()
