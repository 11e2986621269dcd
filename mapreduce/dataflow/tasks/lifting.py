"""Loops that only yield, taken as a whole: what is looped over is asked for once, and not its elements one by one.

`for word in line.split(): yield word, document` says of each word nothing that the list does not say. A twin of the
generator yields `line.split(), document` in place of that loop, and whoever takes it goes through the list in C. The
twin is the same code but for the instructions of such loops, at the same places, so that errors are told with the same
lines. Only where nobody can tell: the loop has no other step, and its variable is used nowhere else.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections.abc import Callable, Generator, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from mapreduce.calls import with_keywords

KNOWN = (3, 11)  # the Python whose loops are these instructions; those of another are run as they are
LOOP = (  # from the iterable on the stack to the end of the loop, two bytes each
    "GET_ITER",
    "FOR_ITER",
    "STORE_FAST",
    "LOAD_FAST",
    ("LOAD_FAST", "LOAD_CONST"),
    "BUILD_TUPLE",
    "YIELD_VALUE",
    "RESUME",
    "POP_TOP",
    "JUMP_BACKWARD",
)
STEP, KEY, VALUE, PAIR, YIELD, RESUME, POP, BACK = 1, 3, 4, 5, 6, 7, 8, 9  # places in a loop
UNIT = 2  # bytes of an instruction
BYTE = 255  # the largest argument of one
LOOKS_AT_VARIABLES = frozenset({"locals", "vars", "dir", "eval", "exec", "_getframe", "currentframe", "f_locals"})

# Iterables that run nobody's code and cannot fail, whatever their elements are.
PLAIN = frozenset({list, tuple, str, dict, set, frozenset, range, type({}.keys()), type({}.values()), type({}.items())})


def twin(function: Callable[..., Any]) -> Callable[..., Generator[Any]] | None:
    """A function that yields `iterable, value` where this one yields `element, value` for each element.

    It takes what `calls.Call.start` has bound, and None is given for what has no such loops, or yields elsewhere too,
    and while a debugger looks on.
    """
    if sys.version_info[:2] != KNOWN or sys.gettrace() is not None:
        return None
    keywords: dict[str, Any] = {}
    plain: Any = function
    if isinstance(plain, functools.partial):
        if plain.args:
            return None
        plain, keywords = plain.func, plain.keywords
    method = None if isinstance(plain, FunctionType) else getattr(type(plain), "__call__", None)  # noqa: B004 - of the class
    found = plain if method is None else method
    if not isinstance(found, FunctionType) or not found.__code__.co_flags & inspect.CO_GENERATOR:
        return None
    code = _lifted(found.__code__)
    if code is None:
        return None
    made = FunctionType(code, found.__globals__, found.__name__, found.__defaults__, found.__closure__)
    made.__kwdefaults__ = found.__kwdefaults__
    made.__qualname__ = found.__qualname__
    bound = with_keywords(made, keywords) if keywords else made
    return bound if method is None else MethodType(bound, plain)


def pairs_of(iterable: Any, value: Any, rest: Generator[Any]) -> Iterator[Any]:
    """The pairs of a call of the function itself, from what its twin has yielded on: what iterating raises is its own.

    `rest` is the twin, which has just yielded that iterable and value.
    """
    item: tuple[Any, Any] | None = (iterable, value)
    while item is not None:
        try:
            for element in item[0]:
                yield element, item[1]
        except BaseException as error:  # noqa: BLE001 - it goes where it would have been raised, which may catch it
            own = error.__traceback__.tb_next if error.__traceback__ is not None else None
            try:
                item = rest.throw(error.with_traceback(own))
            except StopIteration:
                return
        else:
            item = next(rest, None)


def _lifted(code: CodeType) -> CodeType | None:
    """The code with each loop that only yields as one yield; None if it yields elsewhere, or if somebody can tell."""
    if LOOKS_AT_VARIABLES.intersection(code.co_names):
        return None
    instructions = list(dis.get_instructions(code))
    yields = [i for i, one in enumerate(instructions) if one.opname in {"YIELD_VALUE", "SEND"}]
    loops = [instructions[i - YIELD : i - YIELD + len(LOOP)] for i in yields if i >= YIELD]
    if not loops or len(loops) < len(yields) or not all(_only_yields(loop, instructions, code) for loop in loops):
        return None
    variables = {loop[KEY].argval for loop in loops}
    uses = [one for one in instructions if one.argval in variables and one.opname not in {"STORE_FAST", "LOAD_CONST"}]
    if len(uses) != len(loops):
        return None
    data = bytearray(code.co_code)
    for loop in loops:
        _patch(data, loop)
    return code.replace(co_code=bytes(data))


def _only_yields(loop: list[dis.Instruction], instructions: list[dis.Instruction], code: CodeType) -> bool:
    """Whether these instructions are a loop that does nothing but yield its variable with something else."""
    start = loop[0].offset
    for i, (one, names) in enumerate(zip(loop, LOOP, strict=False)):
        if one.opname not in ((names,) if isinstance(names, str) else names) or one.offset != start + UNIT * i:
            return False
        if one.is_jump_target and i > STEP:
            return False
    if len(loop) != len(LOOP):
        return False
    step, key, value = loop[STEP], loop[KEY], loop[VALUE]
    jumps = [one for one in instructions if "JUMP" in one.opname and one.argval == step.offset]
    return (
        loop[STEP + 1].argval == key.argval
        and (value.opname == "LOAD_CONST" or (value.argval != key.argval and _is_bound(value.argval, loop[0], code)))
        and loop[PAIR].arg == UNIT
        and jumps == [loop[BACK]]
        and 0 <= _beyond(loop) <= BYTE
    )


def _is_bound(name: str, start: dis.Instruction, code: CodeType) -> bool:
    """Whether a variable surely has an object at an instruction: else a loop over nothing would fail in the twin."""
    instructions = list(dis.get_instructions(code))
    if any(one.opname == "DELETE_FAST" and one.argval == name for one in instructions):
        return False
    if name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return True
    if code.co_exceptiontable:  # from where it begins a handler may be reached
        return False
    jumps = [(one.offset, one.argval) for one in instructions if "JUMP" in one.opname or one.opname == "FOR_ITER"]
    stores = [one.offset for one in instructions if one.opname == "STORE_FAST" and one.argval == name]
    return any(at < start.offset and not any(source < at < target for source, target in jumps) for at in stores)


def _beyond(loop: list[dis.Instruction]) -> int:
    """How many instructions lie between a loop and where it goes on when it ends."""
    return int(loop[STEP].argval - loop[BACK].offset - UNIT) // UNIT


def _patch(data: bytearray, loop: list[dis.Instruction]) -> None:
    """Make one yield of a loop; it lies where the loop's first line does, since what it raises is the loop's."""
    start = loop[0].offset
    kept = b"".join(data[loop[i].offset : loop[i].offset + UNIT] for i in (VALUE, PAIR, YIELD, RESUME, POP))
    idle = bytes((dis.opmap["NOP"], 0)) * (BACK - len(kept) // UNIT)
    data[start : loop[BACK].offset + UNIT] = kept + idle + bytes((dis.opmap["JUMP_FORWARD"], _beyond(loop)))
