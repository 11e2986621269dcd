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
from dataclasses import replace
from pathlib import Path

from mapreduce.dataflow.inputs.codecs import Codec, codec_of
from mapreduce.dataflow.inputs.encoding import find_encoding
from mapreduce.dataflow.manifest.file import MANIFEST, Manifest, is_foreign, parse_manifest, read_bytes, read_manifest
from mapreduce.errors import InputError
from mapreduce.formats import Columnar, Csv, Files, FixedLength, Format, JsonLines, Records, Text
from mapreduce.plan import EVERY_PART, Piece, Split
from mapreduce.quick_dataclass import dataclass
from mapreduce.urls import check_utf8, is_url, settled

SPLITS_WANTED = 24  # of a small job: keeps a few machines busy; each task sorts its own keys, so fewer cost less
SPLIT_MIN_BYTES = 4 << 20  # below, starting a task costs more than its work
SPLIT_MAX_BYTES = 64 << 20  # a lost task is re-run in seconds
SPLIT_SLACK_PERCENT = 110  # a split may be a tenth too large rather than leave a crumb for another task
OPEN_COST_BYTES = 16 << 10  # what opening a file costs, in bytes read; bounds the files of a split
MAX_SPLITS = 100_000  # the coordinator keeps a state for each task
REDUCER_BYTES = 256 << 20  # of input for each reducer, where map tasks fold or combine what is sent
REDUCER_BYTES_WHOLE = 32 << 20  # where all pairs are sent: some seconds of a reducer's work
MAX_REDUCERS = 256
FILE_BYTES = 1 << 30  # of one file that is one value: it is held several times over while it is mapped
HIDDEN = (".", "_")  # beginnings of names that folders keep for themselves: .git, _SUCCESS, _tmp-JOB


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to be read: absolute path or URL, size in bytes, modification time (or as in `plan.Piece`).

    `whole` says that it can be read from its beginning only. `touched` is as in `plan.Piece`.
    """

    path: str
    size: int
    version: int
    whole: bool = False
    touched: int = 0


@dataclass(frozen=True, slots=True)
class KeptParts:
    """The kept result of the job that is `number` in the reading job's `reads`: its parts, and their bytes in all."""

    number: int
    parts: int
    size: int


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files of one input of a job, and how they are read; or a kept result, which has no files.

    With `typed` they are a former result's typed records, whatever the job says of this input.
    """

    files: tuple[InputFile, ...]
    format: Format
    typed: bool = False
    kept: KeptParts | None = None

    @property
    def size(self) -> int:
        """Bytes of all files, as they lie on disk."""
        return sum(file.size for file in self.files) if self.kept is None else self.kept.size


@dataclass(frozen=True, slots=True)
class InputSplits:
    """All inputs of a job, cut: the splits in the order of the inputs, and how many `maps` (tasks) each input has.

    `broadcast` is the split that every task process loads, of the last input, which has no map tasks then.
    """

    splits: tuple[Split, ...]
    maps: tuple[int, ...]
    broadcast: Split | None = None


def find_inputs(arguments: Sequence[str], input_format: Format | None = None) -> list[InputFile]:
    """Find the files that the arguments (files, folders, globs, URLs of these) name, in order and each once.

    Arguments stay in the order given; files of a folder or glob are ordered by the bytes of their paths; a file that
    is reached twice, by a link too, is read where it came first. Of a former job's output that is read as Records its
    parts are read, as its manifest names them. Raises InputError naming the path, StoreError.
    """
    typed = isinstance(input_format, Records)
    found: dict[str, InputFile] = {}
    folders: dict[str, str] = {}
    for given in arguments:
        argument = settled(os.fspath(given))
        if is_url(argument):
            found.update((file.path, file) for file in _in_store(argument, typed=typed) if file.path not in found)
            continue
        for path in _paths_of(argument, typed=typed):
            real = _real_path(path, folders)
            if real not in found:
                found[real] = _input_file(path)
    return list(found.values())


def _real_path(path: str, folders: dict[str, str]) -> str:
    """The absolute path without links. `folders` remembers those of folders: each holds many files, in large inputs."""
    if os.path.islink(path):  # noqa: PTH114 - making a Path costs more than the look, and there may be 200,000
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)  # noqa: PTH118 - as above


def _in_store(url: str, *, typed: bool) -> list[InputFile]:
    from mapreduce.dataflow.stores.listing import find_in_store  # noqa: PLC0415 - most jobs read local files

    found = find_in_store(url, typed=typed)
    return [InputFile(path, facts.size, facts.version, whole=not facts.ranges) for path, facts in found]


def _paths_of(argument: str, *, typed: bool) -> Iterator[str]:
    path = os.path.abspath(argument)  # noqa: PTH100 - resolve() would name the targets of links
    if os.path.lexists(path):
        yield from _below(path, typed=typed)
        return
    if not glob.has_magic(argument):
        rest = argument.partition("=")[2]
        hint = f"; the job has one input, without a name: write {rest}" if rest and os.path.lexists(rest) else ""
        raise InputError(f"no such input: {argument} ({path}){hint}")
    # Of the argument as given: the current folder's own name may hold wildcards.
    found = glob.glob(argument, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
    matches = [os.path.abspath(match) for match in found if _is_meant(argument, match) and _is_there(match)]  # noqa: PTH100 - as above
    if not matches:
        raise InputError(f"no input matches {argument} ({path})")
    yield from sorted((path for match in matches for path in _below(match, typed=typed)), key=os.fsencode)


def _is_there(match: str) -> bool:
    """Tell whether a match is what it says: older Pythons let `FILE/**` match "FILE/"."""
    return not match.endswith(os.sep) or Path(match).is_dir()


def _is_meant(pattern: str, match: str) -> bool:
    """Tell whether a match of a glob is no hidden name that only a wildcard reached."""
    asked = {part for part in Path(pattern).parts if part.startswith(HIDDEN)}
    hidden = [part for part in Path(match).parts if part.startswith(HIDDEN)]
    return all(any(re.fullmatch(fnmatch.translate(part), name) for part in asked) for name in hidden)


def _below(path: str, *, typed: bool) -> Iterator[str]:
    """Yield the path itself if it is a file, else the files below it, by the bytes of their paths.

    With `typed` the files of a former job's output are those that its manifest names, in its order.
    """
    if not Path(path).is_dir():
        yield path
        return
    if typed and Path(path, MANIFEST).exists():
        manifest = read_manifest(path)
        if manifest.format != "records":
            raise InputError(
                f"{path} holds results in the format {manifest.format}, not typed records: read them in the format "
                "that they are in, or run the former job without an output folder"
            )
        yield from (str(Path(path, file.name)) for file in manifest.files)
        return
    files: list[str] = []
    _walk(path, files, (os.path.realpath(path),))
    yield from sorted(files, key=os.fsencode)


def _walk(folder: str, files: list[str], above: tuple[str, ...]) -> None:
    """Collect the files below a folder. `above` holds the real paths of the folders we came through.

    Of a former job's output the results are meant, and not its named outputs too, which are read by their own names.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from error
    former = _former(folder) if any(entry.name == MANIFEST for entry in entries) else None
    for entry in entries:
        if entry.name.startswith(HIDDEN) or (former is not None and entry.name in former.outputs):
            continue
        if not entry.is_dir():
            files.append(entry.path)
            continue
        real = os.path.realpath(entry.path)
        if real in above:
            raise InputError(f"the folder {entry.path} is a link to a folder around it: remove the link")
        _walk(entry.path, files, (*above, real))


def _former(folder: str) -> Manifest | None:
    """The manifest of a job's output, by which its named outputs are told. Raises OutputError for a damaged one."""
    data = read_bytes(Path(folder, MANIFEST))
    return None if data is None or is_foreign(data) else parse_manifest(folder, data)


def _input_file(path: str) -> InputFile:
    check_utf8(path, "file", InputError)
    try:
        facts = os.stat(path)  # noqa: PTH116 - as in _real_path
    except OSError as error:
        raise InputError(f"the input {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"the input {path} is neither a file nor a folder (a pipe, a device?): copy it into a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"the input {path} cannot be read: permission denied")
    return InputFile(path, facts.st_size, facts.st_mtime_ns, touched=facts.st_ctime_ns)


def is_whole(path: str, encoding: str, input_format: Format | None = None) -> bool:
    """Tell whether a file cannot be cut at bytes: by its format (Text if None), compression or encoding."""
    if isinstance(input_format, (Columnar, Records)):
        return False
    if isinstance(input_format, FixedLength):
        return codec_of(path) is not Codec.NONE
    if input_format is not None and not _is_lines(input_format):
        return True
    return codec_of(path) is not Codec.NONE or not find_encoding(encoding).cuttable


def _is_lines(input_format: Format) -> bool:
    """Tell whether records of this format end with lines, whatever they hold."""
    if isinstance(input_format, Csv):
        return not input_format.quoted_newlines
    return isinstance(input_format, (Text, JsonLines))


def default_split_size(files: Sequence[InputFile]) -> int:
    """Give the size of splits in bytes: a 64th of the input, within 4 and 64 MiB."""
    return _default_size(sum(file.size for file in files))


def _default_size(total: int) -> int:
    return min(max(-(-total // SPLITS_WANTED), SPLIT_MIN_BYTES), SPLIT_MAX_BYTES)


def plan_inputs(
    inputs: Sequence[InputFiles],
    split_size: int | None = None,
    encoding: str = "utf-8",
    *,
    broadcast: int | None = None,
) -> InputSplits:
    """Cut all inputs of a job, each by itself, into splits of about `split_size` bytes (from the size of all if None).

    There is a split at least, an empty one if no input has a file. With `broadcast` the last input becomes one split
    of its own, of at most so many bytes. A function of the arguments alone. Raises InputError as `plan_splits` does,
    for a file that is too large to be one value, and for a broadcast input that is too large to be held.
    """
    for given in inputs:
        _check_file_sizes(given)
    mapped = inputs if broadcast is None else inputs[:-1]
    size = _default_size(sum(given.size for given in inputs)) if split_size is None else split_size
    cut = [_cut(given, size, encoding, number) for number, given in enumerate(mapped)]
    splits = tuple(split for splits in cut for split in splits)
    maps = [len(splits) for splits in cut] + [0] * (len(inputs) - len(mapped))
    if not splits:
        splits, maps[0] = (Split(()),), 1
    extra = None if broadcast is None else _broadcast_split(inputs[-1], broadcast, encoding, len(inputs) - 1)
    return InputSplits(splits, tuple(maps), extra)


def _cut(given: InputFiles, size: int, encoding: str, number: int) -> tuple[Split, ...]:
    """The splits of one input; of a kept result one for each part."""
    kept = given.kept
    if kept is not None:
        return tuple(Split((), number, kept=(kept.number, part)) for part in range(kept.parts))
    splits = plan_splits(given.files, size, encoding, input_format=given.format, number=number)
    return tuple(replace(split, typed=True) for split in splits) if given.typed else splits


def _check_file_sizes(given: InputFiles) -> None:
    if not isinstance(given.format, Files):
        return
    for file in given.files:
        if file.size > FILE_BYTES:
            raise InputError(
                f"{file.path} has {file.size:,} bytes, and with Files() a file is one value, of at most "
                f"{FILE_BYTES:,}: cut it, or read it in a format that has more than one record"
            )


def _broadcast_split(given: InputFiles, most: int, encoding: str, number: int) -> Split:
    if given.size > most:
        raise InputError(
            f"the input that is to be broadcast has {given.size:,} bytes, and every task process loads it whole: at "
            f"most {most:,}. Leave broadcast=True out of the Join; it then streams both inputs"
        )
    pieces = (
        Piece(
            file.path, 0, file.size, file.size, file.version, is_whole(file.path, encoding, given.format), file.touched
        )
        for file in given.files
    )
    kept = None if given.kept is None else (given.kept.number, EVERY_PART)
    return Split(tuple(pieces), number, given.typed, kept)


def plan_splits(
    files: Sequence[InputFile],
    split_size: int | None = None,
    encoding: str = "utf-8",
    *,
    input_format: Format | None = None,
    number: int = 0,
) -> tuple[Split, ...]:
    """Cut the files of the input `number` into splits of about `split_size` bytes, in order; small files share one.

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
        for piece in _pieces(file, size, most, whole=file.whole or is_whole(file.path, encoding, input_format)):
            cost = max(piece.size, OPEN_COST_BYTES)
            if pieces and held + cost > most:
                splits.append(Split(tuple(pieces), number))
                pieces, held = [], 0
            pieces.append(piece)
            held += cost
    if pieces:
        splits.append(Split(tuple(pieces), number))
    return tuple(splits)


def _pieces(file: InputFile, size: int, most: int, *, whole: bool) -> Iterator[Piece]:
    """Cut one file into pieces of equal sizes, to the byte."""
    count = 1 if whole or file.size <= most else -(-file.size // size)
    for i in range(count):
        start, end = file.size * i // count, file.size * (i + 1) // count
        yield Piece(file.path, start, end - start, file.size, file.version, whole, file.touched)


def default_reducers(total_bytes: int, *, collapsed: bool) -> int:
    """Give the number of reducers: one for each 256 MiB of input, or 32 if map tasks send all pairs; 1 to 256."""
    return min(max(-(-total_bytes // (REDUCER_BYTES if collapsed else REDUCER_BYTES_WHOLE)), 1), MAX_REDUCERS)


def notes(
    splits: Sequence[Split], slots: int, split_size: int | None = None, formats: Sequence[Format] = ()
) -> tuple[str, ...]:
    """Say, in sentences for people, where slots stay idle in the map phase because files cannot be cut.

    `formats` are those of the inputs, Text if there are none.
    """
    pieces = [(piece, split.input) for split in splits for piece in split.pieces]
    uncut = [(piece, number) for piece, number in pieces if piece.whole]
    if not uncut or len(splits) >= slots:
        return ()
    size = split_size or _default_size(sum(piece.size for piece, _ in pieces))
    wished = sum(-(-piece.size // size) for piece, _ in uncut) + len(splits) - len(uncut)
    if wished <= len(splits):
        return ()
    largest, number = max(uncut, key=lambda found: found[0].size)
    note = (
        f"{min(len(splits), slots)} of {slots} slots have work in the map phase: {len(uncut)} input files are "
        f"{_why_whole(largest.path, formats[number] if formats else Text())} and each is read by one task (the largest "
        f"is {largest.path}). Several smaller files would share the work."
    )
    return (note,)


def _why_whole(path: str, input_format: Format) -> str:
    if is_url(path) and not is_whole(path, "utf-8", input_format):
        return "on a web server that gives files from their beginning only"
    if codec_of(path) is Codec.NONE and isinstance(input_format, Csv) and input_format.quoted_newlines:
        return "Csv files, which are not cut, unless quoted_newlines=False says that no field holds a newline,"
    if not _is_lines(input_format) and not isinstance(input_format, FixedLength):
        return f"{type(input_format).__name__} files, which are not cut,"
    return "compressed" if codec_of(path) is not Codec.NONE else "of an encoding that cannot be cut at bytes"
