"""An inverted index: word -> the files that it stands in, with how often.

No combiner: the reducer gets every single (word, file) pair.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from mapreduce import Context, Job


@functools.cache
def document(path: str) -> str:
    """Name a file by its last part: asked for every line, so it is remembered."""
    return PurePath(path).name


def mapper(line: str, *, ctx: Context) -> Iterator[tuple[str, str]]:
    """Yield (word, file) for each word."""
    name = document(ctx.path)
    for word in line.split():
        yield word, name


def reducer(word: str, documents: Iterable[str]) -> Iterator[tuple[str, list[list[str | int]]]]:
    """Yield the files of a word in the order of their names."""
    counts = Counter(documents)
    yield word, [[name, counts[name]] for name in sorted(counts)]


job = Job(mapper=mapper, reducer=reducer)
