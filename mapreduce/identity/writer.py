"""How values are written into a hash so that two digests are equal only if the values are: for `walk`."""

from __future__ import annotations

import hashlib
import types
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgpack

from mapreduce.dataflow.columns.values import encode_value, holds_pickle
from mapreduce.errors import ValueTypeError
from mapreduce.identity.kinds import CANONICAL, DYNAMIC_MODULES, MISSING, SCALARS, SINGLES
from mapreduce.identity.objects import NotJudgedError, UnknownError
from mapreduce.identity.owner import version_of

MOST_BYTES = 64 << 20  # of reached values: hashing them is the job's start; what is larger is not judged
MOST_OBJECTS = 100_000  # of functions, classes and containers: a second or so
DEPTH = 60  # of tuples in tuples: deeper ones are not judged


class Writer(ABC):
    """Writes what is reached into a hash, each object once: those met again are told by their number.

    Unless it `reads_code`, functions, classes and modules count by their names and by the values that they hold. What
    is in an object, and what a module is as a value, is said by `_describe` and `_module` of a class made from this.
    """

    def __init__(self, *, reads_code: bool = True) -> None:
        self._reads_code = reads_code
        self._hash = hashlib.sha256()
        self.size = 0
        self.variables: set[str | None] = set()  # those of the environment that are read, None for all
        self.sees_locals = False  # whether code may look at the arguments of what calls it
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []  # so that no number becomes another object's
        self._waiting: deque[object] = deque()

    def run(self, roots: Iterable[object]) -> None:
        """Write all that is reached."""
        for root in roots:
            self._value(root, 0)
        while self._waiting:
            self._describe(self._waiting.popleft())

    def digest(self) -> str:
        """The sum of all that was written."""
        return self._hash.hexdigest()

    def _put(self, *token: Any) -> None:
        data = msgpack.packb(token, use_bin_type=True, unicode_errors="surrogatepass")
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise UnknownError(f"more than {MOST_BYTES >> 20} MB of values")
        self._hash.update(data)

    def _value(self, value: Any, depth: int) -> None:
        """Write a value, or the number of an object that is described later."""
        kind = type(value)
        if depth > DEPTH:
            raise UnknownError("values that are nested too deeply")
        if kind in CANONICAL:
            self._canonical(value)
        elif kind is tuple:
            self._put("tuple", len(value))
            for item in value:
                self._value(item, depth + 1)
        elif kind in {set, frozenset} and SCALARS.issuperset(map(type, value)):
            self._canonical(value)  # at C's speed: lists of stop words are long
        elif kind in {set, frozenset}:
            self._set(kind.__name__, value)
        elif value is MISSING:
            self._put("missing")
        elif value is Ellipsis or value is NotImplemented:
            self._put("single", SINGLES[value])
        elif isinstance(value, types.ModuleType):
            self._module(value)
        else:
            self._refer(value)

    def _canonical(self, value: Any) -> None:
        try:
            data = encode_value(value)
        except ValueTypeError as error:
            raise UnknownError(str(error)) from None
        if holds_pickle(data):
            raise UnknownError(f"a value of the type {type(value).__name__}")
        self._put("value", data)

    def _set(self, name: str, value: Iterable[Any]) -> None:
        """Write a set, whose order is chance: by the sums of its elements."""
        sums = []
        for item in value:
            inner = type(self)(reads_code=self._reads_code)
            inner.run([item])
            self.size += inner.size
            self.variables |= inner.variables
            self.sees_locals |= inner.sees_locals
            sums.append(inner.digest())
        self._put("set", name, sorted(sums))

    def _refer(self, value: object) -> None:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            if number >= MOST_OBJECTS:
                raise UnknownError(f"more than {MOST_OBJECTS:,} objects")
            self._alive.append(value)
            self._waiting.append(value)
        self._put("object", number)

    def _foreign(self, what: str, module: str, name: str = "") -> None:
        """Write what is not the user's: it is what its module's version says."""
        if self._reads_code and module.lstrip("_").partition(".")[0] in DYNAMIC_MODULES:
            raise NotJudgedError(f"what the module {module} finds when it runs")
        self._put(what, module, name, version_of(module))

    def _environment(self, item: str | None) -> None:
        """Write that a variable of the process' environment is read, or any where code does not name the one."""
        self.variables.add(item)
        self._put("environment", item)

    def _container(self, value: list[Any] | dict[Any, Any]) -> None:
        self._put(type(value).__name__, len(value))
        items = [item for pair in value.items() for item in pair] if isinstance(value, dict) else value
        if set(map(type, items)) <= SCALARS:
            self._canonical(tuple(items))  # at C's speed: stop words and other tables are long
            return
        for item in items:
            self._value(item, 0)

    def _mapping(self, found: dict[str, Any]) -> None:
        self._put("names", len(found))
        for name, value in found.items():
            self._value(name, 0)
            self._value(value, 0)

    def _parts(self, name: str, *parts: object) -> None:
        self._put(name, len(parts))
        for part in parts:
            self._value(part, 0)

    @abstractmethod
    def _describe(self, value: Any) -> None:
        """Write what an object is and holds, once."""

    @abstractmethod
    def _module(self, module: types.ModuleType) -> None:
        """Write a module that code has hold of."""
