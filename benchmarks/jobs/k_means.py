"""k-means as a program: a job for each round on workers that stay, whose processes keep the points that they have read.

python k_means.py POINTS.parquet... OUTPUT --processes N
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

import mapreduce
from mapreduce import Job

CLUSTERS = 10
ROUNDS = 20


@cache
def load(path):
    return pl.read_parquet(path).to_numpy()


def nearest(path, *, centres: list):
    """Give for each centre the sum of the points that are nearest to it, and how many they are."""
    points, centres = load(path.rstrip()), np.array(centres)
    labels = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    sums = [np.bincount(labels, weights=axis, minlength=len(centres)) for axis in points.T]
    found = np.stack([*sums, np.bincount(labels, minlength=len(centres))], axis=1)
    yield from enumerate(found.tolist())


def mean(number, parts):
    *sums, count = np.sum(list(parts), axis=0).tolist()
    yield number, [total / count for total in sums]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("points", nargs="+")
    parser.add_argument("output")
    parser.add_argument("--processes", type=int)
    asked = parser.parse_args()
    job = Job(nearest, reducer=mean)
    centres = pl.read_parquet(asked.points[0], n_rows=CLUSTERS).to_numpy().tolist()
    longest = max(map(len, asked.points))
    lines = [f"{path:<{longest}}\n" for path in asked.points]  # all of a length: a split has one
    paths = Path(asked.output).with_suffix(".paths")
    paths.write_text("".join(lines))
    with mapreduce.Cluster(asked.processes) as cluster:
        for _ in range(ROUNDS):
            result = cluster.run(job, str(paths), params={"centres": centres}, split_size=len(lines[0]))
            centres = [centre for _, centre in sorted(result)]
    with open(asked.output, "w") as file:
        for number, centre in enumerate(centres):
            file.write(f"{number}\t{' '.join(map(repr, centre))}\n")


if __name__ == "__main__":
    main()
