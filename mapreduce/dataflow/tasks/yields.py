"""What a generator's code proves of the pairs that it yields, so that nobody has to look at each of them.

`yield word, 1` makes a tuple of two, always, and its value is always the same object. Read off the bytecode, since a
function that has travelled may have no source. Whatever is not recognised proves nothing: code of another Python, with
other instructions, is run by the loops that look at each pair.
"""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType
from typing import Any

from mapreduce.calls import Call
from mapreduce.dataflow.columns.tally import same_value
from mapreduce.quick_dataclass import dataclass

PAIR = 2
PAIR_INSTRUCTIONS = 2  # the value of a pair, and its making: the yield follows


@dataclass(frozen=True, slots=True)
class Constant:
    """Each pair that any call yields is a tuple of two with this value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Fixed:
    """Each pair is a tuple of two, and all pairs that one call yields have the same object as value."""


def proven(call: Call) -> Constant | Fixed | None:
    """What is known of the pairs of a mapper; None for nothing."""
    function = _called(call.function) if call.is_class else call.function
    if not isinstance(function, FunctionType) or not function.__code__.co_flags & inspect.CO_GENERATOR:
        return None
    return _of_code(function.__code__)


def _called(mapper: Any) -> Any:
    """What is called of the objects that a class makes; None where these may be of another class."""
    new: Any = mapper.__new__
    if type(mapper) is not type or new is not object.__new__:
        return None
    return getattr(mapper, "__call__", None)  # noqa: B004 - of the class


def _of_code(code: CodeType) -> Constant | Fixed | None:
    instructions = list(dis.get_instructions(code))
    yields = [i for i, one in enumerate(instructions) if one.opname == "YIELD_VALUE"]
    found = [_value_of_pair(instructions, i) for i in yields]
    constants = [one.value for one in found if isinstance(one, Constant)]
    if constants:
        first = constants[0]
        alike = len(constants) == len(found) and all(same_value(one, first) for one in constants)
        return Constant(first) if alike else None
    names = {one for one in found if isinstance(one, str)}
    if len(names) != 1 or None in found or _changes(instructions, names.pop(), yields[0]):
        return None
    return Fixed()


def _value_of_pair(instructions: list[dis.Instruction], at: int) -> Constant | str | None:
    """The value of the pair that is yielded by an instruction: a constant, or the name of a local variable."""
    if at < PAIR_INSTRUCTIONS or instructions[at].is_jump_target:
        return None
    value, made = instructions[at - 2], instructions[at - 1]
    if made.opname == "LOAD_CONST" and type(made.argval) is tuple and len(made.argval) == PAIR:
        return Constant(made.argval[1])
    if made.opname != "BUILD_TUPLE" or made.arg != PAIR or made.is_jump_target:
        return None
    if value.opname in {"LOAD_CONST", "LOAD_SMALL_INT"}:
        return Constant(value.argval)
    if value.opname.startswith("LOAD_FAST") and not _binds(value):
        return str(value.argval[-1] if isinstance(value.argval, tuple) else value.argval)  # of two, the later one
    return None


def _changes(instructions: list[dis.Instruction], name: str, first_yield: int) -> bool:
    """Whether a local variable may become another object once the first pair has been yielded.

    Not where all that binds it lies before the first pair, and before whatever is gone back to.
    """
    back = [one.argval for one in instructions if "JUMP_BACKWARD" in one.opname]
    end = min([instructions[first_yield].offset, *back])
    return any(one.offset >= end and _binds(one) and _names(one, name) for one in instructions)


def _binds(instruction: dis.Instruction) -> bool:
    """Whether an instruction gives a variable an object, or takes it away."""
    return any(word in instruction.opname for word in ("STORE", "DELETE", "CLEAR"))


def _names(instruction: dis.Instruction, name: str) -> bool:
    """Whether an instruction has to do with a variable."""
    argument = instruction.argval
    return name in argument if isinstance(argument, tuple) else bool(argument == name)
