"""Whose a module is, and of which version: what is not the user's stands for itself by its name and version."""

from __future__ import annotations

import functools
import importlib.machinery
import operator
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

from mapreduce.project import is_engine_file, is_library_file, is_stdlib_file

DISTRIBUTION = "mapreduce-engine"


def owner_of(module: str) -> str:
    """Whose a module is, by its name: "stdlib", "engine", "library" or "project" (also what is not known)."""
    if module == "__main__":
        return "project"
    found = sys.modules.get(module)
    path = getattr(found, "__file__", None)
    if not isinstance(path, str):
        top = module.partition(".")[0]
        return "stdlib" if top in sys.stdlib_module_names or top == "builtins" else "project"
    if is_engine_file(path):
        return "engine"
    if is_stdlib_file(path):
        return "stdlib"
    return "library" if is_library_file(path) else "project"


def is_foreign(module: str, path: str = "") -> bool:
    """Whether a module, or code of it in this file, is not the user's."""
    if path and not path.startswith("<"):
        return is_engine_file(path) or is_library_file(path)
    return owner_of(module) != "project"


def module_of(function: types.FunctionType) -> str:
    """The module whose globals a function has: `__module__` may have been taken over from what it wraps."""
    return str(function.__globals__.get("__name__") or function.__module__ or "")


def module_of_class(cls: type) -> str:
    """The module of a class; classes of C may have something else than a text there."""
    module = type.__getattribute__(cls, "__module__")
    return module if isinstance(module, str) else str(getattr(type(cls), "__module__", ""))


def is_at_home(found: Any, module: str) -> bool:
    """Whether a function or class is found under its name in a module, and was not made by a call there."""
    try:
        return operator.attrgetter(found.__qualname__)(sys.modules[module]) is found
    except (AttributeError, KeyError, TypeError):
        return False


def is_compiled(module: types.ModuleType | None) -> bool:
    """Whether a module's code is not Python's: what it does cannot be read."""
    path = getattr(module, "__file__", None)
    return isinstance(path, str) and path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


@functools.cache
def version_of(module: str) -> str:
    """The version of a module; for one that tells none, and for the user's own, that of its file (size and time)."""
    owner, top = owner_of(module), module.partition(".")[0]
    if owner == "stdlib" or not module:
        return sys.version
    if owner == "engine":
        return metadata.version(DISTRIBUTION)
    if owner == "project":
        return _version_of_file(module)
    told = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(told, str):
        return told
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:
        return _version_by_files(top)


def _version_by_files(top: str) -> str:
    names = metadata.packages_distributions().get(top, [])
    if names:
        return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(names))
    return _version_of_file(top)


def _version_of_file(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    if not isinstance(path, str) or not Path(path).is_file():
        return "?"
    facts = Path(path).stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def is_users(value: object) -> bool:
    """Whether something in a library's module is the user's."""
    if isinstance(value, types.FunctionType):
        return not is_foreign(module_of(value), value.__code__.co_filename)
    return isinstance(value, type) and owner_of(module_of_class(value)) == "project"


def has_dict(cls: type) -> bool:
    """Whether objects have a `__dict__` of their own, and no property in its place."""
    return any(isinstance(vars(one).get("__dict__"), types.GetSetDescriptorType) for one in cls.__mro__)
