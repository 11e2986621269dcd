"""What the careful loops look at before a record's pairs go on: functions of the user that see them only later.

A partitioner, a function of `sort_values` or an aggregator of the user's own sees pairs of many records at once; here
they are tried with those of one. Combiners and aggregators see parts of groups: where they fail, values go on as they
are, to the reduce task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapreduce.aggregators import Aggregator, BuiltIn, Several
from mapreduce.calls import Call, in_role
from mapreduce.dataflow.bad.watch import WatchedFold
from mapreduce.dataflow.columns.batches import Batch, values_list
from mapreduce.dataflow.context import Context, Site
from mapreduce.dataflow.shuffle.partition import Listed, partition_of
from mapreduce.dataflow.tasks.failures import failure_of
from mapreduce.dataflow.tasks.placement import placement_of, value_order
from mapreduce.dataflow.tasks.sinks import ShuffleSink, Sink
from mapreduce.plan import FailureKind

if TYPE_CHECKING:
    from mapreduce.dataflow.bad.care import Check
    from mapreduce.dataflow.tasks.setup import TaskSetup


def checks_of(setup: TaskSetup, context: Context, sink: Sink) -> tuple[Check, ...]:
    """What each record's pairs must stand on their way into this sink."""
    if not isinstance(sink, ShuffleSink):
        return ()
    found: list[Check] = []
    plan = setup.plan
    partitioner = placement_of(setup, context).partitioner
    if isinstance(plan.partitioner, Call) or isinstance(partitioner, Listed):
        reduces = setup.options.steps[setup.attempt.task.step].reduces
        found.append(("partitioner", lambda b: partition_of(b.frame["key"], b.key_lane, reduces, partitioner)))
    order = value_order(setup, context)
    if order is not None:
        found.append(("sort_values function", order))
    reducer = plan.reducer
    if isinstance(reducer, Aggregator) and not isinstance(reducer, (BuiltIn, Several)):
        found.append(("aggregator", _created(reducer, setup.site)))
    return tuple(found)


def _created(aggregator: Aggregator[Any, Any, Any], site: Site) -> Callable[[Batch], None]:
    """A try of making a state of each value alone."""

    def check(batch: Batch) -> None:
        try:
            for value in values_list(batch.frame["value"], batch.value_lane):
                aggregator.create(value)
        except Exception:
            site.blame(repr(aggregator))
            raise

    return check


class SparedFold(WatchedFold):
    """A fold that leaves states apart where they cannot be merged: the reduce task finds the key at fault."""

    def create(self, batch: Batch) -> Batch:
        """Fold rows into states: one row a key or, where that fails, one for each row."""
        try:
            return super().create(batch)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - judged: what is not the user's is raised again
            self._forgive(error)
        return self.create_each(batch)

    def merge(self, batch: Batch, *, is_sorted: bool = False) -> Batch:
        """Merge rows of states, or give `batch` itself."""
        try:
            return super().merge(batch, is_sorted=is_sorted)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            self._forgive(error)
        return batch

    def _forgive(self, error: BaseException) -> None:
        if failure_of(error, self._setup).kind is not FailureKind.USER:
            raise error
        self._setup.site.clear()


class SparedCombiner:
    """A combiner that leaves a batch as it is where it fails, and says so: the reducer sees all of the values then."""

    def __init__(self, combiner: Callable[[Batch], Batch], call: Call, setup: TaskSetup, context: Context) -> None:
        self._combiner = combiner
        self._who = in_role(call.function, call.role)
        self._setup = setup
        self._context = context

    def __call__(self, batch: Batch) -> Batch:
        """Give the rows combined, or `batch` itself."""
        counters = dict(self._context.counters)
        try:
            return self._combiner(batch)
        except (Exception, SystemExit) as error:
            failure = failure_of(error, self._setup)
            if failure.kind is not FailureKind.USER:
                raise
        self._setup.site.clear()
        self._context.counters.clear()
        self._context.counters.update(counters)
        key = f" for the key {failure.key}" if failure.key else ""
        self._context.warn(f"{self._who} failed{key}: {failure.message}; the reducer got such values as they were")
        return batch
