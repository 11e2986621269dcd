"""Formats of inputs and outputs: what a user names in a job, as plain descriptions. Reads and writes nothing.

What a record is in each format, and how a file of it is cut, is `dataflow.readers`; how outputs are written is
`dataflow.outputs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapreduce.errors import JobDefinitionError


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


@dataclass(frozen=True, slots=True)
class Csv(Format):
    """Comma-separated values (RFC 4180): the key is the record's number in its file, from 0 on.

    With `header` (the default) the value is a dict of str by the names in the file's first record, else a list of str.
    """

    header: bool = True
    separator: str = ","

    def __post_init__(self) -> None:
        if not isinstance(self.separator, str) or len(self.separator) != 1 or self.separator in '\r\n"':
            msg = f"separator= of Csv is one character, such as ';' or '\\t', not {self.separator!r}"
            raise JobDefinitionError(msg)


@dataclass(frozen=True, slots=True)
class JsonLines(Format):
    """A JSON document on each line: the key is the line's byte offset, the value what the document says."""


@dataclass(frozen=True, slots=True)
class Parquet(Format):
    """Rows of Parquet files: the key is the row's number in its file, the value a dict by column.

    With `columns` only these are read.
    """

    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.columns is None:
            return
        columns: object = self.columns
        if not isinstance(columns, (tuple, list)) or not all(isinstance(name, str) for name in columns):
            msg = f"columns= of Parquet is a tuple of names, such as ('text', 'url'), not {self.columns!r}"
            raise JobDefinitionError(msg)
        if not columns or len(set(columns)) < len(columns):
            msg = f"columns= of Parquet names at least one column, and each once, not {self.columns!r}"
            raise JobDefinitionError(msg)
        object.__setattr__(self, "columns", tuple(columns))


@dataclass(frozen=True, slots=True)
class Records(Format):
    """The typed parts of a former job without an output folder: keys and values as they were emitted."""


OUTPUT_FORMATS = ("tsv", "jsonl", "parquet")  # what a user may name; "records" (typed, ours) is for results in memory


def check_format(option: str, given: object) -> Format:
    """Give the format. Raises JobDefinitionError for what is none, such as the class in place of an object."""
    if isinstance(given, type) and issubclass(given, Format):
        msg = f"write {option}={given.__name__}(), an object, not the class {given.__name__}"
        raise JobDefinitionError(msg)
    if not isinstance(given, Format):
        msg = f"{option}= must be a format, such as Text(), Csv() or Files(), not {given!r}"
        raise JobDefinitionError(msg)
    return given


def check_output_format(option: str, given: object) -> str:
    """Give the name of an output format. Raises JobDefinitionError for what is none."""
    if given not in OUTPUT_FORMATS:
        msg = f"{option} must be one of {', '.join(OUTPUT_FORMATS)}, not {given!r}"
        raise JobDefinitionError(msg)
    return str(given)
