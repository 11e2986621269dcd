import json
from collections import Counter
from operator import add
from pathlib import Path

import arguments
import numpy as np
import polars as pl
import spark

CLUSTERS = 10
ROUNDS = 20


def word_count(context, asked):
    words = context.textFile(",".join(asked.inputs)).flatMap(lambda line: line.split())
    counts = words.map(lambda word: (word, 1)).reduceByKey(add)
    counts.map(lambda pair: f"{pair[0]}\t{pair[1]}").saveAsTextFile(asked.output)


def inverted_index(context, asked):
    def pairs_of(path):
        name = Path(path).name
        return context.textFile(path).flatMap(lambda line: [(word, name) for word in line.split()])

    def shown(pair):
        return f"{pair[0]}\t{json.dumps(sorted(Counter(pair[1]).items()), separators=(',', ':'))}"

    pairs = context.union([pairs_of(path) for path in asked.inputs])
    pairs.groupByKey(8).map(shown).saveAsTextFile(asked.output)


def terasort(context, asked):
    lines = context.textFile(",".join(asked.inputs)).map(lambda line: (line[:10], line[10:]))
    lines.sortByKey().map(lambda pair: pair[0] + pair[1]).saveAsTextFile(asked.output)


def measurements(context, asked):
    def parse(line):
        station, degrees = line.split(";")
        degrees = float(degrees)
        return station, (degrees, degrees, degrees, 1)

    def merge(one, other):
        return min(one[0], other[0]), max(one[1], other[1]), one[2] + other[2], one[3] + other[3]

    found = context.textFile(",".join(asked.inputs)).map(parse).reduceByKey(merge)
    shown = found.map(lambda pair: f"{pair[0]}\t{pair[1][0]}\t{pair[1][2] / pair[1][3]}\t{pair[1][1]}")
    shown.saveAsTextFile(asked.output)


def join(context, asked):
    def order(line):
        user, amount = line.split("\t")
        return user, int(amount)

    orders = context.textFile(",".join(asked.inputs[:-1])).map(order)
    users = context.textFile(asked.inputs[-1]).map(lambda line: tuple(line.split("\t")))
    joined = orders.join(users)
    joined.map(lambda pair: f'{pair[0]}\t[{pair[1][0]},"{pair[1][1]}"]').saveAsTextFile(asked.output)


def k_means(context, asked):
    def nearest(points, centres):
        labels = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
        sums = [np.bincount(labels, weights=axis, minlength=len(centres)) for axis in points.T]
        return np.stack([*sums, np.bincount(labels, minlength=len(centres))], axis=1)

    points = context.parallelize(asked.inputs, len(asked.inputs))
    points = points.map(lambda path: pl.read_parquet(path).to_numpy()).cache()
    centres = pl.read_parquet(asked.inputs[0], n_rows=CLUSTERS).to_numpy()
    for _ in range(ROUNDS):
        shared = context.broadcast(centres)
        total = points.map(lambda array, shared=shared: nearest(array, shared.value)).reduce(add)
        centres = total[:, :-1] / total[:, -1:]
    with open(asked.output, "w") as file:
        for number, centre in enumerate(centres.tolist()):
            file.write(f"{number}\t{' '.join(map(repr, centre))}\n")


WORKS = {work.__name__: work for work in (word_count, inverted_index, terasort, measurements, join, k_means)}


def main():
    asked = arguments.parse(WORKS)
    session = spark.session(asked.processes)
    WORKS[asked.work](session.sparkContext, asked)
    session.stop()


if __name__ == "__main__":
    main()
