"""Objects that travel by value: what is defined in `__main__`, a notebook or inside a function, pickled by cloudpickle.

Owns the pickling of a job that no module holds, the list of what its code needs beside it, and the search for the one
thing that cannot travel. Code of importable modules is never pickled by value: it travels as source.
"""

from __future__ import annotations

import dis
import functools
import io
import linecache
import operator
import sys
import types
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from mapreduce.calls import in_role
from mapreduce.errors import PackagingError
from mapreduce.job import Job
from mapreduce.quick_dataclass import dataclass

DEPTH = 12  # how far into an object the culprit is searched: deeper ones are named by what holds them
ITEMS = 1000  # of a container that are looked at in that search

_Cached = functools._lru_cache_wrapper  # noqa: SLF001 - what functools.cache and lru_cache make has no other name


@dataclass(slots=True)
class Pickled:
    """A pickle, and what loading and running it needs.

    `modules` are names of modules that it mentions or that its functions import, `sources` the text of the files (or
    cells) where its functions were written, by file name, for tracebacks.
    """

    data: bytes = b""
    modules: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)


def dump(value: object, what: str) -> Pickled:
    """Pickle `value` by value, with the classes of `__main__` that it uses beside it (see `loader`).

    Raises PackagingError naming the attribute or variable that cannot travel; `what` names the whole.
    """
    result = Pickled()
    classes: dict[str, type] = {}

    class Recorder(_pickler()):  # type: ignore[misc]  # untyped package
        def reducer_override(self, found: object) -> Any:
            reduced = super().reducer_override(found)
            by_reference = reduced is NotImplemented
            if isinstance(found, types.ModuleType):
                result.modules.add(found.__name__)
            elif isinstance(found, types.FunctionType) and not by_reference:
                _record_function(found, result)
            elif isinstance(found, (type, types.FunctionType, _Cached)) and by_reference:
                result.modules.add(found.__module__)
            elif isinstance(found, type) and found.__module__ == "__main__" and "." not in found.__qualname__:
                classes[found.__name__] = found
            return reduced

    stream = io.BytesIO()
    try:
        # the dict is pickled last, so it holds every class that was met on the way
        Recorder(stream, protocol=5).dump((value, classes))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise PackagingError(_blame(value, what, reason)) from error
    result.data = stream.getvalue()
    return result


@functools.cache
def _pickler() -> Any:
    """The pickler of everything that travels by value: cloudpickle's, and it takes cached functions by value too."""
    import cloudpickle  # noqa: PLC0415 - loaded for such objects alone: it costs a tenth of a small job's start

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # untyped package
        def reducer_override(self, found: object) -> Any:
            if isinstance(found, _Cached) and not _has_a_home(found):
                return cached, (found.__wrapped__, found.cache_parameters())
            return super().reducer_override(found)

    return Pickler


def cached(function: types.FunctionType, parameters: dict[str, Any]) -> Any:
    """Put a function that travelled behind a cache again, as `functools.cache` or `lru_cache` did; it begins empty."""
    return functools.lru_cache(**parameters)(function)


def _has_a_home(found: Any) -> bool:
    """Whether an object is found under its name in a module, which then travels as source or is installed."""
    try:
        return found.__module__ != "__main__" and (
            operator.attrgetter(found.__qualname__)(sys.modules.get(found.__module__)) is found
        )
    except AttributeError:  # made inside a function, or under another name
        return False


def _record_function(function: types.FunctionType, result: Pickled) -> None:
    package = function.__globals__.get("__package__") or ""
    for code in _codes(function.__code__):
        result.modules.update(_imported(code, package))
        name = code.co_filename
        if name not in result.sources:
            result.sources[name] = "".join(linecache.getlines(name))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _imported(code: types.CodeType, package: str) -> Iterator[str]:
    """Names of the modules that the import statements inside a function may mean."""
    constants: list[Any] = []
    base = ""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_CONST":
            constants.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level = constants[-2] if len(constants) > 1 and isinstance(constants[-2], int) else 0
            base = instruction.argval
            if level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - level + 1], *([base] if base else [])])
            yield base
        elif instruction.opname == "IMPORT_FROM":
            yield f"{base}.{instruction.argval}"


def _travels(value: object) -> bool:
    try:
        _pickler()(io.BytesIO(), protocol=5).dump(value)
    except Exception:  # noqa: BLE001 - the answer is the report: the search goes on for what raises
        return False
    return True


def _blame(value: object, what: str, reason: str) -> str:
    """Name the first thing that cannot travel, by the way from `value` to it."""
    if isinstance(value, Job):
        for number, plan in enumerate(value.resolved, 1):
            step = f" of step {number}" if len(value.resolved) > 1 else ""
            for call in plan.calls:
                if not _travels(call.function):
                    return _sentence(in_role(call.function, call.role) + step, call.function, reason)
            if plan.reducer is not None and not _travels(plan.reducer):
                return _sentence(f"the reducer{step} {plan.reducer!r}", plan.reducer, reason)
    return _sentence(what, value, reason)


def _sentence(subject: str, value: object, reason: str) -> str:
    way = ""
    seen = {id(value)}
    for _ in range(DEPTH):
        found = next(((label, inner) for label, inner in _inside(value) if not _travels(inner)), None)
        if found is None or id(found[1]) in seen:
            break
        label, value = found
        seen.add(id(value))
        way += f"{', which' if way else ''} {label} ({_kind(value)})"
    ending = ", which cannot travel" if way else " cannot travel"
    return (
        f"{subject}{way}{ending} to other processes ({reason}). Make it inside the function that needs it, or put "
        f"the code into a module of its own, which travels as source"
    )


def _kind(value: object) -> str:
    cls = type(value)
    if isinstance(value, (types.FunctionType, type)):
        return f"the {'function' if isinstance(value, types.FunctionType) else 'class'} {value.__name__}"
    return (
        f"a {cls.__qualname__}"
        if cls.__module__ in {"builtins", "__main__"}
        else f"a {cls.__module__}.{cls.__qualname__}"
    )


def _inside(value: object) -> Iterator[tuple[str, Any]]:
    """What an object holds that is pickled with it, with words for the way there."""
    if isinstance(value, types.FunctionType):
        yield from _inside_function(value)
    elif isinstance(value, types.MethodType):
        yield "is a method of an object", value.__self__
    elif isinstance(value, functools.partial):
        yield "calls the function", value.func
        yield from ((f"is bound to the argument {number}", item) for number, item in enumerate(value.args, 1))
        yield from ((f"is bound to the argument `{name}`", item) for name, item in value.keywords.items())
    elif isinstance(value, dict):
        yield from ((f"holds the item {key!r}", item) for key, item in list(value.items())[:ITEMS])
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"holds the item {number}", item) for number, item in enumerate(list(value)[:ITEMS]))
    else:
        attributes = dict(vars(value)) if hasattr(value, "__dict__") else {}
        for base in type(value).__mro__:
            slots = vars(base).get("__slots__", ())
            names = [slots] if isinstance(slots, str) else slots
            attributes |= {name: getattr(value, name) for name in names if hasattr(value, name)}
        yield from ((f"has the attribute `{name}`", item) for name, item in attributes.items())
        if not isinstance(value, type):
            yield "is an object of a class", type(value)


def _inside_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"uses the variable `{name}`", cell.cell_contents
        except ValueError:  # never set
            continue
    for code in _codes(function.__code__):
        for name in code.co_names:
            if name in function.__globals__:
                yield f"uses the global `{name}`", function.__globals__[name]
    yield from ((f"has the default of `{name}`", item) for name, item in (function.__kwdefaults__ or {}).items())
    yield from (("has a default", item) for item in function.__defaults__ or ())
    yield from ((f"has the attribute `{name}`", item) for name, item in vars(function).items())
