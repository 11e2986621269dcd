"""How a map task's rows are placed in the shuffle: which partition each key belongs to, and how values are ordered.

Owns the way from what a user wrote (`partitioner=`, `sort_values=`) to what the shuffle does with columns.
"""

from __future__ import annotations

from typing import Any

from mapreduce.calls import Call, in_role
from mapreduce.dataflow.columns.keys import encode_key, normalise_key
from mapreduce.dataflow.context import Context, shorten
from mapreduce.dataflow.shuffle.partition import Listed, Partitioner, Ranges
from mapreduce.dataflow.shuffle.ranges import points_of
from mapreduce.dataflow.tasks.ordering import ValueOrder
from mapreduce.dataflow.tasks.setup import TaskSetup
from mapreduce.partitioners import ListPartitioner, RangePartitioner
from mapreduce.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """How keys are placed: by their hash, or by a partitioner.

    With `points` runs are not cut by partition but measured at so many points, and read by ranges of keys.
    """

    partitioner: Partitioner | Listed | Ranges | None = None
    points: int = 0


def placement_of(setup: TaskSetup, context: Context) -> Placement:
    """How the step of an attempt places keys."""
    given = setup.plan.partitioner
    if isinstance(given, Call):
        return Placement(_Asked(setup, given, context))
    if isinstance(given, ListPartitioner):
        parts = {encode_key(normalise_key(key)): part for key, part in given.mapping.items()}
        return Placement(Listed(parts, given.other))
    if isinstance(given, RangePartitioner):
        if given.boundaries is not None:
            return Placement(Ranges([encode_key(normalise_key(key)) for key in given.boundaries]))
        shape = setup.options.steps[setup.attempt.task.step]
        return Placement(points=points_of(shape.reduces, shape.maps))
    return Placement()


class _Asked:
    """The user's function, blamed for what it raises; `who` names it."""

    def __init__(self, setup: TaskSetup, call: Call, context: Context) -> None:
        self.who = in_role(call.function, "partitioner")
        self._function = setup.bound(call, context)[0]
        self._site = setup.site
        self._title = call.title

    def __call__(self, key: Any, partitions: int) -> int:
        try:
            number: int = self._function(key, partitions)
        except Exception:
            self._site.blame(self._title, shorten(key))
            raise
        return number


def value_order(setup: TaskSetup, context: Context) -> ValueOrder | None:
    """How the step of an attempt orders the values of a key, if it does."""
    order = setup.plan.sort_values
    if not order:
        return None
    if isinstance(order, Call):
        return ValueOrder(order, setup.bound(order, context)[0], setup.site)
    return ValueOrder(None, None, setup.site)
