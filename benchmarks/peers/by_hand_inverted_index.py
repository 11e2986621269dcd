"""Every pair goes from the mappers to the reducers, through files of lists by word."""

import json
import multiprocessing
import pickle
import tempfile
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import arguments
import pieces

PARTITIONS = 8


def index(folder, numbered):
    number, piece = numbered
    name = Path(piece[0]).name
    parts = [defaultdict(list) for _ in range(PARTITIONS)]
    for line in pieces.lines(*piece).decode().splitlines():
        for word in line.split():
            parts[hash(word) % PARTITIONS][word].append(name)
    for place, part in enumerate(parts):
        with open(f"{folder}/{place}-{number}", "wb") as file:
            pickle.dump(dict(part), file, pickle.HIGHEST_PROTOCOL)


def merge(folder, output, place):
    merged = defaultdict(list)
    for path in Path(folder).glob(f"{place}-*"):
        for word, names in pickle.loads(path.read_bytes()).items():
            merged[word] += names
    with open(f"{output}/part-{place}", "w", encoding="utf-8") as file:
        for word in sorted(merged):
            counts = sorted(Counter(merged[word]).items())
            file.write(f"{word}\t{json.dumps(counts, separators=(',', ':'))}\n")


def main():
    asked = arguments.parse()
    Path(asked.output).mkdir()
    processes = multiprocessing.get_context("fork")  # so that all hash strings alike
    with processes.Pool(asked.processes) as pool, tempfile.TemporaryDirectory(dir=Path(asked.output).parent) as folder:
        for _ in pool.imap_unordered(partial(index, folder), enumerate(pieces.pieces(asked.inputs))):
            pass
        pool.map(partial(merge, folder, asked.output), range(PARTITIONS), chunksize=1)


if __name__ == "__main__":
    main()
