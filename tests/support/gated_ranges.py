"""The gated job, with measured ranges: its parts are one sorted sequence, and every reduce task reads every run."""

from gated import mapper, reducer

from mapreduce import Job, RangePartitioner

job = Job(mapper, reducer=reducer, partitioner=RangePartitioner())
