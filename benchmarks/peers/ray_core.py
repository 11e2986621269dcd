"""Map and reduce tasks as in Ray's own example: a map task gives a part for each reduce task."""

import os
from collections import Counter
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report itself over the network
import arguments
import pieces
import ray


@ray.remote
def count(piece, partitions):
    counts = Counter()
    for line in pieces.lines(*piece).decode().splitlines():
        counts.update(line.split())
    parts = [{} for _ in range(partitions)]
    for word, number in counts.items():
        parts[sum(word.encode()) % partitions][word] = number
    return parts if partitions > 1 else parts[0]


@ray.remote
def merge(output, *parts):
    total = Counter()
    for part in parts:
        total.update(part)
    with open(output, "w", encoding="utf-8") as file:
        file.writelines(f"{word}\t{number}\n" for word, number in sorted(total.items()))


def main():
    asked = arguments.parse()
    Path(asked.output).mkdir()
    here = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
    ray.init(num_cpus=asked.processes, include_dashboard=False, _node_ip_address="127.0.0.1", runtime_env=here)
    counting = count.options(num_returns=asked.processes)
    maps = [counting.remote(piece, asked.processes) for piece in pieces.pieces(asked.inputs)]
    maps = [[parts] if asked.processes == 1 else parts for parts in maps]
    ray.get([merge.remote(f"{asked.output}/part-{n}", *[parts[n] for parts in maps]) for n in range(asked.processes)])


if __name__ == "__main__":
    main()
