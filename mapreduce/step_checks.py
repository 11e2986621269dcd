"""Combinations of a step's parts that mean nothing, each refused with what to write instead. Pure checks."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mapreduce.aggregators import Aggregator, Count, incomplete_one, missing_methods, values_wanted_by
from mapreduce.errors import JobDefinitionError
from mapreduce.formats import check_format
from mapreduce.joins import Join

MAPPERS = ("mapper", "keys", "records")
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAKEN_NAMES = frozenset({"key", "values", "ctx"})  # of a reducer's other parameters
INPUTS = 100  # of a step: a reducer with more parameters cannot be read
BATCH_SIZE = 1_000_000  # records: a list of more is no batch
JOINED = 2  # the inputs of a join


def check_input(parts: dict[str, Any], where: str) -> None:
    """Check what says how one input is read and mapped. Raises JobDefinitionError, which begins with `where`."""
    given = [name for name in MAPPERS if parts[name] is not None]
    batch_size, frames = parts["batch_size"], parts["frames"]
    if parts["format"] is not None:
        check_format("input" if where == "a step" else "format", parts["format"])
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


def check_step(parts: dict[str, Any]) -> None:
    """Refuse combinations that mean nothing. Raises JobDefinitionError."""
    given = {name for name, part in parts.items() if part is not None and part is not False}
    if "inputs" in given:
        _check_inputs(parts, given)
        kinds = {name for one in parts["inputs"].values() for name in MAPPERS if one.parts[name] is not None}
    else:
        check_input({**parts, "format": parts["input"]}, "a step")
        kinds = given & set(MAPPERS)
    if not given & {*MAPPERS, "inputs", "reducer"}:
        msg = "a step needs a mapper, keys, records or a reducer: for example Job(mapper, reducer=Sum())"
        raise JobDefinitionError(msg)
    _check_reducer(parts["reducer"], given, kinds)
    _check_helpers(parts, given)
    if isinstance(parts["reducer"], Join):
        _check_join(parts, given)


def _check_inputs(parts: dict[str, Any], given: set[str]) -> None:
    from mapreduce.step import Input  # noqa: PLC0415 - that module calls this one

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


def _check_reducer(reducer: Any, given: set[str], kinds: set[str]) -> None:
    if "reducer" not in given and given & {"combiner", "partitioner", "sort_values"}:
        idle = " and a ".join(sorted(given & {"combiner", "partitioner", "sort_values"}))
        msg = f"a {idle} without a reducer does nothing: add reducer="
    elif "reducer" in given and "records" in kinds:
        msg = "records= gives values without keys, so there is nothing to reduce: use mapper= or keys= with a reducer"
    elif isinstance(reducer, type) and issubclass(reducer, (Aggregator, Join)):
        msg = f"write reducer={reducer.__name__}(), an object, not the class {reducer.__name__}"
    elif isinstance(reducer, Aggregator) and (incomplete := incomplete_one(reducer)) is not None:
        msg = f"the aggregator {type(incomplete).__name__} has no {' and no '.join(missing_methods(incomplete))}: "
        msg += "write create(self, value), merge(self, state, other) and finish(self, state)"
    elif "keys" in kinds and isinstance(reducer, Aggregator) and (needy := values_wanted_by(reducer)) is not None:
        msg = f"keys= gives keys without values, so {needy!r} has none to work on: use {Count()}, or mapper= with pairs"
    else:
        return
    raise JobDefinitionError(msg)


def _check_helpers(parts: dict[str, Any], given: set[str]) -> None:
    reducer, combiner = parts["reducer"], parts["combiner"]
    if isinstance(combiner, Aggregator) or (isinstance(combiner, type) and issubclass(combiner, Aggregator)):
        msg = (
            "an aggregator combines by itself: give it as the reducer alone, reducer=Sum(), or write combiner functions"
        )
    elif isinstance(reducer, Aggregator) and "combiner" in given:
        msg = f"{reducer!r} combines by itself in the map task: leave the combiner out"
    elif isinstance(reducer, Aggregator) and "sort_values" in given:
        msg = f"{reducer!r} folds values as they come: sort_values= is for a reducer function"
    elif {"combiner", "sort_values"} <= given:
        msg = "a combiner and sort_values= do not go together: what is combined has no order yet; leave one out"
    elif {"frames", "inputs"} <= given and not callable(reducer) and "combiner" not in given:
        msg = f"frames= is for a reducer function, and the reducer is {reducer!r}: say frames=True in an Input"
    elif {"frames", "sort_values"} <= given:
        msg = "with frames=True the reducer sorts as it likes (frame.sort): leave sort_values out"
    else:
        return
    raise JobDefinitionError(msg)


def _check_join(parts: dict[str, Any], given: set[str]) -> None:
    join = parts["reducer"]
    strange = sorted(given & {"combiner", "sort_values"} | (given & {"partitioner"} if join.broadcast else set()))
    if "inputs" not in given or len(parts["inputs"]) != JOINED:
        msg = f'{join!r} joins two inputs: inputs={{"left": Input(mapper), "right": Input(mapper)}}'
    elif strange:
        msg = f"{join!r} takes no {strange[0]}=: leave it out"
    else:
        return
    raise JobDefinitionError(msg)


def no_function(given: object, role: str) -> str:
    """What is said of something in a function's place that cannot be called."""
    msg = f"the {role} must be a function, not {given!r:.200} ({type(given).__name__})"
    if isinstance(given, Aggregator):
        return f"{msg}; an aggregator is a reducer: reducer={given!r:.200}"
    if role == "reducer" and isinstance(given, list):
        return (
            f'{msg}; several aggregators over one value are a dict, {{"n": Count()}}, over the fields of tuples a tuple'
        )
    if role == "partitioner" and isinstance(given, Mapping):
        return f"{msg}; write ListPartitioner({{...}}) for a part for each key"
    if role == "partitioner" and isinstance(given, Sequence):
        return f"{msg}; write RangePartitioner([...]) for boundaries between parts"
    if role == "sort_values":
        return f"{msg}; True orders values by themselves, and a function says by what: lambda value: value['time']"
    return msg
