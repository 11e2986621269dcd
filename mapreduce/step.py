"""What a step of a job is: Step and Input as a user writes them, StepPlan as it will be run.

Owns the reading of a step's functions into calls. What makes no sense is refused by `step_checks`, when the step is
made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from mapreduce.aggregators import Aggregator
from mapreduce.calls import Call
from mapreduce.formats import Format, Text
from mapreduce.joins import Join
from mapreduce.partitioners import KeyPartitioner, check_partitioner
from mapreduce.quick_dataclass import dataclass
from mapreduce.signatures import read_call
from mapreduce.step_checks import check_step
from mapreduce.step_inputs import Input, KeysObject, MapperObject, shown

if TYPE_CHECKING:
    import polars as pl

K = TypeVar("K")
V = TypeVar("V")
ReducerOptions = ParamSpec("ReducerOptions")
CombinerOptions = ParamSpec("CombinerOptions")
PartitionerOptions = ParamSpec("PartitionerOptions")


@dataclass(frozen=True, slots=True)
class InputPlan:
    """One input of a step as it will be read and mapped, checked.

    `name` is "" where a step has one input without a name. `mapper_kind` says what the mapper's results are: "pairs";
    "keys" (each with the value None); "records" (values, each with the key None); "identity" where there is no mapper
    and records pass as they are. `format` is None in steps after the first, whose input is the previous step's pairs.
    With `batch_size` the mapper takes lists of so many records, with `frames` Polars frames.
    """

    name: str
    mapper: Call | None
    mapper_kind: str
    format: Format | None
    batch_size: int | None = None
    frames: bool = False


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step as it will be run, checked.

    `sort_values` orders the values of a key: False, True (by themselves), or the call that gives what to order by.
    With `frames` combiner and reducer take Polars frames.
    """

    inputs: tuple[InputPlan, ...]
    reducer: Call | Aggregator[Any, Any, Any] | Join | None
    combiner: Call | None
    partitioner: Call | KeyPartitioner | None
    sort_values: Call | bool = False
    frames: bool = False

    @property
    def mapper(self) -> Call | None:
        """The mapper of the first (mostly the only) input."""
        return self.inputs[0].mapper

    @property
    def mapper_kind(self) -> str:
        """The kind of the first (mostly the only) input's mapper."""
        return self.inputs[0].mapper_kind

    @property
    def broadcasts(self) -> bool:
        """Whether its last input is loaded by every task process, to be joined without a shuffle."""
        return isinstance(self.reducer, Join) and self.reducer.broadcast

    @property
    def map_only(self) -> bool:
        """Whether it has no reduce phase."""
        return self.reducer is None or self.broadcasts

    @property
    def collapses(self) -> bool:
        """Whether map tasks fold or combine what they send."""
        return self.combiner is not None or isinstance(self.reducer, Aggregator)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The user's functions in it, in the order of the flow."""
        mappers = [source.mapper for source in self.inputs]
        named = (*mappers, self.combiner, self.partitioner, self.sort_values, self.reducer)
        return tuple(call for call in named if isinstance(call, Call))

    @property
    def title(self) -> str:
        """What it does, for people: "mapper -> Count()"."""
        mappers = " + ".join("identity" if i.mapper is None else _short(i.mapper) for i in self.inputs)
        if self.reducer is None:
            return mappers
        return f"{mappers} -> {_short(self.reducer) if isinstance(self.reducer, Call) else repr(self.reducer)}"


class Step:
    """One map phase and, unless it is map-only, one shuffle and one reduce phase.

    At most one of mapper, keys, records; with none of them records pass unchanged. `mapper` gives pairs: it yields
    (key, value), or returns a list or iterator of such, or None. `keys` gives keys alone (what Count() counts).
    `records` gives values alone, without a reducer. The first step may say the format of its `input` (Text() if None),
    or have several `inputs` instead, `{"name": Input(mapper, ...)}`, each with its own mapper and format.

    `reducer(key, values)` gives pairs; with several inputs it may take the values of each by its name instead,
    `reducer(key, clicks, users)`. Or it is an Aggregator such as Count(), a dict or tuple of aggregators, or a Join.
    `combiner(key, values)` folds in the map task and may emit its own key only. `partitioner` is a function
    (key, partitions) that gives a number below `partitions`, a RangePartitioner or a ListPartitioner.

    `sort_values` hands a reducer the values of a key in order: True for their own, or a function of a value that gives
    what to order by. With `batch_size` a mapper takes lists of so many records; with `frames` mapper, combiner and
    reducer take and give Polars frames with the columns "key" and "value".

    Raises JobDefinitionError, saying what to write, where these make no sense.
    """

    def __init__(
        self,
        mapper: Callable[..., Iterable[tuple[K, V]] | pl.DataFrame | None] | type[MapperObject[K, V]] | None = None,
        *,
        keys: Callable[..., Iterable[K] | None] | type[KeysObject[K]] | None = None,
        records: Callable[..., Iterable[Any] | None] | None = None,
        input: Format | None = None,  # noqa: A002 - the word of the command line
        inputs: Mapping[str, Input] | None = None,
        reducer: Callable[Concatenate[K, Iterator[V], ReducerOptions], Iterable[tuple[Any, Any]] | None]
        | Callable[..., pl.DataFrame]
        | Aggregator[V, Any, Any]
        | Mapping[str, Aggregator[V, Any, Any] | Mapping[str, Any] | tuple[Any, ...]]
        | tuple[Aggregator[Any, Any, Any] | Mapping[str, Any] | tuple[Any, ...], ...]
        | Join
        | None = None,
        combiner: Callable[Concatenate[K, Iterator[V], CombinerOptions], Iterable[tuple[K, V]] | None]
        | Callable[..., pl.DataFrame]
        | None = None,
        partitioner: Callable[Concatenate[K, int, PartitionerOptions], int] | KeyPartitioner | None = None,
        sort_values: bool | Callable[[V], Any] = False,
        batch_size: int | None = None,
        frames: bool = False,
    ) -> None:
        self.parts: dict[str, Any] = {
            "mapper": mapper,
            "keys": keys,
            "records": records,
            "input": input,
            "inputs": inputs,
            "reducer": as_aggregator(reducer),
            "combiner": combiner,
            "partitioner": partitioner,
            "sort_values": sort_values,
            "batch_size": batch_size,
            "frames": frames,
        }
        check_step(self.parts)

    def __repr__(self) -> str:
        return f"Step({shown(self.parts)})"


def plan_step(parts: dict[str, Any], index: int) -> StepPlan:
    """Read a step's functions. Raises JobDefinitionError, naming the function and what to write."""
    first_step = index == 0
    given: Mapping[str, Input] | None = parts["inputs"]
    if given is None:
        alone = {name: parts[name] for name in ("mapper", "keys", "records", "batch_size", "frames")}
        inputs: tuple[InputPlan, ...] = (_plan_input("", alone | {"format": parts["input"]}, first_step=first_step),)
    else:
        inputs = tuple(_plan_input(name, one.parts, first_step=first_step) for name, one in given.items())
    frames = parts["frames"]
    names = tuple(source.name for source in inputs if source.name)
    reducer, combiner, partitioner, order = (
        parts[name] for name in ("reducer", "combiner", "partitioner", "sort_values")
    )
    if reducer is not None and not isinstance(reducer, (Aggregator, Join)):
        reducer = read_call(reducer, "reducer", inputs=names, frames=frames)
    return StepPlan(
        inputs,
        reducer,
        None if combiner is None else read_call(combiner, "combiner", frames=frames),
        None if partitioner is None else check_partitioner(partitioner) or read_call(partitioner, "partitioner"),
        order if isinstance(order, bool) else read_call(order, "sort_values"),
        frames,
    )


def _plan_input(name: str, parts: dict[str, Any], *, first_step: bool) -> InputPlan:
    kind = next((role for role in ("mapper", "keys", "records") if parts[role] is not None), None)
    mapper = None if kind is None else read_call(parts[kind], kind, first_step=first_step, frames=parts["frames"])
    return InputPlan(
        name,
        mapper,
        "identity" if kind is None else "pairs" if kind == "mapper" else kind,
        (parts["format"] or Text()) if first_step else None,
        parts["batch_size"],
        parts["frames"],
    )


def as_aggregator(reducer: Any) -> Any:
    """The one aggregator that a dict or tuple of several stands for; anything else as it is. JobDefinitionError."""
    if isinstance(reducer, (Mapping, tuple)):
        from mapreduce.several import Fields, Together  # noqa: PLC0415 - only where several are folded at once

        return Together(reducer) if isinstance(reducer, Mapping) else Fields(reducer)
    return reducer


def _short(call: Call) -> str:
    return call.title.partition(" (")[0]
