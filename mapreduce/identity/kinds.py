"""Kinds of objects as the walk over what a function reaches knows them, and what it cannot judge. Tables alone."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import json
import operator
import os
import posix
import re
import struct
import threading
import types
import typing
from collections.abc import Callable
from typing import Any

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
CANONICAL = frozenset({dt.date, dt.datetime, dt.time, dt.timedelta, decimal.Decimal, complex, bytearray, *SCALARS})
SINGLES = {Ellipsis: "...", NotImplemented: "NotImplemented"}
# Calls that make or find code while they run: what they reach is not to be read from bytecode.
DYNAMIC = frozenset({eval, exec, compile, globals, __import__})
DYNAMIC_MODULES = frozenset(
    {"importlib", "runpy", "pkgutil", "imp", "gc", "ctypes", "cffi"}
    | {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}  # data that names code
    | {"inspect", "traceback", "linecache", "dis"}  # they show source lines and their numbers
    | {"pydoc", "code", "codeop", "timeit", "doctest", "unittest", "pdb", "bdb", "trace", "profile", "cProfile"}
)
# Modules through which all code can be found, and by which of their names.
LOCALS = frozenset({locals, vars})  # calls that give what the names of a function mean, its arguments too
WINDOWS = {
    "sys": frozenset({"modules", "_getframe", "_current_frames", "_current_exceptions", "__dict__"}),
    "builtins": frozenset({*(one.__name__ for one in DYNAMIC | LOCALS), "__dict__"}),
}
DYNAMIC_ATTRIBUTES = frozenset(
    {"__globals__", "__builtins__", "__subclasses__", "f_globals", "f_locals", "f_back", "__loader__"}
    | {"__code__", "tb_lineno", "f_lineno", "co_firstlineno", "co_filename", "tb_frame"}
    | {
        "sql",
        "query",
        "eval",
        "evaluate",
        "register_globals",
        "SQLContext",
    }  # texts in which globals may be named: pl.sql, df.query
)
# What reads the environment of the process, and what shells set in it for themselves.
ENVIRONMENT = (os.environ, os.environb, os.getenv, os.getenvb, os.path.expandvars, posix.environ)
OF_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "expandvars"})
OF_SHELLS = frozenset({"_", "PWD", "OLDPWD", "SHLVL"})
# Of a class: what Python makes by itself, or keeps for its own use.
OWN_OF_CLASSES = frozenset({"__dict__", "__weakref__", "_abc_impl", "__firstlineno__", "__static_attributes__"})
LOCKS = (type(threading.Lock()), type(threading.RLock()))
CACHED = functools._lru_cache_wrapper  # noqa: SLF001 - what functools.cache makes has no other name
_dispatched: Any = functools.singledispatch(id)
DISPATCHER: types.CodeType = _dispatched.__code__  # that of all functions which singledispatch makes
OWN_OF_DISPATCHERS = frozenset({"register", "dispatch", "_clear_cache"})  # they hold what was looked up so far
DESCRIPTOR = ("__name__", "__objclass__")
SCANNER = ("strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant")
# What wraps functions and types, and by what it is told.
PARTS: dict[Any, tuple[str, ...]] = {
    types.MethodType: ("__func__", "__self__"),
    functools.partial: ("func", "args", "keywords"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    types.GenericAlias: ("__origin__", "__args__"),
    types.UnionType: ("__args__",),
    re.Pattern: ("pattern", "flags"),
    struct.Struct: ("format",),
    type(vars(json.JSONDecoder())["scan_once"]): SCANNER,
    typing.TypeVar: ("__name__", "__bound__", "__constraints__", "__covariant__", "__contravariant__"),
    typing.ParamSpec: ("__name__", "__bound__"),
    types.MemberDescriptorType: DESCRIPTOR,
    types.GetSetDescriptorType: DESCRIPTOR,
    types.MethodDescriptorType: DESCRIPTOR,
    types.WrapperDescriptorType: DESCRIPTOR,
    types.ClassMethodDescriptorType: DESCRIPTOR,
}
# Bases whose content is seen without asking the object itself, whose methods may be the user's.
BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (dict, lambda found: [item for pair in dict.items(found) for item in pair]),
    (list, lambda found: list(list.__iter__(found))),
    (tuple, lambda found: list(tuple.__iter__(found))),
    (set, lambda found: set(set.__iter__(found))),
    (frozenset, lambda found: set(frozenset.__iter__(found))),
    (str, str.__str__),
    (bytes, lambda found: bytes.join(b"", [found])),
    (int, int.__int__),
    (float, float.__float__),
    (BaseException, operator.attrgetter("args")),
)
HARMLESS = frozenset({"object", "Generic", "Protocol", "ABC", *(base.__name__ for base, _ in BASES)})


# Of a module: where it comes from, and how it was imported.
OWN_OF_MODULES = frozenset(
    {"__builtins__", "__loader__", "__spec__", "__cached__", "__file__", "__path__", "__name__", "__package__"}
)


class Missing:
    """Stands for a name that means nothing."""


MISSING = Missing()
