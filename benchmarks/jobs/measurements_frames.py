import polars as pl

from mapreduce import Job, Max, Mean, Min


def mapper(frame):
    fields = pl.col("value").str.split_exact(";", 1).struct
    return frame.select(key=fields.field("field_0"), value=fields.field("field_1").cast(pl.Float64))


job = Job(mapper, frames=True, reducer={"min": Min(), "mean": Mean(), "max": Max()})
