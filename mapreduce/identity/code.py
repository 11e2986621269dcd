"""What a piece of code refers to, read from its bytecode.

Owns no values: names and chains of names only. What they mean is looked up by `walk`.
"""

from __future__ import annotations

import dis
import itertools
import types
from collections.abc import Iterator, Sequence
from typing import Any

from mapreduce.quick_dataclass import dataclass

# A name that is looked up among the globals; what 3.12 adds for class bodies is there too.
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "STORE_GLOBAL", "DELETE_GLOBAL"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"})
# Between a module and its attribute the compiler may put these, which change nothing.
_BETWEEN = frozenset({"EXTENDED_ARG", "PUSH_NULL", "CACHE"})
_SUBSCRIPTS = frozenset({"BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR"})
_CALLS = frozenset({"PRECALL", "CALL"})
_ARGUMENTS = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK"})  # what loads one, in all Pythons


@dataclass(frozen=True, slots=True)
class Chain:
    """A global name with the attributes that are read of it at once, ("json", "dumps").

    `item` is the text that is looked up in it, or that it is called with; None where that cannot be told.
    """

    names: tuple[str, ...]
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """An import inside a function: the module, how many levels up it is looked for, and the names taken from it."""

    module: str
    level: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class References:
    """What code refers to, nested code included.

    `attributes` are all names of attributes; `imports` is what it imports when it runs.
    """

    chains: tuple[Chain, ...]
    attributes: frozenset[str]
    imports: tuple[Imported, ...]


def nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and all code inside it: lambdas, comprehensions, functions and classes made when it runs."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)


def references(code: types.CodeType) -> References:
    """Read what code refers to, in the order in which it does."""
    chains: dict[Chain, None] = {}
    attributes: set[str] = set()
    imports: dict[Imported, None] = {}
    for one in nested(code):
        constants: list[Any] = []
        found = [instruction for instruction in dis.get_instructions(one) if instruction.opname not in _BETWEEN]
        for place, instruction in enumerate(found):
            if instruction.opname in _LOADS:
                chains[_chain(found, place)] = None
            elif instruction.opname in _ATTRIBUTES:
                attributes.add(instruction.argval)
            elif instruction.opname == "LOAD_CONST":
                constants.append(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                imports[_imported(instruction.argval, constants)] = None
    return References(tuple(chains), frozenset(attributes), tuple(imports))


def attributes_read_of(code: types.CodeType, argument: str) -> frozenset[str] | None:
    """What code reads of an argument: names of attributes, "()" after those of methods that it calls at once.

    None where the code has no such argument, or does anything else with it: then nobody can tell.
    """
    if argument not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return None
    read: set[str] = set()
    found = [instruction for instruction in dis.get_instructions(code) if instruction.opname not in _BETWEEN]
    for instruction, after in itertools.pairwise(found):
        named = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        if instruction.opcode in dis.hasconst or argument not in named:
            continue
        if instruction.opname not in _ARGUMENTS or after.opname not in {"LOAD_ATTR", "LOAD_METHOD"}:
            return None
        read.add(f"{after.argval}()" if _is_called(after) else after.argval)
    return frozenset(read)


def _is_called(load: dis.Instruction) -> bool:
    """Whether what is loaded is called, as far as the instruction shows it: it makes room for what the call needs."""
    return load.opname == "LOAD_METHOD" or "NULL" in load.argrepr


def _chain(found: Sequence[dis.Instruction], place: int) -> Chain:
    """The chain that begins with the instruction at a place."""
    end = place + 1
    while end < len(found) and found[end].opname in _ATTRIBUTES:
        end += 1
    is_called = _is_called(found[place]) or _is_called(found[end - 1])
    item = _item(found[end : end + 3], is_called=is_called)
    return Chain(tuple(one.argval for one in found[place:end]), item)


def _item(after: Sequence[dis.Instruction], *, is_called: bool) -> str | None:
    """The text that something is looked up by, or called with: alone, or before another constant."""
    first, *rest = [one.opname for one in after] or [""]
    if first != "LOAD_CONST" or not isinstance(after[0].argval, str):
        return None
    ends = _CALLS if is_called else _SUBSCRIPTS
    used = rest[:1] if not is_called or rest[:1] != ["LOAD_CONST"] else rest[1:]
    return after[0].argval if used and used[0] in ends else None


def _imported(module: str, constants: list[Any]) -> Imported:
    """The import whose level and list of names were the last constants."""
    level, names = constants[-2:] if len(constants) > 1 else (0, None)
    return Imported(module, level if isinstance(level, int) else 0, names if isinstance(names, tuple) else ())
