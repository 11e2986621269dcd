"""What a module does when it is imported, beside defining names: what no function reaches, and all of them may feel.

Owns the judgement which statements only define. Whatever may do more is compiled by itself; what that code reaches is
looked up by `walk`. To take a statement for such is safe, the other way round is not.
"""

from __future__ import annotations

import ast
import builtins
import collections
import dataclasses
import functools
import inspect
import types
from collections.abc import Iterable, Iterator
from typing import Any

from mapreduce.identity.code import references
from mapreduce.identity.owner import owner_of
from mapreduce.syntax import tree_of

_QUIET_BUILTINS = frozenset(
    {abs, all, any, bin, bool, bytearray, bytes, chr, classmethod, complex, dict, divmod, enumerate, float, frozenset}
    | {getattr, hasattr, hex, int, isinstance, issubclass, iter, len, list, max, min, object, oct, ord, pow, property}
    | {range, repr, reversed, round, set, slice, sorted, staticmethod, str, sum, super, tuple, type, zip}
)
# Modules whose functions and classes do nothing but give a value.
_QUIET_MODULES = frozenset(
    {"abc", "collections", "contextlib", "dataclasses", "datetime", "enum", "fractions", "functools", "itertools"}
    | {"logging", "math", "operator", "pathlib", "re", "string", "types", "typing", "uuid"}
)
_LOUD = frozenset(
    {"logging.basicConfig", "logging.disable", "logging.setLoggerClass", "logging.addLevelName", "re.purge"}
    | {"abc.update_abstractmethods"}
)
_PLAIN = frozenset({str, bytes, int, float, bool, tuple, list, dict, set, frozenset})
# They keep a function that they are given, and do not call it yet. What it does is seen where it is reached.
_KEEPERS = frozenset(
    {functools.partial, functools.partialmethod, functools.lru_cache, functools.cache, functools.wraps}
    | {functools.cached_property, functools.singledispatch, functools.total_ordering, collections.defaultdict}
    | {dataclasses.field, dataclasses.dataclass, staticmethod, classmethod, property}
)
_ACCESSORS = frozenset({"setter", "getter", "deleter"})  # of a property: decorators that give another property
_CALLING = frozenset({"sort"})  # of the methods of plain values, those that call what they are given


def effects(source: bytes, path: str, names: dict[str, Any]) -> types.CodeType | None:
    """Compile what a module does when it is imported beside defining names; None if it does nothing else.

    `names` are its globals as they are afterwards, by which is told what is called. A function or class counts whole
    where its decorators or bases may do something with it. Raises SyntaxError and ValueError.
    """
    tree = tree_of(source)
    body = list(_Reader(names).loud(tree.body))
    if not body:
        return None
    module = ast.Module(body=body, type_ignores=[])
    code: types.CodeType = compile(module, path, "exec", dont_inherit=True)
    return code


class _Reader:
    """Tells statements that only define from those that may do more, by what a module's names mean."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names

    def loud(self, statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        """Those statements that may do more than define names."""
        found = list(statements)
        own = {one.name for one in found if isinstance(one, ast.FunctionDef)}
        for statement in found:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._function(statement, own)
            elif isinstance(statement, ast.ClassDef):
                bases = [*statement.bases, *(keyword.value for keyword in statement.keywords)]
                if all(map(self._is_quiet_decorator, statement.decorator_list)) and all(map(self._is_base, bases)):
                    yield from self.loud(statement.body)
                else:
                    yield statement
            elif not self._defines(statement):
                yield statement

    def _function(self, statement: ast.FunctionDef | ast.AsyncFunctionDef, own: set[str]) -> Iterator[ast.stmt]:
        for decorator in statement.decorator_list:
            accessor = isinstance(decorator, ast.Attribute) and decorator.attr in _ACCESSORS
            if accessor and getattr(getattr(decorator, "value", None), "id", None) in own:
                continue
            if not self._is_quiet_decorator(decorator):
                yield statement
                return
        taken = statement.args
        places = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
        given = [*taken.defaults, *taken.kw_defaults, *(place.annotation for place in places if place is not None)]
        for expression in (*given, statement.returns):
            if expression is not None and not self._is_still(expression):
                yield ast.copy_location(ast.Expr(expression), expression)

    def _defines(self, statement: ast.stmt) -> bool:
        """Whether a statement only defines names, or does nothing in a task."""
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass | ast.Global):
            return True
        if isinstance(statement, ast.Expr):
            return self._is_still(statement.value)
        if isinstance(statement, ast.Delete):
            return all(map(_is_name, statement.targets))
        if isinstance(statement, ast.Assign):
            return all(map(_is_name, statement.targets)) and self._is_still(statement.value)
        if isinstance(statement, ast.AnnAssign):
            given = [statement.annotation, *([statement.value] if statement.value is not None else [])]
            return _is_name(statement.target) and all(map(self._is_still, given))
        if isinstance(statement, ast.AugAssign):
            return _is_name(statement.target) and self._is_still(statement.value)
        if isinstance(statement, ast.If):
            if _is_never_true(statement.test):
                return not list(self.loud(statement.orelse))
            within = [*statement.body, *statement.orelse]
            return self._is_still(statement.test) and not list(self.loud(within))
        if isinstance(statement, ast.Try):
            handled = [inner for handler in statement.handlers for inner in handler.body]
            kinds = [handler.type for handler in statement.handlers if handler.type is not None]
            within = [*statement.body, *handled, *statement.orelse, *statement.finalbody]
            return all(map(self._is_still, kinds)) and not list(self.loud(within))
        return False

    def _is_still(self, expression: ast.expr) -> bool:
        """Whether an expression does nothing but give a value."""
        waiting: list[ast.AST] = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Lambda):
                waiting += [value for value in (*node.args.defaults, *node.args.kw_defaults) if value is not None]
                continue
            if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
                return False
            if isinstance(node, ast.Call) and not self._is_quiet(node):
                return False
            waiting += ast.iter_child_nodes(node)
        return True

    def _is_quiet(self, call: ast.Call) -> bool:
        """Whether a call does nothing but give a value, and calls nothing of the user's meanwhile."""
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        function = call.func
        path = _path(function)
        inner = function.value if isinstance(function, ast.Attribute) else None
        if isinstance(inner, ast.Constant | ast.JoinedStr):
            return True  # a method of a text that is written out
        if inner is not None and type(self._meant(inner)) in _PLAIN:  # whose methods change nothing but itself
            return path[-1] not in _CALLING or not any(map(self._hands_code, given))
        value = self._meant(function)
        if not _is_quiet_call(value):
            return False
        keeps = _is_of_engine(value) or any(value is one for one in _KEEPERS)
        return keeps or not any(map(self._hands_code, given))

    def _hands_code(self, expression: ast.expr) -> bool:
        """Whether an argument holds a function of the user's, which may then be called."""
        for node in ast.walk(expression):
            if isinstance(node, ast.Lambda):
                return True
            if isinstance(node, ast.Name | ast.Attribute):
                value = self._meant(node)
                if callable(value) and not _is_quiet_call(value):
                    return True
        return False

    def _meant(self, expression: ast.expr) -> Any:
        """What a name means, or one in a module or class; None where that cannot be told."""
        path = _path(expression)
        if not path:
            return None
        value = self._names.get(path[0], vars(builtins).get(path[0]))
        for name in path[1:]:
            if not isinstance(value, types.ModuleType | type):
                return None
            value = vars(value).get(name)
        return value

    def _is_quiet_decorator(self, decorator: ast.expr) -> bool:
        """Whether a decorator only gives something in place of what it decorates, or the same."""
        given: list[ast.expr] = []
        if isinstance(decorator, ast.Call):
            given = [*decorator.args, *(keyword.value for keyword in decorator.keywords)]
            decorator = decorator.func
        value = self._meant(decorator)
        return (_is_quiet_call(value) or _only_gives(value, set())) and all(map(self._is_still, given))

    def _is_base(self, expression: ast.expr) -> bool:
        """Whether being a class of this base, or metaclass, does nothing: no code of others hears of it."""
        if isinstance(expression, ast.Subscript):  # Generic[T]
            return self._is_still(expression.slice) and self._is_base(expression.value)
        if isinstance(expression, ast.Constant):
            return True
        base = self._meant(expression)
        if isinstance(base, types.FunctionType):  # typing.NamedTuple
            return _is_quiet_call(base)
        if not isinstance(base, type):
            return False
        hears = next(one for one in base.__mro__ if "__init_subclass__" in vars(one))
        heard = {owner_of(one.__module__) for one in (*inspect.getmro(type(base)), hears)}
        return heard <= {"stdlib", "engine"} and not (issubclass(base, type) and owner_of(base.__module__) != "stdlib")


def _path(expression: ast.expr) -> list[str]:
    """The names of `a.b.c`, [] for anything else."""
    path: list[str] = []
    while isinstance(expression, ast.Attribute):
        path.append(expression.attr)
        expression = expression.value
    return [expression.id, *reversed(path)] if isinstance(expression, ast.Name) else []


def _is_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_name, target.elts))
    return isinstance(target, ast.Name)


def _is_never_true(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING` or `__name__ == "__main__"`: false in every task."""
    if getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING":
        return True
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq) or len(test.ops) > 1:
        return False
    sides = (test.left, test.comparators[0])
    return {getattr(one, "id", getattr(one, "value", None)) for one in sides} == {"__name__", "__main__"}


def _module_of(value: Any) -> str:
    return str(getattr(value, "__module__", None) or getattr(getattr(value, "__objclass__", None), "__module__", ""))


def _is_of_engine(value: Any) -> bool:
    return isinstance(value, type | types.FunctionType) and owner_of(_module_of(value)) == "engine"


def _is_quiet_call(value: Any) -> bool:
    """Whether calling something does nothing but give a value."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, type | types.BuiltinFunctionType) and value in _QUIET_BUILTINS:
        return True
    if not isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.MethodDescriptorType):
        return False
    module = _module_of(value)
    if owner_of(module) == "engine":
        return True
    quiet = module.lstrip("_").partition(".")[0] in _QUIET_MODULES and owner_of(module) == "stdlib"
    return quiet and f"{module}.{value.__qualname__}" not in _LOUD


def _only_gives(function: object, seen: set[object]) -> bool:
    """Whether a function of the user's, with what it makes, names nothing but values and what only gives a value.

    So a decorator that does hands what it decorates to nobody else.
    """
    if not isinstance(function, types.FunctionType) or function.__closure__ or function in seen:
        return False
    seen.add(function)
    found = references(function.__code__)
    if found.imports:
        return False
    for chain in found.chains:
        head, *rest = chain.names
        value = function.__globals__.get(head, vars(builtins).get(head))
        for name in rest:
            if not isinstance(value, types.ModuleType):
                break
            value = vars(value).get(name)
        if type(value) in _PLAIN or _is_exception(value) or _is_quiet_call(value) or _only_gives(value, seen):
            continue
        return False
    return True


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException) and owner_of(value.__module__) == "stdlib"
