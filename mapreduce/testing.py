"""Testing a job: it runs in this process, on records that the test holds in its hands.

    from mapreduce.testing import run_on
    from word_count import job

    def test_words_are_counted():
        assert dict(run_on(job, ["a b", "a"])) == {"a": 2, "b": 1}

What a mapper, combiner or reducer raises is the cause of the JobFailed that a test sees, with the traceback of its own
lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mapreduce.api import to_the_point
from mapreduce.errors import JobFailed, UsageError
from mapreduce.formats import Arrow, Csv, Files, FixedLength, Format, JsonLines, Msgpack, Parquet, Text

if TYPE_CHECKING:
    from mapreduce.job import Job
    from mapreduce.result import Result

__all__ = ["run_on"]

SPLITS = 2  # the fewest in which a combiner, and the order of what several tasks emit, are at work


@to_the_point
def run_on(
    job: Job | ModuleType | str,
    records: Iterable[Any] | Mapping[str, Any],
    *,
    splits: int = SPLITS,
    params: Mapping[str, Any] | None = None,
    reducers: int | None = None,
    files: Mapping[str, Any] | None = None,
) -> Result:
    """Run a job on records that are written to temporary files in its input format; give its result.

    `records` is a list: of lines (Text), of what the documents say (JsonLines), of dicts or lists (Csv), of dicts
    (Parquet, Arrow), of objects (Msgpack), of bytes (FixedLength). It is cut into `splits` files, so that several
    map tasks read it. Or it is a dict from file names to such lists, or to contents where a file is a record (Files).
    For a job with named inputs it is a dict from their names to either. The other arguments are those of
    `mapreduce.run`.

    Raises JobFailed, whose `__cause__` is the exception itself, and UsageError for records that are none of the format.
    """
    from mapreduce.api import run  # noqa: PLC0415 - the job is found first
    from mapreduce.planner import load  # noqa: PLC0415 - imports the data plane
    from mapreduce.runners.private import PrivateFolder  # noqa: PLC0415 - as above
    from mapreduce.targets import LoadedTarget  # noqa: PLC0415 - as above
    from mapreduce.tracebacks import without_engine  # noqa: PLC0415 - as above

    if type(splits) is not int or splits < 1:
        raise UsageError(f"splits= is a whole number from 1 on, not {splits!r}")
    found = load(job)
    loaded = found.job if isinstance(found, LoadedTarget) else found
    sources = loaded.resolved[0].inputs
    with PrivateFolder() as private:
        inputs: dict[str, list[str]] = {}
        for number, source in enumerate(sources):
            assert source.format is not None, "the first step's inputs have a format"
            given = _of_input(records, source.name, [one.name for one in sources])
            folder = private.path / f"input-{number}"
            inputs[source.name] = _write(folder, given, source.format, loaded.encoding, splits)
        largest = max(Path(path).stat().st_size for paths in inputs.values() for path in paths)
        try:
            return run(
                job,
                inputs[""] if list(inputs) == [""] else inputs,
                params=params,
                reducers=reducers,
                split_size=max(largest, 1),  # a file a split: whole files are at most of this size, and share none
                files=files,
                runner="inline",
            )
        except JobFailed as error:
            if error.__cause__ is not None:
                error.__cause__.__traceback__ = without_engine(error.__cause__.__traceback__)
            raise


def _of_input(records: Any, name: str, names: list[str]) -> Any:
    """The records of one of the job's inputs."""
    if names == [""]:
        return records
    if not isinstance(records, Mapping) or set(records) != set(names):
        raise UsageError(f"the job has the inputs {', '.join(names)}: give a dict with the records of each")
    return records[name]


def _write(folder: Path, records: Any, input_format: Format, encoding: str, splits: int) -> list[str]:
    """Write the files of one input, and give their paths."""
    writer = next((writer for kind, writer in _WRITERS.items() if isinstance(input_format, kind)), None)
    if writer is None:
        raise UsageError(f"records of {type(input_format).__name__} cannot be written for a test: run a job before")
    if not isinstance(records, Mapping):
        if isinstance(records, str | bytes) or not isinstance(records, Iterable):
            raise UsageError(f"the records of a test are a list of them, not {records!r:.100}")
        if isinstance(input_format, Files):
            raise UsageError("with Files() a file is a record: give a dict from file names to contents")
        several = list(records)
        count = max(1, min(splits, len(several)))
        bounds = [len(several) * i // count for i in range(count + 1)]
        records = {f"records-{i}": several[bounds[i] : bounds[i + 1]] for i in range(count)}
    paths: list[str] = []
    for name, content in records.items():
        if (
            not isinstance(name, str)
            or not PurePosixPath(name).parts
            or {".", "..", "/"} & set(PurePosixPath(name).parts)
        ):
            raise UsageError(
                f"{name!r} is no name for a file of a test: write it like 'notes.txt' or 'folder/notes.txt'"
            )
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(writer(content, input_format, encoding))
        paths.append(str(path))
    if not paths:
        raise UsageError("there are no files for the test: give at least one")
    return paths


def _lines(records: Any, _format: Any, encoding: str) -> bytes:
    for line in records:
        if not isinstance(line, str) or "\n" in line:
            raise UsageError(f"a record of Text is a line without its end, not {line!r:.100}")
    return "".join(f"{line}\n" for line in records).encode(encoding)


def _documents(records: Any, given: JsonLines, encoding: str) -> bytes:
    try:
        lines = [json.dumps(one, ensure_ascii=False, allow_nan=given.nan) for one in records]
        return "".join(f"{line}\n" for line in lines).encode(encoding)
    except (TypeError, ValueError) as error:
        raise UsageError(f"records of JsonLines are what JSON can say: {error}") from error


def _table(records: Any, input_format: Csv, encoding: str) -> bytes:
    rows = list(records)
    kind = dict if input_format.header else list
    if not all(isinstance(row, kind) for row in rows):
        raise UsageError(f"records of {input_format!r} are of the type {kind.__name__}, and one is not")
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=input_format.separator)
    if input_format.header:
        names = list(rows[0]) if rows else []
        if any(list(row) != names for row in rows):
            raise UsageError("records of Csv have the same names, in the same order")
        writer.writerow(names)
    writer.writerows([row.values() if isinstance(row, dict) else row for row in rows])
    return text.getvalue().encode(encoding)


def _columns(records: Any, input_format: Format, _encoding: str) -> bytes:
    import polars as pl  # noqa: PLC0415 - heavy, and only for these formats

    rows = list(records)
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"records of {type(input_format).__name__} are dicts, at least one of them")
    file = io.BytesIO()
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if isinstance(input_format, Arrow):
        frame.write_ipc(file)
    else:
        frame.write_parquet(file)
    return file.getvalue()


def _packed(records: Any, _format: Any, _encoding: str) -> bytes:
    import msgpack  # noqa: PLC0415 - only for this format

    try:
        return b"".join(msgpack.packb(one, datetime=True) for one in records)
    except (TypeError, ValueError) as error:
        raise UsageError(f"records of Msgpack are what MessagePack can say: {error}") from error


def _fixed(records: Any, input_format: FixedLength, _encoding: str) -> bytes:
    for record in records:
        if not isinstance(record, bytes) or len(record) != input_format.length:
            raise UsageError(f"a record of {input_format!r} is {input_format.length} bytes, not {record!r:.100}")
    return bytes(input_format.skip) + b"".join(records)


def _content(content: Any, _format: Any, encoding: str) -> bytes:
    if isinstance(content, str):
        return content.encode(encoding)
    if isinstance(content, bytes):
        return content
    raise UsageError(f"the content of a file is bytes or a str, not {content!r:.100}")


_WRITERS: dict[type[Format], Callable[[Any, Any, str], bytes]] = {
    Text: _lines,
    JsonLines: _documents,
    Csv: _table,
    Parquet: _columns,
    Arrow: _columns,
    Msgpack: _packed,
    FixedLength: _fixed,
    Files: _content,
}
