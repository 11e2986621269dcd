"""Bad records, put aside: the file that an attempt writes of them.

A line of JSON for each says where it is, what failed and how, and what it was. A reader refuses records before those
around them reach the user's functions: so lines of both lie in files of their own, in scratch, until the attempt's end,
which puts them together in the order of the input. That file lies in the shared output folder, since intermediate
results stay with the workers that made them. Refuses more records than a task alone may put aside.
"""

from __future__ import annotations

import base64
import heapq
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from uuid import UUID

from mapreduce.dataflow.context import printable, shorten
from mapreduce.dataflow.disk import sync_file, sync_folder
from mapreduce.dataflow.manifest.attempts import deliver_bad, private_folder
from mapreduce.dataflow.manifest.disk import unwritable
from mapreduce.errors import RecordError
from mapreduce.file_names import bad_file_name
from mapreduce.max_bad import KINDS, OTHERS, TooManyBad, is_too_many, too_many
from mapreduce.plan import AttemptId, Failure, Split, TaskOptions
from mapreduce.quick_dataclass import dataclass
from mapreduce.secret_urls import without_secrets

if TYPE_CHECKING:
    from mapreduce.dataflow.tasks.setup import TaskSetup

CONTENT_CHARS = 64 << 10  # of a record in `_bad`: larger ones are known by their beginning
STORY_CHARS = 4000  # of the last bad record's traceback: it crosses the wire with each task's outcome
PLACE_CHARS = 200  # of an example's place
KIND_CHARS = 80
MEMORY_BYTES = 16 << 20  # of those of a table that every process holds: the table itself is meant to be small
_TEXTUAL = (date, time, timedelta, Decimal, UUID)  # whose text says all
LISTED = 100  # values of a group that are shown: its reducer may have failed over millions
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in reprs of objects: another at each run
_REPEATED = re.compile(r"(\[Previous line repeated )\d+( more times?\])")  # until a stack is full, of which we had some


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that is put aside: its `failure`, the `kind` of it, and what it was (text, bytes or an object)."""

    failure: Failure
    kind: str
    content: Any = None


class Aside:
    """Takes the bad records of one attempt. `counts`, `places` and `last` are the fields `bad...` of its Done.

    `split` is what the attempt reads, by which records are put in order.
    """

    def __init__(self, attempt: AttemptId, options: TaskOptions, scratch: Path, split: Split | None = None) -> None:
        assert options.max_bad is not None, "a job that puts nothing aside"
        self._attempt = attempt
        self._options = options
        self._limit = options.max_bad
        self._scratch = scratch
        self._path = private_folder(options, scratch) / bad_file_name(attempt)
        self._failed: IO[bytes] | None = None  # lines of records on which a function has failed
        self._refused: IO[bytes] | None = None  # and of those that the reader refused
        pieces = () if split is None else split.pieces
        self._order = {without_secrets(piece.path): number for number, piece in enumerate(pieces)}
        self.counts: dict[str, int] = {}
        self.places: dict[str, str] = {}
        self.last: Failure | None = None

    @classmethod
    def of(cls, setup: TaskSetup, split: Split | None = None) -> Self | None:
        """That of an attempt, None where its job takes no bad records."""
        return None if setup.options.max_bad is None else cls(setup.attempt, setup.options, setup.scratch, split)

    @property
    def records(self) -> int:
        """How many have been put aside."""
        return sum(self.counts.values())

    def put(self, bad: BadRecord, error: BaseException | None = None, *, refused: bool = False) -> None:
        """Write a record down, which the reader has `refused` or a function has failed on.

        Raises TooManyBad, caused by `error`; DiskFullError.
        """
        kind = self._counted(bad.kind)
        line = _line(self._attempt, replace(bad, kind=kind))
        self.put_lines(line, {kind: 1}, {kind: _place_of(bad.failure)}, refused=refused)
        self.last = _short(bad.failure)
        if is_too_many(self._limit, self.counts, 0, maps_done=False):
            raise TooManyBad(too_many(self._limit, self.counts, self.places, self.last)) from error

    def put_lines(
        self, lines: bytes, counts: Mapping[str, int], places: Mapping[str, str], *, refused: bool = False
    ) -> None:
        """Write records down that are lines already, so many of each kind."""
        if refused:
            self._refused = self._refused or self._open()
            self._refused.write(lines)
        else:
            self._failed = self._failed or self._open()
            self._failed.write(lines)
        for kind, count in counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.places.setdefault(kind, places.get(kind, ""))

    def lines(self) -> Iterator[bytes]:
        """The lines of all records, in the order of the input."""
        return heapq.merge(*map(_from_start, self._files()), key=self._position)

    def finish(self) -> None:
        """Write the file, if there is a record: it is on the disk then, or in the store."""
        if not self._files():
            return
        try:
            with self._path.open("wb") as file:
                file.writelines(self.lines())
            self._close()
            if self._options.durable:
                sync_file(self._path)
                sync_folder(self._path.parent)
            deliver_bad(self._options, self._path, self._attempt)
        except OSError as error:
            raise unwritable(Path(self._options.output), error) from error

    def abort(self) -> None:
        """Remove what was written."""
        if self._files():
            self._close()
            self._path.unlink(missing_ok=True)

    def _files(self) -> list[IO[bytes]]:
        return [file for file in (self._failed, self._refused) if file is not None]

    def _close(self) -> None:
        for file in self._files():
            file.close()

    def _open(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._scratch)

    def _position(self, line: bytes) -> tuple[int, int]:
        """Where a record lies in what the attempt reads: which piece, and which byte, as far as it is known."""
        facts = json.loads(line)
        return self._order.get(facts["path"], len(self._order)), facts["offset"] or 0

    def _counted(self, kind: str) -> str:
        """The kind under which to count one: the last of too many is OTHERS."""
        kind = kind[:KIND_CHARS]
        return kind if kind in self.counts or len(self.counts) < KINDS else OTHERS


class AsideInMemory(Aside):
    """Those of an input that every process loads whole, held for the one task that tells of them."""

    def _open(self) -> IO[bytes]:
        return io.BytesIO()

    def hand_to(self, other: Aside) -> None:
        """Have another write them down."""
        if self.records:
            other.put_lines(b"".join(self.lines()), self.counts, self.places)
            other.last = self.last

    def put_lines(
        self, lines: bytes, counts: Mapping[str, int], places: Mapping[str, str], *, refused: bool = False
    ) -> None:
        """Hold records. Raises RecordError where they are too many to be held."""
        super().put_lines(lines, counts, places, refused=refused)
        if sum(file.tell() for file in self._files()) > MEMORY_BYTES:
            raise RecordError(
                f"the bad records of the input that is joined to take more than {MEMORY_BYTES >> 20} MB: mend it first"
            )


def _from_start(file: IO[bytes]) -> Iterable[bytes]:
    file.seek(0)
    return file


def _line(attempt: AttemptId, bad: BadRecord) -> bytes:
    failure = bad.failure
    content, is_base64, length = _content(bad.content)
    facts = {
        "path": failure.path,
        "offset": failure.offset,
        "key": None if failure.key is None else _steady(failure.key),
        "kind": bad.kind,
        "message": _steady(failure.message),
        "function": failure.function,
        "step": attempt.task.step + 1,
        "task": str(attempt.task),
        "traceback": _steady(failure.traceback),
        "content": content,
        "base64": is_base64,
        "length": length,
    }
    try:
        return (json.dumps(facts, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can say and UTF-8 cannot
        return (json.dumps(facts) + "\n").encode()


def _content(content: Any) -> tuple[str | None, bool, int | None]:
    """A record as text, whether that is base64, and how long all of it is (in characters, or bytes)."""
    if content is None:
        return None, False, None
    if isinstance(content, (bytes, bytearray)):
        return base64.b64encode(content[:CONTENT_CHARS]).decode(), True, len(content)
    text = content if isinstance(content, str) else _text_of(content)
    return text[:CONTENT_CHARS], False, len(text)


def _text_of(content: Any) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, default=_plain)
    except Exception:  # noqa: BLE001 - keys that JSON does not have, an object's own code: no reason to fail here
        return _shown(content)


def _plain(thing: Any) -> Any:
    """What stands in JSON for a thing that it does not have."""
    if isinstance(thing, (bytes, bytearray)):
        return {"base64": base64.b64encode(thing).decode()}
    return str(thing) if isinstance(thing, _TEXTUAL) else _shown(thing)


def _shown(thing: Any) -> str:
    try:
        return _steady(repr(thing))
    except Exception:  # noqa: BLE001 - a user's __repr__ must not hide the failure that is being told
        return shorten(thing)  # which names it


def _steady(text: str) -> str:
    """Text without addresses and without the depth of stacks: the same record has the same bytes in every run."""
    return _REPEATED.sub(r"\1...\2", _ADDRESS.sub(" at 0x...", text))


def _place_of(failure: Failure) -> str:
    """Where a record is, in a few words."""
    if failure.path is not None:
        text = failure.path if failure.offset is None else f"{failure.path}, byte {failure.offset}"
    elif failure.key is not None:
        text = f"the key {_steady(failure.key)} of {failure.task}"
    else:
        text = failure.task or ""
    return text if len(text) <= PLACE_CHARS else f"{text[: PLACE_CHARS - 1]}…"


def _short(failure: Failure) -> Failure:
    """A story that is small enough to go with each task's outcome."""
    text = printable(failure.traceback)
    short = text if len(text) <= STORY_CHARS else f"…{text[1 - STORY_CHARS :]}"
    return replace(failure, message=printable(failure.message), traceback=short)


def cause_of(error: BaseException) -> BaseException:
    """What a debugger is to stop at: of too many bad records, what the last of them raised."""
    return error.__cause__ or error if isinstance(error, TooManyBad) else error
