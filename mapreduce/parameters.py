"""The parameters of a job: keyword-only parameters of its functions, typed and defaulted there, set with `-p`.

Owns what a parameter is, that two functions that share one agree on it, and how text from the command line becomes its
type. Refuses values of another type, names that no function has, and required ones that are not given.
"""

from __future__ import annotations

import difflib
import enum
import os
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mapreduce.errors import JobDefinitionError
from mapreduce.quick_dataclass import dataclass

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"none", "null", ""})


class _Unset(enum.Enum):
    UNSET = "unset"


UNSET = _Unset.UNSET  # a parameter without annotation or default: None is a value of its own


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a job.

    `type_name` is for people. `default` is None where `required`. `annotation` is the type that text is converted to, a
    string where it could not be looked up, or UNSET. `owner` names the function that declares it.
    """

    name: str
    type_name: str
    default: Any
    required: bool
    annotation: Any = UNSET
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.type_name}" + ("" if self.required else f" = {self.default!r}")


def make_parameter(name: str, annotation: Any, default: Any, owner: str) -> Parameter:
    """Describe a keyword-only parameter; `annotation` and `default` are UNSET where the signature has none."""
    if annotation is UNSET or isinstance(annotation, str):
        shown = annotation if isinstance(annotation, str) else _name_of_default(default)
        wanted = type(default) if default is not UNSET and default is not None else annotation
    else:
        shown, wanted = _name_of_type(annotation), annotation
    required = default is UNSET
    return Parameter(name, shown, None if required else default, required, wanted, owner)


def merge_parameters(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """One parameter for each name, in the order met. Raises JobDefinitionError where two functions disagree on one."""
    merged: dict[str, Parameter] = {}
    for parameter in parameters:
        known = merged.setdefault(parameter.name, parameter)
        if known is not parameter and not _agree(known, parameter):
            msg = (
                f"the parameter {parameter.name!r} is declared twice, and differently: `{known}` in {known.owner} and "
                f"`{parameter}` in {parameter.owner}; give both the same type and default, or different names"
            )
            raise JobDefinitionError(msg)
    return tuple(merged.values())


def convert(parameters: Iterable[Parameter], given: Mapping[str, Any], job_name: str) -> dict[str, Any]:
    """Give the values to hand over, by name, each of its parameter's type; those not given keep their defaults.

    Text is converted to the parameter's type; other values are checked. Raises JobDefinitionError, naming what there
    is.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            raise JobDefinitionError(_unknown(name, known, job_name))
    missing = [parameter for parameter in known.values() if parameter.required and parameter.name not in given]
    if missing:
        names = ", ".join(f"`{parameter}` ({parameter.owner})" for parameter in missing)
        example = " ".join(f"-p {parameter.name}=..." for parameter in missing)
        msg = f"the job {job_name!r} needs a value for {names}: give it with {example}"
        raise JobDefinitionError(msg)
    return {name: _value(known[name], value) for name, value in sorted(given.items())}


def _unknown(name: str, known: Mapping[str, Parameter], job_name: str) -> str:
    if not known:
        return (
            f"the job {job_name!r} takes no parameters, so {name!r} cannot be set; a parameter is a keyword-only "
            f"argument of one of its functions, as in `def mapper(value, *, {name}=...)`"
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join(f"`{parameter}`" for parameter in known.values())
    return f"the job {job_name!r} has no parameter {name!r}{hint} It takes {listed}"


def _agree(one: Parameter, other: Parameter) -> bool:
    if (one.required, one.type_name) != (other.required, other.type_name):
        return False
    if one.default is other.default:
        return True
    return type(one.default) is type(other.default) and repr(one.default) == repr(other.default)


def _name_of_default(default: Any) -> str:
    return "any" if default is UNSET or default is None else type(default).__name__


def _name_of_type(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("pathlib.", "")


def _value(parameter: Parameter, value: Any) -> Any:
    try:
        return _fit(value, parameter.annotation)
    except (ValueError, TypeError) as error:
        reason = str(error)
    msg = f"the parameter `{parameter}` of {parameter.owner} cannot be {value!r}: {reason}"
    raise JobDefinitionError(msg)


def _fit(value: Any, wanted: Any) -> Any:
    """Convert or check one value. Raises ValueError or TypeError with the reason."""
    if wanted is UNSET or wanted is Any or wanted is object or isinstance(wanted, str):
        return value  # nothing says what it should be
    if wanted is None or wanted is types.NoneType:
        if value is None or (isinstance(value, str) and value.lower() in _NONE):
            return None
        msg = "only None fits"
        raise ValueError(msg)
    origin = typing.get_origin(wanted)
    if origin in {typing.Union, types.UnionType}:
        return _fit_union(value, typing.get_args(wanted))
    if origin is typing.Literal:
        return _fit_literal(value, typing.get_args(wanted))
    if origin is typing.Annotated:
        return _fit(value, typing.get_args(wanted)[0])
    kind = origin or wanted
    if kind in _COLLECTIONS:
        return _fit_collection(value, _COLLECTIONS[kind], typing.get_args(wanted))
    if isinstance(kind, type):
        return _fit_class(value, kind)
    return value


def _fit_union(value: Any, choices: tuple[Any, ...]) -> Any:
    # None before text: `-p top=none` means None even for `str | None`
    ordered = sorted(choices, key=lambda choice: (choice is not types.NoneType, choice is str))
    if value == "" and str in choices:
        return value
    reasons = []
    for choice in ordered:
        try:
            return _fit(value, choice)
        except (ValueError, TypeError) as error:
            reasons.append(str(error))
    raise ValueError(" and ".join(reasons))


def _fit_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    for choice in choices:
        if isinstance(value, str) and value == str(choice):
            return choice
    msg = f"it must be one of {', '.join(map(repr, choices))}"
    raise ValueError(msg)


def _fit_collection(value: Any, make: Callable[[Iterable[Any]], Any], arguments: tuple[Any, ...]) -> Any:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",")] if value else []
    elif not isinstance(value, (list, tuple, set, frozenset)):
        msg = "it must be several values (on the command line: with commas between them)"
        raise TypeError(msg)
    items = [argument for argument in arguments if argument is not Ellipsis]
    if make is tuple and items and Ellipsis not in arguments:
        if len(items) != len(value):
            msg = f"it must have {len(items)} values, not {len(value)}"
            raise ValueError(msg)
        return tuple(_fit(item, kind) for item, kind in zip(value, items, strict=True))
    inner = items[0] if items else UNSET
    return make(_fit(item, inner) for item in value)


def _fit_class(value: Any, kind: type) -> Any:
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    if issubclass(kind, pathlib.PurePath):
        return kind(os.fspath(value))
    if isinstance(value, kind):
        return value
    if issubclass(kind, enum.Enum):
        return _fit_enum(value, kind)
    if isinstance(value, str):
        msg = f"text cannot be turned into {kind.__name__}; set it from Python, with params={{...}}"
        raise TypeError(msg)
    msg = f"it must be {kind.__name__}, not {type(value).__name__}"
    raise TypeError(msg)


def _fit_enum(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if value in {member.name, member.value} or str(member.value) == value:
            return member
    msg = f"it must be one of {', '.join(member.name for member in kind)}"
    raise ValueError(msg)


def _fit_int(value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            msg = "it must be a whole number"
            raise ValueError(msg) from None
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        msg = f"it must be a whole number, not {type(value).__name__}"
        raise TypeError(msg)
    return int(value)


def _fit_float(value: Any) -> float:
    if isinstance(value, bool):
        msg = "it must be a number, not bool"
        raise TypeError(msg)
    try:
        return float(value)
    except (ValueError, TypeError):
        msg = "it must be a number"
        raise ValueError(msg) from None


def _fit_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE:
        return True
    if isinstance(value, str) and value.strip().lower() in _FALSE:
        return False
    msg = "it must be true or false"
    raise ValueError(msg)


def _fit_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    msg = f"it must be text, not {type(value).__name__}"
    raise TypeError(msg)


_SCALARS: dict[type, Callable[[Any], Any]] = {int: _fit_int, float: _fit_float, bool: _fit_bool, str: _fit_str}
_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {list: list, tuple: tuple, set: set, frozenset: frozenset}
