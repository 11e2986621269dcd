"""k-means as a program: a job for each round on workers that stay.

python k_means.py POINTS.parquet... OUTPUT --processes N
"""

import argparse
import os

import numpy as np
import polars as pl

import mapreduce
from mapreduce import Input, Job, Parquet

CLUSTERS = 10
ROUNDS = 20


def nearest(frame, *, centres: list):
    """Give for each centre the sum of the points that are nearest to it, and how many they are."""
    points, centres = frame.to_numpy(), np.array(centres)
    labels = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    sums = [np.bincount(labels, weights=axis, minlength=len(centres)) for axis in points.T]
    counts = np.bincount(labels, minlength=len(centres)).astype(float)
    return pl.DataFrame({"key": range(len(centres)), "value": np.stack([*sums, counts], axis=1).tolist()})


def mean(number, parts):
    *sums, count = np.sum(list(parts), axis=0).tolist()
    yield number, [total / count for total in sums]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("points", nargs="+")
    parser.add_argument("output")
    parser.add_argument("--processes", type=int)
    asked = parser.parse_args()
    job = Job(inputs={"points": Input(nearest, format=Parquet(), frames=True)}, reducer=mean)
    centres = pl.read_parquet(asked.points[0], n_rows=CLUSTERS).to_numpy().tolist()
    size = max(map(os.path.getsize, asked.points))  # a split for each file
    with mapreduce.Cluster(asked.processes) as cluster:
        for _ in range(ROUNDS):
            result = cluster.run(job, {"points": asked.points}, params={"centres": centres}, split_size=size)
            centres = [centre for _, centre in sorted(result)]
    with open(asked.output, "w") as file:
        for number, centre in enumerate(centres):
            file.write(f"{number}\t{' '.join(map(repr, centre))}\n")


if __name__ == "__main__":
    main()
