import polars as pl

from mapreduce import Job, Sum


def mapper(frame):
    words = frame.lazy().select(key=pl.col("value").str.split(" ").explode())
    return words.group_by("key").agg(value=pl.len()).collect()


job = Job(mapper, frames=True, reducer=Sum())
