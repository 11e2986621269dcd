"""Several aggregators at once: over one value, or each over its field of a tuple."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mapreduce.aggregators import Aggregator, Several, shown
from mapreduce.errors import JobDefinitionError, ValueTypeError
from mapreduce.keeping import Sample


class Together(Several[Any, dict[str, Any]]):
    """Folds each value with several aggregators; the result is a dict by their names, in the order given.

    What a user writes is `reducer={"n": Count(), "mean": Mean()}`; a member may itself be a dict or tuple of them.
    Raises JobDefinitionError for an empty dict, and for what is no aggregator.
    """

    def __init__(self, aggregators: Mapping[Any, Any]) -> None:
        if not aggregators:
            msg = 'a dict of aggregators names at least one: reducer={"n": Count(), "mean": Mean()}'
            raise JobDefinitionError(msg)
        for name in aggregators:
            if not isinstance(name, str):
                msg = f'the names in a dict of aggregators are texts, as in {{"n": Count()}}, not {name!r}'
                raise JobDefinitionError(msg)
        self.names = tuple(aggregators)
        self.members = tuple([_member(repr(name), given) for name, given in aggregators.items()])

    def create(self, value: Any) -> tuple[Any, ...]:
        """The states of one value."""
        return tuple([member.create(value) for member in self.members])

    def add(self, state: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        """The states with one more value."""
        return tuple([member.add(one, value) for member, one in zip(self.members, state, strict=True)])

    def finish(self, state: tuple[Any, ...]) -> dict[str, Any]:
        """The results by name."""
        return dict(zip(self.names, self.finished(state), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Together) and (other.names, other.members) == (self.names, self.members)

    def __hash__(self) -> int:
        return hash((self.names, self.members))

    def __repr__(self) -> str:
        return repr(dict(zip(self.names, self.members, strict=True)))


class Fields(Several[tuple[Any, ...], tuple[Any, ...]]):
    """Folds tuples: each field with its own aggregator; the result is the tuple of theirs.

    What a user writes is `reducer=(Sum(), Max())`; a member may itself be a dict or tuple of aggregators. Raises
    JobDefinitionError for an empty tuple and for what is no aggregator, ValueTypeError for a value that is no tuple of
    as many fields.
    """

    def __init__(self, aggregators: tuple[Any, ...]) -> None:
        if not aggregators:
            msg = "a tuple of aggregators has one for each field of the values: reducer=(Sum(), Max())"
            raise JobDefinitionError(msg)
        self.members = tuple([_member(f"number {at}", given) for at, given in enumerate(aggregators, 1)])

    def create(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """The states of one tuple. Raises ValueTypeError for a value of another form."""
        fields = self._fields(value)
        return tuple([member.create(field) for member, field in zip(self.members, fields, strict=True)])

    def add(self, state: tuple[Any, ...], value: tuple[Any, ...]) -> tuple[Any, ...]:
        """The states with one more tuple. Raises as `create`."""
        each = zip(self.members, state, self._fields(value), strict=True)
        return tuple([member.add(one, field) for member, one, field in each])

    def finish(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """The results, field by field."""
        return self.finished(state)

    def _fields(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple) or len(value) != len(self.members):
            size = f" of length {len(value)}" if isinstance(value, tuple) else ""
            msg = (
                f"{self!r} folds tuples of {len(self.members)}, one aggregator for each field, and got {shown(value)}"
                f'{size}: yield such tuples; several aggregators over one value are a dict, {{"n": Count()}}'
            )
            raise ValueTypeError(msg)
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and other.members == self.members

    def __hash__(self) -> int:
        return hash(self.members)

    def __repr__(self) -> str:
        return repr(self.members)


def _member(where: str, given: Any) -> Aggregator[Any, Any, Any]:
    if isinstance(given, Aggregator):
        return given
    if isinstance(given, Mapping):
        return Together(given)
    if isinstance(given, tuple):
        return Fields(given)
    if isinstance(given, type) and issubclass(given, Aggregator):
        msg = f"of several aggregators, {where}: write {given.__name__}(), an object, not the class {given.__name__}"
    else:
        msg = (
            f"of several aggregators, {where} must be one such as Count(), or a dict or tuple of them, not {given!r} "
            f"({type(given).__name__}): a function folds alone, as reducer=function"
        )
    raise JobDefinitionError(msg)


def on_stream(aggregator: Aggregator[Any, Any, Any], name: str) -> Aggregator[Any, Any, Any]:
    """The aggregator, where it or one inside it samples, as a copy that draws from the beginning of this stream."""
    if isinstance(aggregator, Sample):
        return aggregator.on_stream(name)
    if not isinstance(aggregator, Several):
        return aggregator
    other = copy.copy(aggregator)
    other.members = tuple([on_stream(member, name) for member in aggregator.members])
    return other
