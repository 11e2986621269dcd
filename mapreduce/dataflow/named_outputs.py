"""The named outputs of one attempt: what `ctx.outputs["errors"].write(key, value)` collects, checks and writes.

Each has a part beside the attempt's own, empty or not, so that the parts of all outputs belong together. Records are
held a chunk at a time. A chunk that cannot be written fails the attempt even if user code catches the exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mapreduce.dataflow.columns import make_batch
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.emit import CHUNK_BYTES, CHUNK_RECORDS, weight
from mapreduce.dataflow.keys import normalise_key
from mapreduce.dataflow.manifest_file import temporary_folder
from mapreduce.dataflow.outputs import PartWriter, pickled_result
from mapreduce.dataflow.values import SCALARS, Encoded, encode_value, holds_pickle
from mapreduce.errors import KeyTypeError, RecordError, ValueTypeError
from mapreduce.plan import AttemptId, PartInfo, TaskOptions, attempt_output_name

_PLAIN_KEYS = frozenset({str, int, bytes, bool})  # keys as they are: nothing to normalise


class NamedOutput:
    """One named output, as a user's function has it."""

    def __init__(self, name: str, writer: PartWriter, site: Site) -> None:
        self._name = name
        self._writer: PartWriter | None = writer
        self._site = site
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._size = 0
        self._broken: Exception | None = None

    def __repr__(self) -> str:
        return f"ctx.outputs[{self._name!r}]"

    def write(self, key: Any, value: Any) -> None:
        """Write a record to this output; records stay in the order in which they are written.

        Raises KeyTypeError and ValueTypeError for what cannot be a key or a result, RecordError after the task's end.
        """
        if self._writer is None:
            raise RecordError(f"{self!r} is used after the end of its task: keep no ctx from one task to the next")
        if type(key) not in _PLAIN_KEYS:
            key = self._normal(key)
        kept = value if type(value) in SCALARS else self._settled(key, value)
        self._keys.append(key)
        self._values.append(kept)
        self._size += weight(key) + weight(kept)
        if self._size >= CHUNK_BYTES or len(self._keys) >= CHUNK_RECORDS:
            self._flush()

    def _normal(self, key: Any) -> Any:
        try:
            return normalise_key(key)
        except KeyTypeError as error:
            raise KeyTypeError(f"{self!r} got the key {shorten(key):.200} ({type(key).__name__}): {error}") from error

    def _settled(self, key: Any, value: Any) -> Any:
        """The value as it is now: what the user's function may still change is encoded."""
        if type(value) is tuple and SCALARS.issuperset(map(type, value)):
            return value
        try:
            encoded = encode_value(value)
            if holds_pickle(encoded):
                raise pickled_result(value)
        except ValueTypeError as error:
            raise ValueTypeError(f"{self!r} got a value under the key {shorten(key):.200}: {error}") from error
        return Encoded(encoded)

    def _flush(self) -> None:
        if self._broken is not None:
            raise self._broken
        if not self._keys:
            return
        assert self._writer is not None, "what is written is flushed before the end"
        batch = make_batch(self._keys, self._values)
        self._keys.clear()
        self._values.clear()
        self._size = 0
        try:
            self._writer.write_batch(batch)
        except Exception as error:
            # Of an earlier record than the one at hand, so that what user code makes of the exception is no matter.
            self._site.blame(f"{self!r}.write")
            self._broken = self._named(error)
            raise

    def close(self) -> PartInfo:
        """Write what is left, and give the facts of the part."""
        self._flush()
        assert self._writer is not None, "a part is closed once"
        try:
            info = self._writer.close()
        except ValueTypeError as error:
            self._named(error)
            raise
        self._writer = None
        return info

    def _named(self, error: Exception) -> Exception:
        """The error, which says of a value that cannot be written to which output."""
        if isinstance(error, ValueTypeError):
            error.args = (f"{self!r}: {error}",)
        return error

    def abort(self) -> None:
        """Remove the part; does nothing after `close`."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()


class NamedOutputs(Mapping[str, NamedOutput]):
    """All named outputs of one attempt, by their names."""

    def __init__(self, attempt: AttemptId, options: TaskOptions, site: Site) -> None:
        """Open the parts. Raises DiskFullError, OutputError."""
        folder = temporary_folder(options.output, options.job)
        self._outputs: dict[str, NamedOutput] = {}
        try:
            for name, output_format in options.outputs:
                path = Path(folder) / attempt_output_name(attempt, name)
                self._outputs[name] = NamedOutput(name, PartWriter(path, output_format, durable=options.durable), site)
        except BaseException:
            self.abort()
            raise

    def __getitem__(self, name: str) -> NamedOutput:
        found = self._outputs.get(name)
        if found is None:
            raise RecordError(no_output(name, self._outputs))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def close(self) -> dict[str, PartInfo]:
        """Finish all parts. Gives the facts of each."""
        return {name: output.close() for name, output in self._outputs.items()}

    def abort(self) -> None:
        """Remove all parts that are not finished."""
        for output in self._outputs.values():
            output.abort()


def no_output(name: object, known: Mapping[str, object]) -> str:
    """What is said of an output that the job does not have."""
    if not known:
        return f'the job has no named output {name!r}: write Job(..., outputs={{"{name}": "jsonl"}})'
    return f"the job has no named output {name!r}: it has {', '.join(map(repr, known))}"
