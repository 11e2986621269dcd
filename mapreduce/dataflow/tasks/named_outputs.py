"""The named outputs of one attempt: what `ctx.outputs["errors"].write(key, value)` collects, checks and writes.

Each has a part beside the attempt's own, empty or not, so that the parts of all outputs belong together. Records are
held a chunk at a time. A chunk that cannot be written fails the attempt even if user code catches the exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mapreduce.dataflow.columns.batches import make_batch
from mapreduce.dataflow.columns.keys import PLAIN_KEYS, normalise_key
from mapreduce.dataflow.columns.values import SCALARS, Encoded, encode_value, holds_pickle
from mapreduce.dataflow.context import Site, shorten
from mapreduce.dataflow.manifest.attempts import private_folder
from mapreduce.dataflow.outputs.files import Writing
from mapreduce.dataflow.outputs.parts import PartWriter, pickled_result
from mapreduce.dataflow.tasks.emit import CHUNK_BYTES, CHUNK_RECORDS, weight
from mapreduce.errors import KeyTypeError, RecordError, ValueTypeError
from mapreduce.file_names import attempt_output_name
from mapreduce.plan import AttemptId, PartInfo, TaskOptions

HELD_BYTES = 64 << 20  # that one record writes, held until it is through: as large as a sort buffer


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
        self._held: list[tuple[Any, Any]] | None = None
        self._held_size = 0
        self._let_go: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"ctx.outputs[{self._name!r}]"

    def write(self, key: Any, value: Any) -> None:
        """Write a record to this output; records stay in the order in which they are written.

        Raises KeyTypeError and ValueTypeError for what cannot be a key or a result, RecordError after the task's end.
        """
        if self._writer is None:
            raise RecordError(f"{self!r} is used after the end of its task: keep no ctx from one task to the next")
        if type(key) not in PLAIN_KEYS:
            key = self._normal(key)
        kept = value if type(value) in SCALARS else self._settled(key, value)
        if self._held is None:
            self._add(key, kept)
            return
        self._held.append((key, kept))
        self._held_size += weight(key) + weight(kept)
        if self._held_size > HELD_BYTES and self._let_go is not None:
            self._let_go()
            self.release()

    def hold(self, let_go: Callable[[], None]) -> None:
        """Hold what is written from now on, so that it can be taken back; `let_go` is called when it is too much."""
        self._held, self._held_size, self._let_go = [], 0, let_go

    def check(self) -> None:
        """Raise ValueTypeError, which names this output, where a record that is held cannot be written."""
        if not self._held or self._writer is None:
            return
        try:
            self._writer.check(make_batch([key for key, _ in self._held], [kept for _, kept in self._held]))
        except ValueTypeError as error:
            self._named(error)
            raise

    def take_back(self) -> None:
        """Forget what is held."""
        self._held = None

    def release(self) -> None:
        """Write what is held."""
        held, self._held = self._held, None
        for key, kept in held or ():
            self._add(key, kept)

    def _add(self, key: Any, kept: Any) -> None:
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

    def __init__(
        self, attempt: AttemptId, options: TaskOptions, site: Site, scratch: Path, writing: Writing | None = None
    ) -> None:
        """Open the parts; `writing` is what all parts of the attempt share. Raises DiskFullError, OutputError."""
        writing = writing or Writing.of(options)
        folder = private_folder(options, scratch)
        self._outputs: dict[str, NamedOutput] = {}
        try:
            for name, output_format in options.outputs:
                path = folder / attempt_output_name(attempt, name)
                self._outputs[name] = NamedOutput(name, PartWriter(path, output_format, writing=writing), site)
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

    def hold(self, let_go: Callable[[], None]) -> None:
        """Hold what is written to any of them, see NamedOutput."""
        for output in self._outputs.values():
            output.hold(let_go)

    def check(self) -> None:
        """Raise ValueTypeError where a record that is held cannot be written."""
        for output in self._outputs.values():
            output.check()

    def take_back(self) -> None:
        """Forget what is held."""
        for output in self._outputs.values():
            output.take_back()

    def release(self) -> None:
        """Write what is held."""
        for output in self._outputs.values():
            output.release()

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
