"""The peer: word count as one writes it by hand with multiprocessing, two processes by default.

python benchmarks/word_count_by_hand.py OUTPUT [PROCESSES] FILE...
"""

import multiprocessing
import os
import sys
from collections import Counter

CHUNK = 8 << 20  # bytes a task: large enough that handing over costs nothing beside the counting


def pieces(paths):
    for path in paths:
        size = os.path.getsize(path)
        for start in range(0, size, CHUNK):
            yield path, start, min(start + CHUNK, size)


def count(piece):
    path, start, end = piece
    counts = Counter()
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()  # the line that the piece before has
        while file.tell() < end and (line := file.readline()):
            counts.update(line.decode().split())
    return counts


def main():
    output, processes, *paths = sys.argv[1:]
    total = Counter()
    with multiprocessing.Pool(int(processes)) as pool:
        for counts in pool.imap_unordered(count, pieces(paths)):
            total.update(counts)
    with open(output, "w", encoding="utf-8") as file:
        for word in sorted(total):
            file.write(f"{word}\t{total[word]}\n")


if __name__ == "__main__":
    main()
