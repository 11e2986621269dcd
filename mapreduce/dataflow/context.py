"""What a user's function gets as `ctx`: counters, where it stands in the input, random numbers, warnings.

Owns the `Context` of one attempt and the `Site`, the note of what user code is at work, from which a failure is
described. Nothing here is computed before it is asked for: the loops pay nothing for a context that is not used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import xxhash

from mapreduce import config
from mapreduce.dataflow.tasks.no_outputs import NoOutputs, Output
from mapreduce.errors import RecordError
from mapreduce.quick_dataclass import dataclass
from mapreduce.secret_urls import without_secrets
from mapreduce.travel.side_files import TravelledFiles

if TYPE_CHECKING:
    from pathlib import Path

    from mapreduce.plan import AttemptId

Place = tuple[str, int | None]  # an input path and a byte offset in it, if known


class Counters(dict[str, int]):
    """The counters of one attempt: `ctx.counters["docs"] += 1`; a name that is new starts at 0."""

    def __missing__(self, name: str) -> int:
        """Give 0 for a new name. Raises RecordError for a name that counters cannot have, or one too many."""
        _check_counter_name(name)
        if len(self) >= config.COUNTERS:
            raise RecordError(_TOO_MANY_COUNTERS)
        return 0

    def checked(self) -> dict[str, int]:
        """Give the counters as a plain dict, sorted by name. Raises RecordError for what no counter can be."""
        if len(self) > config.COUNTERS:
            raise RecordError(_TOO_MANY_COUNTERS)
        for name, count in self.items():
            _check_counter_name(name)
            if type(count) is not int or not -(2**63) <= count < 2**63:
                msg = f"the counter {name!r} is {count!r:.200}; a counter is an int of 64 bits: count with += 1"
                raise RecordError(msg)
        return dict(sorted(self.items()))


_TOO_MANY_COUNTERS = (
    f"more than {config.COUNTERS} counters: a counter for each word or file is a result, so yield it as a pair instead"
)


def _check_counter_name(name: object) -> None:
    if type(name) is not str or not 0 < len(printable(name).encode()) <= config.COUNTER_NAME_CHARS:
        msg = f"a counter's name is a str of 1 to {config.COUNTER_NAME_CHARS} bytes in UTF-8, not {name!r:.200}"
        raise RecordError(msg)
    if printable(name) != name:
        raise RecordError(f"a counter's name is text, and {name!r} has a lone surrogate, which no encoding takes")


class PreviousCounters(dict[str, int]):
    """Counters of earlier steps."""

    def __missing__(self, name: object) -> int:
        """Raise RecordError for what no step has counted: 0 would hide a name that is misspelt."""
        known = ", ".join(map(repr, self)) or "nothing"
        raise RecordError(
            f"the steps before have not counted {name!r:.200}, but {known:.500}: write "
            f"ctx.previous.counters.get({name!r:.200}, 0) if that may be"
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """What the earlier steps left: `counters` of all of them, added up by name; `steps` those of each, in order."""

    steps: tuple[Mapping[str, int], ...] = ()

    @property
    def counters(self) -> dict[str, int]:
        """The counters of all earlier steps, added up by name."""
        total = PreviousCounters()
        for step in self.steps:
            for name, count in step.items():
                total[name] = total.get(name, 0) + count
        return total


@dataclass(slots=True)
class Site:
    """Which user code is at work, and on what: filled in when something fails, from which the failure is described.

    `place` computes the path and offset of the record at hand; `file` is the path alone, where all records of the block
    at hand have the same. `users` says whose failure it is, True for the user's,
    set by whoever is nearest to where it happened; None until then.
    """

    function: str | None = None
    place: Callable[[], Place] | None = None
    file: str | None = None
    path: str | None = None
    offset: int | None = None
    key: str | None = None
    record: str | None = None
    users: bool | None = None

    def blame(self, function: str, key: str | None = None) -> None:
        """Note that a user's function failed; the first to say so is right, since it was nearest."""
        if self.users is None:
            self.users, self.function, self.key = True, function, key

    def spare_user(self) -> None:
        """Note that the engine's own code failed, while it did not run a user's function."""
        if self.users is None:
            self.users = False

    def clear(self) -> None:
        """Forget what has failed: it has been dealt with."""
        self.function = self.path = self.key = self.record = None
        self.offset = self.users = None


@dataclass(slots=True)
class Warnings:
    """The warnings of one attempt: each text once, in order, bounded in number and length; text that any wire takes."""

    texts: dict[str, None] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Keep a warning; from the `config.WARNINGS`-th on they are dropped, and the last kept one says so."""
        text = printable(str(text))
        if len(text) > config.WARNING_CHARS:
            text = text[: config.WARNING_CHARS - 1] + "…"
        if text in self.texts:
            return
        if len(self.texts) < config.WARNINGS - 1:
            self.texts[text] = None
        else:
            self.texts["more warnings of this kind were dropped"] = None


class Context:
    """What one attempt shows to the user's functions (their keyword-only parameter `ctx`).

    Attributes: `counters` (committed attempts count once), `params` (the job's parameters), `files` (the paths of the
    files that travelled with the job, by their names), `task` (such as "map 3"),
    `index` (the task's number within its step), `attempt` (the number of this try: it differs between retries, so
    results must not depend on it), `previous` (the earlier steps' counters), `outputs` (the job's named outputs, where
    results are made).
    """

    def __init__(
        self,
        attempt: AttemptId,
        *,
        seed: int = 0,
        params: Mapping[str, Any] | None = None,
        previous: tuple[Mapping[str, int], ...] = (),
        site: Site | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self.counters = Counters()
        self.outputs: Mapping[str, Output] = NoOutputs(str(attempt.task))
        self.params: Mapping[str, Any] = dict(params or {})
        self.files: Mapping[str, Path] = TravelledFiles(files or {})
        self.previous = Previous(previous)
        self.task = str(attempt.task)
        self.index = attempt.task.index
        self.attempt = attempt.number
        self._id = attempt.task
        self._seed = seed
        self._site = site or Site()
        self._warnings = Warnings()
        self._random: random.Random | None = None

    @property
    def path(self) -> str:
        """The input file of the record at hand. Raises RecordError outside a mapper of the first step."""
        return self._site.file or self._place()[0]

    @property
    def offset(self) -> int:
        """The byte offset of the record at hand in its (decompressed) file; raises like `path`."""
        offset = self._place()[1]
        if offset is None:
            raise RecordError(
                "ctx.offset is not known here: it is a mapper's, while it is at work on a record of a format that has "
                "byte offsets (Text, JsonLines, Csv)"
            )
        return offset

    @property
    def random(self) -> random.Random:
        """Random numbers seeded by the job's seed and this task: the same at every run and every retry."""
        if self._random is None:
            self._random = random.Random(self._stream())  # noqa: S311 - not for secrets
        return self._random

    def _stream(self) -> int:
        """What seeds the random numbers."""
        name = f"{self._seed}/{self._id.step}/{self._id.kind.value}/{self._id.index}"
        return xxhash.xxh3_64_intdigest(name.encode())

    @property
    def has_drawn(self) -> bool:
        """Whether `random` has been asked for."""
        return self._random is not None

    def random_state(self) -> object:
        """The state of the random numbers, None before the first was asked for."""
        return None if self._random is None else self._random.getstate()

    def set_random_state(self, state: Any) -> None:
        """Go back to an earlier state of the random numbers, in place: a user's object may hold on to them."""
        if self._random is None:
            return
        if state is None:
            self._random.seed(self._stream())
        else:
            self._random.setstate(state)

    def set_counters(self, counters: Mapping[str, int]) -> None:
        """Go back to earlier counts, in place: a user's object may hold on to them."""
        self.counters.clear()
        self.counters.update(counters)

    def warn(self, text: str) -> None:
        """Show a warning with the job's result; the same text is shown once."""
        self._warnings.add(text)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings so far."""
        return tuple(map(without_secrets, self._warnings.texts))

    def _place(self) -> Place:
        if self._site.place is None:
            raise RecordError(
                "ctx.path and ctx.offset are known only to a mapper of the first step: let it yield what later "
                "functions need of them"
            )
        return self._site.place()


def printable(text: str) -> str:
    """Escape lone surrogates, which nothing that is UTF-8 takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def kind_of(thing: object) -> str:
    """Give the type of a thing with its article, for sentences."""
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def shorten(thing: object) -> str:
    """Give the repr of a key or record, at most `config.RECORD_CHARS` long; a repr that raises is named, not raised."""
    if type(thing) in {str, bytes} and len(thing) > config.RECORD_CHARS:  # type: ignore[arg-type]
        return f"{thing[: config.RECORD_CHARS - 40]!r:.{config.RECORD_CHARS}}… ({len(thing):,} long)"  # type: ignore[index,arg-type]
    try:
        text = repr(thing)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ must not hide the failure that is being told
        return f"<{type(thing).__name__} whose repr raises {type(error).__name__}>"
    if len(text) <= config.RECORD_CHARS:
        return text
    return text[: config.RECORD_CHARS - 1] + "…"
