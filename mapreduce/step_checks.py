"""Combinations of a step's parts that mean nothing, each refused with what to write instead. Pure checks."""

from __future__ import annotations

from typing import Any

from mapreduce.aggregators import Aggregator, Count, incomplete_one, missing_methods, values_wanted_by
from mapreduce.errors import JobDefinitionError
from mapreduce.joins import Join
from mapreduce.step_inputs import MAPPERS, check_input, check_inputs

JOINED = 2  # the inputs of a join


def check_step(parts: dict[str, Any]) -> None:
    """Refuse combinations that mean nothing. Raises JobDefinitionError."""
    given = {name for name, part in parts.items() if part is not None and part is not False}
    if "inputs" in given:
        check_inputs(parts, given)
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
