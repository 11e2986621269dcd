"""`dataclass(slots=True)`, frozen or not, made in a twelfth of the time: its methods are written when they are used.

The library's own writes and compiles all methods of a class when that is defined, most of a module's import. A command
defines some two hundred of them and uses a few, in each of its processes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect
    from dataclasses import dataclass
else:

    def dataclass(*, slots: bool, frozen: bool = False) -> Callable[[type], type]:
        """Make a class as `dataclasses.dataclass` does with these arguments, its methods but for those it has."""
        assert slots, "without slots the library's own does it"
        return functools.partial(_made, frozen=frozen)


__all__ = ["dataclass"]


def _made(cls: type, *, frozen: bool) -> type:
    own = cls.__dict__
    made: type = dataclasses.dataclass(slots=True, init=False, repr=False, eq=False)(cls)
    names = ["__init__", "__repr__", "__eq__"]
    given: dict[str, Any] = {}
    if frozen:
        names += ["__hash__", "__getstate__", "__setstate__"]
        given |= {"__setattr__": _refuse("assign to"), "__delattr__": _refuse("delete")}
    elif "__eq__" not in own:
        given["__hash__"] = None  # what may change has none
    for name in names:
        if own.get(name) is None:  # a class that has only `__eq__` has None for a hash
            given[name] = _stub(made, name, frozen=frozen)
    if "__init__" not in own:
        given["__signature__"] = _Signature()
    for name, method in given.items():
        setattr(made, name, method)
    return made


def _stub(owner: type, name: str, *, frozen: bool) -> Callable[..., Any]:
    """A method that puts the real one in its place, and calls it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _write(owner, name, frozen=frozen)(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"{owner.__qualname__}.{name}"
    return method


def _write(owner: type, name: str, *, frozen: bool) -> Callable[..., Any]:
    """Compile one method of the class, give it to the class, and give it back."""
    fields = dataclasses.fields(owner)
    known: dict[str, Any] = {}
    if name == "__init__":
        lines = _init_lines(owner, fields, known, frozen=frozen)
    elif name == "__repr__":
        shown = ", ".join(f"{field.name}={{self.{field.name}!r}}" for field in fields if field.repr)
        lines = ["def __repr__(self):", f" return f'{{self.__class__.__qualname__}}({shown})'"]
    elif name == "__eq__":
        own, other = (_values(one, [field for field in fields if field.compare]) for one in ("self", "other"))
        lines = ["def __eq__(self, other):", " if other.__class__ is self.__class__:", f"  return {own} == {other}"]
        lines += [" return NotImplemented"]
    elif name == "__hash__":
        hashed = [field for field in fields if (field.compare if field.hash is None else field.hash)]
        lines = ["def __hash__(self):", f" return hash({_values('self', hashed)})"]
    elif name == "__getstate__":
        lines = ["def __getstate__(self):", f" return [{''.join(f'self.{field.name}, ' for field in fields)}]"]
    else:
        lines = ["def __setstate__(self, state):"]
        lines += [f" _set(self, {field.name!r}, state[{number}])" for number, field in enumerate(fields)] or [" pass"]
        known["_set"] = object.__setattr__
    known["__name__"] = owner.__module__
    exec("\n".join(lines), known)  # noqa: S102 - our own text, of the names of fields
    method: Callable[..., Any] = known[name]
    method.__qualname__ = f"{owner.__qualname__}.{name}"
    setattr(owner, name, method)
    return method


def _values(whose: str, fields: list[dataclasses.Field[Any]]) -> str:
    """A tuple of the values of fields, as an expression."""
    return f"({''.join(f'{whose}.{field.name}, ' for field in fields)})"


def _init_lines(
    owner: type, fields: tuple[dataclasses.Field[Any], ...], known: dict[str, Any], *, frozen: bool
) -> list[str]:
    """The lines of `__init__`; what they name is put into `known`."""
    known["_none"] = object()
    given: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for field in fields:
        name, default = field.name, f"_default_{field.name}"
        argument = value = name
        if field.default_factory is not dataclasses.MISSING:
            known[default] = field.default_factory
            argument = f"{name}=_none"
            value = f"{default}() if {name} is _none else {name}" if field.init else f"{default}()"
        elif field.default is not dataclasses.MISSING:
            known[default] = field.default
            argument = f"{name}={default}"
            value = name if field.init else default
        elif not field.init:
            continue
        if field.init:
            (named if field.kw_only else given).append(argument)
        if frozen:
            known[f"_set_{name}"] = getattr(owner, name).__set__  # of the slot itself: no look at the class's own
            body.append(f" _set_{name}(self, {value})")
        else:
            body.append(f" self.{name} = {value}")
    if hasattr(owner, "__post_init__"):
        body.append(" self.__post_init__()")
    arguments = ", ".join(["self", *given, *(["*", *named] if named else [])])
    return [f"def __init__({arguments}):", *(body or [" pass"])]


def _refuse(what: str) -> Callable[..., None]:
    def refuse(_self: object, name: str, *_value: object) -> None:
        msg = f"cannot {what} field {name!r}"
        raise dataclasses.FrozenInstanceError(msg)

    return refuse


class _Signature:
    """What `inspect.signature` says of the class: read when it is asked for."""

    def __get__(self, _instance: object, owner: type) -> inspect.Signature:
        import inspect  # noqa: PLC0415 - dear, and seldom needed

        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY if field.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=_shown_default(field),
                annotation=field.type,
            )
            for field in sorted(dataclasses.fields(owner), key=lambda one: one.kw_only is True)
            if field.init
        ]
        return inspect.Signature(parameters)


def _shown_default(field: dataclasses.Field[Any]) -> Any:
    """A parameter's default for people: of what is made anew each time an empty one."""
    import inspect  # noqa: PLC0415 - as above

    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
