"""Several aggregators at once: over one value, or each over its field of a tuple."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapreduce.aggregators import Aggregator


class Together(Aggregator[Any, tuple[Any, ...], dict[str, Any]]):
    """Folds each value with several aggregators; the result is a dict by their names."""

    def __init__(self, aggregators: Mapping[str, Aggregator[Any, Any, Any]]) -> None:
        self.aggregators = dict(aggregators)


class Fields(Aggregator[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]):
    """Folds tuples: each field with its own aggregator; the result is the tuple of theirs."""

    def __init__(self, aggregators: tuple[Aggregator[Any, Any, Any], ...]) -> None:
        self.aggregators = tuple(aggregators)
