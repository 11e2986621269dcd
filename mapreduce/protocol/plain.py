"""Frozen dataclasses to and from plain msgpack values, checked by their annotations.

Owns the mapping used by the wire, the journal and the blobs: a dataclass is the array of its fields, without those at
the end that are as by default. Refuses whatever
is not annotated as it arrives: the result of `from_plain` has the types it says, or it is a WireError. Never pickle.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgpack

from mapreduce.errors import WireError

T = TypeVar("T")
Converter = Callable[[Any], Any]

MAX_ITEMS = 1_000_000  # of one array or map: the largest honest ones are plans of 200,000 files


def to_plain(value: Any) -> Any:
    """Give the plain form of a dataclass, enum, tuple or dict of such."""
    kind: Any = type(value)  # Any: mypy does not take type[Any] for hashable
    if kind in _LEAVES:
        return value
    return _packer(kind)(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """Build `cls` from its plain form. Raises WireError where the form does not fit."""
    try:
        result: T = _converter(cast("Any", cls))(plain)
    except RecursionError:
        msg = f"{cls.__name__}: nested too deeply"
        raise WireError(msg) from None
    return result


def prepare(*classes: Any) -> None:
    """Work out now how these dataclasses are read, and not at their first use (when their module may be gone)."""
    for cls in classes:
        _converter(cls)


def pack(value: Any) -> bytes:
    """Encode a dataclass (or a plain value) as msgpack bytes."""
    packed: bytes = msgpack.packb(to_plain(value), use_bin_type=True)
    return packed


def unpack(cls: type[T], data: bytes) -> T:
    """Decode what `pack` made. Raises WireError for anything else."""
    return from_plain(cls, unpack_plain(data))


def unpack_plain(data: bytes) -> Any:
    """Decode msgpack bytes with limits on sizes. Raises WireError."""
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=min(len(data), MAX_ITEMS),
            max_map_len=min(len(data), MAX_ITEMS),
            max_ext_len=0,
        )
    # TypeError is what an array as a map's key gives
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        msg = f"not msgpack as we write it: {error or type(error).__name__}"
        raise WireError(msg) from None


_SCALARS = frozenset({bool, int, float, str, bytes})
_LEAVES = _SCALARS | {type(None)}
_OMITTED = _LEAVES - {float} | {tuple, dict}  # of these types equal values have equal bytes


@functools.cache
def _packer(kind: type[Any]) -> Converter:
    """Make the function that gives the plain form of values of this type: once a type, since every message needs it."""
    if kind is tuple:
        return lambda value: [to_plain(item) for item in value]
    if kind is dict:
        return lambda value: {key: to_plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return _fields_packer(kind)
    if issubclass(kind, enum.StrEnum):
        return lambda value: value.value
    msg = f"{kind.__name__} has no plain form"
    raise TypeError(msg)


def _fields_packer(kind: Any) -> Converter:
    """Write the function that gives a dataclass' fields, without those at the end that are as by default.

    In a loop over the fields it takes some three times as long, and every message and entry goes through it.
    """
    names, defaults = _field_names(kind), _defaults(kind)
    known: dict[str, Any] = {"plain": to_plain, "leaves": _LEAVES}
    lines = ["def pack(value):"]
    lines += [f" v{number} = value.{name}" for number, name in enumerate(names)]
    least = len(names) - len(defaults)
    lines.append(f" end = {len(names)}")
    for depth, (number, default) in enumerate(reversed(list(enumerate(defaults, least)))):
        test = _same_test(number, default, known)
        if test is None:
            break
        lines.append(f"{' ' * (depth + 1)}if {test}:")
        lines.append(f"{' ' * (depth + 2)}end = {number}")
    made = [f"v{number} if type(v{number}) in leaves else plain(v{number})" for number in range(len(names))]
    lines.append(f" made = [{', '.join(made[:least])}]")
    for number in range(least, len(names)):
        lines += [f" if end == {number}:", "  return made", f" made.append({made[number]})"]
    lines.append(" return made")
    exec("\n".join(lines), known)  # noqa: S102 - our own text, of the names of fields
    pack: Converter = known["pack"]
    return pack


def _same_test(number: int, default: Any, known: dict[str, Any]) -> str | None:
    """The condition that a field is as by default, as an expression; None where its values have no one form."""
    if type(default) not in _OMITTED:
        return None
    if default is None or type(default) is bool:
        return f"v{number} is {default}"
    known[f"t{number}"], known[f"d{number}"] = type(default), default
    same = f"v{number} == d{number}" if default else f"not v{number}"
    return f"type(v{number}) is t{number} and {same}"


@functools.cache
def _defaults(cls: Any) -> tuple[Any, ...]:
    """The defaults of the fields at a dataclass' end, from the first on after which each field has one."""
    found: list[Any] = []
    for one in reversed(dataclasses.fields(cls)):
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            break
        found.append(one.default if one.default is not dataclasses.MISSING else one.default_factory())
    return tuple(reversed(found))


@functools.cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def _refuse(wanted: str, got: Any) -> WireError:
    return WireError(f"expected {wanted}, got {type(got).__name__}")


def _scalar(kind: type[Any]) -> Converter:
    def convert(plain: Any) -> Any:
        if type(plain) is kind:
            return plain
        if kind is float and type(plain) is int:
            return float(plain)
        raise _refuse(kind.__name__, plain)

    return convert


def _enum(kind: type[enum.StrEnum]) -> Converter:
    members = {member.value: member for member in kind}

    def convert(plain: Any) -> Any:
        if type(plain) is str and plain in members:
            return members[plain]
        raise _refuse(kind.__name__, plain)

    return convert


class _Reader:
    """Reads the plain form of one dataclass. What its fields are is found out at once, the function written when used.

    There are many types of messages, and a process needs few of them.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        hints = typing.get_type_hints(kind)
        self._hints = [hints[name] for name in _field_names(cast("Any", kind))]
        self._converters = [_converter(hint) for hint in self._hints]
        self._convert: Converter | None = None

    def __call__(self, plain: Any) -> Any:
        return self.written()(plain)

    def written(self) -> Converter:
        """The function itself. What is as it should be costs it a comparison; a loop would take thrice as long."""
        if self._convert is not None:
            return self._convert
        kind, most = self._kind, len(self._hints)
        least = most - len(_defaults(cast("Any", kind)))
        known: dict[str, Any] = {"kind": kind, "refuse": _refuse, "WireError": WireError}
        lines = ["def convert(plain):", f" if type(plain) is not list or not {least} <= len(plain) <= {most}:"]
        lines += [f"  raise refuse('{kind.__name__} of {most} fields', plain)", " try:", "  end = len(plain)"]
        for number, (hint, make) in enumerate(zip(self._hints, self._converters, strict=True)):
            if number >= least:
                lines += [f"  if end == {number}:", f"   return kind({_numbered(number)})"]
            lines.append(f"  v{number} = plain[{number}]")
            known[f"m{number}"] = make.written() if isinstance(make, _Reader) else make
            if hint in _SCALARS:
                known[f"t{number}"] = hint
                lines.append(f"  if type(v{number}) is not t{number}:")
            lines.append(f"{'   ' if hint in _SCALARS else '  '}v{number} = m{number}(v{number})")
        lines.append(f"  return kind({_numbered(most)})")
        lines += [" except WireError as error:", f"  raise WireError(f'{kind.__name__}: {{error}}') from None"]
        exec("\n".join(lines), known)  # noqa: S102 - our own text, of the names of fields
        convert: Converter = known["convert"]
        self._convert = convert
        return convert


def _numbered(count: int) -> str:
    return ", ".join(f"v{number}" for number in range(count))


def _tuple(arguments: tuple[Any, ...]) -> Converter:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        make = _converter(arguments[0])

        def convert_many(plain: Any) -> Any:
            if type(plain) is not list:
                raise _refuse("an array", plain)
            return tuple([make(item) for item in plain])

        return convert_many
    makers = [_converter(argument) for argument in arguments]

    def convert_fixed(plain: Any) -> Any:
        if type(plain) is not list or len(plain) != len(makers):
            raise _refuse(f"an array of {len(makers)}", plain)
        return tuple([make(item) for make, item in zip(makers, plain, strict=True)])

    return convert_fixed


def _dict(arguments: tuple[Any, ...]) -> Converter:
    key, value = (_converter(argument) for argument in arguments)

    def convert(plain: Any) -> Any:
        if type(plain) is not dict:
            raise _refuse("a map", plain)
        return {key(k): value(v) for k, v in plain.items()}

    return convert


def _optional(inner: Converter) -> Converter:
    return lambda plain: None if plain is None else inner(plain)


@functools.cache
def _converter(annotation: Any) -> Converter:
    if annotation in _SCALARS:
        return _scalar(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return _tuple(arguments)
    if origin is dict:
        return _dict(arguments)
    if origin in {types.UnionType, typing.Union}:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _optional(_converter(inner))
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return _enum(annotation)
    if dataclasses.is_dataclass(annotation):
        return _Reader(cast("type[Any]", annotation))
    msg = f"no plain form for {annotation!r}"
    raise TypeError(msg)
