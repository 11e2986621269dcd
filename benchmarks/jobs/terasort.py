"""The records are in one order over all parts, which have the bytes of the input: 100 bytes each, with the newline."""

import polars as pl

from mapreduce import FixedLength, Job, RangePartitioner

LENGTH, KEY = 100, 10


def by_key(frame):
    record = frame.get_column("value").bin
    return frame.select(key=record.slice(0, KEY), value=record.slice(0, LENGTH - 1).cast(pl.String))


def as_it_comes(frame):
    return frame


job = Job(
    by_key,
    input=FixedLength(LENGTH),
    frames=True,
    partitioner=RangePartitioner(),
    reducer=as_it_comes,
    output="text",
)
