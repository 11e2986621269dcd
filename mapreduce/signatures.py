"""How a user's functions are to be called: read from their signatures once, when a job is made.

Whatever makes no sense is refused here, with what to write instead, so that no task ever starts with it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mapreduce.aggregators import Aggregator
from mapreduce.calls import CONTEXT, Call, in_role, title_of
from mapreduce.errors import JobDefinitionError
from mapreduce.functions import call_method, declares_parameters, is_written_by_user, signature_of
from mapreduce.parameters import UNSET, Parameter, make_parameter, merge_parameters
from mapreduce.quick_dataclass import dataclass

_MAPPERS = frozenset({"mapper", "keys", "records"})
_WRITTEN_AS = {
    "reducer": "def reducer(key, values)",
    "combiner": "def combiner(key, values)",
    "partitioner": "def partitioner(key, partitions)",
    "sort_values": "def order(value)",
}
_FRAMES_WRITTEN_AS = {
    "mapper": "def mapper(frame)",
    "reducer": "def reducer(frame)",
    "combiner": "def combiner(frame)",
}


def read_call(
    function: Any, role: str, *, first_step: bool = True, frames: bool = False, inputs: tuple[str, ...] = ()
) -> Call:
    """Read how to call `function` as `role`; with `frames` it takes frames, and a reducer may name the `inputs`.

    Raises JobDefinitionError, saying what to write instead.
    """
    if not callable(function):
        raise JobDefinitionError(_no_function(function, role))
    if _is_mapper_class(function):
        return _read_class(function, role, first_step=first_step, frames=frames)
    if inspect.isclass(function) and role == "mapper":
        msg = (
            f"the mapper class {function.__qualname__} has no `def __call__(self, value)`, which gives a record's pairs"
        )
        raise JobDefinitionError(msg)
    if role in _MAPPERS and not inspect.isroutine(function) and callable(getattr(function, "finish", None)):
        kind = type(function).__qualname__
        msg = (
            f"the {role} is an object of the class {kind}, which all attempts would share, and whose finish() nobody "
            f"would call: give the class, {role}={kind}; what its __init__ needs are parameters of the job"
        )
        raise JobDefinitionError(msg)
    _refuse_async(function, role)
    signature = signature_of(function)
    if signature is None:  # a builtin without a signature, such as int: take it to want what the role gives first
        return Call(function, role, _positions(role, first_step=first_step, frames=frames)[0])
    found = _read_signature(function, signature, role)
    groups = _read_groups(function, found.names, inputs, frames=frames) if role == "reducer" else ()
    if not groups:
        _check_positional(function, found.names, role, first_step=first_step, frames=frames)
    return Call(
        function,
        role,
        len(found.names),
        found.parameters,
        found.wants_context,
        inspect.isgeneratorfunction(function),  # of the function that is called: a wrapper may return anything
        groups=groups,
    )


def _read_groups(function: object, names: tuple[str, ...], inputs: tuple[str, ...], *, frames: bool) -> tuple[str, ...]:
    """The inputs that a reducer takes one by one, () for none. Raises JobDefinitionError if it takes some only."""
    groups = names if frames else names[1:]
    if not set(groups) & set(inputs) and len(groups) < 2:
        return ()
    if inputs and set(groups) == set(inputs):
        return groups
    if not inputs:
        return ()  # too many parameters, of a step with one input: refused with the others
    each = ", ".join(inputs if frames else ("key", *inputs))
    msg = (
        f"{in_role(function, 'reducer')} takes ({', '.join(names)}); with the inputs {', '.join(inputs)} write `def "
        f"reducer({each})`, for the values of each, or `{_wanted('reducer', first_step=True, frames=frames)}`, for all"
    )
    raise JobDefinitionError(msg)


@dataclass(frozen=True, slots=True)
class _Signature:
    names: tuple[str, ...]  # of the required positional parameters
    parameters: tuple[Parameter, ...]
    wants_context: bool


def _refuse_async(function: object, role: str) -> None:
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target) if callable(target) else target
    for candidate in (target, call_method(target)):
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            msg = (
                f"{in_role(function, role)} is async: tasks run plain functions, one record after another; "
                f"write `def` instead of `async def`, or call asyncio.run(...) inside it"
            )
            raise JobDefinitionError(msg)


def _read_signature(function: object, signature: inspect.Signature, role: str) -> _Signature:
    users, declares = is_written_by_user(function), declares_parameters(function)
    names: list[str] = []
    parameters: list[Parameter] = []
    wants_context = False
    for name, found in signature.parameters.items():
        empty = found.default is inspect.Parameter.empty
        if found.kind is inspect.Parameter.KEYWORD_ONLY:
            wants_context = wants_context or name == CONTEXT
            if name != CONTEXT and (declares or empty):
                parameters.append(_parameter(function, found, role))
        elif found.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            if users:
                raise JobDefinitionError(_refuse_variadic(function, found, role))
        elif empty:
            names.append(name)
        elif users:
            raise JobDefinitionError(_refuse_default(function, signature, found, role))
    if CONTEXT in names:
        msg = (
            f"{in_role(function, role)} takes `{CONTEXT}` as a positional parameter, part of the record: "
            f"write `*, {CONTEXT}` to make it keyword-only"
        )
        raise JobDefinitionError(msg)
    return _Signature(tuple(names), tuple(parameters), wants_context)


def _parameter(function: object, found: inspect.Parameter, role: str) -> Parameter:
    annotation = UNSET if found.annotation is inspect.Parameter.empty else _resolved(found.annotation, function)
    default = UNSET if found.default is inspect.Parameter.empty else found.default
    return make_parameter(found.name, annotation, default, in_role(function, role))


def _resolved(annotation: Any, function: object) -> Any:
    """Look up an annotation that is text (`from __future__ import annotations`); the text where it cannot be."""
    if not isinstance(annotation, str):
        return annotation
    while isinstance(function, functools.partial):
        function = function.func
    target = inspect.unwrap(function) if callable(function) else function
    target = target if hasattr(target, "__globals__") else call_method(target)
    scope = getattr(target, "__globals__", {})
    try:
        return eval(annotation, scope)  # noqa: S307 - the user's own annotation in the user's own module
    except (NameError, AttributeError, SyntaxError, TypeError):
        return annotation  # imported for type checkers only: the default's type then decides


def _refuse_default(function: object, signature: inspect.Signature, found: inspect.Parameter, role: str) -> str:
    kept = [
        name
        for name, other in signature.parameters.items()
        if other.default is inspect.Parameter.empty and other.kind < inspect.Parameter.VAR_POSITIONAL
    ]
    head = ", ".join([*kept, "*", f"{found.name}={found.default!r}"])
    return (
        f"{in_role(function, role)} has the positional parameter {found.name!r} with a default: positional "
        f"parameters are the record. Make it a parameter of the job by making it keyword-only: `def {role}({head})`"
    )


def _refuse_variadic(function: object, found: inspect.Parameter, role: str) -> str:
    stars = "*" if found.kind is inspect.Parameter.VAR_POSITIONAL else "**"
    return (
        f"{in_role(function, role)} takes `{stars}{found.name}`, so it cannot be seen what it wants: name its "
        f"parameters, as in `{_wanted(role, first_step=True)}` (a decorator should use functools.wraps)"
    )


def _wanted(role: str, *, first_step: bool, frames: bool = False) -> str:
    if frames:
        return _FRAMES_WRITTEN_AS[role]
    if role not in _MAPPERS:
        return _WRITTEN_AS[role]
    return "def mapper(value)` or `def mapper(key, value)" if first_step else "def mapper(key, value)"


def _positions(role: str, *, first_step: bool, frames: bool) -> tuple[int, ...]:
    """How many positional parameters a role may take, the likeliest first."""
    if frames or role == "sort_values":
        return (1,)
    return (1, 2) if role in _MAPPERS and first_step else (2,)


def _check_positional(
    function: object, names: tuple[str, ...], role: str, *, first_step: bool, frames: bool = False
) -> None:
    allowed = _positions(role, first_step=first_step, frames=frames)
    if len(names) in allowed:
        return
    has = "no positional parameter" if not names else f"({', '.join(names)})"
    why = "" if first_step or role not in _MAPPERS else " (from the second step on it gets the previous step's pairs)"
    wanted = f"write `{_wanted(role, first_step=first_step, frames=frames)}`"
    wanted = f"with frames=True {wanted}" if frames else f"{wanted}{why}"
    msg = f"{in_role(function, role)} takes {has}; {wanted}"
    if len(names) > max(allowed):
        extra = ", ".join(names[max(allowed) :])
        msg += f"; if {extra} should be set from outside, make it keyword-only: `*, {extra}`"
    raise JobDefinitionError(msg)


def _is_mapper_class(function: object) -> bool:
    return inspect.isclass(function) and any("__call__" in vars(base) for base in function.__mro__)


def _read_class(cls: Any, role: str, *, first_step: bool, frames: bool) -> Call:
    if role not in _MAPPERS:
        msg = f"the {role} {cls.__name__} is a class: only a mapper may be one; write `{_WRITTEN_AS[role]}`"
        raise JobDefinitionError(msg)
    _refuse_async(cls.__call__, role)
    called = _read_method(cls, "__call__", role)
    _check_positional(cls, called.names, role, first_step=first_step, frames=frames)
    parts = [called]
    made = _read_method(cls, "__init__", role) if cls.__init__ is not object.__init__ else None
    if made is not None:
        if made.names:
            names = ", ".join(made.names)
            msg = (
                f"the mapper class {title_of(cls)} needs ({names}) to be made, and the engine makes one for each "
                f"attempt: make them parameters of the job, `def __init__(self, *, {names})`"
            )
            raise JobDefinitionError(msg)
        parts.append(made)
    has_finish = callable(getattr(cls, "finish", None))
    if has_finish:
        finish = _read_method(cls, "finish", role)
        if finish.names:
            msg = f"finish() of the mapper class {title_of(cls)} is called without a record: write `def finish(self)`"
            raise JobDefinitionError(msg)
        parts.append(finish)
    parameters = merge_parameters(parameter for part in parts for parameter in part.parameters)
    wants_context = any(part.wants_context for part in parts)
    generator = inspect.isgeneratorfunction(cls.__call__)
    return Call(
        cls, role, len(called.names), parameters, wants_context, generator, is_class=True, has_finish=has_finish
    )


def _read_method(cls: Any, name: str, role: str) -> _Signature:
    """Read a method's signature without its `self`."""
    method = getattr(cls, name)
    signature = signature_of(method)
    if signature is None:
        return _Signature((), (), wants_context=False)
    if not isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod)):
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return _read_signature(method, signature, role)


def _no_function(given: object, role: str) -> str:
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
