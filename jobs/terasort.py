"""TeraSort: sorts records by their first ten characters, in a total order over all parts; and checks that it did.

The records are those of the sort benchmark in ASCII (sortbenchmark.org, gensort -a): lines of 98 characters, of which
the first ten are the key. `job` sorts them by a range partitioner that finds its boundaries itself; `validate` reads
the sorted parts and reports whether they are in order, and a checksum that does not depend on it.

    python -c 'from mapreduce.demos.terasort import generate; generate("records.txt", 1_000_000)'
    mapreduce run @terasort records.txt -o sorted/ --reducers 4
    mapreduce run @terasort:validate sorted/
"""

import itertools
import random
import string
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mapreduce import Context, Job, RangePartitioner

if TYPE_CHECKING:
    import polars as pl

KEY_CHARS = 10
KEY_ALPHABET = string.ascii_letters + string.digits
FILLER = "".join(4 * char for char in string.ascii_uppercase[:13])  # 52 characters
WRITTEN_AT_ONCE = 10_000  # records: a megabyte
CHECKSUM_BITS = 63  # a column of ints holds it

Stretch = tuple[str, int, str, str, int, int, int]  # path, offset, first key, last key, records, disorders, checksum


def generate(path: str, records: int, seed: int = 0) -> None:
    """Write so many random records to a file: key, number, filler, as gensort -a lays them out."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    with Path(path).open("w", encoding="ascii") as file:
        for start in range(0, records, WRITTEN_AT_ONCE):
            stop = min(start + WRITTEN_AT_ONCE, records)
            keys = ("".join(chance.choices(KEY_ALPHABET, k=KEY_CHARS)) for _ in range(start, stop))
            file.writelines(f"{key}  {n:032X}  {FILLER}\n" for n, key in enumerate(keys, start))


def split_key(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Cut lines into key and rest, as columns."""
    line = frame.get_column("value")
    return frame.select(key=line.str.slice(0, KEY_CHARS), value=line.str.slice(KEY_CHARS))


def as_it_comes(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Give what was merged: it is in order."""
    return frame


class Check:
    """Goes through one split of the sorted output; tells of each file what must be known to put the parts together."""

    def __init__(self, *, ctx: Context) -> None:
        self.ctx = ctx
        self.stretches: dict[str, Stretch] = {}

    def __call__(self, offset: int, line: str) -> None:
        """Take a line, which is a key, a tab, and the rest."""
        key, _, rest = line.partition("\t")
        path = self.ctx.path
        checksum = zlib.crc32(f"{key}{rest}".encode())
        if path in self.stretches:
            path, offset, first, last, records, disorders, total = self.stretches[path]
            self.stretches[path] = (path, offset, first, key, records + 1, disorders + (key < last), total + checksum)
        else:
            self.stretches[path] = (path, offset, key, key, 1, 0, checksum)

    def finish(self) -> Iterator[tuple[None, Stretch]]:
        """Yield what was seen of each file."""
        for stretch in self.stretches.values():
            yield None, stretch


def report(_key: None, stretches: Iterable[Stretch]) -> Iterator[tuple[str, int]]:
    """Put the stretches together: they come sorted by path and offset."""
    records = disorders = checksum = 0
    for before, now in itertools.pairwise(itertools.chain([None], stretches)):
        assert now is not None
        disorders += now[5] + (before is not None and now[2] < before[3])
        records, checksum = records + now[4], checksum + now[6]
    yield "records", records
    yield "out of order", disorders
    yield "checksum", checksum % 2**CHECKSUM_BITS


job = Job(split_key, reducer=as_it_comes, frames=True, partitioner=RangePartitioner(), name="terasort")
validate = Job(Check, reducer=report, sort_values=True, reducers=1, name="validate")
