"""What a contestant has put out, boiled down: so that two of any size can be held against each other.

An output is a file, or a folder of files of which those that begin with `.` or `_` are not results. Lines are hashed a
chunk at a time in columns, and the hashes added up, so neither the order of lines nor their spread over files counts.
"""

import dataclasses
import math
import re

import numpy as np
import polars as pl

CHUNK = 32 << 20  # bytes of lines at a time
SEEDS = (1, 2)  # of two hashes of 64 bits: neither chance nor a swap of words between lines makes equal sums
KEY_BYTES = 10  # of a record to be sorted
TOLERANCE = 1e-6  # of numbers, relative: sums of floats differ in their last digits with the order
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Digest:
    """How many lines and bytes an output has, and the sums of the hashes of its lines."""

    lines: int
    bytes: int
    sums: tuple[int, ...]
    fault: str = ""  # what is wrong with the output by itself

    def differs(self, other):
        """What is different, or "" if nothing is."""
        if self.fault or other.fault:
            return self.fault or other.fault
        if (self.lines, self.bytes) != (other.lines, other.bytes):
            return f"{self.lines:,} lines of {self.bytes:,} bytes, not {other.lines:,} of {other.bytes:,}"
        return "" if self.sums == other.sums else "other lines"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numbers of each key of a small output."""

    rows: dict[str, tuple[float, ...]]

    def differs(self, other):
        """What is different beyond the tolerance, or "" if nothing is."""
        if self.rows.keys() != other.rows.keys():
            return f"{len(self.rows)} keys, not {len(other.rows)}, or others"
        for key, numbers in self.rows.items():
            wanted = other.rows[key]
            if len(numbers) != len(wanted):
                return f"{key}: {len(numbers)} numbers, not {len(wanted)}"
            close = (
                math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(numbers, wanted, strict=True)
            )
            if not all(close):
                return f"{key}: {numbers}, not {wanted}"
        return ""


def files(output):
    """The files of an output, in order of their names."""
    if output.is_file():
        return [output]
    return sorted(path for path in output.iterdir() if path.is_file() and path.name[0] not in "._")


def chunks(path):
    """The bytes of a file in whole lines, some tens of megabytes at a time."""
    rest = b""
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield data[:end]
    if rest:
        yield rest + b"\n"


def of_lines(output):
    """The digest of lines in any order."""
    lines = size = 0
    sums = np.zeros(len(SEEDS), dtype=np.uint64)
    for path in files(output):
        for data in chunks(path):
            column = pl.Series([data[:-1].decode()]).str.split("\n").explode()
            lines += len(column)
            size += len(data)
            sums += np.array([column.hash(seed).to_numpy().sum(dtype=np.uint64) for seed in SEEDS])
    return Digest(lines, size, tuple(map(int, sums)))


def of_sorted(output):
    """The digest of lines whose first bytes must be in order, from one file to the next as well."""
    last = None
    for path in files(output):
        for data in chunks(path):
            width = data.index(b"\n") + 1
            if len(data) % width or set(data[width - 1 :: width]) != {ord("\n")}:
                return Digest(0, 0, (), f"{path.name}: lines of several lengths")
            rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
            high = np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0].astype(np.uint64)
            low = np.ascontiguousarray(rows[:, 8:KEY_BYTES]).view(">u2")[:, 0]
            after = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] >= low[:-1]))
            first, before, last = data[:KEY_BYTES], last, bytes(rows[-1, :KEY_BYTES])
            if not after.all() or (before is not None and first < before):
                return Digest(0, 0, (), f"{path.name}: not in order")
    return of_lines(output)


def of_numbers(output):
    """Lines of a key, a tab, and numbers in whatever form: columns, a list, a JSON object."""
    rows = {}
    for path in files(output):
        for line in path.read_text("utf-8").splitlines():
            key, _, rest = line.partition("\t")
            rows[key] = tuple(map(float, NUMBER.findall(rest)))
    return Numbers(rows)
