"""Each process keeps the points that it has read."""

import functools
import multiprocessing

import arguments
import numpy as np
import polars as pl

CLUSTERS = 10
ROUNDS = 20


@functools.cache
def load(path):
    return pl.read_parquet(path).to_numpy()


def nearest(task):
    path, centres = task
    points = load(path)
    labels = ((centres**2).sum(axis=1) - 2 * points @ centres.T).argmin(axis=1)
    sums = [np.bincount(labels, weights=axis, minlength=len(centres)) for axis in points.T]
    return np.stack([*sums, np.bincount(labels, minlength=len(centres))], axis=1)


def main():
    asked = arguments.parse()
    centres = pl.read_parquet(asked.inputs[0], n_rows=CLUSTERS).to_numpy()
    with multiprocessing.get_context("forkserver").Pool(asked.processes) as pool:  # Polars has threads: no fork of them
        for _ in range(ROUNDS):
            total = sum(pool.map(nearest, [(path, centres) for path in asked.inputs], chunksize=1))
            centres = total[:, :-1] / total[:, -1:]
    with open(asked.output, "w") as file:
        for number, centre in enumerate(centres.tolist()):
            file.write(f"{number}\t{' '.join(map(repr, centre))}\n")


if __name__ == "__main__":
    main()
