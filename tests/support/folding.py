"""Folds for tests: over columns as tasks do it, by an aggregator's own methods, and in any order of merging."""

from functools import reduce

from hypothesis import strategies as st

from mapreduce.dataflow.columns.batches import Batch, concat, make_batch, records_of, sort_by_key
from mapreduce.dataflow.context import Site
from mapreduce.dataflow.tasks.fold import Fold
from mapreduce.dataflow.tasks.reduce_task import FoldLoop
from mapreduce.several import on_stream


def exact(records):
    """Values with their types, to compare: NaN equals NaN, and 1 differs from 1.0."""
    return {key: (type(value).__name__, repr(value)) for key, value in records.items()}


def batches_of(pairs, size):
    """The pairs in lists of so many."""
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def batch_of(pairs):
    """The pairs as columns."""
    return make_batch([key for key, _ in pairs], [value for _, value in pairs])


def folded(aggregator, batches, kernel=None):
    """Create, merge twice in different shapes, finish: as tasks do. All batches are of one task."""
    fold = Fold(aggregator, Site(), kernel, stream="task")
    states = sort_by_key(concat([fold.create(batch) for batch in batches]))
    out = []
    loop = FoldLoop(fold, out.append)
    for start in range(0, states.rows(), 2):  # a key's rows go on over batches
        loop.run(Batch(states.frame.slice(start, 2), states.key_lane, states.value_lane))
    loop.finish()
    pairs = [pair for batch in out for pair in records_of(batch)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def state_of(aggregator, values):
    """The state of some values, one by one."""
    return reduce(aggregator.add, values[1:], aggregator.create(values[0]))


def plainly(aggregator, batches):
    """The same by a dict: states of each batch from left to right, then the states from left to right."""
    aggregator = on_stream(aggregator, "task")
    states = {}
    for pairs in batches:
        groups = {}
        for key, value in pairs:
            groups.setdefault(key, []).append(value)
        for key, values in groups.items():
            states.setdefault(key, []).append(state_of(aggregator, values))
    return {key: aggregator.finish(reduce(aggregator.merge, parts)) for key, parts in states.items()}


@st.composite
def parts_and_tree(draw, values):
    """Some values cut into neighbouring parts, and numbers that say which neighbours to merge next."""
    whole = draw(st.lists(values, min_size=1, max_size=40))
    cuts = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=6))) if len(whole) > 1 else []
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return parts, [draw(st.integers(0, left - 1)) for left in range(len(parts) - 1, 0, -1)]


def merged_by_tree(aggregator, parts, tree):
    """Fold each part, merge neighbours as the tree says, finish."""
    states = [state_of(aggregator, part) for part in parts]
    for at in tree:
        states[at : at + 2] = [aggregator.merge(states[at], states[at + 1])]
    (state,) = states
    return aggregator.finish(state)
