"""The laws of a combiner: however often it is called, and for which part of a key's values, the result is the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mapreduce.calls import Call, in_role
from mapreduce.check.compare import Likeness
from mapreduce.check.report import Finding, Level
from mapreduce.check.suspects import place_of
from mapreduce.check.values import SEED, Group, Tried, Way, likeness, shown, tried
from mapreduce.dataflow.columns.batches import Batch, concat, make_batch, records_of
from mapreduce.dataflow.context import Context
from mapreduce.dataflow.shuffle.merge import WholeGroups
from mapreduce.dataflow.tasks.combine import Combiner
from mapreduce.dataflow.tasks.reduce_task import ReduceLoop
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.step import StepPlan


class _Nowhere(Mapping[str, Any]):
    """In the place of named outputs, for a reducer that is only tried."""

    def __getitem__(self, name: str) -> _Nowhere:
        return self

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def write(self, key: Any, value: Any) -> None:
        """Write nothing."""


class Pair:
    """The combiner and the reducer of a step, to be tried on groups."""

    def __init__(self, setup: TaskSetup, plan: StepPlan) -> None:
        """Bind both. They take values key by key: no frames, no several inputs."""
        assert plan.combiner is not None
        assert isinstance(plan.reducer, Call)
        self.combiner = plan.combiner
        self.reducer = plan.reducer
        self._setup = setup
        function = setup.bound(plan.combiner, self._context())[0]
        self._combine = Combiner(plan.combiner, function, setup.site, setup.options.limits)

    @property
    def code(self) -> tuple[str, ...]:
        """Where both are written."""
        both = place_of(self.combiner.function) + place_of(self.reducer.function)
        return tuple(dict.fromkeys(both))  # they may be one

    def _context(self) -> Context:
        context = self._setup.context()
        context.outputs = _Nowhere()
        return context

    def plain(self, group: Group) -> list[tuple[Any, Any]]:
        """The results without the combiner."""
        return self._reduced(group.key, group.decoded())

    def once(self, group: Group) -> list[tuple[Any, Any]]:
        """The results where all values are combined at once."""
        return self._reduced(group.key, self.combined(group.key, group.decoded()))

    def twice(self, group: Group, places: Sequence[int]) -> list[tuple[Any, Any]]:
        """The results where the parts are combined, a third one left as it is, and then what came of them."""
        held: list[Any] = []
        for number, part in enumerate(group.parts(places)):
            held += part.decoded() if number == 2 else self.combined(group.key, part.decoded())
        return self._reduced(group.key, self.combined(group.key, held))

    def combined(self, key: Any, values: list[Any]) -> list[Any]:
        """What the combiner makes of values of a key."""
        if not values:
            return []
        return [value for _, value in records_of(self._combine(make_batch([key] * len(values), values)))]

    def _reduced(self, key: Any, values: list[Any]) -> list[tuple[Any, Any]]:
        if not values:
            return []
        made: list[Batch] = []
        setup, call = self._setup, self.reducer
        loop = ReduceLoop(call, setup.bound(call, self._context())[0], made.append, setup.site, setup.options.limits)
        batch = make_batch([key] * len(values), values)
        keys, ends = batch.frame["key"].head(1), np.array([len(values)])
        loop.run(WholeGroups(keys, batch.key_lane, ends, batch.frame["value"], batch.value_lane))
        loop.finish()
        return list(records_of(concat(made))) if made else []


def try_combiner(pair: Pair, groups: Iterable[Group]) -> list[Finding]:
    """Hold results against each other: without the combiner, with it, and with it over any cuts. Gives what differs."""
    chance = random.Random(SEED)  # noqa: S311 - not for secrets
    changed = last_bits = ""
    for group in groups:
        alone: list[Finding] = []  # where the reducer fails without the combiner
        for values in group.beginnings():
            plain, once = tried(pair.plain, values), tried(pair.once, values)
            if plain.error is not None and values != group:  # it may be right to want more values than these first ones
                alone.append(_sensitive(pair, values, ("without the combiner", plain), ("with it", once)))
                continue
            if plain.error is not None and alone:
                return alone[:1]
            way = _worst_cut(pair, values, once, chance)
            if plain.error is None and way is not None:
                return [_not_associative(pair, values, ("combined at once", once), way)]
            how = likeness(plain, once)
            if how is Likeness.DIFFERENT:
                return [_sensitive(pair, values, ("without the combiner", plain), ("with it", once))]
            last_bits = last_bits or (str(values) if how is Likeness.LAST_BITS else "")
            changed = changed or _type_change(pair, values)
    findings = []
    who = in_role(pair.combiner.function, "combiner")
    if changed:
        told = "the reducer and the combiner itself get both: they cope, but let it give values like those it takes"
        findings.append(
            Finding("combiner", Level.WARNING, f"{who} changes the type of values, {changed}", (told,), pair.code)
        )
    if last_bits:
        findings.append(Finding("float", Level.NOTE, f"results depend in the last bits on {who}", (last_bits,)))
    return findings


def _worst_cut(pair: Pair, values: Group, once: Tried, chance: random.Random) -> Way | None:
    """The first way to combine parts that comes to another result than all values at once, if there is any."""
    for places in values.cuts(chance):
        again = tried(pair.twice, values, places)
        if likeness(once, again) is Likeness.DIFFERENT:
            parts = " and ".join(shown(part.decoded()) for part in values.parts(places))
            return f"combined as {parts}, and then once more", again
    return None


def _type_change(pair: Pair, values: Group) -> str:
    """From which types to which a combiner makes values, "" where it keeps them."""
    old = {type(value).__name__ for value in values.decoded()}
    new = {type(value).__name__ for value in pair.combined(values.key, values.decoded())}
    return "" if new <= old else f"from {' or '.join(sorted(old))} to {' or '.join(sorted(new))}"


def _not_associative(pair: Pair, values: Group, one: Way, other: Way) -> Finding:
    who = in_role(pair.combiner.function, "combiner")
    title = f"{who} is not associative: combined twice, values give another result than combined once"
    advice = "it is called for any part of a key's values, again for what it has given, or not at all"
    return _finding(pair, title, values, (one, other), advice)


def _sensitive(pair: Pair, values: Group, one: Way, other: Way) -> Finding:
    reducer = in_role(pair.reducer.function, "reducer")
    who = in_role(pair.combiner.function, "combiner")
    title = f"{reducer} gives another result of what {who} has made than of the values themselves"
    return _finding(pair, title, values, (one, other), "a combiner may be called or not: both must come to the same")


def _finding(pair: Pair, title: str, values: Group, ways: Sequence[Way], advice: str) -> Finding:
    details = [f"{values}:", *(f"  {_alone(result)}  {how}" for how, result in ways), advice]
    change = tried(_type_change, pair, values)
    if change.error is None and change.result:
        details.append(f"it changes the type of values, {change.result}")
    return Finding("combiner", Level.PROBLEM, title, tuple(details), pair.code)


def _alone(result: Tried) -> str:
    """What a reducer gave: the value alone where it is one record, whose key is known."""
    if result.error is None and len(result.result) == 1:
        return shown(result.result[0][1])
    return str(result)
