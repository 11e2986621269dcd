"""A failed job's map results used again: the key that says which task would make the same, notes, and the taking.

The key is a digest of the step's identity and of the task's split and number. A saved result is read whole and checked,
block by block, before it is used: a damaged one is removed, and the task runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import xxhash

from mapreduce.dataflow.disk import DISK_ERRORS
from mapreduce.dataflow.saved import DONE, UNFINISHED, Note, file_names, is_own, note_empty, saved_keys, saved_names
from mapreduce.dataflow.shuffle.block_file import DIGEST_BYTES, digest_of, read_index
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.errors import CorruptBlockError, DiskFullError, WireError
from mapreduce.file_names import done_file_name
from mapreduce.plan import JOB_ID, Done, Split, StepIdentity
from mapreduce.protocol import plain

PAIR = b"\x92"  # how msgpack begins an array of two


def map_key(identity: StepIdentity, index: int, splits: Iterable[Split]) -> str | None:
    """The key of a map task of the first step; `splits` are its own and that of a broadcast input.

    None where a split reads the kept result of another job, which says nothing of what is in it, and where nobody can
    tell what the step does.
    """
    if not identity.is_known:
        return None
    found = _begun(identity).copy()
    found.update(plain.pack(index))
    for split in splits:
        if split.kept is not None:
            return None
        found.update(plain.pack(split))
    digest: str = found.hexdigest()
    return digest


_last_begun: list[tuple[StepIdentity, Any]] = []  # what `_begun` has found last: tasks of a step have the same


def _begun(identity: StepIdentity) -> Any:
    """The hash of what a key begins with, of the array [identity, index]: to be copied, and gone on with."""
    if not _last_begun or _last_begun[0][0] is not identity:
        head = PAIR + plain.pack(tuple(sorted(identity.maps.items())))
        _last_begun[:] = [(identity, hashlib.sha256(head))]
    return _last_begun[0][1]


def key_of(setup: TaskSetup, split: Split | None) -> str | None:
    """The key of a map attempt's result; None where it is none that could be saved."""
    options, task = setup.options, setup.attempt.task
    last = task.step == len(options.steps) - 1
    if split is None or task.step or not options.identities or options.keep or (setup.plan.map_only and last):
        return None
    splits = [split]
    if setup.plan.broadcasts:
        if setup.broadcast is None:
            return None
        splits.append(setup.broadcast)
    return map_key(options.identities[0], task.index, splits)


def note_result(setup: TaskSetup, split: Split | None, done: Done) -> None:
    """Note what a map attempt has made, beside it. What has put bad records aside is not noted: these are elsewhere.

    Raises DiskFullError.
    """
    key = key_of(setup, split)
    if key is not None and not done.bad:
        made = replace(done, reused=False) if done.reused else done
        _write_note(setup, Note(key, made, file_names(setup.attempt, done)))


def _write_note(setup: TaskSetup, note: Note) -> None:
    try:
        if not note.files:
            note_empty(setup.scratch, note)
            return
        path = setup.scratch / done_file_name(setup.attempt)
        new = path.with_name(f"{path.name}{UNFINISHED}")
        new.write_bytes(plain.pack(note))
        new.replace(path)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise DiskFullError(
            f"cannot write to the folder {setup.scratch}: {error.strerror}; free space there"
        ) from error


# ------------------------------------------------------------------------------------------- using again


def saved_maps(
    saved: Path, jobs: Iterable[str], identity: StepIdentity, splits: Iterable[Split], extra: Split | None
) -> set[int]:
    """The numbers of those map tasks of the first step whose results failed `jobs` have left in `saved`.

    `splits` are those of all map tasks, `extra` that of a broadcast input. The results themselves are not looked at.
    """
    keys = {key for job in jobs for key in saved_keys(saved, job)} if is_own(saved) else set()
    if not keys:
        return set()
    extras = [] if extra is None else [extra]
    return {i for i, split in enumerate(splits) if map_key(identity, i, [split, *extras]) in keys}


def take_saved(setup: TaskSetup, split: Split | None, saved: Path) -> Done | None:
    """Put the result of a map attempt into its place, if a failed job has left it; None if it must be made.

    A damaged result is removed, and that is printed for the task's log. Raises DiskFullError.
    """
    jobs = setup.options.resumes
    key = key_of(setup, split) if jobs else None
    if key is None or not is_own(saved):
        return None
    found = (_take(setup, saved / job / key) for job in jobs if JOB_ID.fullmatch(job))
    return next((done for done in found if done is not None), None)


def _take(setup: TaskSetup, folder: Path) -> Done | None:
    """Put the saved result in a folder into its place; None where there is none, or a damaged one."""
    key = folder.name
    try:
        note = plain.unpack(Note, (folder / DONE).read_bytes())
        _check(folder, note, key)
    except FileNotFoundError as error:
        if folder.is_dir():
            _tell(setup, folder, f"{error.filename} is missing")
        return None
    except (WireError, CorruptBlockError, OSError) as error:
        _tell(setup, folder, str(error))
        return None
    names = file_names(setup.attempt, note.done)
    try:
        for name, place in zip(saved_names(note.done), names, strict=True):
            _link(folder / name, setup.scratch / place)
    except FileNotFoundError:  # swept this moment
        for place in names:
            (setup.scratch / place).unlink(missing_ok=True)
        return None
    _write_note(setup, replace(note, key=key, files=names))
    return replace(note.done, reused=True)


def _check(folder: Path, note: Note, key: str) -> None:
    """Read all files of a saved result. Raises CorruptBlockError where they are not what was written under the key."""
    size = 0
    digests: list[xxhash.xxh3_64] = []
    for name in saved_names(note.done):
        path = folder / name
        index = read_index(path)
        size += index.size
        digests = digests or [xxhash.xxh3_64() for _ in index.partitions]
        for digest, blocks in zip(digests, index.partitions, strict=True):
            digest.update(digest_of(blocks))
        with path.open("rb") as file:
            for block in (block for blocks in index.partitions for block in blocks):
                file.seek(block.offset)
                if xxhash.xxh3_64_intdigest(file.read(block.length)) != block.checksum:
                    end = block.offset + block.length
                    raise CorruptBlockError(f"{path}: bytes {block.offset} to {end}: not what was written")
    wanted = note.done.shuffle_bytes if note.done.part is None else note.done.part.size
    found = b"".join(digest.intdigest().to_bytes(DIGEST_BYTES, "little") for digest in digests)
    # Those of measured runs are made otherwise, and those of a part are of the part itself.
    others = found != note.done.digests and note.done.part is None and not note.done.bounds and digests
    if size != wanted or others or note.key != key:
        raise CorruptBlockError(f"{folder}: its files are not those of its note")


def _tell(setup: TaskSetup, folder: Path, what: str) -> None:
    """Say that a result cannot be used again, and remove it."""
    task = setup.attempt.task
    sys.stderr.write(f"the saved result of {task} is damaged, so {task} runs again: {what}\n")
    shutil.rmtree(folder, ignore_errors=True)  # what stays is found damaged again


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without links
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            if error.errno not in DISK_ERRORS:
                raise
            raise DiskFullError(f"cannot write to the folder {target.parent}: {error.strerror}") from error


# ------------------------------------------------------------------------------------------- sets of tasks as bytes


def bitmap(numbers: Iterable[int]) -> bytes:
    """Numbers of tasks as a message has them: a bit each, the lowest first."""
    found = bytearray()
    for number in numbers:
        byte, bit = divmod(number, 8)
        found.extend(bytes(max(0, byte + 1 - len(found))))
        found[byte] |= 1 << bit
    return bytes(found)
