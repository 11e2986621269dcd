"""Word count beside the program that one writes by hand: the same text, in turns, whole processes, medians.

python benchmarks/word_count.py [MEGABYTES] [RUNS] [TEXT...]

The text is made from the given files (default: the Python standard library's sources), repeated up to the size, in
eight files. Prints a table in Markdown, and the time of a 1 MB job from prompt to prompt. Exits with 1 if the results
differ.
"""

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

HAND = Path(__file__).with_name("word_count_by_hand.py")
FILES = 8
MB = 1 << 20
GENERATOR = """
def mapper(line):
    for word in line.split():
        yield word, 1

def reducer(word, counts):
    yield word, sum(counts)

combiner = reducer
"""


def write_texts(folder, size, sources):
    """Write `FILES` files of `size` bytes together, whole lines of UTF-8."""
    lines = [line for path in sources for line in Path(path).read_text("utf-8", "ignore").splitlines(keepends=True)]
    text = "".join(lines).encode()
    for number in range(FILES):
        with (folder / f"{number}.txt").open("wb") as file:
            left = size // FILES
            while left > 0:
                piece = text[: text.rfind(b"\n", 0, left) + 1] if left < len(text) else text
                file.write(piece)
                left -= len(piece) or left


def timed(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def lines_of(paths):
    return sorted(line for path in paths for line in Path(path).read_bytes().splitlines())


def main():
    arguments = sys.argv[1:]
    size = int(arguments[0]) if arguments else 300
    runs = int(arguments[1]) if len(arguments) > 1 else 3
    sources = arguments[2:] or sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    slots = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind, mb in (("texts", size), ("small", 1)):
            (folder / kind).mkdir()
            write_texts(folder / kind, mb * MB, sources)
        (folder / "generator.py").write_text(GENERATOR)
        texts = sorted((folder / "texts").iterdir())
        engine = [sys.executable, "-P", "-m", "mapreduce", "run", "-j", slots, "--overwrite", "-o", folder / "out"]
        contestants = {
            "by hand, multiprocessing": [sys.executable, HAND, folder / "hand.tsv", slots, *texts],
            "engine, keys=str.split, Count()": [*engine, "@word_count", folder / "texts"],
            "engine, generator, reducer and combiner": [*engine, folder / "generator.py", folder / "texts"],
        }
        times = {name: [] for name in contestants}
        for _ in range(runs):
            for name, command in contestants.items():
                times[name].append(timed([*map(str, command)]))
                if name.startswith("engine"):
                    assert lines_of((folder / "out").glob("part-*")) == lines_of([folder / "hand.tsv"]), name
        small = [timed([*map(str, [*engine, "@word_count", folder / "small"])]) for _ in range(max(runs, 5))]
    peer = statistics.median(times["by hand, multiprocessing"])
    print(f"{size} MB, {slots} processes, median of {runs}\n\n| program | s | min-max | ratio |\n|---|---|---|---|")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"| {name} | {median:.1f} | {min(found):.1f}-{max(found):.1f} | {median / peer:.2f} |")
    print(f"\n1 MB, prompt to prompt: {statistics.median(small):.2f} s ({min(small):.2f}-{max(small):.2f})")


if __name__ == "__main__":
    main()
