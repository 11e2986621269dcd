import json
from collections import Counter
from pathlib import Path

import arguments
import dask
import dask.bag as db

BLOCK = "16MiB"


def lines_of(paths):
    return db.read_text(paths, blocksize=BLOCK).map(str.rstrip, "\n")


def word_count(asked):
    counts = db.read_text(asked.inputs, blocksize=BLOCK).map(str.split).flatten().frequencies()
    return counts.map(lambda pair: f"{pair[0]}\t{pair[1]}")


def inverted_index(asked):
    lines = db.read_text(asked.inputs, blocksize=BLOCK, include_path=True)
    pairs = lines.map(lambda line: [(word, Path(line[1]).name) for word in line[0].split()]).flatten()
    groups = pairs.groupby(lambda pair: pair[0], npartitions=8)

    def shown(group):
        counts = Counter(name for _, name in group[1])
        return f"{group[0]}\t{json.dumps(sorted(counts.items()), separators=(',', ':'))}"

    return groups.map(shown)


def measurements(asked):
    def parse(line):
        station, degrees = line.split(";")
        return station, float(degrees)

    def add(total, pair):
        return min(total[0], pair[1]), max(total[1], pair[1]), total[2] + pair[1], total[3] + 1

    def merge(one, other):
        return min(one[0], other[0]), max(one[1], other[1]), one[2] + other[2], one[3] + other[3]

    rows = lines_of(asked.inputs).map(parse)
    nothing = (float("inf"), float("-inf"), 0.0, 0)
    found = rows.foldby(lambda pair: pair[0], add, nothing, merge, nothing)
    return found.map(lambda pair: f"{pair[0]}\t{pair[1][0]}\t{pair[1][2] / pair[1][3]}\t{pair[1][1]}")


def join(asked):
    users = lines_of(asked.inputs[-1:]).map(lambda line: tuple(line.split("\t"))).compute()
    orders = lines_of(asked.inputs[:-1]).map(lambda line: tuple(line.split("\t")))
    joined = orders.join(users, on_self=lambda pair: pair[0], on_other=lambda pair: pair[0])
    return joined.map(lambda both: f'{both[1][0]}\t[{int(both[1][1])},"{both[0][1]}"]')


WORKS = {work.__name__: work for work in (word_count, inverted_index, measurements, join)}


def main():
    asked = arguments.parse(WORKS)
    with dask.config.set(scheduler="processes", num_workers=asked.processes):
        WORKS[asked.work](asked).to_textfiles(f"{asked.output}/part-*")


if __name__ == "__main__":
    main()
