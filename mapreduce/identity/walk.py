"""The fingerprint of everything that a function reaches: code, constants, defaults, closures, globals, classes, values.

Two fingerprints are equal only if what was reached is the same. Whatever cannot be judged is said to be so: where code
finds code while it runs, all code counts in its place; for a value without canonical bytes nothing can, since it may
come from a file. To call something changed that did not is safe, the other way round is not. What functions read from
outside when they run, files and the network, is no part of it, but for the environment of the process. Line numbers,
file names and comments are none either.
"""

from __future__ import annotations

import builtins
import io
import logging
import sys
import types
from collections.abc import Iterable
from typing import Any

from mapreduce.identity.code import Chain, Imported, references
from mapreduce.identity.kinds import (
    BASES,
    CACHED,
    CANONICAL,
    DISPATCHER,
    DYNAMIC,
    DYNAMIC_ATTRIBUTES,
    HARMLESS,
    LOCALS,
    LOCKS,
    MISSING,
    OF_ENVIRONMENT,
    OWN_OF_CLASSES,
    OWN_OF_MODULES,
    PARTS,
    WINDOWS,
)
from mapreduce.identity.objects import (
    NotJudgedError,
    UnknownError,
    dispatched,
    is_environment,
    reduced,
    slots_of,
    texts_in,
)
from mapreduce.identity.owner import (
    has_dict,
    is_at_home,
    is_compiled,
    is_foreign,
    is_users,
    module_of,
    module_of_class,
    version_of,
)
from mapreduce.identity.writer import MOST_BYTES, Writer
from mapreduce.quick_dataclass import dataclass

NAMED = 2  # parts of what is found under a name in a module


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A SHA-256 in hex; `unjudged` says what it does not cover, "" if nothing.

    `unknown` says that all code of the job would not cover it either, since it may come from elsewhere. `variables` are
    those of the environment that are read, None for all: their values are not covered. `sees_locals` says that code may
    look at the arguments of whatever calls it.
    """

    sha256: str
    unjudged: str = ""
    unknown: bool = False
    variables: frozenset[str | None] = frozenset()
    sees_locals: bool = False


def fingerprint(*roots: object) -> Fingerprint:
    """The fingerprint of some objects, in this order, with all that they reach. Runs no code of theirs."""
    return _found(_Walk(), roots)


def fingerprint_of_code(code: types.CodeType, names: dict[str, Any]) -> Fingerprint:
    """The fingerprint of code that runs with these globals."""
    return fingerprint(_Code(code, names))


def fingerprint_of_values(modules: Iterable[dict[str, Any]]) -> Fingerprint:
    """The fingerprint of the values that are in some modules, of which all code is known already."""
    found = [{name: one[name] for name in sorted(one) if name not in OWN_OF_MODULES} for one in modules]
    return _found(_Walk(reads_code=False), found)


def _found(walk: _Walk, roots: Iterable[object]) -> Fingerprint:
    unjudged, unknown = "", False
    try:
        walk.run(roots)
    except NotJudgedError as reason:
        unjudged, unknown = str(reason), isinstance(reason, UnknownError)
    except RecursionError:
        unjudged, unknown = "values that are nested too deeply", True
    except Exception as error:  # noqa: BLE001 - objects of others answer here: what they raise cannot be judged
        unjudged, unknown = f"an object that raises {type(error).__name__} when it is looked at", True
    return Fingerprint(walk.digest(), unjudged, unknown, frozenset(walk.variables), walk.sees_locals)


class _Code:
    """Code with the globals that it runs in: what a function is without its defaults and closure."""

    def __init__(self, code: types.CodeType, names: dict[str, Any]) -> None:
        self.code, self.names = code, names


class _Walk(Writer):
    """Goes through code, classes and other objects, to all that they reach."""

    def _module(self, module: types.ModuleType) -> None:
        """Write a module that code has hold of: whatever it takes from it is not to be seen."""
        name = module.__name__
        if self._reads_code and (name in WINDOWS or not is_foreign(name)):
            raise NotJudgedError(f"the module {name} as a value")
        self._foreign("module", name)
        if name == "os":
            self._environment(None)

    # ---- objects, once each

    def _describe(self, value: Any) -> None:
        kind = type(value)
        if kind in {list, dict}:
            self._container(value)
        elif isinstance(value, types.FunctionType) and not is_environment(value):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif kind is _Code:
            self._code(value.code, value.names)
        elif is_environment(value):
            self._environment(None)
        elif not self._callable(value):
            self._instance(value)

    def _function(self, function: types.FunctionType) -> None:
        module = module_of(function)
        foreign = is_foreign(module, function.__code__.co_filename)
        if function.__code__ is DISPATCHER:
            self._parts("singledispatch", *dispatched(function))
            return
        if foreign:
            self._foreign("function", module, function.__qualname__)
            if is_at_home(function, module):
                return
        else:
            self._put("own function", function.__qualname__)
        self._value(function.__defaults__, 0)
        for part in (function.__kwdefaults__, function.__dict__, function.__annotations__):
            self._mapping(part or {})
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # a name that has no value yet
                self._put("empty cell")
            else:
                self._value(content, 0)
        if foreign:
            self._bytecode(function.__code__)  # what a library's function makes may be this or that
        else:
            self._annotations(function.__annotations__, function.__globals__)
            self._code(function.__code__, function.__globals__)

    def _annotations(self, annotations: dict[str, Any], names: dict[str, Any]) -> None:
        """Write what the names mean in those annotations that are texts: libraries look them up."""
        for text in texts_in(annotations):
            try:
                code = compile(text, "<annotation>", "eval", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue  # no expression: the text is all
            self._code(code, names)

    def _code(self, code: types.CodeType, names: dict[str, Any]) -> None:
        if not self._reads_code:
            return
        self._bytecode(code)
        found = references(code)
        dynamic = found.attributes & DYNAMIC_ATTRIBUTES
        if dynamic:
            raise NotJudgedError(f"{code.co_name} uses {min(dynamic)}")
        for chain in found.chains:
            self._chain(code, names, chain)
        reads_environment = not found.attributes.isdisjoint(OF_ENVIRONMENT)
        for imported in found.imports:
            self._imported(code, names, imported, reads_environment=reads_environment)

    def _bytecode(self, code: types.CodeType) -> None:
        """Write code itself, without where it was written."""
        self._put("code", code.co_name, code.co_code, code.co_flags, code.co_exceptiontable)
        self._put(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self._put(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, len(code.co_consts))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._bytecode(constant)
            else:
                self._value(constant, 0)

    def _chain(self, code: types.CodeType, names: dict[str, Any], chain: Chain) -> None:
        """Write what a global name means, or the attribute of a module that is read of it."""
        inner = names.get("__builtins__", {})
        inner = vars(inner) if isinstance(inner, types.ModuleType) else inner
        head, *rest = chain.names
        self._put("global", head)
        value = names.get(head, inner.get(head, MISSING))
        if isinstance(value, types.BuiltinFunctionType) and value in DYNAMIC:
            raise NotJudgedError(f"{code.co_name} uses {head}()")
        if head in DYNAMIC_ATTRIBUTES and callable(value) and not is_users(value):
            raise NotJudgedError(f"{code.co_name} uses {head}")
        self._attribute(value, rest, chain.item)

    def _attribute(self, value: Any, rest: list[str], item: str | None = None) -> None:
        """Write what is found by following names through modules, as far as there are modules."""
        for name in rest:
            if not isinstance(value, types.ModuleType):
                break
            module, value = value, vars(value).get(name, MISSING)
            self._put("attribute", name)
            if is_foreign(module.__name__):
                if name in WINDOWS.get(module.__name__, ()):
                    raise NotJudgedError(f"code uses {module.__name__}.{name}")
                self._foreign("module", module.__name__)
                if not is_users(value) and not is_environment(value) and type(value) not in CANONICAL:
                    return  # it comes with the module's version; unless the user has put something else in its place
            elif value is MISSING:
                raise NotJudgedError(f"the attribute {name} of the module {module.__name__}, which may come later")
        if is_environment(value):
            self._environment(item)
        else:
            self._value(value, 0)

    def _imported(
        self, code: types.CodeType, names: dict[str, Any], imported: Imported, *, reads_environment: bool
    ) -> None:
        """Write what a function imports when it runs: taken from the module as it is here."""
        name = imported.module
        if imported.level:
            parents = str(names.get("__package__") or "").split(".")
            name = ".".join([*parents[: len(parents) - imported.level + 1], *([name] if name else [])])
        module = sys.modules.get(name)
        if is_foreign(name) and name not in WINDOWS and (module is None or not imported.names):
            self._foreign("module", name)
            if name == "os" and reads_environment:
                self._environment(None)  # which variables is not to be seen
        elif module is None or not imported.names or "*" in imported.names:
            raise NotJudgedError(f"{code.co_name} imports {name} when it runs")
        else:
            for taken in imported.names:
                self._attribute(module, [taken])

    # ---- classes and other objects

    def _class(self, cls: type) -> None:
        module = module_of_class(cls)
        if is_foreign(module) and is_at_home(cls, module):
            self._foreign("class", module, cls.__qualname__)
            return
        self._put("own class", module, cls.__qualname__)
        self._value(type(cls), 0)
        self._value(cls.__bases__, 0)
        for name, value in vars(cls).items():
            if name not in OWN_OF_CLASSES:
                self._put("member", name)
                self._value(value, 0)
        home = sys.modules.get(module)
        if is_compiled(home):
            self._put("compiled", version_of(module))  # its methods show nothing of what they do
        if home is not None:
            self._annotations(vars(cls).get("__annotations__", {}), vars(home))

    def _callable(self, value: Any) -> bool:
        """Write what wraps functions and types, and what C brings; whether it was such."""
        kind = type(value)
        parts = PARTS.get(kind)
        if parts is not None:
            self._parts(kind.__name__, *(getattr(value, name) for name in parts))
        elif kind is types.BuiltinFunctionType:
            owner = value.__self__
            if owner is builtins and value in DYNAMIC and self._reads_code:
                raise NotJudgedError(f"{value.__name__}()")
            self.sees_locals |= owner is builtins and value in LOCALS
            self._foreign("builtin", value.__module__ or "", value.__qualname__)
            self._parts("of", None if isinstance(owner, types.ModuleType) else owner)
        elif kind is CACHED:
            self._parts("cache", value.__wrapped__, value.cache_parameters())
        elif kind is types.MappingProxyType:
            self._parts("mapping", dict(value))
        elif kind in LOCKS:
            self._put("lock")
        elif isinstance(value, io.IOBase) and is_foreign(module_of_class(kind)) and value.closed:
            self._put("closed file")  # of which nothing can be read any more
        elif isinstance(value, logging.Logger) and is_foreign(module_of_class(kind)):
            self._put("logger", value.name)  # what a logger does is in nobody's results
        else:
            return False
        return True

    def _instance(self, value: Any) -> None:
        cls = type(value)
        self._parts("instance", cls)
        module = module_of_class(cls)
        if is_foreign(module) and is_at_home(cls, module):
            self._reduced(value, cls.__reduce_ex__)
            return
        for base, content in BASES:
            if issubclass(cls, base):
                self._value(content(value), 0)
        self._mapping(object.__getattribute__(value, "__dict__") if has_dict(cls) else {})
        for one in cls.__mro__:
            for name, content in slots_of(one, value):
                self._put("slot", name)
                self._value(content, 0)
        strange = [base for base in cls.__mro__ if is_foreign(module_of_class(base)) and base.__name__ not in HARMLESS]
        if strange:
            self._reduced(value, object.__reduce_ex__)

    def _reduced(self, value: Any, reduce: Any) -> None:
        """Write what an object of a library would be pickled by."""
        size = getattr(value, "nbytes", 0)
        if isinstance(size, int) and size > MOST_BYTES:
            raise UnknownError(f"an object of the type {type(value).__qualname__} of {size >> 20} MB")
        found = reduced(value, reduce)
        self._alive.append(found)
        if len(found) == NAMED:
            self._foreign("global name", *found)
        else:
            self._parts("reduced", *found)
