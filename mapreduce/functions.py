"""Looking at users' functions: their signatures, their code, their keyword-only parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from mapreduce.project import is_library_file, is_stdlib_file


def code_of(function: object) -> Any:
    """The code object behind a callable, or None for one that is not written in Python."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        written = [getattr(vars(function).get(name), "__code__", None) for name in ("__call__", "__init__")]
        return next((code for code in written if code), None)
    function = inspect.unwrap(function) if callable(function) else function
    code = getattr(function, "__code__", None)
    if code is None and not inspect.isroutine(function):
        code = getattr(call_method(function), "__code__", None)
    return code


def keyword_names(function: object) -> Sequence[str]:
    """The names of its keyword-only parameters, which are the job's; none for what is not written in Python."""
    # Read once for each function: an attempt of a short task takes less than that. Other objects may change.
    return _names_of_function(function) if isinstance(function, FunctionType) else _read_names(function)


@functools.lru_cache(maxsize=256)
def _names_of_function(function: FunctionType) -> Sequence[str]:
    return _read_names(function)


def _read_names(function: object) -> Sequence[str]:
    if not declares_parameters(function):
        return ()
    signature = signature_of(function)
    if signature is None:
        return ()
    parameters = signature.parameters.items()
    return tuple(name for name, found in parameters if found.kind is inspect.Parameter.KEYWORD_ONLY)


def call_method(value: object) -> Any:
    """Give the `__call__` of an object's class, as written there, or None."""
    return inspect.getattr_static(type(value), "__call__", None)


def signature_of(function: object) -> inspect.Signature | None:
    """Its signature; None for a builtin that has none."""
    try:
        return inspect.signature(function)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None


def is_written_by_user(function: object) -> bool:
    """Whether the user can change it: a function of an installed package is taken as it is."""
    code = code_of(function)
    return code is not None and not is_library_file(code.co_filename)


def declares_parameters(function: object) -> bool:
    """Whether its keyword-only arguments are the job's parameters: those of the standard library never are."""
    code = code_of(function)
    return code is not None and not is_stdlib_file(code.co_filename)
