"""What a round costs beside its work when a job runs again and again on a `Cluster`: k-means, and next to nothing.

python benchmarks/iteration.py [POINTS] [ROUNDS] [SLOTS]

Prints medians over the rounds in a table in Markdown. The work of a k-means round is that of its functions alone,
called by hand on the same points in this process with one thread, over the number of slots: as if it could be shared
out for nothing. Exits with 1 if the engine finds other centroids than the program by hand.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"  # for the work by hand: task processes have one thread as well
import numpy as np
import polars as pl

import mapreduce
from mapreduce import Count, Input, Job, Parquet

CENTROIDS = 8


def nearest(frame, *, centroids: list):
    """Give each centroid's number with the sum and the number of the points that are nearest to it."""
    points = frame.select("x", "y").to_numpy()
    distances = ((points[:, None, :] - np.array(centroids)) ** 2).sum(axis=2)
    labels = distances.argmin(axis=1)
    counts = np.bincount(labels, minlength=len(centroids))
    sums = [np.bincount(labels, weights=points[:, axis], minlength=len(centroids)) for axis in (0, 1)]
    values = [[x, y, float(count)] for x, y, count in zip(*sums, counts, strict=True)]
    return pl.DataFrame({"key": range(len(centroids)), "value": values})


def total(number, parts):
    """Give the mean of a centroid's points."""
    x, y, count = (sum(column) for column in zip(*parts, strict=True))
    yield number, [x / count, y / count]


def by_hand(files, centroids):
    parts = {number: [] for number in range(CENTROIDS)}
    for file in files:
        for number, part in nearest(pl.read_parquet(file), centroids=centroids).iter_rows():
            parts[number].append(part)
    return [mean for number in range(CENTROIDS) for _, mean in total(number, parts[number])]


def run_round(cluster, job, files, means):
    size = max(file.stat().st_size for file in files)  # a split for each file
    return dict(cluster.run(job, {"points": files}, params={"centroids": means}, split_size=size))


def timed(function, *arguments):
    begin = time.perf_counter()
    result = function(*arguments)
    return (time.perf_counter() - begin) * 1000, result


def show(name, times):
    print(f"| {name} | {statistics.median(times):.0f} | {min(times):.0f} | {max(times):.0f} |")


def main():
    points, rounds, slots = [*map(int, sys.argv[1:]), *(100_000, 30, 2)[len(sys.argv) - 1 :]]
    chance = np.random.default_rng(0)
    start = [[float(x), float(y)] for x, y in chance.random((CENTROIDS, 2))]
    with tempfile.TemporaryDirectory() as name, mapreduce.Cluster(slots) as cluster:
        files = [Path(name) / f"points-{number}.parquet" for number in range(slots)]
        for file in files:
            pl.DataFrame(chance.random((points // slots, 2)), schema=["x", "y"]).write_parquet(file)
        tiny = Path(name) / "tiny.txt"
        tiny.write_text("one line\n")
        count = Job(keys=str.split, reducer=Count())
        first, _ = timed(lambda: cluster.run(count, tiny))
        empty = [timed(lambda: dict(cluster.run(count, tiny)))[0] for _ in range(rounds)]

        job = Job(inputs={"points": Input(nearest, format=Parquet(), frames=True)}, reducer=total)
        means, there, found = start, [], []
        for _ in range(rounds):
            spent, result = timed(run_round, cluster, job, files, means)
            means = [result[number] for number in range(CENTROIDS)]
            there.append(spent)
            found.append(means)

        means, here = start, []
        for _ in range(rounds):
            spent, means = timed(by_hand, files, means)
            here.append(spent)
    print(f"{points:,} points, {rounds} rounds, {slots} slots; milliseconds a round\n")
    print("| | median | least | most |\n|---|---|---|---|")
    print(f"| the very first run, which starts the workers | {first:.0f} | | |")
    show("a job of one line", empty)
    show("k-means", there[1:])
    show("its work by hand, in one process", here)
    print(f"| k-means, beside its work | {statistics.median(there[1:]) - statistics.median(here) / slots:.0f} | | |")
    return 0 if np.allclose(means, found[-1]) else 1


if __name__ == "__main__":
    sys.exit(main())
