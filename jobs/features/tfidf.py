"""Documents -> TF-IDF vectors with their words spelt out.

The weight of a word in a document is tf * idf with tf = n / N (n times among the document's N words) and
idf = ln(D / d) (it stands in d of D documents), as in Salton and Buckley, "Term-weighting approaches in automatic text
retrieval" (1988); each vector is scaled to length 1. Sums of floats use `math.fsum`, so that the vectors do not depend
on the number of reducers.
"""

import functools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from mapreduce import Context

WORD = re.compile(r"\w+")


@functools.cache
def document(path: str) -> str:
    """Name a file by its last part: asked for every line, so it is remembered."""
    return PurePath(path).name


def words(offset: int, line: str, *, ctx: Context) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield ((word, document), 1) for each word; count the documents by their first lines."""
    if offset == 0:
        ctx.counters["documents"] += 1
    name = document(ctx.path)
    for word in WORD.findall(line.lower()):
        yield (word, name), 1


def by_document(key: tuple[str, str], n: int) -> Iterator[tuple[str, tuple[str, int]]]:
    """Bring the words of a document together."""
    word, name = key
    yield name, (word, n)


def with_length(name: str, counts: Iterable[tuple[str, int]]) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """Give each word of a document the number of all its words."""
    held = list(counts)
    length = sum(n for _, n in held)
    for word, n in held:
        yield word, (name, n, length)


def weights(
    word: str, uses: Iterable[tuple[str, int, int]], *, ctx: Context
) -> Iterator[tuple[str, tuple[str, float]]]:
    """Weigh a word in each document that has it."""
    held = list(uses)
    idf = math.log(ctx.previous.counters["documents"] / len(held))
    for name, n, length in held:
        yield name, (word, n / length * idf)


def vector(name: str, weighted: Iterable[tuple[str, float]]) -> Iterator[tuple[str, list[list[str | float]]]]:
    """Make a document's vector: its words in order, scaled to length 1; words that every document has are left out."""
    held = sorted((word, weight) for word, weight in weighted if weight)
    norm = math.sqrt(math.fsum(weight * weight for _, weight in held))
    yield name, [[word, weight / norm] for word, weight in held]
