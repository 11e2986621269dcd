import os

import arguments

asked = arguments.parse(("word_count", "terasort", "measurements", "join"))
os.environ["POLARS_MAX_THREADS"] = str(asked.processes)
import polars as pl  # noqa: E402 - it reads the number of threads when it is imported


def table(paths, columns, separator):
    return pl.scan_csv(paths, has_header=False, separator=separator, quote_char=None, schema=columns)


def word_count():
    words = table(asked.inputs, {"line": pl.String}, "\t").select(word=pl.col("line").str.split(" ").explode())
    return words.group_by("word").len()


def terasort():
    return table(asked.inputs, {"line": pl.String}, "\x01").sort("line")


def measurements():
    degrees = pl.col("degrees")
    rows = table(asked.inputs, {"station": pl.String, "degrees": pl.Float64}, ";")
    return rows.group_by("station").agg(degrees.min(), degrees.mean().alias("mean"), degrees.max().alias("max"))


def join():
    orders = table(asked.inputs[:-1], {"user": pl.String, "amount": pl.Int64}, "\t")
    users = table(asked.inputs[-1:], {"user": pl.String, "country": pl.String}, "\t")
    return orders.join(users, on="user").select("user", pl.format('[{},"{}"]', "amount", "country"))


works = {"word_count": word_count, "terasort": terasort, "measurements": measurements, "join": join}
found = works[asked.work]()
found.sink_csv(asked.output, include_header=False, separator="\t", quote_style="never", engine="streaming")
