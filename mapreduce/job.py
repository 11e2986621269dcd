"""What a user writes: Job and Step. Everything that can be wrong about them is refused when they are made.

Owns the definition and its checks. Where a job is found (a file, a module, a demo) is `targets`; how it is called is
`calls`; how it travels is `package`.
"""

from __future__ import annotations

import codecs
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from mapreduce.aggregators import Aggregator, Max, Mean, Min, Sum
from mapreduce.calls import Call, read_call
from mapreduce.errors import JobDefinitionError
from mapreduce.parameters import Parameter, merge_parameters

K = TypeVar("K")
V = TypeVar("V")
K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)
ReducerOptions = ParamSpec("ReducerOptions")
CombinerOptions = ParamSpec("CombinerOptions")
PartitionerOptions = ParamSpec("PartitionerOptions")

STEPS = 100  # of one job: each keeps its parts until the next has run, and no pipeline by hand comes near
REDUCERS = 10_000  # of one step: every map task keeps a buffer's slice and 8 bytes of digest for each
SPLIT_BYTES = 1 << 40  # a terabyte: larger is surely a slip of the unit
ENCODING_ERRORS = ("strict", "replace", "skip")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class MapperObject(Protocol[K_co, V_co]):
    """An object of a mapper class: called with each record, gives pairs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Iterable[tuple[K_co, V_co]] | None:
        """Give the pairs of one record."""


class KeysObject(Protocol[K_co]):
    """An object of a class given as `keys`: called with each record, gives keys."""

    def __call__(self, *args: Any, **kwargs: Any) -> Iterable[K_co] | None:
        """Give the keys of one record."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step as it will be run, checked.

    `mapper_kind` says what the mapper's results are: "pairs"; "keys" (each with the value None); "records" (values,
    each with the key None); "identity" where there is no mapper and records pass as they are. Without a reducer the
    step is map-only.
    """

    mapper: Call | None
    mapper_kind: str
    reducer: Call | Aggregator[Any, Any, Any] | None
    combiner: Call | None
    partitioner: Call | None

    @property
    def calls(self) -> tuple[Call, ...]:
        """The user's functions in it, in the order of the flow."""
        named = (self.mapper, self.combiner, self.partitioner, self.reducer)
        return tuple(call for call in named if isinstance(call, Call))

    @property
    def title(self) -> str:
        """What it does, for people: "mapper -> Count()"."""
        mapper = "identity" if self.mapper is None else self.mapper.title.partition(" (")[0]
        if self.reducer is None:
            return mapper
        reducer = self.reducer.title.partition(" (")[0] if isinstance(self.reducer, Call) else repr(self.reducer)
        return f"{mapper} -> {reducer}"


class Step:
    """One map phase and, unless it is map-only, one shuffle and one reduce phase.

    At most one of mapper, keys, records; with none of them records pass unchanged. `mapper` gives pairs: it yields
    (key, value), or returns a list or iterator of such, or None. `keys` gives keys alone (what Count() counts).
    `records` gives values alone, without a reducer. `reducer(key, values)` gives pairs, or is an Aggregator such as
    Count(). `combiner(key, values)` folds in the map task and may emit its own key only. `partitioner(key, partitions)`
    gives a number below `partitions`.

    Raises JobDefinitionError, saying what to write, where these make no sense.
    """

    def __init__(
        self,
        mapper: Callable[..., Iterable[tuple[K, V]] | None] | type[MapperObject[K, V]] | None = None,
        *,
        keys: Callable[..., Iterable[K] | None] | type[KeysObject[K]] | None = None,
        records: Callable[..., Iterable[Any] | None] | None = None,
        reducer: Callable[Concatenate[K, Iterator[V], ReducerOptions], Iterable[tuple[Any, Any]] | None]
        | Aggregator[V, Any, Any]
        | None = None,
        combiner: Callable[Concatenate[K, Iterator[V], CombinerOptions], Iterable[tuple[K, V]] | None] | None = None,
        partitioner: Callable[Concatenate[K, int, PartitionerOptions], int] | None = None,
    ) -> None:
        self.functions: dict[str, Any] = {
            "mapper": mapper,
            "keys": keys,
            "records": records,
            "reducer": reducer,
            "combiner": combiner,
            "partitioner": partitioner,
        }
        _check_step(self.functions)

    def __repr__(self) -> str:
        return f"Step({_shown(self.functions)})"


class Job:
    """What a user submits: one step, given as for Step, or `steps=[Step(...), ...]`; and options.

    `name` is for people. `reducers` is the number of partitions (from the input's size if None). `split_size` is in
    bytes, or text such as "16MB" (from the input's size if None). `seed` is for `ctx.random`. `encoding` is that of
    text input, `encoding_errors` one of strict, replace, skip.

    Attributes: these, and `resolved` (a StepPlan for each step), `parameters` (of all its functions).
    Raises JobDefinitionError, saying what to write, where the definition makes no sense.
    """

    def __init__(
        self,
        mapper: Callable[..., Iterable[tuple[K, V]] | None] | type[MapperObject[K, V]] | None = None,
        *,
        keys: Callable[..., Iterable[K] | None] | type[KeysObject[K]] | None = None,
        records: Callable[..., Iterable[Any] | None] | None = None,
        reducer: Callable[Concatenate[K, Iterator[V], ReducerOptions], Iterable[tuple[Any, Any]] | None]
        | Aggregator[V, Any, Any]
        | None = None,
        combiner: Callable[Concatenate[K, Iterator[V], CombinerOptions], Iterable[tuple[K, V]] | None] | None = None,
        partitioner: Callable[Concatenate[K, int, PartitionerOptions], int] | None = None,
        steps: Sequence[Step] | None = None,
        name: str | None = None,
        reducers: int | None = None,
        split_size: int | str | None = None,
        seed: int = 0,
        encoding: str = "utf-8",
        encoding_errors: str = "strict",
    ) -> None:
        functions = {
            "mapper": mapper,
            "keys": keys,
            "records": records,
            "reducer": reducer,
            "combiner": combiner,
            "partitioner": partitioner,
        }
        self.module: str | None = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - as enum and namedtuple do
        self.steps = _steps_of(functions, steps)
        self.resolved = tuple(_plan_step(step.functions, index) for index, step in enumerate(self.steps))
        self.parameters = self._merge_parameters()
        self.name = _check_name(name) if name is not None else _default_name(self.resolved)
        self.named = name is not None
        self.reducers = None if reducers is None else check_reducers(reducers)
        self.split_size = None if split_size is None else parse_size(split_size)
        self.seed = _check_int("seed", seed, 0, (1 << 64) - 1)
        self.encoding = _check_encoding(encoding)
        self.encoding_errors = check_encoding_errors(encoding_errors)

    def _merge_parameters(self) -> tuple[Parameter, ...]:
        try:
            return merge_parameters(p for plan in self.resolved for call in plan.calls for p in call.parameters)
        except JobDefinitionError as error:
            msg = f"in a job {error}"
            raise JobDefinitionError(msg) from None

    def __reduce__(self) -> tuple[Callable[..., Job], tuple[dict[str, Any]]]:
        """Travel as what was written, and be checked again there: signatures then hold on the other side too."""
        options = ("name", "reducers", "split_size", "seed", "encoding", "encoding_errors")
        state: dict[str, Any] = {option: getattr(self, option) for option in options}
        return _rebuild, (state | {"steps": [step.functions for step in self.steps]},)

    def __repr__(self) -> str:
        steps = _shown(self.steps[0].functions) if len(self.steps) == 1 else f"steps={list(self.steps)!r}"
        return f"Job({steps})"


def parse_size(size: int | str) -> int:
    """Bytes from an int or from text such as "64MB", "1.5GiB", "4096" (units are powers of 1024).

    Raises JobDefinitionError where it is no size, or outside 1 byte to a terabyte.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", size, re.IGNORECASE)
        if match is None:
            msg = f"{size!r} is not a size: write bytes as a number, or with a unit, such as 16MB"
            raise JobDefinitionError(msg)
        size = int(float(match[1]) * _UNITS[match[2].lower()])
    return _check_int("split_size", size, 1, SPLIT_BYTES)


def check_reducers(reducers: object) -> int:
    """Give the number of reducers. Raises JobDefinitionError for one that no job can have."""
    return _check_int("reducers", reducers, 1, REDUCERS)


def check_encoding_errors(choice: object) -> str:
    """Give what a bad byte does. Raises JobDefinitionError for what is no choice."""
    if choice not in ENCODING_ERRORS:
        msg = f"encoding_errors= must be one of {', '.join(ENCODING_ERRORS)}, not {choice!r}"
        raise JobDefinitionError(msg)
    return str(choice)


def _rebuild(state: dict[str, Any]) -> Job:
    steps = [Step(**functions) for functions in state.pop("steps")]
    return Job(steps=steps, **state)


def _steps_of(functions: dict[str, Any], steps: Sequence[Step] | None) -> tuple[Step, ...]:
    if steps is None:
        return (Step(**functions),)
    given = [name for name, function in functions.items() if function is not None]
    if given:
        msg = (
            f"a job has either steps= or functions of its one step, not both ({', '.join(given)}): put them into a Step"
        )
        raise JobDefinitionError(msg)
    if isinstance(steps, Step) or not isinstance(steps, (list, tuple)):
        msg = f"steps= must be a list of Step(...), not {type(steps).__name__}"
        raise JobDefinitionError(msg)
    for index, step in enumerate(steps):
        if not isinstance(step, Step):
            msg = f"steps[{index}] must be a Step(...), not {step!r} ({type(step).__name__})"
            raise JobDefinitionError(msg)
    if not 1 <= len(steps) <= STEPS:
        msg = f"a job has 1 to {STEPS} steps, not {len(steps)}"
        raise JobDefinitionError(msg)
    return tuple(steps)


def _check_step(functions: dict[str, Any]) -> None:
    """Refuse combinations that mean nothing. Raises JobDefinitionError."""
    given = {name for name, function in functions.items() if function is not None}
    reducer, combiner = functions["reducer"], functions["combiner"]
    mappers = [name for name in ("mapper", "keys", "records") if name in given]
    if not given & {"mapper", "keys", "records", "reducer"}:
        msg = "a step needs a mapper, keys, records or a reducer: for example Job(mapper, reducer=Sum())"
    elif len(mappers) > 1:
        msg = f"a step has one of mapper, keys and records, not {' and '.join(mappers)}"
    elif "reducer" not in given and given & {"combiner", "partitioner"}:
        idle = " and a ".join(sorted(given & {"combiner", "partitioner"}))
        msg = f"a {idle} without a reducer does nothing: add reducer="
    elif "reducer" in given and "records" in given:
        msg = "records= gives values without keys, so there is nothing to reduce: use mapper= or keys= with a reducer"
    elif isinstance(reducer, type) and issubclass(reducer, Aggregator):
        msg = f"write reducer={reducer.__name__}(), an object, not the class {reducer.__name__}"
    elif isinstance(combiner, Aggregator) or (isinstance(combiner, type) and issubclass(combiner, Aggregator)):
        msg = (
            "an aggregator combines by itself: give it as the reducer alone, reducer=Sum(), or write combiner functions"
        )
    elif isinstance(reducer, Aggregator) and "combiner" in given:
        msg = f"{reducer!r} combines by itself in the map task: leave the combiner out"
    elif "keys" in given and isinstance(reducer, (Sum, Min, Max, Mean)):
        msg = f"keys= gives keys without values, so {reducer!r} has none to work on: use Count(), or mapper= with pairs"
    else:
        return
    raise JobDefinitionError(msg)


def _plan_step(functions: dict[str, Any], index: int) -> StepPlan:
    first_step = index == 0
    kind = next((name for name in ("mapper", "keys", "records") if functions[name] is not None), None)
    mapper = None if kind is None else read_call(functions[kind], kind, first_step=first_step)
    reducer = functions["reducer"]
    if reducer is not None and not isinstance(reducer, Aggregator):
        reducer = read_call(reducer, "reducer")
    combiner, partitioner = (
        None if functions[role] is None else read_call(functions[role], role) for role in ("combiner", "partitioner")
    )
    mapper_kind = "identity" if kind is None else "pairs" if kind == "mapper" else kind
    return StepPlan(mapper, mapper_kind, reducer, combiner, partitioner)


def _default_name(steps: tuple[StepPlan, ...]) -> str:
    call = next((call for step in steps for call in step.calls), None)
    if call is None:
        return "job"
    function = call.function
    while isinstance(function, functools.partial):
        function = function.func
    name = str(getattr(function, "__name__", "job"))
    return name if name.isidentifier() else "job"


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        msg = f"name= must be a short line of text, not {name!r}"
        raise JobDefinitionError(msg)
    return name


def _check_int(option: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        msg = f"{option}= must be a whole number from {low:,} to {high:,}, not {value!r}"
        raise JobDefinitionError(msg)
    return value


def _check_encoding(encoding: object) -> str:
    try:
        info = codecs.lookup(encoding) if isinstance(encoding, str) else None
    except LookupError:
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        msg = f"encoding= must name an encoding of text that Python knows, such as utf-8 or latin-1, not {encoding!r}"
        raise JobDefinitionError(msg)
    return info.name


def _shown(functions: dict[str, Any]) -> str:
    parts = []
    for name, function in functions.items():
        if function is not None:
            shown = getattr(function, "__qualname__", None) if inspect.isroutine(function) else None
            parts.append(f"{name}={shown or getattr(function, '__name__', repr(function))}")
    return ", ".join(parts)
