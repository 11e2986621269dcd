"""Looking into single objects without asking their own methods, as far as that is possible: for `walk`."""

from __future__ import annotations

import copyreg
import io
import pickletools
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from mapreduce.identity.kinds import ENVIRONMENT, MISSING, OWN_OF_DISPATCHERS
from mapreduce.identity.owner import is_foreign, is_users, module_of_class

_PICKLE = re.compile(rb"\x80[\x02-\x05]")  # how pickles begin, since protocol 2
_NAMES_CODE = frozenset({"GLOBAL", "STACK_GLOBAL", "INST"})


class NotJudgedError(Exception):
    """Of some code it cannot be judged what it reaches."""


class UnknownError(NotJudgedError):
    """A value cannot be judged: it may come from anywhere."""


def is_environment(value: object) -> bool:
    """Whether this reads the environment of the process."""
    return any(value is one for one in ENVIRONMENT)


def texts_in(annotations: dict[str, Any]) -> Iterator[str]:
    """The texts in annotations, also those inside `list["Word"]` and `Optional["Word"]`."""
    waiting = list(annotations.values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, typing.ForwardRef):
            yield value.__forward_arg__
        elif isinstance(value, list | tuple):
            waiting += value
        elif is_foreign(module_of_class(type(value))):
            waiting += typing.get_args(value)


def dispatched(function: types.FunctionType) -> tuple[dict[type, Any], dict[str, Any]]:
    """Of what `functools.singledispatch` has made: the functions by type, and its attributes.

    They are read from where it looks them up. What it remembers of former calls is left out.
    """
    registry = _enclosed(_enclosed(function, "dispatch"), "registry")
    attributes = {
        name: value for name, value in vars(function).items() if name not in OWN_OF_DISPATCHERS or is_users(value)
    }
    return registry, attributes


def _enclosed(function: types.FunctionType, name: str) -> Any:
    cells = function.__closure__ or ()
    return cells[function.__code__.co_freevars.index(name)].cell_contents


def slots_of(cls: type, value: Any) -> Iterator[tuple[str, Any]]:
    """What an object has in the slots of a class; MISSING where one has not been set."""
    for name, slot in vars(cls).items():
        if isinstance(slot, types.MemberDescriptorType):
            try:
                yield name, slot.__get__(value, cls)
            except AttributeError:
                yield name, MISSING


def reduced(value: Any, reduce: Callable[..., Any]) -> tuple[str, str] | tuple[Any, ...]:
    """What an object of a library would be pickled by: ("module", "name"), or its five parts.

    Raises UnknownError where there is nothing such, and NotJudgedError where it holds pickles that name code.
    """
    what = f"an object of the type {type(value).__module__}.{type(value).__qualname__}"
    registered = copyreg.dispatch_table.get(type(value))  # which pickle asks first
    if is_users(registered):
        raise UnknownError(f"{what}, which the job pickles in a way of its own")
    try:
        found = reduce(value, 4) if registered is None else registered(value)
    except Exception as error:  # noqa: BLE001 - it cannot be judged, whatever it raises
        raise UnknownError(f"{what} ({type(error).__name__})") from None
    if isinstance(found, str):
        module = str(getattr(value, "__module__", None) or type(value).__module__)
        if getattr(sys.modules.get(module), found, None) is not value:
            raise UnknownError(f"{what}, which is not to be found under its name")
        return module, found
    make, arguments, state, items, pairs = (*found, None, None, None)[:5]
    held = [*arguments, *(state.values() if isinstance(state, dict) else [state])]
    if any(_names_code(one) for one in held if isinstance(one, bytes)):
        raise NotJudgedError(f"{what}, which holds code in bytes")
    listed = [] if items is None else list(items)
    named = [] if pairs is None else [part for pair in pairs for part in pair]
    return make, arguments, state, listed, named


def _from(data: bytes, place: int) -> io.BytesIO:
    found = io.BytesIO(data)
    found.seek(place)
    return found


def _names_code(data: bytes) -> bool:
    """Whether there is a pickle in some bytes that names functions or classes."""
    for begin in _PICKLE.finditer(data):
        named = False
        try:
            for operation, _, _ in pickletools.genops(_from(data, begin.start())):
                named = named or operation.name in _NAMES_CODE
        except Exception:  # noqa: BLE001, S112 - no pickle begins here: other bytes make its reader raise all sorts
            continue
        if named:
            return True
    return False
