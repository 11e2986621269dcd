"""Formats of inputs: what a user names in a job, as plain descriptions. Reads and writes nothing.

What a record is in each format, and how a file of it is cut, is in `dataflow.readers`; outputs have `output_formats`.
"""

from __future__ import annotations

from mapreduce.errors import JobDefinitionError
from mapreduce.quick_dataclass import dataclass

RECORD_BYTES = 256 << 20  # of one record of FixedLength: it is held several times over while it is mapped
SKIP_BYTES = 1 << 40  # of a file's header: fits the arithmetic of offsets with room to spare
NO_FRAMES = (
    "frames=True is not for Msgpack, whose objects need not be of one type: take records (or batch_size=N), and make "
    "frames of them"
)


@dataclass(frozen=True, slots=True)
class Format:
    """How the files of an input are read. Use one of its subclasses."""

    def __post_init__(self) -> None:
        if type(self) is Format:
            msg = "Format is what input formats have in common: write one, such as input=Csv()"
            raise JobDefinitionError(msg)


@dataclass(frozen=True, slots=True)
class Text(Format):
    """Lines of text, the default: the key is the line's byte offset, the value the line without its end."""


@dataclass(frozen=True, slots=True)
class Files(Format):
    """Whole files: the key is the path, the value the content, bytes (or with `text` a str in the job's encoding)."""

    text: bool = False

    def __post_init__(self) -> None:
        _check_flag("text", "Files", self.text)


@dataclass(frozen=True, slots=True)
class Csv(Format):
    """Comma-separated values (RFC 4180): the key is the byte where the record begins in its file.

    With `header` (the default) the value is a dict of str by the names in the file's first record, of `columns` alone
    where they are named; else it is a list of str. Without `quoted_newlines` a record is a line, and files are cut.
    """

    header: bool = True
    separator: str = ","
    quoted_newlines: bool = True
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_flag("header", "Csv", self.header)
        _check_flag("quoted_newlines", "Csv", self.quoted_newlines)
        if not isinstance(self.separator, str) or len(self.separator) != 1 or self.separator in '\r\n"':
            msg = f"separator= of Csv is one character, such as ';' or '\\t', not {self.separator!r}"
            raise JobDefinitionError(msg)
        object.__setattr__(self, "columns", _checked_columns("Csv", self.columns))
        if self.columns is not None and not self.header:
            msg = "columns= of Csv are names in the file's first record: leave header=False out, or the columns"
            raise JobDefinitionError(msg)


@dataclass(frozen=True, slots=True)
class JsonLines(Format):
    """A JSON document on each line: the key is the line's byte offset, the value what the document says.

    With `nan` the numbers NaN, Infinity and -Infinity are read, which JSON does not have, and some programs write.
    """

    nan: bool = False

    def __post_init__(self) -> None:
        _check_flag("nan", "JsonLines", self.nan)


@dataclass(frozen=True, slots=True)
class Columnar(Format):
    """What Parquet and Arrow have in common: rows in columns, of which `columns` alone are read, all if None."""

    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if type(self) is Columnar:
            msg = "Columnar is what Parquet and Arrow have in common: write input=Parquet() or input=Arrow()"
            raise JobDefinitionError(msg)
        object.__setattr__(self, "columns", _checked_columns(name, self.columns))


@dataclass(frozen=True, slots=True)
class Parquet(Columnar):
    """Rows of Parquet files: the key is the row's number in its file, the value a dict by column.

    With `columns` only these are read.
    """


@dataclass(frozen=True, slots=True)
class Arrow(Columnar):
    """Rows of Arrow IPC files (Feather) or streams: the key is the row's number in its file, the value a dict.

    With `columns` only these are read.
    """


@dataclass(frozen=True, slots=True)
class Msgpack(Format):
    """A stream of msgpack objects: the key is the byte where an object begins, the value the object."""


@dataclass(frozen=True, slots=True)
class FixedLength(Format):
    """Binary records of `length` bytes each, behind `skip` bytes at the beginning of each file.

    The key is the byte where the record begins, the value its bytes.
    """

    length: int
    skip: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("length", 1, RECORD_BYTES), ("skip", 0, SKIP_BYTES)):
            given = getattr(self, name)
            if type(given) is not int or not least <= given <= most:
                msg = f"{name}= of FixedLength is a number of bytes from {least} to {most:,}, not {given!r}"
                raise JobDefinitionError(msg)


@dataclass(frozen=True, slots=True)
class Records(Format):
    """The typed parts of a former job without an output folder: keys and values as they were emitted."""


def _check_flag(option: str, name: str, given: object) -> None:
    if not isinstance(given, bool):
        msg = f"{option}= of {name} is True or False, not {given!r}"
        raise JobDefinitionError(msg)


def _checked_columns(name: str, columns: object) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if not isinstance(columns, (tuple, list)) or not all(isinstance(column, str) for column in columns):
        msg = f"columns= of {name} is a tuple of names, such as ('text', 'url'), not {columns!r}"
        raise JobDefinitionError(msg)
    if not columns or len(set(columns)) < len(columns):
        msg = f"columns= of {name} names at least one column, and each once, not {columns!r}"
        raise JobDefinitionError(msg)
    return tuple(columns)


def check_frames(given: object) -> None:
    """Raise JobDefinitionError for a format whose records are no rows of a frame."""
    if isinstance(given, Msgpack):
        raise JobDefinitionError(NO_FRAMES)


def check_format(option: str, given: object) -> Format:
    """Give the format. Raises JobDefinitionError for what is none, such as the class in place of an object."""
    if isinstance(given, type) and issubclass(given, Format):
        msg = f"write {option}={given.__name__}(), an object, not the class {given.__name__}"
        raise JobDefinitionError(msg)
    if not isinstance(given, Format):
        msg = f"{option}= must be a format, such as Text(), Csv() or Files(), not {given!r}"
        raise JobDefinitionError(msg)
    return given
