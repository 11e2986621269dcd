"""How the engine calls a user's functions, and what these are called in messages.

Positional parameters are the record; keyword-only ones are the job's parameters; a keyword-only `ctx` gets the context.
What a function takes is read once, by `signatures`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

from mapreduce.functions import code_of, keyword_names
from mapreduce.parameters import Parameter, convert
from mapreduce.quick_dataclass import dataclass

CONTEXT = "ctx"  # the name of the keyword-only parameter that gets the context


@dataclass(frozen=True, slots=True)
class Call:
    """One function of a job, and how to call it.

    `role` is mapper, keys, records, reducer, combiner, partitioner or sort_values. `positional` is how many positional
    arguments it takes. `groups` are the names of the inputs whose values a reducer takes one by one, in the order of
    its parameters; () where it takes all values together. `parameters` are its own, `wants_context` says that it takes
    `ctx`. `is_class` says that it is a mapper class: one object for each attempt, with `finish()` at the split's end
    where `has_finish`.
    """

    function: Callable[..., Any]
    role: str
    positional: int
    parameters: tuple[Parameter, ...] = ()
    wants_context: bool = False
    is_generator: bool = False
    is_class: bool = False
    has_finish: bool = False
    groups: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name and place, for people: "mapper (word_count.py:3)"."""
        return title_of(self.function)

    def bind(self, params: Mapping[str, Any], context: object) -> Callable[..., Any]:
        """Give what takes the positional arguments alone: the raw function where there is nothing to bind."""
        return self.start(params, context)[0]

    def start(self, params: Mapping[str, Any], context: object) -> tuple[Callable[..., Any], Callable[[], Any] | None]:
        """Bind for one attempt: (what takes the positional arguments, `finish` of a mapper class or None).

        `params` are the job's, converted; those that are not this function's are left out. A mapper class is
        instantiated here, so what its `__init__` raises comes from here.
        """
        if not self.is_class:
            return _bind(self.function, params, context), None
        made = _bind(self.function, params, context, read_of=self.function.__init__)()
        finish = _bind(made.finish, params, context) if self.has_finish else None
        return _bind(made, params, context, read_of=type(made).__call__), finish


class HasParameters(Protocol):
    """What `convert_parameters` needs of a job."""

    name: str

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters of all its functions, one for each name."""


def convert_parameters(job: HasParameters, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give typed values for the parameters of `job` that are set, from text (`-p NAME=VALUE`) or from Python.

    Raises JobDefinitionError for an unknown name (listing the known ones), a required one that is missing, or a value
    that is not of its type.
    """
    return convert(job.parameters, given, job.name)


def title_of(function: object) -> str:
    """Name a function for people, with the file and line where it was written if that is known."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or f"{type(function).__qualname__} object"
    name = name.replace("<locals>.", "")
    code = code_of(function)
    return name if code is None else f"{name} ({Path(code.co_filename).name}:{code.co_firstlineno})"


def in_role(function: object, role: str) -> str:
    """Name a function with its role, for sentences: "the mapper words (job.py:3)", and not "the mapper mapper"."""
    title = title_of(function)
    return f"the {title}" if title.partition(" ")[0] == role else f"the {role} {title}"


def _bind(
    function: Callable[..., Any], params: Mapping[str, Any], context: object, *, read_of: object = None
) -> Callable[..., Any]:
    bound: dict[str, Any] = {}
    for name in keyword_names(read_of or function):
        if name == CONTEXT:
            bound[name] = context
        elif name in params:
            bound[name] = params[name]
    return with_keywords(function, bound) if bound else function


def with_keywords(function: Callable[..., Any], bound: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with these keyword-only arguments given: as defaults of a copy where that can be.

    A call of it costs what a call of the function does: one of a partial object, half a microsecond more.
    """
    if not isinstance(function, FunctionType):
        return functools.partial(function, **bound)
    code = function.__code__
    if not bound.keys() <= set(code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]):
        return functools.partial(function, **bound)  # they are those of a function that it wraps
    copy = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = {**(function.__kwdefaults__ or {}), **bound}
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy
