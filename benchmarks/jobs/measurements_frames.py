import polars as pl

from mapreduce import Csv, Job, Max, Mean, Min


def mapper(frame):
    return frame.select(key="column_1", value=pl.col("column_2").cast(pl.Float64))


job = Job(
    mapper,
    input=Csv(header=False, separator=";", quoted_newlines=False),
    frames=True,
    reducer={"min": Min(), "mean": Mean(), "max": Max()},
)
