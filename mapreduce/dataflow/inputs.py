"""From the arguments of a job to its splits: which files are read, in which order, and how they are cut.

Everything here depends on the arguments and the files' sizes alone, so that the same inputs give the same splits on
every machine. Refuses what would be left out in silence: a missing file, a glob without a match, a dangling link.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapreduce.dataflow.codecs import Codec, codec_of
from mapreduce.dataflow.encoding import find_encoding
from mapreduce.errors import InputError
from mapreduce.plan import Piece, Split

SPLITS_WANTED = 64  # of a small job: enough to keep the slots of a few machines busy
SPLIT_MIN_BYTES = 4 << 20  # below, starting a task costs more than its work
SPLIT_MAX_BYTES = 64 << 20  # a lost task is re-run in seconds
SPLIT_SLACK_PERCENT = 110  # a split may be a tenth too large rather than leave a crumb for another task
OPEN_COST_BYTES = 16 << 10  # what opening a file costs, in bytes read; bounds the files of a split
MAX_SPLITS = 100_000  # the coordinator keeps a state for each task
REDUCER_BYTES = 256 << 20  # of input for each reducer
MAX_REDUCERS = 256
HIDDEN = (".", "_")  # beginnings of names that folders keep for themselves: .git, _SUCCESS, _tmp-JOB


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to be read: absolute path, size in bytes, modification time."""

    path: str
    size: int
    mtime_ns: int


def find_inputs(arguments: Sequence[str]) -> list[InputFile]:
    """Find the files that the arguments (files, folders, globs) name, in order and each once.

    Arguments stay in the order given; files of a folder or glob are ordered by the bytes of their paths; a file that
    is reached twice, by a link too, is read where it came first. Raises InputError naming the path.
    """
    found: dict[str, InputFile] = {}
    for argument in arguments:
        for path in _paths_of(os.fspath(argument)):
            real = os.path.realpath(path)
            if real not in found:
                found[real] = _input_file(path)
    return list(found.values())


def _paths_of(argument: str) -> Iterator[str]:
    path = os.path.abspath(argument)  # noqa: PTH100 - resolve() would name the targets of links
    if os.path.lexists(path):
        yield from _below(path)
        return
    if not glob.has_magic(argument):
        raise InputError(f"no such input: {argument} ({path})")
    # Of the argument as given: the current folder's own name may hold wildcards.
    found = glob.glob(argument, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
    matches = [os.path.abspath(match) for match in found if _is_meant(argument, match)]  # noqa: PTH100 - as above
    if not matches:
        raise InputError(f"no input matches {argument} ({path})")
    yield from sorted((path for match in matches for path in _below(match)), key=os.fsencode)


def _is_meant(pattern: str, match: str) -> bool:
    """Tell whether a match of a glob is no hidden name that only a wildcard reached."""
    asked = {part for part in Path(pattern).parts if part.startswith(HIDDEN)}
    hidden = [part for part in Path(match).parts if part.startswith(HIDDEN)]
    return all(any(re.fullmatch(_glob_pattern(part), name) for part in asked) for name in hidden)


def _glob_pattern(part: str) -> str:
    """The regular expression of one component of a glob."""
    return fnmatch.translate(part)


def _below(path: str) -> Iterator[str]:
    """Yield the path itself if it is a file, else the files below it, by the bytes of their paths."""
    if not Path(path).is_dir():
        yield path
        return
    files: list[str] = []
    _walk(path, files, (os.path.realpath(path),))
    yield from sorted(files, key=os.fsencode)


def _walk(folder: str, files: list[str], above: tuple[str, ...]) -> None:
    """Collect the files below a folder. `above` holds the real paths of the folders we came through."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith(HIDDEN):
            continue
        if not entry.is_dir():
            files.append(entry.path)
            continue
        real = os.path.realpath(entry.path)
        if real in above:
            raise InputError(f"the folder {entry.path} is a link to a folder around it: remove the link")
        _walk(entry.path, files, (*above, real))


def _input_file(path: str) -> InputFile:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {path!r} is no UTF-8: rename the file") from None
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise InputError(f"the input {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"the input {path} is neither a file nor a folder (a pipe, a device?): copy it into a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"the input {path} cannot be read: permission denied")
    return InputFile(path, facts.st_size, facts.st_mtime_ns)


def is_whole(path: str, encoding: str) -> bool:
    """Tell whether a file cannot be cut at bytes: it is compressed, or of an encoding that forbids it."""
    return codec_of(path) is not Codec.NONE or not find_encoding(encoding).cuttable


def default_split_size(files: Sequence[InputFile]) -> int:
    """Give the size of splits in bytes: a 64th of the input, within 4 and 64 MiB."""
    total = sum(file.size for file in files)
    return min(max(-(-total // SPLITS_WANTED), SPLIT_MIN_BYTES), SPLIT_MAX_BYTES)


def plan_splits(
    files: Sequence[InputFile], split_size: int | None = None, encoding: str = "utf-8"
) -> tuple[Split, ...]:
    """Cut the files into splits of about `split_size` bytes, in order; small files share one.

    A function of the arguments alone. Raises InputError for an unknown encoding, a size below 1, or so small a size
    that there would be more than MAX_SPLITS.
    """
    size = default_split_size(files) if split_size is None else split_size
    if size < 1:
        raise InputError(f"--split-size {size}: must be at least 1 byte")
    total = sum(file.size for file in files)
    if total // size > MAX_SPLITS:
        raise InputError(
            f"--split-size {size} would make over {MAX_SPLITS:,} splits of {total:,} bytes: choose a larger one"
        )
    most = size * SPLIT_SLACK_PERCENT // 100
    splits: list[Split] = []
    pieces: list[Piece] = []
    held = 0
    for file in files:
        for piece in _pieces(file, size, most, whole=is_whole(file.path, encoding)):
            cost = max(piece.size, OPEN_COST_BYTES)
            if pieces and held + cost > most:
                splits.append(Split(tuple(pieces)))
                pieces, held = [], 0
            pieces.append(piece)
            held += cost
    if pieces:
        splits.append(Split(tuple(pieces)))
    return tuple(splits)


def _pieces(file: InputFile, size: int, most: int, *, whole: bool) -> Iterator[Piece]:
    """Cut one file into pieces of equal sizes, to the byte."""
    count = 1 if whole or file.size <= most else -(-file.size // size)
    for i in range(count):
        start, end = file.size * i // count, file.size * (i + 1) // count
        yield Piece(file.path, start, end - start, file.size, file.mtime_ns, whole)


def default_reducers(total_bytes: int) -> int:
    """Give the number of reducers: one for each 256 MiB of input, 1 to 256."""
    return min(max(-(-total_bytes // REDUCER_BYTES), 1), MAX_REDUCERS)


def notes(splits: Sequence[Split], slots: int, split_size: int | None = None) -> tuple[str, ...]:
    """Say, in sentences for people, where slots stay idle in the map phase because files cannot be cut."""
    pieces = [piece for split in splits for piece in split.pieces]
    uncut = [piece for piece in pieces if piece.whole]
    if not uncut or len(splits) >= slots:
        return ()
    files = [InputFile(piece.path, piece.size, piece.mtime_ns) for piece in pieces]
    size = split_size or default_split_size(files)
    wished = sum(-(-piece.size // size) for piece in uncut) + len(splits) - len(uncut)
    if wished <= len(splits):
        return ()
    largest = max(uncut, key=lambda piece: piece.size)
    why = "compressed" if codec_of(largest.path) is not Codec.NONE else "of an encoding that cannot be cut at bytes"
    note = (
        f"{min(len(splits), slots)} of {slots} slots have work in the map phase: {len(uncut)} input files are {why} "
        f"and each is read by one task (the largest is {largest.path}). Several smaller files would share the work."
    )
    return (note,)
