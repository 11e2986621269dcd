"""What a user writes: Job. Everything that can be wrong about one is refused when it is made.

Owns the definition and its checks; what a step of it is, `step` says. Where a job is found (a file, a module, a demo)
is `targets`; how it is called is `calls`; how it travels is `package`.
"""

from __future__ import annotations

import codecs
import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate

from mapreduce.aggregators import Aggregator
from mapreduce.errors import JobDefinitionError
from mapreduce.formats import Format
from mapreduce.joins import Join
from mapreduce.output_formats import check_output_format
from mapreduce.parameters import Parameter, merge_parameters
from mapreduce.partitioners import KeyPartitioner
from mapreduce.plan import OUTPUT_NAME
from mapreduce.step import (
    CombinerOptions,
    K,
    PartitionerOptions,
    ReducerOptions,
    Step,
    StepPlan,
    V,
    as_aggregator,
    plan_step,
)
from mapreduce.step_inputs import Input, KeysObject, MapperObject, shown

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Input", "Job", "Step", "StepPlan", "check_encoding_errors", "check_reducers", "parse_size"]

STEPS = 100  # of one job: each keeps its parts until the next has run, and no pipeline by hand comes near
REDUCERS = 10_000  # of one step: every map task keeps a buffer's slice and 8 bytes of digest for each
SPLIT_BYTES = 1 << 40  # a terabyte: larger is surely a slip of the unit
NAMED_OUTPUTS = 100  # of a job: each is an open file in every task that writes the results
ENCODING_ERRORS = ("strict", "replace", "skip")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_OPTIONS = ("name", "reducers", "split_size", "seed", "encoding", "encoding_errors", "output", "outputs", "part_size")


class Job:
    """What a user submits: one step, given as for Step, or `steps=[Step(...), ...]`; and options.

    `name` is for people. `reducers` is the number of partitions (from the input's size if None). `split_size` is in
    bytes, or text such as "16MB" (from the input's size if None). `seed` is for `ctx.random`. `encoding` is that of
    text input, `encoding_errors` one of strict, replace, skip.

    `output` is the format of the results: tsv, jsonl, csv, parquet, arrow, msgpack or text, those of lines and msgpack
    also compressed, as in "jsonl.gz". `outputs` names further ones, `{"errors": "jsonl"}`: sub-folders that the
    functions of the last step write to, `ctx.outputs["errors"].write(key, value)`. With `part_size`, given as
    `split_size`, each part of them is files of about so many bytes.

    Attributes: these, and `resolved` (a StepPlan for each step), `parameters` (of all its functions).
    Raises JobDefinitionError, saying what to write, where the definition makes no sense.
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
        steps: Sequence[Step] | None = None,
        name: str | None = None,
        reducers: int | None = None,
        split_size: int | str | None = None,
        seed: int = 0,
        encoding: str = "utf-8",
        encoding_errors: str = "strict",
        output: str = "tsv",
        outputs: Mapping[str, str] | None = None,
        part_size: int | str | None = None,
    ) -> None:
        parts: dict[str, Any] = {
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
        self.module: str | None = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - as enum and namedtuple do
        self.steps = _steps_of(parts, steps)
        self.resolved = tuple(plan_step(step.parts, index) for index, step in enumerate(self.steps))
        self.parameters = self._merge_parameters()
        self.name = _check_name(name) if name is not None else _default_name(self.resolved)
        self.named = name is not None
        self.reducers = None if reducers is None else check_reducers(reducers)
        self.split_size = None if split_size is None else parse_size(split_size)
        self.seed = _check_int("seed=", seed, 0, (1 << 64) - 1)
        self.encoding = _check_encoding(encoding)
        self.encoding_errors = check_encoding_errors(encoding_errors)
        self.output = check_output_format("output=", output)
        self.outputs = _check_outputs(outputs or {})
        self.part_size = None if part_size is None else parse_size(part_size, "part_size=")

    def _merge_parameters(self) -> tuple[Parameter, ...]:
        try:
            return merge_parameters(p for plan in self.resolved for call in plan.calls for p in call.parameters)
        except JobDefinitionError as error:
            msg = f"in a job {error}"
            raise JobDefinitionError(msg) from None

    def __reduce__(self) -> tuple[Callable[..., Job], tuple[dict[str, Any]]]:
        """Travel as what was written, and be checked again there: signatures then hold on the other side too."""
        state: dict[str, Any] = {option: getattr(self, option) for option in _OPTIONS}
        return _rebuild, (state | {"steps": [step.parts for step in self.steps]},)

    def __repr__(self) -> str:
        steps = shown(self.steps[0].parts) if len(self.steps) == 1 else f"steps={list(self.steps)!r}"
        return f"Job({steps})"


def parse_size(size: int | str, option: str = "split_size=") -> int:
    """Bytes from an int or from text such as "64MB", "1.5GiB", "4096" (units are powers of 1024).

    Raises JobDefinitionError, which begins with the option, where it is no size, or outside 1 byte to a terabyte.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", size, re.IGNORECASE)
        if match is None:
            msg = f"{option} is {size!r}, which is not a size: write bytes as a number, or with a unit, such as 16MB"
            raise JobDefinitionError(msg)
        size = int(float(match[1]) * _UNITS[match[2].lower()])
    return _check_int(option, size, 1, SPLIT_BYTES)


def check_reducers(reducers: object, option: str = "reducers=") -> int:
    """Give the number of reducers. Raises JobDefinitionError, which begins with the option."""
    return _check_int(option, reducers, 1, REDUCERS)


def check_encoding_errors(choice: object) -> str:
    """Give what a bad byte does. Raises JobDefinitionError for what is no choice."""
    if choice not in ENCODING_ERRORS:
        msg = f"encoding_errors= must be one of {', '.join(ENCODING_ERRORS)}, not {choice!r}"
        raise JobDefinitionError(msg)
    return str(choice)


def _rebuild(state: dict[str, Any]) -> Job:
    steps = [Step(**parts) for parts in state.pop("steps")]
    return Job(steps=steps, **state)


def _steps_of(parts: dict[str, Any], steps: Sequence[Step] | None) -> tuple[Step, ...]:
    if steps is None:
        return (Step(**parts),)
    given = [name for name, part in parts.items() if part is not None and part is not False]
    if given:
        msg = (
            f"a job has either steps= or the parts of its one step, not both ({', '.join(given)}): move "
            "them into the Step that they are for"
        )
        raise JobDefinitionError(msg)
    if isinstance(steps, Step) or not isinstance(steps, (list, tuple)):
        msg = f"steps= must be a list of Step(...), not {type(steps).__name__}"
        raise JobDefinitionError(msg)
    for index, step in enumerate(steps):
        if not isinstance(step, Step):
            msg = f"steps[{index}] must be a Step(...), not {step!r} ({type(step).__name__})"
            raise JobDefinitionError(msg)
        strange = [name for name in ("input", "inputs") if index and step.parts[name] is not None]
        if strange:
            msg = f"steps[{index}] reads the pairs of the step before: {strange[0]}= is for the first step"
            raise JobDefinitionError(msg)
    if not 1 <= len(steps) <= STEPS:
        msg = f"a job has 1 to {STEPS} steps, not {len(steps)}"
        raise JobDefinitionError(msg)
    return tuple(steps)


def _check_outputs(outputs: object) -> dict[str, str]:
    if not isinstance(outputs, Mapping) or len(outputs) > NAMED_OUTPUTS:
        msg = f'outputs= is a dict of at most {NAMED_OUTPUTS} names with their formats, {{"errors": "jsonl"}}'
        raise JobDefinitionError(msg)
    for name in outputs:
        if not isinstance(name, str) or not OUTPUT_NAME.fullmatch(name) or name.lower().startswith("part-"):
            msg = f"the output {name!r} needs a name of letters, digits, _ and -, beginning with a letter (not part-)"
            raise JobDefinitionError(msg)
    if len({name.lower() for name in outputs}) < len(outputs):
        msg = f"the outputs {', '.join(outputs)} need names that differ in more than case, which some disks ignore"
        raise JobDefinitionError(msg)
    return {name: check_output_format(f"outputs[{name!r}]", given) for name, given in outputs.items()}


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
        msg = f"{option} must be a whole number from {low:,} to {high:,}, not {value!r}"
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
