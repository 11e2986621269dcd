"""Lines of the user's own code that a finding may come from: found by reading it, and shown as what to look at first.

A search of the syntax for calls and names that are known to give other results at another time, in another process or
in another order. It proves nothing: the trials do; it only says where to look.
"""

from __future__ import annotations

import ast
import builtins
import datetime as dt
import functools
import inspect
import linecache
import os
import platform
import random
import socket
import sys
import textwrap
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from mapreduce.project import is_engine_file, is_library_file
from mapreduce.quick_dataclass import dataclass
from mapreduce.syntax import tree_of

MOST_LINES = 4  # shown of a finding
MOST_FUNCTIONS = 500  # looked at from one function: no job by hand has more, and a loop of references must end

_RANDOM_MODULES = ("random", "secrets", "uuid", "numpy.random", "_random")
_CLOCKS = frozenset({"now", "utcnow", "today", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter"})
_CLOCKS |= {"perf_counter_ns", "process_time", "localtime", "gmtime", "strftime", "ctime", "asctime"}
_PROCESS = (
    *((os, name) for name in ("environ", "getcwd", "getenv", "getpid", "getppid")),
    (Path, "cwd"),
    (platform, "node"),
    (socket, "gethostname"),
    (sys, "argv"),
    (threading, "get_ident"),
)
_READING = frozenset({"open", "read_bytes", "read_text"})  # methods of a path
_CHANGING = (list, dict, set, bytearray, random.Random, types.GeneratorType)


@dataclass(frozen=True, slots=True)
class _Written:
    """A function as it stands in a file: its syntax, and what its names mean."""

    path: str
    tree: ast.AST
    names: dict[str, Any]


def randomness(functions: Sequence[Any]) -> tuple[str, ...]:
    """Lines that draw random numbers other than `ctx.random`."""
    return _lines(functions, _is_random)


def clocks(functions: Sequence[Any]) -> tuple[str, ...]:
    """Lines that look at the clock or the calendar."""
    return _lines(functions, _is_clock)


def unordered(functions: Sequence[Any]) -> tuple[str, ...]:
    """Lines with sets, whose order depends on hashes, and with hashes of objects."""
    return _lines(functions, _is_unordered)


def lasting(functions: Sequence[Any]) -> tuple[str, ...]:
    """Lines that use what outlives a call: variables of the module that can be changed."""
    return _lines(functions, _is_lasting)


def of_process(functions: Sequence[Any]) -> tuple[str, ...]:
    """Lines that ask for what another process, or another machine, has otherwise: files of its current folder, too."""
    return _lines(functions, _is_of_process)


def place_of(function: Any) -> tuple[str, ...]:
    """The line where a function is written, as `job.py:7: def mapper(line):`; nothing for one of no file."""
    code = _code_of(function)
    if code is None or is_library_file(code.co_filename) or is_engine_file(code.co_filename):
        return ()
    return (line_of(code.co_filename, _first_line(code)),)


def _lines(functions: Sequence[Any], is_suspect: Callable[[ast.AST, dict[str, Any]], bool]) -> tuple[str, ...]:
    found: dict[tuple[str, int], None] = {}
    for written in _reached(functions):
        for node in ast.walk(written.tree):
            if is_suspect(node, written.names):
                found[written.path, getattr(node, "lineno", 1)] = None
    return tuple(line_of(path, line) for path, line in sorted(found)[:MOST_LINES])


def line_of(path: str, line: int) -> str:
    """A line of a file, for people: `job.py:7: yield word, 1`."""
    return f"{Path(path).name}:{line}: {linecache.getline(path, line).strip()}"


def _first_line(code: types.CodeType) -> int:
    """The line of the `def` itself, behind its decorators."""
    for number in range(code.co_firstlineno, code.co_firstlineno + 20):
        if linecache.getline(code.co_filename, number).lstrip().startswith(("def ", "class ", "async def ")):
            return number
    return code.co_firstlineno


def _reached(functions: Sequence[Any]) -> Iterator[_Written]:
    """The user's functions and classes that these lead to, themselves among them, as they are written."""
    waiting = list(functions)
    seen: set[int] = set()
    while waiting and len(seen) < MOST_FUNCTIONS:
        thing = waiting.pop(0)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, functools.partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
            continue
        wrapped = getattr(thing, "__wrapped__", None)
        if wrapped is not None:
            waiting.append(wrapped)
        waiting += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or () if _is_filled(cell)]
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            waiting += [] if inspect.isroutine(thing) or _is_plain(thing) else [type(thing)]
            continue
        written = _written(thing)
        if written is not None:
            yield written
            waiting += [written.names[name] for name in _loaded(written.tree) if name in written.names]


def _is_plain(thing: Any) -> bool:
    return isinstance(thing, types.ModuleType) or type(thing).__module__ == "builtins"


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that was never set
        return False


def _written(thing: Any) -> _Written | None:
    """The source of a function or class of the user's; None for any other, or where it is not to be had."""
    code = getattr(thing, "__code__", thing)  # of a wrapped function its own: `inspect` would give the inner one's
    try:
        path = inspect.getsourcefile(code) or ""
        lines, start = inspect.getsourcelines(code)
    except (OSError, TypeError):  # written in C, or typed at a prompt that keeps no source
        return None
    if is_library_file(path) or is_engine_file(path):
        return None
    try:
        tree = tree_of(textwrap.dedent("".join(lines)))
    except SyntaxError:  # a lambda in the middle of an expression
        return None
    module = inspect.getmodule(thing)
    names = dict(vars(module)) if module is not None else {}
    names |= getattr(thing, "__globals__", {})
    return _Written(path, ast.increment_lineno(tree, start - 1), names)


def _loaded(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id


def _code_of(function: Any) -> types.CodeType | None:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function) if callable(function) else function
    if inspect.isclass(function):
        function = vars(function).get("__call__") or vars(function).get("__init__")
    elif not inspect.isroutine(function):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - its code is asked for, not whether it is there
    code = getattr(function, "__code__", None)
    return code if isinstance(code, types.CodeType) else None


def _meant(node: ast.AST, names: dict[str, Any]) -> Any:
    """What an expression of names and dots means, as far as that can be seen without running anything; else None."""
    if isinstance(node, ast.Name):
        return names.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute):
        owner = _meant(node.value, names)
        if isinstance(owner, types.ModuleType | type):
            return inspect.getattr_static(owner, node.attr, None)
    return None


def _home(thing: Any) -> str:
    """The module that a thing is of."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    owner = getattr(thing, "__self__", None)  # random.random is a method of an object of the module
    return str(getattr(thing, "__module__", None) or (type(owner).__module__ if owner is not None else ""))


def _is_random(node: ast.AST, names: dict[str, Any]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    thing = _meant(node.func, names)
    if thing is None and isinstance(node.func, ast.Attribute):  # np.random.rand: a module inside a module
        thing = _meant(node.func.value, names)
    home = _home(thing) if thing is not None else ""
    return home.startswith(_RANDOM_MODULES) or (home == "os" and getattr(thing, "__name__", "") == "urandom")


def _is_clock(node: ast.AST, names: dict[str, Any]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in _CLOCKS:
        owner = _meant(node.func.value, names)
        if owner is dt.datetime or owner is dt.date or getattr(owner, "__name__", "") == "time":
            return True
    thing = _meant(node.func, names)
    return _home(thing) == "time" and getattr(thing, "__name__", "") in _CLOCKS


def _is_unordered(node: ast.AST, names: dict[str, Any]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if not isinstance(node, ast.Call):
        return False
    return any(_meant(node.func, names) is one for one in (set, frozenset, hash, id))


def _is_lasting(node: ast.AST, names: dict[str, Any]) -> bool:
    if isinstance(node, ast.Global):
        return True
    if not isinstance(node, ast.Name):
        return False
    thing = names.get(node.id)
    if isinstance(thing, _CHANGING):
        return True
    return type(thing).__module__ in {"itertools", "collections"} or hasattr(thing, "cache_info")


def _is_of_process(node: ast.AST, names: dict[str, Any]) -> bool:
    thing = _meant(node, names)
    if thing is not None and any(thing is inspect.getattr_static(owner, name) for owner, name in _PROCESS):
        return True
    if not isinstance(node, ast.Call):
        return False
    if _meant(node.func, names) is open:
        return bool(node.args) and _is_relative(node.args[0], names)
    return isinstance(node.func, ast.Attribute) and node.func.attr in _READING and _is_relative(node.func.value, names)


def _is_relative(node: ast.AST, names: dict[str, Any]) -> bool:
    """Whether this is a path from the current folder on, as far as that is written down."""
    if isinstance(node, ast.Call):
        kind = _meant(node.func, names)
        return (
            inspect.isclass(kind)
            and issubclass(kind, PurePath)
            and bool(node.args)
            and _is_relative(node.args[0], names)
        )
    path = node.value if isinstance(node, ast.Constant) else _meant(node, names)
    return isinstance(path, str | PurePath) and not PurePath(path).is_absolute()
