"""The inputs of the curves, and what their jobs must find in them.

Each folder has a `_totals.json`: what `check` holds a job's output against, counted while the input was made. A large
input is some files linked under several names (hard links, which the engine reads each time): so it needs no more disk
than the files, and has no more different words than they have.
"""

import json
import os
import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import digests, inputs

VERSION = 1  # of the makers below: what another version has made is made again
FILES = 16  # of a text that the larger ones are made of
RECORD_FILES = 4  # of records that are
TOTALS = "_totals.json"
NUMBER = re.compile(r"\d+")
KEY_DIGITS = 8
FILES_OF_A_FOLDER = 1000  # of many small ones
GROUP_BYTES = 16 << 20  # made at a time
LETTERS = (ord("a"), ord("z") + 1)


def weighted(counts):
    """A sum over keys of how often each is there, by a hash of the key: it grows with the counts in proportion."""
    return sum(zlib.crc32(key.encode()) * count for key, count in counts.items())


def totals(output):
    """What an output of keys with their numbers holds: keys, the sums of their numbers, the first ones by key."""
    keys, sums, weight = 0, Counter(), 0
    for path in digests.files(output):
        with path.open(encoding="utf-8") as file:
            for line in file:
                key, _, rest = line.rpartition("\t")
                numbers = list(map(int, NUMBER.findall(rest)))
                keys += 1
                weight += zlib.crc32(key.encode()) * numbers[0]
                for place, number in enumerate(numbers):
                    sums[place] += number
    return {"keys": keys, "sums": [sums[place] for place in sorted(sums)], "weighted": weight}


def of_lines(output):
    """What a sorted output of fixed-length records holds: how many, and the sums of their hashes."""
    return sums_of(digests.of_sorted(output))


def sums_of(digest):
    """A digest as totals."""
    if digest.fault:
        return {"fault": digest.fault}
    return {"lines": digest.lines, "bytes": digest.bytes, "hashes": list(digest.sums)}


def times(found, number):
    """The totals of an input that is there so many times."""
    grown = {"sums": lambda old: [value * number for value in old], "keys": lambda old: old}
    grown["hashes"] = lambda old: [value * number % (1 << 64) for value in old]
    return {name: grown.get(name, lambda old: old * number)(value) for name, value in found.items()}


def check(folder, output, found_in=totals):
    """What is wrong with an output, or ""."""
    wanted, found = json.loads((folder / TOTALS).read_text()), found_in(output)
    return "" if found == wanted else f"a wrong result: {found}, not {wanted}"


# ---- text and records to sort, and links to them


def texts(folder, rng, *, size, **_version):
    """English-like text in FILES files of one size; the totals of the first file, of the first two, and so on."""
    inputs.texts(folder, rng, size=size, files=FILES)
    counts, found = Counter(), []
    for number in range(FILES):
        text = (folder / f"{number:03}.txt").read_text().replace("\n", " ").rstrip(" ")
        words = pl.Series("word", [text]).str.split(" ").explode().value_counts()
        counts.update(dict(words.iter_rows()))
        found.append({"keys": len(counts), "sums": [counts.total()], "weighted": weighted(counts)})
    (folder / TOTALS).write_text(json.dumps(found))


def records(folder, rng, *, size, **_version):
    """Records of 100 bytes to be sorted, `size` bytes together; totals as of `texts`."""
    found, digest = [], digests.Digest(0, 0, (0,) * len(digests.SEEDS))
    for number in range(RECORD_FILES):
        place = folder / "part"
        place.mkdir()
        inputs.sort_records(place, rng, records=size // RECORD_FILES // inputs.RECORD_BYTES)
        path = (place / "records.txt").rename(folder / f"{number:03}.txt")
        place.rmdir()
        more = digests.of_lines(path)
        sums = tuple((a + b) % (1 << 64) for a, b in zip(digest.sums, more.sums, strict=True))
        digest = digests.Digest(digest.lines + more.lines, digest.bytes + more.bytes, sums)
        found.append(sums_of(digest))
    (folder / TOTALS).write_text(json.dumps(found))


def linked(folder, _rng, *, base, files, copies, **_version):
    """The first files of a folder, under so many names each."""
    for copy in range(copies):
        for number in range(files):
            os.link(Path(base) / f"{number:03}.txt", folder / f"{copy:03}-{number:03}.txt")
    found = json.loads((Path(base) / TOTALS).read_text())[files - 1]
    (folder / TOTALS).write_text(json.dumps(times(found, copies)))


# ---- keys and values of given lengths


def distinct_keys(rng, keys, key_bytes):
    """So many different keys, as rows of bytes: a number, and letters up to the length."""
    rows = rng.integers(*LETTERS, (keys, key_bytes), dtype=np.uint8)
    digits = np.arange(keys)[:, None] // 10 ** np.arange(KEY_DIGITS - 1, -1, -1) % 10
    rows[:, :KEY_DIGITS] = digits + ord("0")
    return rows


def pairs(folder, rng, *, lines, files, keys, key_bytes, value_bytes, hot=0.0, **_version):
    """Lines of a key, a tab and a value of letters; a share `hot` of them has the first key, all others any key."""
    names = distinct_keys(rng, keys, key_bytes)
    per_file, width = lines // files, key_bytes + value_bytes + 2
    group = max(1, min(files, GROUP_BYTES // (per_file * width)))  # files made at once
    drawn = np.zeros(keys, dtype=np.int64)
    for first in range(0, files, group):
        number = min(group, files - first)
        rows = rng.integers(*LETTERS, (number * per_file, width), dtype=np.uint8)
        chosen = rng.integers(0, keys, len(rows))
        chosen[rng.random(len(rows)) < hot] = 0
        rows[:, :key_bytes] = names[chosen]
        rows[:, key_bytes], rows[:, -1] = ord("\t"), ord("\n")
        drawn += np.bincount(chosen, minlength=keys)
        for place in range(number):
            path = file_path(folder, first + place, files)
            path.write_bytes(rows[place * per_file : (place + 1) * per_file].tobytes())
    counts = {name.tobytes().decode(): int(count) for name, count in zip(names, drawn, strict=True) if count}
    sums = [sum(counts.values()), sum(counts.values()) * value_bytes]
    found = {"keys": len(counts), "sums": sums, "weighted": weighted(counts)}
    (folder / TOTALS).write_text(json.dumps(found))


def file_path(folder, number, files):
    """The path of a file; of many, in folders."""
    if files <= FILES_OF_A_FOLDER:
        return folder / f"{number:03}.txt"
    place = folder / f"{number // FILES_OF_A_FOLDER:03}"
    place.mkdir(exist_ok=True)
    return place / f"{number % FILES_OF_A_FOLDER:03}.txt"


def blank(folder, _rng, *, records, length, **_version):
    """A file of records that say nothing, for a job that finds nothing."""
    (folder / "records.bin").write_bytes(bytes(records * length))
    (folder / TOTALS).write_text(json.dumps({"keys": 0, "sums": [], "weighted": 0}))
