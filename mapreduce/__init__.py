"""MapReduce for plain Python functions, on one machine or many.

    import mapreduce
    from mapreduce import Count, Job

    result = mapreduce.run(Job(keys=str.split, reducer=Count()), "texts/")
    print(dict(result))

What is exported here is public, and all that jobs need. Importing it is quick: the rest loads when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mapreduce.aggregators import Aggregator, Count, Max, Mean, Min, Sum
    from mapreduce.api import main, run, submit
    from mapreduce.dataflow.context import Context
    from mapreduce.errors import (
        CoordinatorUnreachable,
        InputError,
        JobCancelled,
        JobDefinitionError,
        JobFailed,
        MapReduceError,
        OutputError,
        PackagingError,
        RecordError,
        UsageError,
    )
    from mapreduce.job import Job, Step
    from mapreduce.result import JobHandle, Result

_PLACES = {
    "mapreduce.aggregators": ("Aggregator", "Count", "Max", "Mean", "Min", "Sum"),
    "mapreduce.api": ("main", "run", "submit"),
    "mapreduce.dataflow.context": ("Context",),
    "mapreduce.errors": (
        "CoordinatorUnreachable",
        "InputError",
        "JobCancelled",
        "JobDefinitionError",
        "JobFailed",
        "MapReduceError",
        "OutputError",
        "PackagingError",
        "RecordError",
        "UsageError",
    ),
    "mapreduce.job": ("Job", "Step"),
    "mapreduce.result": ("JobHandle", "Result"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Aggregator",
    "Context",
    "CoordinatorUnreachable",
    "Count",
    "InputError",
    "Job",
    "JobCancelled",
    "JobDefinitionError",
    "JobFailed",
    "JobHandle",
    "MapReduceError",
    "Max",
    "Mean",
    "Min",
    "OutputError",
    "PackagingError",
    "RecordError",
    "Result",
    "Step",
    "Sum",
    "UsageError",
    "main",
    "run",
    "submit",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_PLACE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
