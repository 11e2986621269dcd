import multiprocessing
from collections import Counter

import arguments
import pieces


def count(share):
    counts = Counter()
    for piece in share:
        for line in pieces.lines(*piece).decode().splitlines():
            counts.update(line.split())
    return counts


def main():
    asked = arguments.parse()
    total = Counter()
    with multiprocessing.Pool(asked.processes) as pool:
        # A Counter for each process, not for each piece: where words hardly repeat, handing them over is most of it.
        for counts in pool.imap_unordered(count, pieces.shares(asked.inputs, asked.processes)):
            total.update(counts)
    with open(asked.output, "w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{total[word]}\n" for word in sorted(total))


if __name__ == "__main__":
    main()
