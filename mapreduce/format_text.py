"""Formats of inputs as texts, as on a command line, and which input they are meant for.

A text is a name with options behind it, such as "jsonl", "fixed:100,skip=16" or "csv:separator=%3B,header=no". In the
values of options % and two digits stand for a byte, as in an address; names of columns have + between them. Every
format has one text, from which it comes back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from mapreduce.errors import JobDefinitionError, UsageError
from mapreduce.formats import (
    Arrow,
    Columnar,
    Csv,
    Files,
    FixedLength,
    Format,
    JsonLines,
    Msgpack,
    Parquet,
    Records,
    Text,
    check_format,
    check_frames,
)
from mapreduce.step_inputs import INPUT_NAME

if TYPE_CHECKING:
    from mapreduce.step import InputPlan

FORMATS: dict[str, type[Format]] = {
    "text": Text,
    "files": Files,
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": Parquet,
    "arrow": Arrow,
    "msgpack": Msgpack,
    "fixed": FixedLength,
    "records": Records,
}
_NAMES = {kind: name for name, kind in FORMATS.items()}
_FLAGS = {"yes": True, "no": False}
_TAB = "tab"  # the one separator that is hard to write on a command line
_WRITTEN = {  # how values are written that look otherwise elsewhere
    "separator": "write separator=tab for a tab, separator=%2C for a comma, separator=%3B for a semicolon",
    "columns": "write + between the names, such as columns=id+name",
}

Meant = str | Sequence[str] | Mapping[str, str] | None


def spec_of(given: Format) -> str:
    """Give the text of a format."""
    options = []
    for field in fields(given):
        value = getattr(given, field.name)
        if field.default is MISSING:
            options.append(_text_of(value))
        elif value != field.default:
            options.append(f"{field.name}={_text_of(value)}")
    name = _NAMES[type(given)]
    return f"{name}:{','.join(options)}" if options else name


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "+".join(quote(name, safe="", errors="surrogatepass") for name in value)
    return quote(str(value), safe="", errors="surrogatepass")


def format_of(text: str) -> Format:
    """Give the format that a text means. Raises UsageError, which says what is wrong with it."""
    name, _, options = text.partition(":")
    kind = FORMATS.get(name)
    if kind is None:
        known = ", ".join(name for name in FORMATS if name not in {_NAMES[FixedLength], _NAMES[Records]})
        tabs = "; fields with tabs between are csv:separator=tab" if name == "tsv" else ""
        raise UsageError(f"{text!r} is no input format: write one of {known}, fixed:LENGTH{tabs}")
    known_options = {field.name: field for field in fields(kind)}
    needed = [field.name for field in known_options.values() if field.default is MISSING]
    found: dict[str, Any] = {}
    option_name = ""
    for number, option in enumerate(options.split(",") if options else ()):
        former = option_name
        option_name, equals, value = option.partition("=")
        if not equals and former in _WRITTEN:
            raise UsageError(f"{text!r}: the value of {former}= ends at the comma; {_WRITTEN[former]}")
        if not equals:
            option_name, value = (needed[number] if number < len(needed) else ""), option
        if option_name not in known_options:
            raise UsageError(f"{text!r}: the format {name} has no option {option!r}; {_advice(name, kind)}")
        if option_name in found:
            raise UsageError(f"{text!r}: {option_name} is given twice")
        found[option_name] = _value_of(text, option_name, str(known_options[option_name].type), value)
    if set(needed) - set(found):
        raise UsageError(f"{text!r} needs the {needed[0]} of a record behind it, such as {name}:100")
    try:
        return kind(**found)
    except JobDefinitionError as error:
        written = [f"; {how}" for option, how in _WRITTEN.items() if str(error).startswith(f"{option}=")]
        raise UsageError("".join([f"{text!r}: {error}", *written])) from None


def _advice(name: str, kind: type[Format]) -> str:
    names = [field.name if field.default is MISSING else f"{field.name}=" for field in fields(kind)]
    between = ", with a comma between" if len(names) > 1 else ""
    return f"it has {', '.join(names)}{between}" if names else f"write {name} alone"


def _value_of(text: str, option: str, kind: str, value: str) -> Any:
    try:
        if kind == "bool":
            return _FLAGS[value]
        if kind == "int":
            return int(value)
        if kind == "str":
            return "\t" if value == _TAB else unquote(value, errors="surrogatepass")
        return tuple(unquote(name, errors="surrogatepass") for name in value.split("+"))
    except (KeyError, ValueError):
        wanted = {"bool": "yes or no", "int": "a whole number"}.get(kind, "text, with % and two digits for a byte")
        raise UsageError(f"{text!r}: {option}= is {wanted}, not {value!r}") from None


def read_formats(given: Format | str | Mapping[str, Format | str] | None) -> str | dict[str, str] | None:
    """Give what a Python program says of its inputs' formats as texts. Raises UsageError for what is no format."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {name: _checked(one) for name, one in given.items()}
    return _checked(given)


def _checked(given: object) -> str:
    return spec_of(format_of(given) if isinstance(given, str) else check_format("input_format", given))


def formats_meant(name: str, inputs: Sequence[InputPlan], formats: Meant, columns: Sequence[str]) -> list[str]:
    """Give the text of each input's format where another is meant than the job's own, "" for the others.

    `formats` and `columns` are what the user said: a text, texts with the input's name before each, or texts by the
    inputs' names. Raises UsageError for what fits no input of the job called `name`.
    """
    names = [one.name for one in inputs]
    meant = _by_input(name, names, formats, "--input-format", "FORMAT")
    wanted = _by_input(name, names, columns, "--columns", "A,B")
    found = []
    for one in inputs:
        assert one.format is not None, "the first step's inputs have a format"
        chosen = format_of(meant[one.name]) if one.name in meant else one.format
        if one.name in wanted:
            chosen = _with_columns(chosen, wanted[one.name])
        if one.frames:
            check_frames(chosen)
        found.append("" if chosen == one.format else spec_of(chosen))
    return found


def _with_columns(given: Format, text: str) -> Format:
    if not isinstance(given, (Csv, Columnar)):
        raise UsageError(
            f"--columns {text}: the format {_NAMES[type(given)]} has no columns to choose from; csv, parquet and arrow "
            "have"
        )
    try:
        return replace(given, columns=tuple(text.split(",")))
    except JobDefinitionError as error:
        raise UsageError(f"--columns {text}: {error}") from None


def _by_input(name: str, names: list[str], given: Meant, option: str, what: str) -> dict[str, str]:
    """What was said of each input, by its name. Raises UsageError."""
    if isinstance(given, Mapping):
        found = dict(given)
        if names == [""]:
            raise UsageError(f"the job {name} has one input, without a name: say its format alone, not in a dict")
    else:
        found = {}
        for text in [given] if isinstance(given, str) else given or ():
            one, value = ("", text) if names == [""] else _split(text)
            if one in found:
                raise UsageError(f"{option} {text}: it is given twice" + (f" for the input {one}" if one else ""))
            found[one] = value
    strange = sorted(set(found) - set(names))
    if strange:
        named = f"has no input {strange[0]!r}" if strange[0] else "has several inputs"
        advice = ", ".join(f"{option} {one}={what}" for one in names)
        raise UsageError(f"the job {name} {named}: write {advice}")
    return found


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    return (name, value) if equals and INPUT_NAME.fullmatch(name) else ("", text)


def format_used(options: Sequence[str], plan: InputPlan, number: int) -> Format:
    """Give the format of the input that is `number`: the one meant by `TaskOptions.formats`, or else the job's own."""
    text = options[number] if options else ""
    if text:
        return format_of(text)
    assert plan.format is not None, "the first step's inputs have a format"
    return plan.format
