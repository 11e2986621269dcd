"""The laws of an aggregator: whatever the cuts of a key's values, the merged folds of the parts are the fold of all."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from mapreduce.aggregators import Aggregator, BuiltIn, Several
from mapreduce.check.compare import Likeness
from mapreduce.check.report import Finding, Level
from mapreduce.check.suspects import place_of
from mapreduce.check.values import SEED, Group, Tried, Way, likeness, shown, tried
from mapreduce.dataflow.columns.values import decode_value, encode_value

AnyAggregator = Aggregator[Any, Any, Any]


def is_ours(aggregator: AnyAggregator) -> bool:
    """Whether it is the engine's, and all inside it: their laws are tested with the engine."""
    if isinstance(aggregator, Several):
        return all(map(is_ours, aggregator.members))
    return isinstance(aggregator, BuiltIn)


def try_aggregator(aggregator: AnyAggregator, groups: Iterable[Group]) -> list[Finding]:
    """Fold groups whole and in parts, with states as they come out of the shuffle. Gives what is broken."""
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    last_bits = ""
    for group in groups:
        for values in group.beginnings():
            whole = tried(_in_one, aggregator, values)
            if whole.error is not None and values != group:
                continue  # it may be right to want more values than these first ones
            if whole.error is not None:
                return [_finding(aggregator, "cannot fold values", values, [("folded in one", whole)])]
            worst, ways = _worst_cut(aggregator, values, whole, chance)
            if worst is Likeness.DIFFERENT:
                broken = "is not associative: folds of parts, merged, differ from a fold of all"
                return [_finding(aggregator, broken, values, [("folded in one", whole), *ways])]
            last_bits = last_bits or (str(values) if worst is Likeness.LAST_BITS else "")
            if aggregator.commutative and (ways := _turned(aggregator, values)):
                return [_finding(aggregator, "says that it is commutative, and is not", values, ways)]
    if not last_bits:
        return []
    title = f"results of {aggregator!r} depend in the last bits on where the input is cut"
    return [Finding("float", Level.NOTE, title, (last_bits,))]


def _worst_cut(
    aggregator: AnyAggregator, values: Group, whole: Tried, chance: random.Random
) -> tuple[Likeness, list[Way]]:
    """How unlike the whole the results of parts can be, and by which way."""
    worst, ways = Likeness.SAME, list[Way]()
    for places in values.cuts(chance):
        for side, merge in (("left", _from_left), ("right", _from_right)):
            merged = tried(merge, aggregator, values.parts(places))
            how = likeness(whole, merged)
            if how > worst:
                parts = " and ".join(shown(part.decoded()) for part in values.parts(places))
                worst, ways = how, [(f"folded as {parts}, and merged from the {side}", merged)]
    return worst, ways


def _state(aggregator: AnyAggregator, values: Group) -> Any:
    """The state of all values, as it comes out of the shuffle."""
    first, *others = values.decoded()
    state = aggregator.create(first)
    for value in others:
        state = aggregator.add(state, value)
    return decode_value(encode_value(state))


def _in_one(aggregator: AnyAggregator, values: Group) -> Any:
    return aggregator.finish(_state(aggregator, values))


def _from_left(aggregator: AnyAggregator, parts: Sequence[Group]) -> Any:
    state, *others = [_state(aggregator, part) for part in parts]
    for other in others:
        state = aggregator.merge(state, other)
    return aggregator.finish(state)


def _from_right(aggregator: AnyAggregator, parts: Sequence[Group]) -> Any:
    *others, state = [_state(aggregator, part) for part in parts]
    for other in reversed(others):
        state = aggregator.merge(other, state)
    return aggregator.finish(state)


def _turned(aggregator: AnyAggregator, values: Group) -> list[Way]:
    """Two ways that differ for an aggregator to which the order of values matters; none for another."""
    parts = values.parts([1])
    one, other = tried(_from_left, aggregator, parts), tried(_from_left, aggregator, parts[::-1])
    if likeness(one, other) < Likeness.DIFFERENT:
        return []
    return [("with the first value before the others", one), ("with it behind them", other)]


def _finding(aggregator: AnyAggregator, broken: str, values: Group, ways: Sequence[Way]) -> Finding:
    details = (f"{values}:", *(f"  {result}  {how}" for how, result in ways))
    return Finding("aggregator", Level.PROBLEM, f"{aggregator!r} {broken}", details, place_of(type(aggregator).merge))
