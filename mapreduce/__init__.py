"""MapReduce for plain Python functions, on one machine or many.

    import mapreduce
    from mapreduce import Count, Job

    result = mapreduce.run(Job(keys=str.split, reducer=Count()), "texts/")
    print(dict(result))

What is exported here is public, and all that jobs need. Importing it is quick: the rest loads when it is used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mapreduce.aggregators import Aggregator, Count, Max, Mean, Min, Sum, Variance
    from mapreduce.api import read, run, submit
    from mapreduce.check.api import check_job
    from mapreduce.cluster import Cluster
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
    from mapreduce.failed.resume import resume
    from mapreduce.formats import Arrow, Csv, Files, FixedLength, JsonLines, Msgpack, Parquet, Records, Text
    from mapreduce.job import Input, Job, Step
    from mapreduce.joins import Join
    from mapreduce.keeping import Collect, First, Sample, TopK
    from mapreduce.kept import Kept
    from mapreduce.partitioners import ListPartitioner, RangePartitioner
    from mapreduce.result import JobHandle, Output, Result
    from mapreduce.script import main
    from mapreduce.sketches import Distinct, Quantiles


_PLACES = {
    "mapreduce.aggregators": ("Aggregator", "Count", "Max", "Mean", "Min", "Sum", "Variance"),
    "mapreduce.api": ("read", "run", "submit"),
    "mapreduce.check.api": ("check_job",),
    "mapreduce.cluster": ("Cluster",),
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
    "mapreduce.formats": ("Arrow", "Csv", "Files", "FixedLength", "JsonLines", "Msgpack", "Parquet", "Records", "Text"),
    "mapreduce.job": ("Input", "Job", "Step"),
    "mapreduce.joins": ("Join",),
    "mapreduce.keeping": ("Collect", "First", "Sample", "TopK"),
    "mapreduce.kept": ("Kept",),
    "mapreduce.partitioners": ("ListPartitioner", "RangePartitioner"),
    "mapreduce.script": ("main",),
    "mapreduce.sketches": ("Distinct", "Quantiles"),
    "mapreduce.result": ("JobHandle", "Output", "Result"),
    "mapreduce.failed.resume": ("resume",),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Aggregator",
    "Arrow",
    "Cluster",
    "Collect",
    "Context",
    "CoordinatorUnreachable",
    "Count",
    "Csv",
    "Distinct",
    "Files",
    "First",
    "FixedLength",
    "Input",
    "InputError",
    "Job",
    "JobCancelled",
    "JobDefinitionError",
    "JobFailed",
    "JobHandle",
    "Join",
    "JsonLines",
    "Kept",
    "ListPartitioner",
    "MapReduceError",
    "Max",
    "Mean",
    "Min",
    "Msgpack",
    "Output",
    "OutputError",
    "PackagingError",
    "Parquet",
    "Quantiles",
    "RangePartitioner",
    "RecordError",
    "Records",
    "Result",
    "Sample",
    "Step",
    "Sum",
    "Text",
    "TopK",
    "UsageError",
    "Variance",
    "check_job",
    "main",
    "read",
    "resume",
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


if "IPython" in sys.modules:
    importlib.import_module("mapreduce.notebook_errors").show_errors()
