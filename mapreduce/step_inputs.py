"""One of the inputs of a step, as a user writes it, and what is refused of inputs."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from mapreduce.errors import JobDefinitionError
from mapreduce.formats import Format, check_format, check_frames

K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)

MAPPERS = ("mapper", "keys", "records")
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAKEN_NAMES = frozenset({"key", "values", "ctx"})  # of a reducer's other parameters
INPUTS = 100  # of a step: a reducer with more parameters cannot be read
BATCH_SIZE = 1_000_000  # records: a list of more is no batch


class MapperObject(Protocol[K_co, V_co]):
    """An object of a mapper class: called with each record, gives pairs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Iterable[tuple[K_co, V_co]] | None:
        """Give the pairs of one record."""


class KeysObject(Protocol[K_co]):
    """An object of a class given as `keys`: called with each record, gives keys."""

    def __call__(self, *args: Any, **kwargs: Any) -> Iterable[K_co] | None:
        """Give the keys of one record."""


class Input:
    """One of several inputs of a step: how its files are read, and its mapper.

    At most one of mapper, keys, records; with none of them records pass unchanged. `format` is Text() if None. See Step
    for `batch_size` and `frames`. Raises JobDefinitionError.
    """

    def __init__(
        self,
        mapper: Callable[..., Iterable[tuple[Any, Any]] | None] | type[MapperObject[Any, Any]] | None = None,
        *,
        keys: Callable[..., Iterable[Any] | None] | type[KeysObject[Any]] | None = None,
        records: Callable[..., Iterable[Any] | None] | None = None,
        format: Format | None = None,  # noqa: A002 - what it is called everywhere
        batch_size: int | None = None,
        frames: bool = False,
    ) -> None:
        self.parts: dict[str, Any] = {
            "mapper": mapper,
            "keys": keys,
            "records": records,
            "format": format,
            "batch_size": batch_size,
            "frames": frames,
        }
        check_input(self.parts, "an Input")

    def __reduce__(self) -> tuple[Callable[..., Input], tuple[dict[str, Any]]]:
        """Travel as what was written, and be checked again there."""
        return _input_of, (self.parts,)

    def __repr__(self) -> str:
        return f"Input({shown(self.parts)})"


def _input_of(parts: dict[str, Any]) -> Input:
    return Input(**parts)


def check_input(parts: dict[str, Any], where: str) -> None:
    """Check what says how one input is read and mapped. Raises JobDefinitionError, which begins with `where`."""
    given = [name for name in MAPPERS if parts[name] is not None]
    batch_size, frames = parts["batch_size"], parts["frames"]
    if parts["format"] is not None:
        check_format("input" if where == "a step" else "format", parts["format"])
    if frames is True:
        check_frames(parts["format"])
    if not isinstance(frames, bool):
        msg = f"frames= is True or False, not {frames!r}"
    elif len(given) > 1:
        msg = f"{where} has one of mapper, keys and records, not {' and '.join(given)}"
    elif batch_size is not None and not _is_size(batch_size):
        msg = f"batch_size= must be a whole number from 1 to {BATCH_SIZE:,}, not {batch_size!r}"
    elif batch_size is not None and frames:
        msg = "batch_size= hands over lists and frames= Polars frames: give one of them"
    elif batch_size is not None and not given:
        msg = f"batch_size= is for a mapper, and {where} has none"
    elif frames and set(given) - {"mapper"}:
        msg = f"with frames=True {where} has mapper=, which gives frames, and not {given[0]}="
    else:
        return
    raise JobDefinitionError(msg)


def _is_size(batch_size: Any) -> bool:
    return isinstance(batch_size, int) and not isinstance(batch_size, bool) and 1 <= batch_size <= BATCH_SIZE


def check_inputs(parts: dict[str, Any], given: set[str]) -> None:
    """Check a step's several inputs. Raises JobDefinitionError."""
    inputs = parts["inputs"]
    strange = [name for name in (*MAPPERS, "input", "batch_size") if name in given]
    if not isinstance(inputs, Mapping) or not 1 <= len(inputs) <= INPUTS:
        msg = f'inputs= is a dict of 1 to {INPUTS} inputs, such as {{"users": Input(mapper)}}, not {inputs!r:.200}'
    elif strange:
        msg = f"a step with inputs= says mapper and format in each Input: move {' and '.join(strange)} there"
    else:
        for name, one in inputs.items():
            if not isinstance(name, str) or not INPUT_NAME.fullmatch(name):
                msg = f"the input {name!r} needs a name of letters, digits and _, as it is written on the command line"
                raise JobDefinitionError(msg)
            if name in TAKEN_NAMES or keyword.iskeyword(name):
                msg = f"an input cannot be called {name!r}, since a reducer's parameter for its values could not be"
                raise JobDefinitionError(msg)
            if not isinstance(one, Input):
                msg = f"the input {name!r} must be an Input(...), such as Input(mapper, format=Csv()), not {one!r:.200}"
                raise JobDefinitionError(msg)
        if len({one.parts["records"] is None for one in inputs.values()}) > 1:
            msg = "either all inputs have records=, which gives values without keys, or none has"
            raise JobDefinitionError(msg)
        return
    raise JobDefinitionError(msg)


def shown(parts: dict[str, Any]) -> str:
    """What was given, for a repr."""
    texts = []
    for name, part in parts.items():
        if part is not None and part is not False:
            title = getattr(part, "__qualname__", None) if inspect.isroutine(part) else None
            texts.append(f"{name}={title or getattr(part, '__name__', repr(part))}")
    return ", ".join(texts)
