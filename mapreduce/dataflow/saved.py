"""Map results that outlive a failed job: noted when they are made, saved when the job fails, used again by another.

    JOB'S SCRATCH/done-STEP-INDEX-ATTEMPT    what a map attempt of the first step made, and under which key
    JOB'S SCRATCH/empty                      the same of all attempts that have made no file, one behind the other
    SAVED/JOB/KEY/                           saved: `done`, and the attempt's files run-0, run-1, ... or part

The key is a digest of the step's identity and of the task's split and number: so a result is used again only by a task
that would make the same. A saved result is checked whole, block by block, before it is used; a damaged one is removed.
Nothing is synced: what is lost is made again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import xxhash

from mapreduce.config import SAVED_DAYS
from mapreduce.errors import WireError
from mapreduce.file_names import part_file_name, run_file_name
from mapreduce.plan import JOB_ID, AttemptId, Done
from mapreduce.protocol import plain
from mapreduce.quick_dataclass import dataclass

SAVED_S = SAVED_DAYS * 24 * 3600.0
SWEEP_S = 3600.0  # between looks for what is older: an hour more or less does not matter
FREE_SHARE = 0.1  # of the disk: with less, what other jobs have left goes before its time, so that new ones can run
DONE, PART = "done", "part"
_NOTE = "done-"  # how the names of notes begin, in a job's scratch folder
UNFINISHED = ".new"
_EMPTY = "empty"  # the notes of what has no files: to make a file for each would take longer than most of such attempts
_FRAME = struct.Struct("<IQ")  # before each of them: its length and checksum
_NEW = ".new-"  # how the names of folders begin that are being made
_TRASH = ".old-"  # and of those that are being removed


@dataclass(frozen=True, slots=True)
class Note:
    """What a map attempt made: its key, its Done, and the names of its files in the job's scratch folder."""

    key: str
    done: Done
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """How many map results are saved, and their bytes."""

    maps: int = 0
    size: int = 0


def file_names(attempt: AttemptId, done: Done) -> tuple[str, ...]:
    """The names of what an attempt made, inside its job's scratch folder."""
    if done.part is not None:
        return (part_file_name(attempt),)
    return tuple(run_file_name(attempt, spill) for spill in range(done.runs))


def saved_names(done: Done) -> tuple[str, ...]:
    """The names of the same files where they are saved."""
    return (PART,) if done.part is not None else tuple(f"run-{spill}" for spill in range(done.runs))


# ------------------------------------------------------------------------------------------- saving


def save_results(scratch: Path, saved: Path, job: str) -> Saved:
    """Move what a job's map attempts have noted in its scratch folder to `saved`; give what there is of it there.

    What has been there for too long goes. All this may be done again, and by several workers on one machine. Raises
    OSError, also where the folder is another user's.
    """
    _part_empty(scratch)
    notes = sorted(path for path in scratch.glob(f"{_NOTE}*") if not path.name.endswith(UNFINISHED))
    if notes:
        _make_own(saved / job)
    for path in notes:
        # Half-written, or its files went with a dropped attempt.
        with contextlib.suppress(WireError, FileNotFoundError):
            _save(path, plain.unpack(Note, path.read_bytes()), saved / job)
    if notes:
        sweep_saved(saved)
        _make_room(saved, job)
    return size_of(saved, job)


def note_empty(scratch: Path, note: Note) -> None:
    """Note a result without files in a job's scratch folder. Raises OSError."""
    data = plain.pack(note)
    # One write at the end of the file: other processes do the same.
    file = os.open(f"{scratch}/{_EMPTY}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, _FRAME.pack(len(data), xxhash.xxh3_64_intdigest(data)) + data)
    finally:
        os.close(file)


def _part_empty(scratch: Path) -> None:
    """Make a note of its own of each result without files, as far as they are whole."""
    try:
        data = (scratch / _EMPTY).read_bytes()
    except FileNotFoundError:
        return
    start = number = 0
    while start + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, start)
        start += _FRAME.size
        note = data[start : start + length]
        if len(note) != length or xxhash.xxh3_64_intdigest(note) != checksum:
            break  # the disk was full: what follows is made again
        (scratch / f"{_NOTE}{_EMPTY}-{number}").write_bytes(note)
        start, number = start + length, number + 1
    (scratch / _EMPTY).unlink()


def _make_room(saved: Path, job: str) -> None:
    """Remove what other jobs have left, the oldest first, as long as the disk is nearly full."""
    others = []
    for path in saved.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another worker removes it this moment
            others.append((path.stat().st_mtime, path))
    for _, path in sorted(one for one in others if one[1].name != job):
        disk = shutil.disk_usage(saved)
        if disk.free >= disk.total * FREE_SHARE:
            return
        _remove(path)


def _make_own(folder: Path) -> None:
    """Make a folder for this user alone, with those above it, as far as they are missing."""
    for one in (*reversed(folder.parents), folder):
        with contextlib.suppress(FileExistsError):
            one.mkdir(mode=0o700)
    if not is_own(folder.parent):
        raise PermissionError(errno.EPERM, "others than you can write there", str(folder.parent))


def is_own(folder: Path) -> bool:
    """Whether nobody else can have put anything into a folder: what is in results may run as code (pickles)."""
    try:
        facts = [one.stat() for one in (folder, folder.parent)]
    except FileNotFoundError:
        return False
    return all(one.st_uid == os.getuid() and not one.st_mode & (stat.S_IWGRP | stat.S_IWOTH) for one in facts)


def _save(path: Path, note: Note, folder: Path) -> None:
    target = folder / note.key
    if target.exists():
        return
    new = folder / f"{_NEW}{secrets.token_hex(8)}"
    new.mkdir(mode=0o700)
    try:
        for name, wanted in zip(note.files, saved_names(note.done), strict=True):
            _move(path.with_name(name), new / wanted)
        _move(path, new / DONE)
        new.rename(target)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # another worker has saved it this moment
            raise


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)  # the scratch of a run is on another disk
        source.unlink()


def size_of(saved: Path, job: str) -> Saved:
    """What is saved of a job here."""
    maps = size = 0
    for key in saved_keys(saved, job):
        with contextlib.suppress(FileNotFoundError):  # it went this moment
            size += sum(entry.stat().st_size for entry in os.scandir(saved / job / key))
            maps += 1
    return Saved(maps, size)


def drop_saved(saved: Path, job: str) -> None:
    """Remove what is saved of a job, if anything is. Raises OSError."""
    if JOB_ID.fullmatch(job) and (saved / job).is_dir():
        _remove(saved / job)


def sweep_saved(saved: Path) -> None:
    """Remove what has been saved for longer than SAVED_S. Raises OSError."""
    now_s = time.time()  # wall clock, since that is what files carry
    with contextlib.suppress(FileNotFoundError), os.scandir(saved) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another worker sweeps too
                left = entry.name.startswith(_TRASH)
                if left or now_s - entry.stat(follow_symlinks=False).st_mtime > SAVED_S:
                    _remove(Path(entry.path))


def _remove(folder: Path) -> None:
    """Remove a folder: out of the way first, so that nobody meets half of it."""
    trash = folder.with_name(f"{_TRASH}{secrets.token_hex(8)}")
    try:
        folder.rename(trash)
    except FileNotFoundError:  # another worker was quicker
        return
    shutil.rmtree(trash)


def saved_keys(saved: Path, job: str) -> Iterator[str]:
    """The keys of what is saved of a job."""
    if not JOB_ID.fullmatch(job):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(saved / job) as entries:
        yield from (entry.name for entry in entries if not entry.name.startswith("."))
